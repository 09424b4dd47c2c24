"""The base class of the end-to-end tests: a server for each class, peers, and stock clients as
processes."""

import base64
import itertools
import os
import queue
import shutil
import subprocess
import tempfile
import threading
import unittest
import urllib.error
import urllib.request

from peer import Peer
from server import Server, binary
from suite import EVENT_TIMEOUT_S, eventually, main  # noqa: F401

_count = itertools.count(1)


def http_answer(request):
    """Returns (status, headers, body), whatever the status is."""
    try:
        answer = urllib.request.urlopen(request, timeout=EVENT_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.status, answer.headers, answer.read()


def basic(user, password):
    """The field Authorization."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class Case(unittest.TestCase):
    CONFIG = {}

    @classmethod
    def setUpClass(cls):
        cls.server = Server(cls.CONFIG)
        cls.addClassCleanup(cls.server.stop)

    def setUp(self):
        self.unique = f"e{next(_count)}"

    def topic(self, tail="t"):
        return f"{self.unique}/{tail}"

    def raw(self, version=5, **options):
        peer = Peer(self.server.mqtt_port, version, **options)
        self.addCleanup(peer.close)
        return peer

    def peer(self, client_id=None, version=5, receive_buffer=None, **options):
        peer = self.raw(version, receive_buffer=receive_buffer)
        peer.client_id = f"{self.unique}n{next(_count)}" if client_id is None else client_id
        peer.connack = peer.connect(peer.client_id, **options)
        return peer

    def run_until_subscribed(self, topic):
        """Publishes to the topic until it has a subscriber: until then the code of PUBACK is 0x10."""
        probe = self.peer()
        while probe.publish(topic, b"probe", qos=1).code == 0x10:
            pass

    @classmethod
    def make_folder(cls):
        """`cls.folder`: a TemporaryDirectory for the files of this class."""
        cls.folder = tempfile.TemporaryDirectory(prefix="millrace-test-")
        cls.addClassCleanup(cls.folder.cleanup)

    @classmethod
    def file(cls, name):
        return os.path.join(cls.folder.name, name)

    def connections(self, name, transport="tcp"):
        return self.server.metrics()[f'millrace_connections_{name}{{transport="{transport}"}}']

    def adds_little(self, attack, bytes_max, topic=None, measure=None, **options):
        """Repeats the attack until one repetition adds less than `bytes_max` to resident memory: a leak adds every
        time, memory kept for reuse does not. Fails after five. `topic`, `options`: of served_meanwhile(). `measure`:
        returns resident memory, and is given what it returned the time before, or None."""
        measure = measure or (lambda _: self.server.resident_bytes())

        def attacked(before):
            # In a short attack the publishing thread may get no turn.
            eventually(lambda: self.served_meanwhile(attack, topic, **options), "a message comes during the attack")
            return measure(before)
        resident = [attacked(None)]
        while len(resident) < 2 or resident[-1] - resident[-2] >= bytes_max:
            self.assertLess(len(resident), 6, f"resident after each time: {resident}")
            resident.append(attacked(resident[-1]))

    def served_meanwhile(self, attack, topic=None, **options):
        """One client publishes to itself during the attack, and each message comes; returns how many before the
        attack was over. `options`: of its CONNECT."""
        topic = topic or self.topic("meanwhile")
        one, served, failures, ends = Peer(self.server.mqtt_port), [], [], threading.Event()
        self.addCleanup(one.close)
        one.connect(f"{self.unique}meanwhile", **options)
        one.subscribe(topic, qos=1)

        def publish_and_receive():
            try:
                while not ends.wait(0.01):
                    one.publish(topic, b"x", qos=1)
                    one.receive(payload=b"x")
                    served.append(1)
            except (AssertionError, OSError) as failure:
                failures.append(failure)
        thread = threading.Thread(target=publish_and_receive)
        thread.start()
        try:
            attack()
            count = len(served)
        finally:
            ends.set()
            thread.join()
        if failures:
            raise failures[0]
        one.disconnect()
        one.close()
        return count

    def run_program(self, *arguments, code=0, **options):
        """Runs the server's program with other arguments; returns what it prints."""
        done = subprocess.run([binary(), *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=EVENT_TIMEOUT_S, **{"stdin": subprocess.DEVNULL, **options})
        self.assertEqual(done.returncode, code, done.stdout)
        return done.stdout

    def program(self, *command, **options):
        program = Program(*command, **options)
        self.addCleanup(program.stop)
        return program


class Program:
    """A client in a separate process; its output lines are events."""

    def __init__(self, *command, env=None):
        if not shutil.which(command[0]):
            raise unittest.SkipTest(f"{command[0]} is not installed")
        self.command = command
        self._lines = queue.Queue()
        self.output = []
        self.process = subprocess.Popen(
            [shutil.which("stdbuf") or "stdbuf", "-oL", *command], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, env={**os.environ, **(env or {})})
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def line(self, starts_with=""):
        """The next line that starts with this; other lines are skipped."""
        while True:
            try:
                line = self._lines.get(timeout=EVENT_TIMEOUT_S)
            except queue.Empty:
                line = None
            if line is None:
                raise AssertionError(f"{self.command} never printed {starts_with!r}:\n" +
                                     "\n".join(self.output))
            self.output.append(line)
            if line.startswith(starts_with):
                return line

    def waiting(self):
        """The lines printed and not yet returned by line()."""
        return list(self._lines.queue)

    def finish(self):
        """Waits for the process to end, with status 0; returns the remaining lines."""
        status = self.process.wait(EVENT_TIMEOUT_S)
        self._reader.join()
        rest = []
        while (line := self._lines.get()) is not None:
            rest.append(line)
        if status:
            raise AssertionError(f"{self.command} ended with {status}:\n" +
                                 "\n".join(self.output + rest))
        return rest

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        self.process.stdout.close()
