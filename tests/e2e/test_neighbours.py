"""Clients that affect each other: takeovers during requests, and a flooder beside a quiet client."""

import threading

import wire
from case import Case, eventually, main


class Takeover(Case):
    def test_a_takeover_in_the_middle_of_a_subscribe_leaves_one_working_session(self):
        """The old connection has sent its SUBSCRIBE, or a part of it, when the new one connects. In
        either order the new connection works and the old one receives nothing more."""
        sender = self.peer()
        for number in range(100):
            name = f"{self.unique}-{number}"
            old = self.peer(name)
            request = wire.subscribe(9, [(self.topic(str(number)), 1)])
            cut = number % (len(request) + 1)
            old.send(request[:cut])
            new = self.peer(name, clean=False)
            old.send(request[cut:])
            while (got := old.next()) is not None:
                self.assertIn(got.kind, (wire.SUBACK, wire.DISCONNECT))
            new.subscribe((self.topic(str(number)), 0))
            sender.publish(self.topic(str(number)), b"x", qos=1)
            new.receive(payload=b"x", qos=0)  # By the newer subscription, and only once.
            new.expect_nothing_more()
            new.disconnect()
            new.close()
            old.close()

    def test_a_takeover_between_publish_and_puback_delivers_again(self):
        name = self.unique
        keep = [(wire.SESSION_EXPIRY, 60)]
        old = self.peer(name, clean=False, properties=keep)
        old.subscribe((self.topic(), 1))
        self.peer().publish(self.topic(), b"once", qos=1)
        first = old.expect(wire.PUBLISH, dup=False)
        new = self.peer(name, clean=False, properties=keep)
        old.send(wire.ack(wire.PUBACK, first.pid))  # Too late: the session was taken over.
        old.expect_fault(0x8E)
        new.expect(wire.PUBLISH, payload=b"once", dup=True, pid=first.pid)

    def test_two_connections_that_fight_for_a_name_end_nothing_else(self):
        bystander = self.peer()
        bystander.subscribe(self.topic())
        accepted = self.connections("accepted_total")

        def fight():
            for _ in range(50):
                peer = self.raw()
                peer.send(wire.connect(self.unique, clean=False),
                          wire.subscribe(1, [(self.topic("x"), 2)]))
                peer.close()
        fighters = [threading.Thread(target=fight) for _ in range(3)]
        for fighter in fighters:
            fighter.start()
        for fighter in fighters:
            fighter.join()
        bystander.publish(self.topic(), b"still here", qos=2)
        bystander.receive(payload=b"still here")
        # One that is still looked at would take the next one over.
        eventually(lambda: self.connections("accepted_total") >= accepted + 150 and self.connections("open") == 1,
                   "all fighters have gone")
        last = self.peer(self.unique)
        last.subscribe(self.topic("x"))


class Flooder(Case):
    def test_a_quiet_client_is_served_beside_a_flooder(self):
        """The flooder writes as fast as it can while the quiet clients make 200 exchanges. Each
        exchange succeeds, and a reader that keeps up receives the whole flood."""
        quiet, listener = self.peer(), self.peer()
        listener.subscribe((self.topic("quiet"), 1))
        flood_reader = self.peer()
        flood_reader.subscribe(self.topic("flood"))
        flooder = self.peer()
        done, sent, received, faults = threading.Event(), [0], [0], []
        batch = wire.publish(self.topic("flood"), bytes(200)) * 200

        def flood():
            while not done.is_set():
                flooder.send(batch)
                sent[0] += 200
            flooder.send(wire.publish(self.topic("flood"), b"end"))

        def drain():
            try:
                while flood_reader.expect(wire.PUBLISH).payload != b"end":
                    received[0] += 1
            except AssertionError as fault:
                faults.append(fault)
        threads = [threading.Thread(target=work) for work in (flood, drain)]
        for thread in threads:
            thread.start()
        try:
            for number in range(200):
                quiet.publish(self.topic("quiet"), str(number), qos=1)
                listener.receive(payload=str(number))
        finally:
            done.set()
            for thread in threads:
                thread.join()
        self.assertEqual(faults, [], "the end of the flood never came")
        # The flood is QoS 0: a reader that falls behind may get only the newest messages.
        self.assertGreater(received[0], 0)
        self.assertLessEqual(received[0], sent[0])


if __name__ == "__main__":
    main()
