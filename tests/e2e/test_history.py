"""The checker of histories finds what is wrong, and nothing else (tests/peer/history.py)."""

import unittest

from history import History
from suite import main


class Checker(unittest.TestCase):
    def setUp(self):
        self.history = History()
        self.history.reader("reader")
        self.sent = [self.history.publish("p", "t", qos) for qos in (1, 1, 2)]

    def deliver(self, *numbers, topic="t"):
        for number in numbers:
            self.history.delivered("reader", topic, self.sent[number - 1])

    def acknowledge(self, *numbers):
        for number in numbers:
            self.history.acknowledged(self.sent[number - 1])

    def check(self, *faults, **options):
        found = self.history.faults(**options)
        self.assertEqual(len(found), len(faults), found)
        for text, fault in zip(found, faults):
            self.assertIn(fault, text)

    def test_finds_nothing_where_all_arrived(self):
        self.acknowledge(1, 2, 3)
        self.deliver(1, 2, 3)
        self.check()

    def test_what_was_not_acknowledged_may_be_lost(self):
        self.acknowledge(1)
        self.deliver(1)
        self.check()

    def test_finds_what_was_acknowledged_and_lost(self):
        self.acknowledge(1, 2)
        self.deliver(1)
        self.check("never got p:2")
        self.assertEqual(self.history.missing(), [("reader", b"p:2")])
        self.check(of={"another"})

    def test_finds_it_for_each_reader(self):
        self.history.reader("second")
        self.acknowledge(1)
        self.deliver(1)
        self.check("second never got p:1")

    def test_nothing_is_missing_where_nobody_reads_any_more(self):
        self.acknowledge(1, 2, 3)
        self.deliver(2, 1)
        self.history.reader_ends("reader")
        self.check("p:1 after p:2")

    def test_qos_1_may_come_twice_and_qos_2_may_not(self):
        self.deliver(1, 1, 2, 3)
        self.check()
        self.deliver(3, 3)
        self.check("p:3 twice, at QoS 2")

    def test_finds_what_came_out_of_order(self):
        self.deliver(2, 1, 3)
        self.check("p:1 after p:2")

    def test_a_copy_that_comes_again_is_not_out_of_order(self):
        self.deliver(1, 2, 1, 2, 3)
        self.check()

    def test_the_order_is_that_of_one_topic(self):
        other = self.history.publish("p", "other", 1)
        self.history.delivered("reader", "other", other)
        self.deliver(1, 2, 3)
        self.check()

    def test_a_reader_may_be_one_that_misses_messages(self):
        self.history.reader("second", may_miss=True)
        self.acknowledge(1)
        self.deliver(1, 2, 3)
        self.history.delivered("second", "t", self.sent[1])
        self.check()
        self.history.delivered("second", "t", self.sent[0])
        self.check("second got p:1 after p:2")

    def test_finds_what_came_back(self):
        self.history.place("reader", "here")
        self.history.place("p", "there")
        self.deliver(1, 1)
        self.check()
        self.history.place("p", "here")
        self.check("p:1 back")
        self.history.sent_again(self.sent[0])
        self.check()
        self.deliver(1, 1)
        self.check("p:1 back")

    def test_a_stray_may_come_back_once_and_be_late_at_qos_0(self):
        self.history.place("reader", "here")
        self.history.place("p", "here")
        late, newer = (self.history.publish("p", "t", 0) for _ in range(2))
        for payload in (newer, late, late):
            self.history.delivered("reader", "t", payload)
        self.check("p:4 after p:5", "p:4 back")
        self.check(strays=True)
        self.history.delivered("reader", "t", late)
        self.check("p:4 back", strays=True)

    def test_knows_how_far_each_is(self):
        self.assertEqual(self.history.newest_at("reader", "p"), 0)
        self.deliver(2, 1)
        self.acknowledge(1)
        self.assertEqual(self.history.newest_at("reader", "p"), 2)
        self.assertEqual(self.history.count_of_published("p"), 3)
        self.assertEqual(self.history.count_of_acknowledged("p"), 1)

    def test_finds_what_nobody_sent(self):
        self.history.delivered("reader", "t", b"ghost:1")
        self.deliver(1, topic="renamed")
        self.check("ghost:1 on t, which nobody sent", "p:1 on renamed, which nobody sent")


if __name__ == "__main__":
    main()
