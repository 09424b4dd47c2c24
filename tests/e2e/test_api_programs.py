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
from api_case import ApiCase, write_passwords
from case import EVENT_TIMEOUT_S, Case, eventually, main
from certificate import self_signed
from peer import Peer
from server import Server, binary


class ApiPrograms(ApiCase):
    def command(self, *arguments, server=None, **options):
        return self.run_program(arguments[0], "--port", str((server or self.server).http_port), *arguments[1:], **options)

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
        self.assertRegex(program.stdout.readline(), r" received user=user address=127.0.0.1 topic=a/b published over HTTP, payload of 1 bytes$")
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


TOKEN = "token-of-a-robot-" + "x" * 32


class ApiProgramsInsideTls(Case):
    """What docs/security.md recommends: the port in clear has metrics alone, all else is inside TLS. http-2 has a
    certificate for localhost, http-3 one for another name, and http-4 asks for a client's."""

    @classmethod
    def setUpClass(cls):
        cls.make_folder()
        self_signed(cls.file("cert.pem"), cls.file("key.pem"), alternative="DNS:localhost,IP:127.0.0.1")
        self_signed(cls.file("far.pem"), cls.file("far-key.pem"), name="far.invalid", alternative="DNS:far.invalid")
        self_signed(cls.file("client.pem"), cls.file("client-key.pem"), name="client")
        for name, text in (("token", TOKEN + "\n"), ("password", "b\n"), ("empty", ""), ("two-words", "a token\n")):
            with open(cls.file(name), "w") as out:
                out.write(text)
        write_passwords(cls.file("users"))
        near = {"certificate_file": cls.file("cert.pem"), "key_file": cls.file("key.pem")}
        far = {"certificate_file": cls.file("far.pem"), "key_file": cls.file("far-key.pem")}
        asking = {**near, "client_certificate": "required", "client_ca_file": cls.file("client.pem")}
        cls.CONFIG = {
            "http": {"serves": ["metrics"],
                     "listeners": [{"port": 0, "tls": near}, {"port": 0, "tls": far}, {"port": 0, "tls": asking},
                                   {"port": 0, "serves": ["topics", "api"], "tls": near}]},
            "access": {"allow_anonymous": True, "password_file": cls.file("users"), "administrators": ["boss"],
                       "http_tokens": [{"name": "robot", "token_file": cls.file("token"),
                                        "scopes": ["metrics", "read", "publish", "manage"]}]}}
        super().setUpClass()
        cls.trusting = ["--ca-file", cls.file("cert.pem")]
        cls.login = ["--user", "boss", "--password-file", cls.file("password")]
        cls.token = ["--token-file", cls.file("token")]

    def url(self, listener="http-2", host="localhost", scheme="https"):
        return f"{scheme}://{host}:{self.server.port(listener)}"

    def command(self, *arguments, url=None, code=0):
        """As a user does who trusts the server's certificate."""
        return self.run_program(arguments[0], "--url", url or self.url(), *self.trusting, *arguments[1:], code=code)

    def use_each_command(self, *who):
        client = self.peer(self.topic("id"))
        self.command("publish", self.topic("v"), "-m", "21.5", "--retain", *who)
        self.assertEqual(self.command("topics", self.topic("#"), *who), f"{self.topic('v')} 21.5\n")
        self.assertIn(client.client_id, self.command("clients", self.topic(""), *who))
        text = self.command("top", "--interval", "0.1", *who)
        for word in ("millrace ", "messages ", "NEWEST", self.topic("v")):
            self.assertIn(word, text)
        self.command("kick", client.client_id, "--end-session", *who)
        self.assertNotIn(client.client_id, self.command("clients", self.topic(""), *who))
        self.assertIn("404", self.command("kick", client.client_id, *who, code=1))

    def test_each_command_with_a_password(self):
        self.use_each_command(*self.login)

    def test_each_command_with_a_token(self):
        self.use_each_command(*self.token)

    def test_a_trace(self):
        program = subprocess.Popen([binary(), "trace", "--url", self.url(), *self.trusting, *self.token, "--topic",
                                    self.topic("#")], stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
        self.addCleanup(program.wait)
        self.addCleanup(program.kill)
        self.addCleanup(program.stdout.close)
        peer = self.peer()
        while not select.select([program.stdout], [], [], 0.05)[0]:  # it may not have begun to trace
            peer.publish(self.topic(), b"x", qos=1)
        self.assertIn(self.topic(), program.stdout.readline())
        program.send_signal(signal.SIGINT)
        self.assertEqual(program.wait(EVENT_TIMEOUT_S), 0)

    def test_the_port_in_clear_has_no_api(self):
        for arguments in (("topics",), ("kick", "x", *self.login)):
            self.assertIn("404", self.run_program(arguments[0], "--port", str(self.server.http_port), *arguments[1:], code=1))

    def test_an_address_in_the_certificate_will_do(self):
        self.command("topics", *self.token, url=self.url(host="127.0.0.1"))

    def test_who_signed_the_certificate_has_to_be_trusted(self):
        for trusted in ([], ["--ca-file", self.file("far.pem")]):
            text = self.run_program("topics", "--url", self.url(), *self.token, *trusted, code=1)
            self.assertIn("its certificate is not trusted", text)
            self.assertIn("--ca-file has to name", text)
        self.assertIn("--ca-file cannot be used", self.run_program("topics", "--url", self.url(), "--ca-file", "/none", code=1))

    def test_the_certificate_has_to_be_for_the_name(self):
        for host in ("localhost", "127.0.0.1"):
            text = self.run_program("topics", "--url", self.url("http-3", host), *self.token, "--ca-file",
                                    self.file("far.pem"), code=1)
            self.assertIn(f"its certificate is not for {host}", text)

    def test_a_client_certificate_where_the_server_wants_one(self):
        url = self.url("http-4")
        own = ["--cert-file", self.file("client.pem"), "--key-file", self.file("client-key.pem")]
        self.command("topics", *self.token, *own, url=url)
        self.assertIn("it wants a client's certificate: --cert-file", self.command("topics", *self.token, url=url, code=1))
        self.assertIn("belong together", self.command("topics", "--cert-file", self.file("client.pem"), url=url, code=2))
        wrong = ["--cert-file", self.file("client.pem"), "--key-file", self.file("key.pem")]
        self.assertIn("--key-file does not belong to the certificate", self.command("topics", *wrong, url=url, code=1))

    def test_a_token_that_is_none(self):
        for name, reason in (("missing", "No such file"), ("empty", "no first line"), ("two-words", "is no token"),
                             ("password", "401")):
            self.assertIn(reason, self.command("topics", "--token-file", self.file(name), code=1))
        self.assertIn("not both", self.command("topics", *self.token, *self.login, code=2))

    def test_an_option_that_another_one_has_to_go_with_is_not_ignored(self):
        for option, other in (("--password-file", "--user"), ("--key-password-file", "--key-file")):
            self.assertIn(f"{option} needs {other}", self.command("topics", option, self.file("password"), code=2))

    def test_a_secret_is_not_sent_to_another_machine_in_clear(self):
        far = ["--url", "http://192.0.2.1:9464"]  # an address for documentation: nobody is there
        for who in (self.login, self.token):
            for command in (["kick", "x", *far], ["topics", "--host", "192.0.2.1"]):
                text = self.run_program(*command, *who, code=1)
                self.assertIn("would go there in clear", text)
                self.assertIn("--allow-clear", text)
        self.assertIn("404", self.run_program("topics", "--url", self.url("http", scheme="http"), *self.token, code=1))

    def test_where_the_server_is_can_be_misspelt(self):
        for url in ("localhost:1", "ftp://localhost", self.url() + "/api", "https://user:secret@localhost"):
            self.assertIn("--url must look like", self.run_program("topics", "--url", url, code=2))
        self.assertIn("--url or --host and --port, not both",
                      self.run_program("topics", "--url", self.url(), "--port", "1", code=2))
        self.assertIn("https://", self.command("topics", url=self.url("http", scheme="http"), code=2))
        self.assertIn("it does not speak TLS", self.command("topics", url=self.url("http"), code=1))
        self.assertIn("if it speaks TLS, --url", self.run_program("topics", "--port", str(self.server.port("http-2")), code=1))

    def test_top_says_what_it_misses_where_metrics_are_not_served(self):
        self.assertIn("/metrics is not served", self.command("top", *self.token, url=self.url("http-5"), code=1))

    def test_health(self):
        self.assertEqual(self.run_program("check", "--health", self.url() + "/readyz", *self.trusting), "")
        self.assertIn("its certificate is not trusted", self.run_program("check", "--health", self.url() + "/readyz", code=1))
        self.assertIn("its certificate is not for localhost", self.run_program(
            "check", "--health", self.url("http-3") + "/readyz", "--ca-file", self.file("far.pem"), code=1))
        self.assertIn("404", self.run_program("check", "--health", self.url("http-5") + "/readyz", *self.trusting, code=1))
        self.assertIn("--health https://", self.run_program("check", *self.trusting, code=2))


if __name__ == "__main__":
    main()
