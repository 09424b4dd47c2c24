"""Links over TLS and WebSocket, and what is checked of the upstream's certificate."""

import tempfile

from case import main
from server import Server
from upstream_case import ALL_WAYS, Edges, make_certificate


class OverTls(Edges):
    def make_certificate(self, name):
        return make_certificate(self.folder.name, name)

    def setUp(self):
        super().setUp()
        self.folder = tempfile.TemporaryDirectory(prefix="millrace-upstream-")
        self.addCleanup(self.folder.cleanup)
        self.certificate, key = self.make_certificate("broker.example")
        self.client_files = self.make_certificate("edge")
        self.core = Server({"listeners": [
            {"name": "tcp", "port": 0},
            {"name": "ws", "transport": "ws", "port": 0, "path": ["/other", "/mqtt"]},
            *({"name": name, "transport": name, "port": 0, "tls": {
                "certificate_file": self.certificate, "key_file": key,
                "client_certificate": "required", "client_ca_file": self.client_files[0]}}
              for name in ("tls", "wss"))]})
        self.addCleanup(self.core.stop)

    def secure(self, listener="tls", scheme="mqtts", **tls):
        certificate, key = self.client_files
        return self.edge(self.upstream(self.core.port(listener), ALL_WAYS, scheme=scheme, tls={
            "ca_file": self.certificate, "certificate_file": certificate, "key_file": key, **tls}))

    def test_crosses_by_names_and_certificates(self):
        edge = self.secure(server_name="broker.example")
        self.meet_all_ways(edge.mqtt_port, self.core.mqtt_port)
        self.check_live(edge.mqtt_port, self.core.mqtt_port)

    def test_crosses_over_websocket_in_tls(self):
        edge = self.secure("wss", "wss", server_name="broker.example")
        self.meet_all_ways(edge.mqtt_port, self.core.mqtt_port)
        self.check_live(edge.mqtt_port, self.core.mqtt_port)

    def test_crosses_over_websocket(self):
        for path in ("", "/other"):
            edge = self.edge({"name": "north", "rules": ALL_WAYS, "client_id": f"edge{path}",
                              "addresses": f"ws://127.0.0.1:{self.core.port('ws')}{path}"})
            self.meet_all_ways(edge.mqtt_port, self.core.mqtt_port)
            self.check_live(edge.mqtt_port, self.core.mqtt_port)
            edge.stop()
        edge = self.edge({"name": "north", "rules": ALL_WAYS,
                          "addresses": f"ws://127.0.0.1:{self.core.port('ws')}/nowhere"})
        edge.wait_for_log(r"upstream.unreachable .*WebSocket: refused: 404")

    def test_a_certificate_for_another_name_is_refused(self):
        edge = self.secure()  # it would have to be for 127.0.0.1
        edge.wait_for_log(r"upstream.unreachable .*TLS: IP address mismatch")
        edge = self.secure(server_name="other.example")
        edge.wait_for_log(r"upstream.unreachable .*TLS: hostname mismatch")

    def test_a_certificate_of_an_unknown_signer_is_refused(self):
        stranger, _ = self.make_certificate("stranger")
        edge = self.secure(server_name="broker.example", ca_file=stranger)
        edge.wait_for_log(r"upstream.unreachable .*TLS: self-signed certificate")

    def test_a_name_that_cannot_be_checked_is_refused(self):
        edge = self.secure(server_name="a" * 256)
        edge.wait_for_log(r"upstream.unreachable .*TLS: the name cannot be checked")

    def test_only_the_signer_is_checked_if_that_is_wanted(self):
        self.wait_until_up(self.secure(verify="signer"))

    def test_nothing_is_checked_if_that_is_said(self):
        stranger, _ = self.make_certificate("stranger")
        edge = self.secure(verify="insecure", ca_file=stranger)
        self.wait_until_up(edge)
        edge.wait_for_log(r"unsafe .*upstreams\[0\]\.tls\.verify")


if __name__ == "__main__":
    main()
