"""MQTT and HTTP inside TLS with certificates of clients, made for this run: whom they let in, and what ends when one
is revoked or their authority is replaced."""

import json
import shutil
import socket
import ssl
import subprocess

import wire
from case import Case, eventually, main
from http_connection import HttpConnection
from peer import TIMEOUT_S, Peer
from server import Server, binary, environment


class ClientCertificates(Case):
    """A CA made by the test signs the server, ann and bob; another one signs mallory."""

    @classmethod
    def setUpClass(cls):
        cls.make_folder()
        for authority in ("ca", "stranger"):
            cls.openssl("req", "-x509", "-nodes", "-days", "2", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:prime256v1", "-subj", f"/CN={authority}",
                        "-keyout", cls.file(f"{authority}.key"), "-out", cls.file(f"{authority}.pem"))
            database = cls.file(f"{authority}.txt")
            with open(database, "w"), open(cls.file(f"{authority}.cnf"), "w") as configuration:
                configuration.write(f"[ca]\ndefault_ca=x\n[x]\ndatabase={database}\n"
                                    "default_md=sha256\ndefault_crl_days=2\n")
        for serial, (name, authority) in enumerate(
                {"localhost": "ca", "ann": "ca", "bob": "ca", "mallory": "stranger"}.items()):
            cls.sign(name, authority, serial + 1)
        cls.make_crl("ca.crl")
        tls = {"certificate_file": cls.file("localhost.pem"), "key_file": cls.file("localhost.key"),
               "client_ca_file": cls.file("ca.pem"), "crl_file": cls.file("ca.crl"),
               "user_from": "common_name"}
        https = {key: value for key, value in tls.items() if key != "user_from"}
        listener = {"transport": "tls", "port": 0}
        cls.CONFIG = {
            "listeners": [
                {"name": "tcp", "transport": "tcp", "port": 0},
                {**listener, "name": "tls", "tls": {**tls, "client_certificate": "required"}},
                {**listener, "name": "optional", "tls": {**tls, "client_certificate": "optional"}},
                {**listener, "name": "other", "tls": {
                    **tls, "client_certificate": "required", "user_from": "alternative_name"}},
                {**listener, "name": "whole", "tls": {
                    **tls, "client_certificate": "required", "user_from": "subject"}}],
            "http": {"listeners": [{"port": 0, "tls": {**https, "client_certificate": "required"}}]},
            "access": {"rules": [
                {"effect": "allow", "user": "ann", "filter": "ann/#"},
                {"effect": "allow", "user": "ann.example", "filter": "alternative/#"},
                {"effect": "allow", "user": "CN=ann,O=Ann\\, Inc.", "filter": "subject/#"},
                {"effect": "allow", "user": "", "filter": "public/#"}]}}
        super().setUpClass()

    @classmethod
    def openssl(cls, *arguments):
        done = subprocess.run(["openssl", *arguments], capture_output=True, text=True)
        if done.returncode:
            raise AssertionError(done.stderr)

    @classmethod
    def sign(cls, name, authority, serial):
        cls.openssl("req", "-new", "-nodes", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-subj",
                    f"/O={name.capitalize()}, Inc./CN={name}", "-addext",
                    f"subjectAltName=IP:127.0.0.1,DNS:{name}.example,DNS:localhost",
                    "-keyout", cls.file(f"{name}.key"), "-out", cls.file(f"{name}.csr"))
        cls.openssl("x509", "-req", "-in", cls.file(f"{name}.csr"), "-CA", cls.file(f"{authority}.pem"),
                    "-CAkey", cls.file(f"{authority}.key"), "-set_serial", str(serial), "-days", "2",
                    "-copy_extensions", "copy", "-out", cls.file(f"{name}.pem"))

    @classmethod
    def as_authority(cls, authority, *arguments):
        cls.openssl("ca", "-config", cls.file(f"{authority}.cnf"), "-cert", cls.file(f"{authority}.pem"),
                    "-keyfile", cls.file(f"{authority}.key"), *arguments)

    @classmethod
    def make_crl(cls, name, *times, authority="ca"):
        cls.as_authority(authority, "-gencrl", *times, "-out", cls.file(name))

    @classmethod
    def revoke(cls, name, authority="ca"):
        cls.as_authority(authority, "-revoke", cls.file(f"{name}.pem"))
        cls.make_crl(f"{authority}.crl", authority=authority)

    def socket_of(self, name, listener="tls"):
        context = ssl.create_default_context(cafile=self.file("ca.pem"))
        if name:
            context.load_cert_chain(self.file(f"{name}.pem"), self.file(f"{name}.key"))
        plain = socket.create_connection(("127.0.0.1", self.server.port(listener)), TIMEOUT_S)
        self.addCleanup(plain.close)
        wrapped = context.wrap_socket(plain, server_hostname="localhost")
        self.addCleanup(wrapped.close)
        return wrapped

    def connected(self, name, listener="tls", **options):
        peer = Peer(None, sock=self.socket_of(name, listener))
        peer.connect(f"{self.unique}{name}{listener}", **options)
        return peer

    def refused(self, name, listener="tls"):
        # With TLS 1.3 the client gets the refusal only when it reads.
        with self.assertRaises((ssl.SSLError, ConnectionError)):
            wrapped = self.socket_of(name, listener)
            wrapped.sendall(wire.connect(self.unique))
            if not wrapped.recv(1):
                raise ConnectionError("the server closed")

    def test_the_certificate_names_the_user_whatever_connect_says(self):
        peer = self.connected("ann", username="bob", password="guess")
        self.assertEqual(peer.publish("ann/x", b"", qos=1).code, 0x10)
        self.assertEqual(peer.publish("public/x", b"", qos=1).code, 0x87)
        self.assertEqual(self.connected("bob").publish("ann/x", b"", qos=1).code, 0x87)

    def test_other_parts_of_a_certificate_may_be_the_name(self):
        peer = self.connected("ann", "other")
        self.assertEqual(peer.publish("alternative/x", b"", qos=1).code, 0x10)
        self.assertEqual(peer.publish("ann/x", b"", qos=1).code, 0x87)
        self.assertEqual(self.connected("ann", "whole").publish("subject/x", b"", qos=1).code, 0x10)

    def test_nobody_comes_in_without_one_where_it_is_required(self):
        self.refused(None)

    def test_one_signed_by_a_stranger_is_no_certificate(self):
        self.refused("mallory")
        self.refused("mallory", "optional")

    def test_where_it_is_optional_one_without_it_is_anonymous(self):
        peer = self.connected(None, "optional")
        self.assertEqual(peer.publish("public/x", b"", qos=1).code, 0x10)
        self.assertEqual(peer.publish("ann/x", b"", qos=1).code, 0x87)
        self.assertEqual(self.connected("ann", "optional").publish("ann/x", b"", qos=1).code, 0x10)

    def test_a_revoked_one_is_refused_after_sighup(self):
        self.sign("carl", "ca", 77)
        before = self.connected("carl")
        self.revoke("carl")
        ann, nobody = self.connected("ann"), self.connected(None, "optional")
        self.assertEqual(self.server.reload(), "reloaded")
        self.refused("carl")
        before.expect_fault(0x87)
        for stays in (ann, nobody):
            stays.send(wire.pingreq())
            stays.expect(wire.PINGRESP)
        self.connected("ann")

    def watching(self, config, seconds=1):
        """Starts a server that looks at its files so often; 0: never."""
        self.server = Server({**config, "tls_files": {"watch_seconds": seconds}})
        self.addCleanup(self.server.stop)
        self.server.http_port  # By now the files have been read, and are looked at.

    def test_a_revoked_one_is_refused_when_the_list_changes(self):
        self.sign("dora", "ca", 78)
        self.watching(self.CONFIG)
        dora, ann = self.connected("dora"), self.connected("ann")
        self.revoke("dora")
        self.server.wait_for_log(r"\btls\.reloaded\b")
        dora.expect_fault(0x87)
        self.refused("dora")
        ann.send(wire.pingreq())
        ann.expect(wire.PINGRESP)

    def over_https(self, name):
        """Three connections: one that was answered and stays open, a request that waits for a value, and a
        reader of events."""
        idle, waiting, reader = (HttpConnection(sock=self.socket_of(name, "http-2")) for _ in range(3))
        idle.ask("/healthz")
        self.assertEqual(idle.answer()[0], 200)
        before = self.server.metrics()["millrace_http_long_polls"]
        waiting.ask(f"/topics/public/{self.unique}", "Prefer: wait=60")
        eventually(lambda: self.server.metrics()["millrace_http_long_polls"] == before + 1, "it waits")
        reader.ask("/events?filter=public/%23")
        reader.receive(b"event: start")
        return idle, waiting, reader

    def revoked_over_https(self):
        return self.server.metrics()["millrace_http_connections_revoked_total"]

    def test_a_revoked_one_keeps_no_https_connection_when_the_list_changes(self):
        """The reader of events, too: without SIGHUP, nothing else ends its stream."""
        self.sign("fay", "ca", 81)
        self.watching(self.CONFIG)
        fay, ann = self.over_https("fay"), self.over_https("ann")
        self.revoke("fay")
        self.server.wait_for_log(r"\btls\.reloaded\b")
        for line in fay:
            line.expect_end()
        self.assertEqual(self.revoked_over_https(), 3)
        idle, waiting, reader = ann
        idle.ask("/healthz")
        self.assertEqual(idle.answer()[0], 200)
        self.connected(None, "optional").publish(f"public/{self.unique}", b"for both", qos=1)
        self.assertEqual(waiting.answer()[2], b"for both")
        reader.receive(b"for both")

    def test_a_revoked_one_keeps_no_https_connection_after_sighup(self):
        self.sign("gil", "ca", 82)
        (idle, waiting, _), (stays, _, _) = self.over_https("gil"), self.over_https("ann")
        before = self.revoked_over_https()
        self.revoke("gil")
        self.assertEqual(self.server.reload(), "reloaded")
        for line in (idle, waiting):
            line.expect_end()
        self.assertGreaterEqual(self.revoked_over_https(), before + 2)
        stays.ask("/healthz")
        self.assertEqual(stays.answer()[0], 200)
        self.refused("gil", "http-2")

    def test_the_log_says_what_is_wrong_with_a_certificate(self):
        for name, why in ((None, "peer did not return a certificate"),
                          ("mallory", "unable to get local issuer certificate")):
            self.refused(name)
            self.server.wait_for_log(rf'connection\.end cause=handshake_fault reason="{why}"')

    def test_a_revocation_list_that_has_expired_is_named_before_and_when_it_shuts_everybody_out(self):
        self.make_crl("expired.crl", "-crl_lastupdate", "20200101000000Z", "-crl_nextupdate", "20200201000000Z")
        tls = {"certificate_file": self.file("localhost.pem"), "key_file": self.file("localhost.key"),
               "client_ca_file": self.file("ca.pem"), "crl_file": self.file("expired.crl"),
               "client_certificate": "required"}
        config = {"listeners": [{"name": name, "transport": name, "port": 0, "tls": tls} for name in ("tls", "wss")],
                  "http": {"listeners": [{"port": 0, "tls": tls}]}, "log": {"repeat_seconds": 0}}
        with open(self.file("expired.json"), "w") as out:
            json.dump(config, out)
        checked = subprocess.run([binary(), "check", "--config", self.file("expired.json")], env=environment(),
                                 capture_output=True, text=True, timeout=60)
        self.assertEqual(checked.returncode, 0, checked.stdout)
        for path in ("listeners[0]", "listeners[1]", "http.listeners[0]"):
            self.assertIn(f"warning: {path}.tls.crl_file: has expired: without a newer list", checked.stdout)
        self.server = Server(config)
        self.addCleanup(self.server.stop)
        self.server.wait_for_log(r"\bunsafe path=listeners\[0\]\.tls\.crl_file .*has expired")
        for name in ("tls", "wss", "http-2"):
            self.refused("ann", name)
            self.server.wait_for_log(
                rf'connection\.end cause=handshake_fault reason="CRL has expired" .*listener={name}\b')
        metrics = self.server.metrics()
        for name in ("tls", "wss", "http-2"):
            self.assertEqual(metrics[f'millrace_tls_crl_next_update_seconds{{listener="{name}"}}'], 1_580_515_200)

    def copied(self, *names):
        """Paths of copies, which a test may replace."""
        return [shutil.copy(self.file(name), self.file(f"{self.unique}-{name}")) for name in names]

    def replace(self, paths, *names):
        for path, name in zip(paths, names):
            shutil.copy(self.file(name), path)

    def with_own_files(self, watch_seconds, names):
        """Starts a server whose listener has copies of these files: authority, certificate, key and
        list of revoked certificates, or the first ones of them."""
        paths = self.copied(*names)
        keys = ("client_ca_file", "certificate_file", "key_file", "crl_file")
        tls = {"certificate_file": self.file("localhost.pem"), "key_file": self.file("localhost.key"),
               **dict(zip(keys, paths)), "client_certificate": "required", "user_from": "common_name"}
        self.watching({"listeners": [{"name": "tls", "transport": "tls", "port": 0, "tls": tls}]}, watch_seconds)
        return paths

    def expect_authority_replaced(self, before):
        """The stranger is the authority now; `before` came by a certificate of the old one."""
        before.expect_fault(0x87)
        self.refused("ann")
        mallory = self.connected("mallory")
        mallory.publish("x", b"", qos=1)
        return mallory

    def test_another_authority_is_taken_by_sighup(self):
        paths = self.with_own_files(0, ["ca.pem"])
        ann = self.connected("ann")
        self.refused("mallory")
        self.replace(paths, "stranger.pem")
        self.refused("mallory")  # Not before the signal.
        self.assertEqual(self.server.reload(), "reloaded")
        mallory = self.expect_authority_replaced(ann)
        self.assertEqual(self.server.reload(), "reloaded")
        mallory.publish("x", b"", qos=1)  # What holds is not dropped.

    def test_another_authority_is_taken_when_its_file_changes(self):
        paths = self.with_own_files(1, ["ca.pem"])
        ann = self.connected("ann")
        self.replace(paths, "stranger.pem")
        self.server.wait_for_log(r"\btls\.reloaded\b")
        self.expect_authority_replaced(ann)

    def test_all_files_are_replaced_together(self):
        self.sign("eve", "stranger", 79)
        self.revoke("eve", authority="stranger")
        self.sign("newhost", "ca", 80)
        paths = self.with_own_files(0, ["ca.pem", "localhost.pem", "localhost.key", "ca.crl"])
        ann = self.connected("ann")
        self.replace(paths, "stranger.pem", "newhost.pem", "newhost.key", "stranger.crl")
        self.assertEqual(self.server.reload(), "reloaded")
        mallory = self.expect_authority_replaced(ann)
        self.assertIn(("DNS", "newhost.example"), mallory.sock.getpeercert()["subjectAltName"])
        self.refused("eve")

    def test_who_shows_a_certificate_gets_no_ticket_to_come_back_without_it(self):
        peer = self.connected("ann")
        self.assertFalse(peer.sock.session.has_ticket)

    def test_mosquitto_clients_with_certificates(self):
        options = ["-h", "localhost", "-p", str(self.server.port("tls")), "--cafile",
                   self.file("ca.pem"), "--cert", self.file("ann.pem"), "--key", self.file("ann.key")]
        reader = self.program("mosquitto_sub", *options, "-d", "-t", "ann/m", "-q", "1", "-F", "got %p")
        reader.line("Subscribed")
        self.program("mosquitto_pub", *options, "-t", "ann/m", "-m", "x", "-q", "1").finish()
        self.assertEqual(reader.line("got"), "got x")

    def test_s_client_is_asked_for_a_certificate_of_the_authority(self):
        done = subprocess.run(["openssl", "s_client", "-alpn", "mqtt", "-connect",
                               f"127.0.0.1:{self.server.port('optional')}"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        self.assertIn("Acceptable client certificate CA names\nCN = ca\n", done.stdout)
        self.assertIn("ALPN protocol: mqtt", done.stdout)


if __name__ == "__main__":
    main()
