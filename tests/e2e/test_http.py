"""HTTP of a server that strangers reach: ports that serve a part, TLS, and tokens with scopes."""

import http.client
import os
import shutil
import ssl
import subprocess
import tempfile
import unittest

import wire
from case import Case, main
from certificate import self_signed
from peer import TIMEOUT_S
from server import binary

SCOPES = ("metrics", "read", "publish", "manage")


def token(name):
    return f"token-{name}-" + "x" * 32


@unittest.skipUnless(shutil.which("openssl"), "openssl is not installed")
class Http(Case):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="millrace-http-")
        cls.addClassCleanup(cls.folder.cleanup)
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
    def file(cls, name):
        return os.path.join(cls.folder.name, name)

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

    def test_a_new_certificate_is_taken_by_sighup(self):
        self.assertEqual(self.status("http-2", "GET", "/topics"), 200)  # It has read the first one.
        self.make_certificate()
        with self.assertRaises(ssl.SSLCertVerificationError):
            self.status("http-2", "GET", "/topics")
        self.assertEqual(self.server.reload(), "reloaded")
        self.assertEqual(self.status("http-2", "GET", "/topics"), 200)


if __name__ == "__main__":
    main()
