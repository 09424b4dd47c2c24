"""MQTT over WebSocket (chapter 6)."""

import wire
from case import Case, main, shows
from peer import Peer
from websocket import BINARY, CONTINUATION, TEXT, WebSocket


class WebSockets(Case):
    def socket(self, **options):
        socket = WebSocket(self.server.ws_port, **options)
        self.addCleanup(socket.close)
        return socket

    def over(self, socket):
        return Peer(None, self.version, sock=socket)

    @shows(v311="6.0.0-1", v5="6.0.0-1")
    def packets_travel_in_binary_frames_and_text_ends_the_connection(self):
        socket = self.socket()
        peer = self.over(socket)
        peer.connect(self.name())  # WebSocket.recv refuses anything but binary frames.
        socket.send_frame(TEXT, b"text")
        got = peer.next()
        if got is not None:  # 5.0 may send DISCONNECT before.
            self.assertEqual((got.kind, self.version), (wire.DISCONNECT, 5), got)
            peer.expect_end()
        self.assertIn(socket.closed_with, (None, 1002, 1003))

    @shows(v311="6.0.0-2", v5="6.0.0-2")
    def packets_may_span_and_share_frames(self):
        socket = self.socket()
        peer = self.over(socket)
        script = self.connect_bytes(self.name()) + self.subscribe_bytes(1, [(self.topic(), 0)]) + \
            self.publish_bytes(self.topic(), b"x" * 300) + wire.pingreq()
        for at in range(0, 40):
            socket.send_frame(BINARY, script[at:at + 1])
        socket.send_frame(BINARY, script[40:45], final=False)
        socket.send_frame(CONTINUATION, script[45:50])
        socket.send_frame(BINARY, b"")
        socket.send_frame(BINARY, script[50:])
        peer.expect(wire.CONNACK, code=0)
        rest = {peer.next().kind for _ in range(3)}
        self.assertEqual(rest, {wire.SUBACK, wire.PUBLISH, wire.PINGRESP})

    @shows(v311="6.0.0-4", v5="6.0.0-4")
    def the_server_selects_the_subprotocol_mqtt(self):
        for offered in ("mqtt", "chat, mqtt", "mqtt,mqttv3.1"):
            socket = self.socket(protocol=offered)
            self.assertEqual((socket.status, socket.headers.get("sec-websocket-protocol")),
                             (101, "mqtt"))
            self.over(socket).connect(self.name())

    @shows(v311="6.0.0-3", v5="6.0.0-3")
    def a_client_that_does_not_offer_mqtt_is_not_served(self):
        for offered in ("chat", "MQTTX", None):
            socket = self.socket(protocol=offered)
            self.assertNotEqual(socket.headers.get("sec-websocket-protocol"), offered or "")
            if socket.status == 101:
                self.assertIsNone(socket.read_frame())


if __name__ == "__main__":
    main()
