"""What strangers make the server hold: the process stays within memory.bytes_max, says what it gave up,
and a healthy client is served meanwhile and afterwards. Each attack sends several times the limit."""

import select
import unittest

import wire
from case import Case, eventually, main
from memory_group import MemoryGroup
from server import Server

MIB = 1 << 20
LIMIT = 64 * MIB
# Beside what clients make it hold: the program, its threads' stacks and scratch, the kernel's share.
PROCESS = 48 * MIB
LARGE = b"x" * (250 * 1024)


class Memory(Case):
    CONFIG = {"memory": {"bytes_max": LIMIT}, "log": {"repeat_seconds": 0}}

    def setUp(self):
        super().setUp()
        self.healthy = self.peer()
        self.healthy.subscribe(self.topic("healthy"), qos=1)

    def expect_served(self):
        self.healthy.publish(self.topic("healthy"), b"v", qos=1)
        self.healthy.receive(topic=self.topic("healthy"), payload=b"v")
        self.assertLess(self.server.resident_bytes(), LIMIT + PROCESS)

    def metric(self, name):
        return self.server.metrics()[f"millrace_{name}"]

    def tearDown(self):
        """Whoever comes finds room again."""
        def comes_in():
            peer = self.raw()
            peer.send(wire.connect(self.unique, properties=[(wire.SESSION_EXPIRY, 0)]))
            got = peer.next()
            peer.close()
            return got is not None and got.code == 0
        eventually(comes_in, "there is room again")
        self.assertLess(self.server.resident_bytes(), LIMIT + PROCESS)

    def lasting(self, version=5, **options):
        """A connection whose session stays."""
        return self.peer(properties=[(wire.SESSION_EXPIRY, 0xFFFFFFFF)], version=version, **options)

    def test_a_subscriber_that_never_acknowledges(self):
        readers = [self.lasting() for _ in range(3)]
        for i, reader in enumerate(readers):
            reader.subscribe(self.topic(f"a{i}"), qos=1)
            reader.sock.setblocking(False)
        writer = self.peer()
        open_readers = {reader.sock: reader for reader in readers}
        for i in range(240):
            writer.publish(self.topic(f"a{i % 3}"), LARGE * 4, qos=1)
            for sock in select.select(list(open_readers), [], [], 0)[0]:
                try:
                    while data := sock.recv(MIB):
                        pass
                except BlockingIOError:
                    continue
                except ConnectionResetError:
                    data = b""
                if not data:
                    del open_readers[sock]
            if i % 20 == 0:
                self.expect_served()
        self.assertGreaterEqual(self.metric("memory_sessions_ended_total"), 1)
        self.server.wait_for_log(r"memory\.session_ended ")
        self.expect_served()

    def test_messages_for_clients_that_are_away(self):
        for i in range(20):
            away = self.lasting()
            away.subscribe(self.topic("a"), (self.topic(f"b{i}"), 1), qos=1)
            away.close()
        writer = self.peer()
        for i in range(800):
            writer.publish(self.topic("a" if i % 2 else f"b{i % 20}"), LARGE, qos=1)
            if i % 50 == 0:
                self.expect_served()
        self.assertGreaterEqual(self.metric("memory_sessions_shed_total"), 1)
        self.assertGreaterEqual(self.metric('messages_dropped_total{reason="memory"}'), 1)
        self.server.wait_for_log(r"memory\.queue_shed ")

    def test_wills_of_clients_that_are_away(self):
        for i in range(700):
            peer = self.raw()
            peer.send(wire.connect(f"{self.unique}{i}", will=wire.will(
                "w", LARGE[:60_000], properties=[(wire.WILL_DELAY, 100_000),
                                                 (wire.USER, ("u" * 60_000, "v" * 60_000))]),
                properties=[(wire.SESSION_EXPIRY, 0xFFFFFFFF)]))
            got = peer.next()
            self.assertIn(got.code, (0, 0x97), got)
            peer.abort()
            if i % 50 == 0:
                self.expect_served()
        self.assertGreaterEqual(self.metric("memory_sessions_ended_total"), 1)

    def test_packets_that_never_end(self):
        whole = wire.publish(self.topic("a"), b"x" * (2 * MIB - 100))
        strangers = [self.peer() for _ in range(60)]
        for stranger in strangers:
            try:
                stranger.send(whole[:-1])
            except OSError:
                pass  # the server has closed it
        self.expect_served()
        eventually(lambda: self.metric('connections_closed_total{cause="limit"}') >= 20,
                   "who keeps long packets unfinished has to leave")
        self.expect_served()

    def test_topics_behind_aliases(self):
        for _ in range(12):
            try:
                stranger = self.peer()  # which has no room beside four others
                for alias in range(1, 257):
                    stranger.send(wire.publish("t" * 60_000 + str(alias), b"",
                                               properties=[(wire.ALIAS, alias)]))
                stranger.send(wire.pingreq())
                stranger.next()
            except (OSError, AssertionError):
                pass
            self.expect_served()
        eventually(lambda: self.metric('connections_closed_total{cause="limit"}') >= 1,
                   "who keeps many long names has to leave")


