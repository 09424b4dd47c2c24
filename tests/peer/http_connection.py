"""One HTTP connection, spoken by hand: what stays open, and how it ends, can be seen.

Every wait ends with an event, as in peer.py.
"""

import socket
import ssl
import time

from peer import TIMEOUT_S


class HttpConnection:
    def __init__(self, port=None, sock=None, host="127.0.0.1", source=""):
        """`sock`: one that is connected, perhaps inside TLS; else it connects to the port, from the
        address `source` if it is given."""
        self.sock = sock or socket.create_connection((host, port), TIMEOUT_S, (source, 0))
        self.sock.settimeout(TIMEOUT_S)
        self._held = b""

    def close(self):
        self.sock.close()

    def ask(self, target, *fields, method="GET"):
        """Sends a request without a body, and waits for nothing."""
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *fields, "", ""]
        self.sock.sendall("\r\n".join(lines).encode())

    def _receive_more(self, wanted):
        data = self.sock.recv(65536)
        if not data:
            raise AssertionError(f"the connection ended before {wanted} came: {self._held!r}")
        self._held += data

    def receive(self, text):
        """Returns all that comes up to this text, with it."""
        while text not in self._held:
            self._receive_more(repr(text))
        end = self._held.index(text) + len(text)
        got, self._held = self._held[:end], self._held[end:]
        return got

    def answer(self):
        """Returns (status, headers with names in lower case, body) of one with a Content-Length."""
        first, *lines = self.receive(b"\r\n\r\n").decode("latin-1").rstrip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        count = int(headers.get("content-length", 0))
        while len(self._held) < count:
            self._receive_more(f"a body of {count} bytes")
        body, self._held = self._held[:count], self._held[count:]
        return int(first.split()[1]), headers, body

    def expect_end(self):
        """Waits until the server ends the connection; returns what came before that."""
        give_up = time.monotonic() + TIMEOUT_S  # A stream may send for ever.
        got, self._held = self._held, b""
        while (left := give_up - time.monotonic()) > 0:
            self.sock.settimeout(left)
            try:
                data = self.sock.recv(65536)
            except TimeoutError:
                break
            except (ConnectionError, ssl.SSLEOFError):
                return got
            if not data:
                return got
            got += data
        raise AssertionError(f"the connection goes on; held: {got[-200:]!r}")
