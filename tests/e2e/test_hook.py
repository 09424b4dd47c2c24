"""access.http: a service of the operator's says who clients are and what they may do."""

import base64
import hashlib
import http.server
import json
import os
import ssl
import tempfile
import threading

import wire
from case import Case, eventually, main
from certificate import self_signed
from peer import Peer
from server import Server


class Service:
    """Answers /login and /rules as `said` has it by user; asks of `slow` wait until release()."""

    def __init__(self, certificate=None):
        self.asked = []
        self.rules = {}
        self.passwords = {"ann": "secret", "bob": "other"}
        self._released = threading.Event()
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                service.asked.append((self.path, question))
                if question["user"] == "slow":
                    service._released.wait()
                if self.path == "/login":
                    right = service.passwords.get(question["user"]) == question.get("password")
                    answer = {"allow": right}
                else:
                    answer = service.rules.get(question["user"], {"all": ["#"]})
                text = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self.scheme = "https"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def url(self, path):
        return f"{self.scheme}://localhost:{self._server.server_address[1]}{path}"

    def count(self, user):
        return sum(question["user"] == user for _, question in self.asked)

    def release(self):
        self._released.set()

    def stop(self):
        self._released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Hook(Case):
    def service(self, certificate=None):
        service = Service(certificate)
        self.addCleanup(service.stop)
        return service

    def serve(self, service, rules=True, access=None, **hook):
        hook = {"authenticate_url": service.url("/login"), "timeout_ms": 30_000, **hook}
        if rules:
            hook["authorize_url"] = service.url("/rules")
        server = Server({"access": {"http": hook, "login_delay_max_ms": 0, **(access or {})}})
        self.addCleanup(server.stop)
        return server

    def come(self, server, user, password, version=5):
        peer = Peer(server.mqtt_port, version)
        self.addCleanup(peer.close)
        peer.send(wire.connect(f"id-{user}", username=user, password=password, version=version))
        return peer

    def test_it_says_who_comes_in(self):
        service = self.service()
        server = self.serve(service, rules=False)
        for version, refused in ((5, 0x86), (4, 4)):
            self.assertEqual(self.come(server, "ann", "secret", version).next().code, 0)
            self.come(server, "ann", "wrong", version).expect_refused(refused)
        nobody = Peer(server.mqtt_port)
        self.addCleanup(nobody.close)
        nobody.send(wire.connect("nobody"))
        nobody.expect_refused(0x87)
        path, question = service.asked[0]
        self.assertEqual((path, question), ("/login", {
            "client_id": "id-ann", "user": "ann", "password": "secret", "address": "127.0.0.1",
            "listener": "tcp"}))

    def test_it_says_what_they_may_do(self):
        service = self.service()
        service.rules["ann"] = {"publish": ["own/#"], "subscribe": ["own/#"]}
        server = self.serve(service, access={"otherwise": "allow", "rules": [
            {"effect": "deny", "filter": "own/secret"}]})
        ann = self.come(server, "ann", "secret")
        self.assertEqual(ann.next().code, 0)
        self.assertEqual(ann.publish("own/a", b"", qos=1).code & 0x80, 0)
        self.assertEqual(ann.publish("others/a", b"", qos=1).code, 0x87)
        self.assertEqual(ann.publish("own/secret", b"", qos=1).code, 0x87)
        self.assertEqual(server.reload(), "reloaded")
        self.assertEqual(ann.publish("own/a", b"", qos=1).code & 0x80, 0)
        self.assertEqual(ann.publish("others/a", b"", qos=1).code, 0x87)

    def test_an_answer_is_remembered_until_sighup(self):
        service = self.service()
        server = self.serve(service, cache_seconds=3600)
        for _ in range(3):
            one = self.come(server, "ann", "secret")
            self.assertEqual(one.next().code, 0)
            one.disconnect()
        self.assertEqual(service.count("ann"), 2)  # /login and /rules
        self.come(server, "ann", "wrong").expect_refused(0x86)
        self.assertEqual(server.reload(), "reloaded")
        service.passwords["ann"] = "new"
        self.come(server, "ann", "secret").expect_refused(0x86)

    def test_a_service_that_stands_still_holds_up_nobody_else(self):
        service = self.service()
        server = self.serve(service, connections_max=4)
        service.passwords["slow"] = "x"
        here = self.come(server, "ann", "secret")
        self.assertEqual(here.next().code, 0)
        slow = [self.come(server, "slow", "x") for _ in range(3)]
        eventually(lambda: service.count("slow") == 3, "they are asked about")
        here.publish("t", b"", qos=1)
        self.assertEqual(self.come(server, "bob", "other").next().code, 0)
        service.release()
        self.assertTrue(all(one.next().code == 0 for one in slow[-1:]))

    def test_without_an_answer_nobody_comes_in_unless_it_is_set_so(self):
        for failure, code in (("deny", 0x88), ("allow", 0)):
            service = self.service()
            server = self.serve(service, on_failure=failure, timeout_ms=200)
            got = self.come(server, "slow", "hush-hush").next()
            self.assertEqual(got.code, code)
            self.assertEqual(
                server.metrics()['millrace_access_http_answers_total{result="failed"}'], 1)
            server.wait_for_log(r"access\.http\.failed")
            self.assertNotIn("hush-hush", "\n".join(server.lines))

    def test_users_of_the_file_are_not_asked_about(self):
        with tempfile.TemporaryDirectory(prefix="millrace-hook-") as folder:
            users = os.path.join(folder, "users")
            digest = hashlib.sha512(b"local" + b"saltsaltsalt").digest()
            with open(users, "w") as out:
                out.write("ann:$6$c2FsdHNhbHRzYWx0$" + base64.b64encode(digest).decode() + "\n")
            service = self.service()
            server = self.serve(service, access={"password_file": users})
            self.assertEqual(self.come(server, "ann", "local").next().code, 0)
            self.come(server, "ann", "secret").expect_refused(0x86)
            self.assertEqual(service.count("ann"), 0)
            self.assertEqual(self.come(server, "bob", "other").next().code, 0)

    def test_inside_tls_its_certificate_has_to_hold(self):
        with tempfile.TemporaryDirectory(prefix="millrace-hook-") as folder:
            made = {}
            for name in ("localhost", "stranger"):
                made[name] = (os.path.join(folder, f"{name}.pem"), os.path.join(folder, f"{name}.key"))
                self_signed(*made[name], name, f"DNS:{name}")
            for shown, trusted, code in (("localhost", "localhost", 0),
                                         ("localhost", "stranger", 0x88),
                                         ("stranger", "stranger", 0x88)):
                service = self.service(made[shown])
                server = self.serve(service, ca_file=made[trusted][0])
                self.assertEqual(self.come(server, "ann", "secret").next().code, code)


if __name__ == "__main__":
    main()
