"""HTTP of a server that strangers reach: ports that serve a part, TLS, and tokens with scopes; and the files of
the page."""

import gzip
import http.client
import re
import socket
import ssl
import subprocess
from pathlib import Path

import wire
from case import Case, eventually, main
from certificate import self_signed
from http_connection import HttpConnection
from peer import TIMEOUT_S
from server import binary

SCOPES = ("metrics", "read", "publish", "manage")


def token(name):
    return f"token-{name}-" + "x" * 32


class Http(Case):
    @classmethod
    def setUpClass(cls):
        cls.make_folder()
        cls.make_certificate()
        for scope in SCOPES:
            with open(cls.file(scope), "w") as out:
                out.write(token(scope) + "\n")
        tls = {"certificate_file": cls.file("cert.pem"), "key_file": cls.file("key.pem")}
        cls.CONFIG = {
            "tls_files": {"watch_seconds": 0},
            "http": {
                "metrics_public": False,
                "listeners": [{"port": 0, "serves": ["topics", "api"], "tls": tls},
                              {"port": 0, "serves": ["metrics"]}]},
            "access": {
                "allow_anonymous": True,
                "otherwise": "allow",
                "http_tokens": [{"name": scope, "token_file": cls.file(scope), "scopes": [scope]}
                                for scope in SCOPES],
                "rules": [{"effect": "deny", "user": "read", "filter": "secret/#"},
                          {"effect": "deny", "user": "publish", "filter": "secret/#"}]}}
        super().setUpClass()

    @classmethod
    def make_certificate(cls):
        self_signed(cls.file("cert.pem"), cls.file("key.pem"), alternative="DNS:localhost,IP:127.0.0.1")

    def ask(self, listener, method, path, bearer=None, body=None):
        """Returns (status, body). http-2 is asked inside TLS."""
        port = self.server.port(listener)
        if listener == "http-2":
            trusting = ssl.create_default_context(cafile=self.file("cert.pem"))
            line = http.client.HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT_S, context=trusting)
        else:
            line = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
        try:
            line.request(method, path, body, {"Authorization": f"Bearer {bearer}"} if bearer else {})
            answer = line.getresponse()
            return answer.status, answer.read()
        finally:
            line.close()

    def status(self, *arguments, **options):
        return self.ask(*arguments, **options)[0]

    def test_a_port_serves_its_part_alone(self):
        self.assertEqual(self.status("http-3", "GET", "/healthz"), 200)
        self.assertEqual(self.status("http-3", "GET", "/topics"), 404)
        self.assertEqual(self.status("http-3", "GET", "/api/v1/clients"), 404)
        self.assertEqual(self.status("http-2", "GET", "/topics"), 200)
        self.assertEqual(self.status("http-2", "GET", "/metrics"), 404)

    def test_metrics_need_a_token_of_their_own(self):
        self.assertEqual(self.status("http-3", "GET", "/metrics"), 401)
        self.assertEqual(self.status("http-3", "GET", "/metrics", token("read")), 403)
        self.assertEqual(self.status("http-3", "GET", "/metrics", token("metrics") + "x"), 401)
        status, body = self.ask("http-3", "GET", "/metrics", token("metrics"))
        self.assertEqual(status, 200)
        self.assertIn(b"millrace_tls_certificate_not_after_seconds{listener=\"http-2\"}", body)

    def test_a_token_may_do_what_its_scope_says(self):
        topic = f"/{self.unique}"
        publish = ("http-2", "PUT", "/api/v1/topics" + topic)
        kick = ("http-2", "DELETE", "/api/v1/clients/nobody")
        tried = {scope: (self.status("http-2", "GET", "/topics", token(scope)),
                         self.status(*publish, token(scope), b"x"),
                         self.status(*kick, token(scope))) for scope in SCOPES}
        for scope, (read, published, kicked) in tried.items():
            self.assertEqual(read, 200 if scope == "read" else 403, scope)
            self.assertEqual(published == 403, scope != "publish", scope)
            self.assertEqual(kicked == 403, scope != "manage", scope)
        self.assertEqual(self.ask("http-2", "GET", "/topics" + topic, token("read")), (200, b"x"))

    def test_its_name_has_rights_of_its_own(self):
        self.assertEqual(self.status("http-2", "GET", "/topics/secret/a", token("read")), 403)
        self.assertEqual(
            self.status("http-2", "PUT", "/api/v1/topics/secret/a", token("publish"), b"x"), 403)

    def test_it_is_no_way_into_mqtt(self):
        subprocess.run([binary(), "passwd", self.file("users"), "ann"], input="secret\n", text=True,
                       check=True, stdout=subprocess.DEVNULL)
        self.assertEqual(self.server.reload({**self.CONFIG, "access": {
            **self.CONFIG["access"], "allow_anonymous": False,
            "password_file": self.file("users")}}), "reloaded")
        self.addCleanup(self.server.reload, self.CONFIG)
        for options in ({"password": token("manage")},
                        {"username": "manage", "password": token("manage")}):
            one = self.raw()
            one.send(wire.connect(self.unique, **options))
            one.expect_refused(0x86, 0x87)

    def open_line(self, target, *fields):
        """A connection inside TLS on which this was asked, with the token `read`."""
        trusting = ssl.create_default_context(cafile=self.file("cert.pem"))
        plain = socket.create_connection(("127.0.0.1", self.server.port("http-2")), TIMEOUT_S)
        line = HttpConnection(sock=trusting.wrap_socket(plain, server_hostname="localhost"))
        self.addCleanup(line.close)
        line.ask(target, f"Authorization: Bearer {token('read')}", *fields)
        return line

    def test_a_token_that_is_withdrawn_ends_what_it_is_doing(self):
        waited = self.topic("waited")
        reader, waiting = self.open_line("/events?filter=%23"), self.open_line(f"/topics/{waited}", "Prefer: wait=60")
        idle = self.open_line("/topics?limit=1")
        self.assertEqual(idle.answer()[0], 200)
        reader.receive(b"event: start")

        def long_polls():
            body = self.ask("http-3", "GET", "/metrics", token("metrics"))[1]
            return float(re.search(rb"^millrace_http_long_polls (\S+)$", body, re.MULTILINE)[1])
        eventually(lambda: long_polls() == 1, "the request waits")

        others = [one for one in self.CONFIG["access"]["http_tokens"] if one["name"] != "read"]
        self.addCleanup(self.server.reload, self.CONFIG)
        self.assertEqual(self.server.reload(
            {**self.CONFIG, "access": {**self.CONFIG["access"], "http_tokens": others}}), "reloaded")
        reader.expect_end()
        writer = self.peer()
        writer.publish(waited, b"not for it", qos=1)
        status, _, body = waiting.answer()
        self.assertEqual(status, 401)
        self.assertNotIn(b"not for it", body)
        idle.ask("/topics?limit=1", f"Authorization: Bearer {token('read')}")
        self.assertEqual(idle.answer()[0], 401)
        # An EventSource comes again by itself.
        self.assertEqual(self.open_line("/events?filter=%23").answer()[0], 401)

    def test_a_new_certificate_is_taken_by_sighup(self):
        self.assertEqual(self.status("http-2", "GET", "/topics"), 200)  # It has read the first one.
        self.make_certificate()
        with self.assertRaises(ssl.SSLCertVerificationError):
            self.status("http-2", "GET", "/topics")
        self.assertEqual(self.server.reload(), "reloaded")
        self.assertEqual(self.status("http-2", "GET", "/topics"), 200)


