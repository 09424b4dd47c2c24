"""SCRAM-SHA-256 (RFC 5802, 7677): the client's side, and a user's line in the server's file."""

import base64
import hashlib
import hmac
import os

METHOD = "SCRAM-SHA-256"


def _keys(password, salt, iterations):
    """The client's key and the server's."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    return (hmac.digest(salted, b"Client Key", "sha256"),
            hmac.digest(salted, b"Server Key", "sha256"))


def user_line(user, password, iterations=4096):
    """A line of access.scram_file."""
    salt = os.urandom(16)
    client_key, server_key = _keys(password, salt, iterations)
    parts = [base64.b64encode(part).decode()
             for part in (salt, hashlib.sha256(client_key).digest(), server_key)]
    return f"{user}:{METHOD}${iterations}:{parts[0]}${parts[1]}:{parts[2]}\n"


class Scram:
    """The client's side; it can also send wrong answers."""

    def __init__(self, user, password, header="n,,"):
        self.user = user
        self.password, self.header = password, header
        self.nonce = base64.b64encode(os.urandom(18)).decode()
        self.bare = f"n={user},r={self.nonce}"

    def first(self):
        return (self.header + self.bare).encode()

    def final(self, challenge, nonce=None):
        """The answer to the server's challenge; `nonce` replaces the right one."""
        challenge = challenge.decode()
        fields = dict(part.split("=", 1) for part in challenge.split(","))
        client_key, server_key = _keys(self.password, base64.b64decode(fields["s"]),
                                       int(fields["i"]))
        header = base64.b64encode(self.header.encode()).decode()
        without_proof = f"c={header},r={nonce or fields['r']}"
        message = ",".join([self.bare, challenge, without_proof]).encode()
        proof = bytes(a ^ b for a, b in zip(
            client_key, hmac.digest(hashlib.sha256(client_key).digest(), message, "sha256")))
        self.signature = hmac.digest(server_key, message, "sha256")
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def proves(self, last):
        return last.decode() == "v=" + base64.b64encode(self.signature).decode()
