"""Faults of local processes, with the real server: they are killed or stopped, write garbage, and
send invalid requests; and the server is killed."""

import contextlib
import mmap
import os
import signal
import socket
import struct
import subprocess
import tempfile
import unittest

import local_case
from case import eventually, main
from local_case import (BAD_POSITION, BINARY, EVICTED, LIMIT_REACHED, LOSSLESS, LOSSY, MALFORMED,
                        MAPPED, PAGE, POSITION_AT, PUBLISHER_RING, PUBLISHER_RING_OPENED, TAIL_AT,
                        VERSION, WAKE_UP, ControlSocket, LocalCase)
from server import Server

import millrace_local

RING_BYTES = 4096
MANY = 2000  # messages; many times what a ring of that size holds


class Faults(LocalCase):
    LOCAL = {"ring_bytes": RING_BYTES, "lease_ms": 600_000, "linger_ms": 0}

    def setUp(self):
        super().setUp()
        self.becomes(0, "millrace_local_clients")  # the clients of the previous test have left

    def flood(self, publisher, count=MANY, start=0):
        for i in range(start, start + count):
            publisher.publish(self.topic("a"), str(i).encode())

    def expect_all(self, tap, count=MANY, start=0):
        for i in range(start, start + count):
            self.assertEqual(tap.line(self.topic("a")), f"{self.topic('a')} {i}")

    def kill(self, program):
        """Kills the process itself (a wrapper in front of it has replaced itself by exec)."""
        program.process.kill()
        program.process.wait()

    def test_a_lossy_reader_killed_in_mid_read_affects_nobody(self):
        subscriber, publisher = self.peer(), self.peer()
        subscriber.subscribe(self.topic("#"))
        victim = self.tap(self.topic("#"))
        self.flood(publisher, 100)
        victim.line(self.topic("a"))
        self.kill(victim)
        self.becomes(0, "millrace_ring_readers", filter=self.topic("#"))
        self.flood(publisher, 100, start=100)
        for i in range(200):
            subscriber.receive(topic=self.topic("a"), payload=str(i).encode())

    def test_a_lossless_reader_killed_while_it_holds_the_gate_frees_the_others(self):
        publisher = self.peer()
        victim = self.tap(self.topic("#"), "--lossless")
        healthy = self.tap(self.topic("#"), "--lossless")
        victim.process.send_signal(signal.SIGSTOP)
        self.flood(publisher)
        eventually(lambda: self.total("millrace_ring_overflow_bytes", filter=self.topic("#")) > 0,
                   "frames wait for the one that holds the gate")
        self.kill(victim)
        self.expect_all(healthy)
        self.becomes(0, "millrace_ring_overflow_bytes", filter=self.topic("#"))

    def test_of_a_publisher_killed_in_mid_write_only_whole_messages_count(self):
        subscriber = self.peer()
        subscriber.subscribe(self.topic("#"))
        child = os.fork()
        if child == 0:
            control = ControlSocket(self.socket)
            control.request(PUBLISHER_RING, local_case.text("victim"))
            control.expect(PUBLISHER_RING_OPENED)
            publisher_ring = local_case.writable_publisher_ring(control)
            whole = local_case.frame(self.topic("whole"), b"1")
            publisher_ring[PAGE:PAGE + len(whole)] = whole
            publisher_ring[TAIL_AT:TAIL_AT + 8] = struct.pack("<Q", len(whole))
            control.socket.sendall(WAKE_UP)
            half = local_case.frame(self.topic("half"), b"2")[:20]
            publisher_ring[PAGE + len(whole):PAGE + len(whole) + len(half)] = half
            os.kill(os.getpid(), signal.SIGKILL)
        self.assertTrue(os.WIFSIGNALED(os.waitpid(child, 0)[1]))
        subscriber.receive(topic=self.topic("whole"), payload=b"1")
        self.becomes(0, "millrace_local_publishers")
        self.pub(self.topic("next"), "-m", "3").finish()
        subscriber.receive(topic=self.topic("next"), payload=b"3")

    def test_a_publisher_that_writes_garbage_is_disconnected_alone(self):
        before = self.total("millrace_local_refused_total")
        control = self.control()
        control.request(PUBLISHER_RING, local_case.text(""))
        control.expect(PUBLISHER_RING_OPENED)
        publisher_ring = local_case.writable_publisher_ring(control)
        publisher_ring[TAIL_AT:TAIL_AT + 8] = b"\xff" * 8
        control.socket.sendall(WAKE_UP)
        control.expect_refusal(MALFORMED)
        self.assertIsNone(control.reply())
        self.becomes(before + 1, "millrace_local_refused_total")

    def test_garbage_in_a_position_page_evicts_its_owner_alone(self):
        publisher = self.peer()
        healthy = self.tap(self.topic("#"), "--lossless")
        for policy in (LOSSY, LOSSLESS):
            evicted = self.total("millrace_local_evictions_total", reason="bad_position")
            control = self.control()
            control.attach(self.topic("#"), policy)
            page = local_case.writable(control.descriptors[1])
            page[POSITION_AT:] = b"\xa5" * (PAGE - POSITION_AT)
            self.assertEqual(struct.unpack("<I", control.expect(EVICTED))[0], BAD_POSITION)
            self.assertIsNone(control.reply())
            self.becomes(evicted + 1, "millrace_local_evictions_total", reason="bad_position")
        self.flood(publisher, 100)
        self.expect_all(healthy, 100)

    def test_a_reader_cannot_write_to_a_ring_nor_change_the_size_of_anything(self):
        control = self.control()
        control.attach(self.topic("#"))
        ring, page = control.descriptors
        with self.assertRaises(PermissionError):
            mmap.mmap(ring, PAGE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        again = os.open(f"/proc/self/fd/{ring}", os.O_RDWR)  # any process of this user can
        self.addCleanup(os.close, again)
        with self.assertRaises(PermissionError):
            mmap.mmap(again, PAGE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        with self.assertRaises(PermissionError):
            os.write(again, b"x")
        for descriptor in (ring, page):
            for size in (0, 1 << 30):
                with self.assertRaises(PermissionError):
                    os.ftruncate(descriptor, size)
        page_mapped = local_case.writable(page)
        control.request(MAPPED)
        eventually(lambda: refuses_writing(page), "nobody else may write to the page")
        page_mapped[POSITION_AT]  # its owner's mapping stays valid

    def test_a_thousand_readers_and_publishers_leave_nothing_behind(self):
        def cycle():
            with millrace_local.Reader(self.topic("#"), socket=self.socket, policy=LOSSLESS), \
                    millrace_local.Publisher(socket=self.socket) as publisher:
                publisher.publish(self.topic(), b"x" * 100)
                self.assertTrue(publisher.drain(60))

        def held():
            with open(f"/proc/{self.server.pid}/maps") as maps:
                shared = sum("memfd:" in line for line in maps)
            return shared, self.server.descriptors()

        def settled():
            self.becomes(0, "millrace_local_clients")
            eventually(lambda: "millrace_ring_readers{" not in self.server.http("/metrics"),
                       "no ring")

        for _ in range(50):
            cycle()
        settled()
        before, memory = held(), self.server.resident_bytes()
        for _ in range(1000):
            cycle()
        settled()
        eventually(lambda: held() <= before,
                   f"mappings and descriptors {held()} as before: {before}")
        self.assertLess(self.server.resident_bytes() - memory, 4 << 20)

    def test_a_request_in_pieces_is_a_request(self):
        control = self.control()
        body = local_case.attach_body("#")
        for byte in struct.pack("<BBHI", local_case.ATTACH, VERSION, 0, len(body)) + body:
            control.socket.sendall(bytes([byte]))
        control.expect(local_case.ATTACHED)
        self.assertEqual(len(control.descriptors), 2)

    def test_invalid_requests_are_refused_and_end_that_connection_alone(self):
        reader = self.tap(self.topic("#"))
        requests = (struct.pack("<BBHI", 0x7f, VERSION, 0, 0),
                    struct.pack("<BBHI", local_case.ATTACH, VERSION, 0, 3) + b"\xff\xff\xff",
                    struct.pack("<BBHI", local_case.ATTACH, VERSION, 0, 0xffffffff),
                    struct.pack("<BBHI", MAPPED, VERSION, 0, 0))  # nothing was attached
        for request in requests:
            control = self.control()
            control.socket.sendall(request)
            control.expect_refusal(MALFORMED)
            self.assertIsNone(control.reply())
        self.flood(self.peer(), 1)
        self.expect_all(reader, 1)

    def test_descriptors_sent_to_the_server_are_closed(self):
        control = self.control()
        control.attach(self.topic("#"))
        before = self.server.descriptors()
        mapped = struct.pack("<BBHI", MAPPED, VERSION, 0, 0)
        try:
            socket.send_fds(control.socket, [mapped], [0, 1, 2])
        except PermissionError:  # Linux 6.16: the system refuses to send them
            control.socket.sendall(mapped)
        eventually(lambda: refuses_writing(control.descriptors[1]), "the server has read it")
        # Fewer if a client of the previous test was still connected before.
        eventually(lambda: self.server.descriptors() <= before, "they are closed")


class Limits(LocalCase):
    # The lease is long for a reader that only has no turn for a while.
    LOCAL = {"consumers_max": 2, "publishers_max": 1, "rings_max": 1, "lease_ms": 5000,
             "ring_bytes": RING_BYTES}

    def setUp(self):
        super().setUp()
        self.becomes(0, "millrace_local_clients")  # the clients of the previous test have left

    def test_over_the_limit_is_refused_until_somebody_leaves(self):
        controls = [self.control(), self.control()]
        for control in controls:
            control.attach()
        third = self.control()
        third.ask_for_ring("#")
        third.expect_refusal(LIMIT_REACHED)
        controls[0].close()
        third.close()
        self.becomes(1, "millrace_local_clients")
        self.control().attach()

    def test_rings_and_publishers_have_limits_too(self):
        first = self.control()
        first.attach("a/#")
        second = self.control()
        second.ask_for_ring("b/#")
        second.expect_refusal(LIMIT_REACHED)
        with millrace_local.Publisher(socket=self.socket):
            with self.assertRaisesRegex(millrace_local.LocalError, "refused"):
                millrace_local.Publisher(socket=self.socket)
        first.close()
        second.close()
        self.becomes(0, "millrace_local_clients")
        self.control().attach("c/#")  # an unused ring is freed before its linger_ms

    def test_a_stopped_lossless_reader_is_evicted_after_its_lease(self):
        publisher = self.peer()
        before = self.total("millrace_local_evictions_total", reason="lease_ended")
        stopped = self.tap("--lossless")
        healthy = self.tap("--lossless")
        stopped.process.send_signal(signal.SIGSTOP)
        for i in range(MANY):
            publisher.publish(self.topic(), str(i).encode())
        for i in range(MANY):
            self.assertEqual(healthy.line(self.topic()), f"{self.topic()} {i}")
        self.becomes(before + 1, "millrace_local_evictions_total", reason="lease_ended")
        stopped.process.send_signal(signal.SIGCONT)
        stopped.line("millrace: evicted: too slow for a lossless ring "
                     "(no progress for local.lease_ms)")
        stopped.line("millrace: attached again")

    @unittest.skipUnless(os.geteuid() == 0, "only root can be somebody else")
    def test_the_wrong_user_is_refused_and_sighup_lets_it_in(self):
        nobody = 65534
        os.chmod(self.folder.name, 0o755)
        try:
            subprocess.run([BINARY, "--version"], user=nobody, stdout=subprocess.DEVNULL, check=True)
        except PermissionError:
            self.skipTest("other users may not enter the folder of the program")
        tap = [BINARY, "tap", self.topic("#"), "--socket", self.socket, "--count", "1"]
        refused = subprocess.run(tap, user=nobody, stderr=subprocess.PIPE, text=True)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("refused", refused.stderr)
        self.server.wait_for_log(rf"local process refused.*uid={nobody}")
        self.assertEqual(connect_as(nobody, self.socket, times=200), 0)
        self.assertGreaterEqual(self.total("millrace_local_refused_total"), 200)
        lines = [line for line in self.server.lines if "local process refused" in line]
        self.assertLess(len(lines), 20, "repeated refusals are counted, not logged")
        allow = {"local": {**self.CONFIG["local"], "allow": [{"uid": nobody}]}}
        self.assertEqual(self.server.reload(allow), "reloaded")
        reader = subprocess.Popen(tap, user=nobody, stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, text=True)
        self.becomes(1, "millrace_ring_readers", filter=self.topic("#"))
        self.peer().publish(self.topic(), b"for nobody")
        self.assertEqual(reader.communicate(timeout=60)[0], f"{self.topic()} for nobody\n")


class Restart(LocalCase):
    def test_a_killed_server_is_noticed_at_once_and_found_again(self):
        reader = self.tap(self.topic("#"))
        library = millrace_local.Reader(self.topic("#"), socket=self.socket)
        publisher = millrace_local.Publisher(socket=self.socket)
        self.addCleanup(library.close)
        self.addCleanup(publisher.close)
        first = library.epoch
        self.peer().publish(self.topic(), b"before", qos=1)
        reader.line(f"{self.topic()} before")
        self.assertEqual(library.next(60).payload, b"before")
        self.server.process.kill()
        self.server.process.wait()
        reader.line("millrace: the server ended the connection")
        self.assertEqual(library.next(60), millrace_local.DISCONNECTED)
        eventually(lambda: publisher.publish(self.topic(), b"lost") == millrace_local.NO_SERVER,
                   "told")
        # Its socket file still exists and does not prevent the next start; but for the lock nothing
        # else is left.
        self.assertEqual(set(os.listdir(self.folder.name)), {"local.sock", "local.sock.lock"})
        type(self).server = Server(self.CONFIG)
        self.addClassCleanup(self.server.stop)
        self.server.wait_for_log(r"listening.*listener=local")
        reader.line("millrace: attached again; what was published in between is missed")
        self.assertEqual(library.next(60), millrace_local.RECONNECTED)
        self.assertNotEqual(library.epoch, first)
        eventually(lambda: publisher.publish(self.topic(), b"after") == millrace_local.TAKEN,
                   "taken")
        reader.line(f"{self.topic()} after")
        self.assertEqual(library.next(60).payload, b"after")

    def test_nothing_but_the_lock_is_left_on_the_file_system(self):
        def in_shared_memory():
            """Files there that the server or this process has, or that are called as the server is: others come and
            go all the time."""
            named = [name for name in os.listdir("/dev/shm") if "millrace" in name]
            for pid in (server.pid, os.getpid()):
                with open(f"/proc/{pid}/maps") as maps:
                    named += [line for line in maps if "/dev/shm/" in line]
                for number in os.listdir(f"/proc/{pid}/fd"):
                    with contextlib.suppress(FileNotFoundError):  # That of the folder that is listed.
                        if "/dev/shm/" in (target := os.readlink(f"/proc/{pid}/fd/{number}")):
                            named.append(target)
            return named

        with tempfile.TemporaryDirectory(prefix="millrace-test-") as folder:
            path = os.path.join(folder, "local.sock")
            with Server({"local": {"socket": path, "rings": [{"filter": "#"}]}}) as server:
                server.wait_for_log(r"listening.*listener=local")
                with millrace_local.Reader("#", socket=path):
                    self.assertEqual(set(os.listdir(folder)), {"local.sock", "local.sock.lock"})
                    self.assertEqual(in_shared_memory(), [])
                self.assertEqual(server.terminate(), 0)
            self.assertEqual(os.listdir(folder), ["local.sock.lock"])


def connect_as(uid, path, times):
    """Runs in a process of that user: connects, and reads to the end of the connection."""
    child = os.fork()
    if child == 0:
        os.setuid(uid)
        for _ in range(times):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(path)
                while connection.recv(4096):
                    pass
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def refuses_writing(descriptor):
    try:
        local_case.writable(descriptor).close()
    except PermissionError:
        return True
    return False


if __name__ == "__main__":
    main()