class Page(Case):
    """The page and its files, as the build put them into the program: there is one form of each."""

    def get(self, path, encoding):
        line = HttpConnection(self.server.http_port)
        self.addCleanup(line.close)
        line.ask(path, *([] if encoding is None else [f"Accept-Encoding: {encoding}"]))
        return line.answer()

    def setUp(self):
        super().setUp()
        if not (Path(binary()).resolve().parents[1] / "server/console/built").exists():
            self.skipTest("the program was built without the page")
        _, headers, body = self.get("/", "gzip, deflate, br")
        self.assertEqual(headers.get("content-encoding"), "gzip")
        self.assertEqual(headers["vary"], "Accept-Encoding")
        self.page = gzip.decompress(body).decode()
        self.assets = re.findall(r"/assets/[\w.-]+", self.page)

    def test_its_files_are_sent_compressed_to_who_takes_that(self):
        self.assertIn("<title>Millrace</title>", self.page)
        self.assertGreaterEqual(len(self.assets), 2, self.page)  # A script and a style.
        for path in self.assets:
            status, headers, body = self.get(path, "gzip")
            self.assertEqual((status, headers["content-encoding"]), (200, "gzip"), path)
            self.assertEqual(headers["vary"], "Accept-Encoding", path)
            self.assertTrue(gzip.decompress(body), path)

    def test_who_does_not_take_that_gets_links_for_the_page_and_no_file(self):
        for encoding in (None, "identity"):
            status, headers, body = self.get("/", encoding)
            self.assertEqual(status, 200)
            self.assertNotIn("content-encoding", headers)
            self.assertIn(b'<a href="/metrics">', body)
            for path in self.assets:
                status, headers, body = self.get(path, encoding)
                self.assertEqual((status, body), (406, b"only gzip-encoded\n"), path)
                self.assertNotIn("content-encoding", headers)


if __name__ == "__main__":
    main()
