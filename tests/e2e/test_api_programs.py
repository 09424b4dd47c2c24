"""The program's own subcommands that use the management API."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import termios
import threading

import wire
from api_case import ApiCase
from case import EVENT_TIMEOUT_S, eventually, main
from peer import Peer
from server import Server, binary


class ApiPrograms(ApiCase):
    def command(self, *arguments, server=None, code=0, **options):
        done = subprocess.run([binary(), arguments[0], "--port", str((server or self.server).http_port), *arguments[1:]],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=EVENT_TIMEOUT_S,
                              **{"stdin": subprocess.DEVNULL, **options})
        self.assertEqual(done.returncode, code, done.stdout)
        return done.stdout

    def test_the_program_lists_clients_and_topics(self):
        peer = self.peer(self.topic("id"))
        peer.publish(self.topic("v"), b"a\x1b[2Jb", qos=1)
        peer.publish(self.topic("bin"), b"\xff", qos=1)
        self.assertRegex(self.command("clients", self.topic()[:-1]), rf"CLIENT .*\n{self.topic('id')} .*connected")
        [line] = self.command("clients", self.topic("id"), "--json").splitlines()
        self.assertEqual(json.loads(line)["id"], self.topic("id"))
        self.assertEqual(sorted(self.command("topics", self.topic("+")).splitlines()),
                         [f"{self.topic('bin')} (1 bytes)", f"{self.topic('v')} a\\x1b[2Jb"])
        self.assertIn("400: filter", self.command("topics", "a#", code=1))

    def test_the_program_lists_clients_by_their_connections(self):
        peer = self.peer(self.topic("here"))
        self.assertIn(peer.client_id, self.command("clients", self.topic(""), "--address", "127.0.0.0/8", "--listener", "tcp",
                                                   "--sort", "sent"))
        self.assertNotIn(peer.client_id, self.command("clients", self.topic(""), "--address", "10.0.0.0/8"))

    def test_the_program_publishes_and_kicks(self):
        server = self.with_users(administrators=["boss"])
        secret = f"{server.folder.name}/secret"
        with open(secret, "w") as file:
            file.write("b\n")
        login = ["--user", "boss", "--password-file", secret]
        self.command("publish", "a/b c", "-m", "21.5", "--retain", *login, server=server)
        self.command("publish", "a/stdin", *login, server=server, stdin=None, input="from stdin")
        self.assertEqual(sorted(self.command("topics", "a/#", *login, server=server).splitlines()),
                         ["a/b c 21.5", "a/stdin from stdin"])
        self.assertIn("401", self.command("publish", "a", "-m", "x", server=server, code=1))
        self.assertIn("no client", self.command("kick", "nobody", *login, server=server, code=1))
        client = self.victim(server, "x/y")
        eventually(lambda: "x/y" in self.command("clients", *login, server=server), "it connects")
        client.send_signal(signal.SIGSTOP)
        self.command("kick", "x/y", "--end-session", *login, server=server)
        self.assertNotIn("x/y", self.command("clients", *login, server=server))

    def test_the_program_traces_until_it_is_interrupted(self):
        server = self.with_users(administrators=["boss"])
        secret = f"{server.folder.name}/secret"
        with open(secret, "w") as file:
            file.write("b\n")
        program = subprocess.Popen([binary(), "trace", "--port", str(server.http_port), "--user", "boss", "--password-file",
                                    secret, "--topic", "a/#", "--minutes", "1"], stdout=subprocess.PIPE, text=True,
                                   stdin=subprocess.DEVNULL)
        self.addCleanup(program.wait)
        self.addCleanup(program.kill)
        self.addCleanup(program.stdout.close)
        eventually(lambda: self.get("/trace", user="boss", server=server)["traces"], "it traces")
        self.ask("POST", "/topics/a/b", b"x", user="user", server=server)
        self.assertRegex(program.stdout.readline(), r" received address=127.0.0.1 topic=a/b published over HTTP, payload of 1 bytes$")
        program.send_signal(signal.SIGINT)
        self.assertEqual(program.wait(EVENT_TIMEOUT_S), 0)
        self.assertEqual(self.get("/trace", user="boss", server=server)["traces"], [])
        for arguments in ((), ("--client", "a", "--topic", "b"), ("--client", "a", "--minutes", "x")):
            self.command("trace", *arguments, server=server, code=2)

    def server_with_client(self):
        """For `top`, which shows all that there is."""
        server = Server()
        self.addCleanup(server.stop)
        peer = Peer(server.mqtt_port)
        self.addCleanup(peer.close)
        peer.connect("client")
        return server, peer

    def test_top_prints_once_where_there_is_no_terminal(self):
        server, peer = self.server_with_client()
        peer.publish(self.topic(), b"x", qos=1)
        text = self.command("top", "--interval", "0.1", server=server)
        for word in ("millrace ", "clients ", "messages ", "queue ", "NEWEST", self.topic()):
            self.assertIn(word, text)
        self.assertNotIn("\x1b", text)

    def test_top_shows_the_rates_of_what_goes_on_between_its_looks(self):
        server = Server()
        self.addCleanup(server.stop)
        reader, publisher = Peer(server.mqtt_port), Peer(server.mqtt_port)
        for peer in (reader, publisher):
            self.addCleanup(peer.close)
            peer.connect()
        reader.subscribe(self.topic())
        ended = threading.Event()

        def publish():
            while not ended.is_set():
                publisher.publish(self.topic(), b"x", qos=1)

        rate = r"(\d+(?:\.\d+)?)(?: [kMG])?/s"

        def each_has_a_rate():
            """Not where the publisher had no turn between the two looks."""
            text = self.command("top", "--interval", "0.5", server=server)
            figures = []
            for line in (rf"messages +{rate} in, {rate} out, .*", rf"bytes +{rate} in, {rate} out",
                         rf"queue .*, {rate} batches"):
                match = re.search(rf"(?m)^{line}$", text)
                self.assertTrue(match, text)
                figures += map(float, match.groups())
            return all(figures)

        thread = threading.Thread(target=publish)
        thread.start()
        try:
            eventually(each_has_a_rate, "each line shows a rate")
        finally:
            ended.set()
            thread.join()

    def test_top_shows_the_newest_of_all_topics(self):
        server, peer = self.server_with_client()
        # More than a list of topics holds, all before the last one in the order of names.
        peer.send(*[wire.publish(f"a/{number}", b"x") for number in range(12_000)])
        peer.publish("b", b"x", qos=1)  # what is read together is as old as one another
        peer.publish("z", b"x", qos=1)
        text = self.command("top", "--interval", "0.1", server=server)
        self.assertRegex(text, r"\nNEWEST TOPICS .*\nz ")
        self.assertEqual(len(text.partition("NEWEST")[2].splitlines()), 1 + 10)

    def test_top_sorts_clients_by_the_key_that_is_pressed(self):
        server = Server()
        self.addCleanup(server.stop)
        here, away, publisher = (Peer(server.mqtt_port) for _ in range(3))
        for peer in (here, away, publisher):
            self.addCleanup(peer.close)
        here.connect("here")
        away.connect("waits", properties=[(0x11, 600)])  # its session outlives it
        away.subscribe("t", qos=1)
        away.disconnect()
        publisher.connect("publisher")
        publisher.publish("t", b"x", qos=1)
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        self.addCleanup(os.close, theirs)
        with subprocess.Popen([binary(), "top", "--port", str(server.http_port), "--interval", "0.1"], stdin=theirs,
                              stdout=theirs, stderr=subprocess.DEVNULL) as program:
            self.addCleanup(program.kill)
            shown = b""

            def shows(first, second):
                nonlocal shown
                while True:
                    screen = shown.rpartition(b"q quit")[0].rpartition(b"\x1b[2J")[2]  # the last whole one
                    if first in screen and second in screen.partition(first)[2]:
                        return
                    shown = shown[-100_000:] + os.read(ours, 4096)

            shows(b"here ", b"waits ")
            for key, first, second in ((b"w", b"waits ", b"here "), (b"n", b"here ", b"waits "),
                                       (b"b", b"waits ", b"here "), (b"a", b"here ", b"waits ")):
                os.write(ours, key)
                shows(first, second)
            os.write(ours, b"q")
            while program.poll() is None:
                if select.select([ours], [], [], 0.05)[0]:
                    os.read(ours, 4096)
            self.assertEqual(program.returncode, 0)

    def test_top_leaves_the_terminal_as_it_was_when_it_is_interrupted(self):
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        self.addCleanup(os.close, theirs)
        before = termios.tcgetattr(theirs)
        with subprocess.Popen([binary(), "top", "--port", str(self.server.http_port), "--interval", "0.1"], stdin=theirs,
                              stdout=theirs, stderr=subprocess.DEVNULL) as program:
            shown = b""
            while b"NEWEST" not in shown:
                shown += os.read(ours, 4096)
            self.assertNotEqual(termios.tcgetattr(theirs), before)  # keys come one by one
            program.send_signal(signal.SIGINT)
            while select.select([ours], [], [], 0.05)[0] or program.poll() is None:
                if select.select([ours], [], [], 0)[0]:
                    os.read(ours, 4096)
            self.assertEqual(program.returncode, 0)
        self.assertEqual(termios.tcgetattr(theirs), before)


if __name__ == "__main__":
    main()