class UserMemory(Case):
    """Of all clients of one user together; here of those without a name."""
    CONFIG = {"memory": {"user_bytes_max": 16 * MIB}}

    def test_clients_of_one_user_that_are_away(self):
        lasting = [(wire.SESSION_EXPIRY, 0xFFFFFFFF)]
        names = [f"{self.unique}away{i}" for i in range(20)]
        for name in names:
            away = self.peer(name, properties=lasting)
            away.subscribe(self.topic("a"), qos=1)
            away.close()
        writer = self.peer()
        for _ in range(50):
            writer.publish(self.topic("a"), LARGE, qos=1)
        metrics = self.server.metrics()
        self.assertGreaterEqual(metrics['millrace_messages_dropped_total{reason="user_memory"}'], 1)
        refused = self.raw()
        refused.send(wire.connect(f"{self.unique}new", properties=lasting))
        self.assertEqual(refused.next().code, 0x97)
        self.assertEqual(self.server.metrics()["millrace_user_refusals_total"], 1)
        writer.publish(self.topic("a"), b"newest", qos=1)
        back = self.peer(names[0], properties=lasting, clean=False)
        while back.receive(topic=self.topic("a")).payload != b"newest":
            pass


class GroupMemory(Case):
    """The limit is not configured: it is three quarters of that of the control group, as in a container."""
    GROUP = 256 * MIB

    @classmethod
    def setUpClass(cls):
        cls.group, why_not = MemoryGroup.make(cls.GROUP)
        if cls.group is None:
            raise unittest.SkipTest(why_not)
        cls.addClassCleanup(cls.group.close)
        cls.server = Server(inside=cls.group.inside)
        cls.addClassCleanup(cls.server.stop)

    def test_it_is_kept_by_default(self):
        self.assertEqual(self.server.metrics()["millrace_memory_limit_bytes"], self.GROUP / 4 * 3)
        lasting = [(wire.SESSION_EXPIRY, 0xFFFFFFFF)]
        for i in range(20):
            away = self.peer(properties=lasting)
            away.subscribe(self.topic(f"b{i}"), qos=1)
            away.close()
        writer = self.peer()
        for i in range(2 * self.GROUP // len(LARGE)):
            writer.publish(self.topic(f"b{i % 20}"), LARGE, qos=1)
        metrics = self.server.metrics()
        self.assertGreaterEqual(metrics["millrace_memory_sessions_shed_total"], 1)
        # The kernel has found nothing to end. (The peak counts page cache, too, which goes only at the limit.)
        self.assertEqual(self.group.oom_kills(), 0)
        self.peer(properties=lasting).disconnect()


if __name__ == "__main__":
    main()
