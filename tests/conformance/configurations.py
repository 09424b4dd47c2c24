"""The server configurations that claims ask for by name."""

import base64
import hashlib
import os
import tempfile

import scram

USERS = {"reader": "reader-secret", "writer": "writer-secret"}
_folder = tempfile.TemporaryDirectory(prefix="millrace-users-")


def password_line(user, password):
    """A line in the format of mosquitto's tools: PBKDF2 with SHA-512."""
    salt, iterations = os.urandom(12), 101
    key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations)
    return f"{user}:$7${iterations}${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}\n"


def access():
    """Two users; `reader` may not publish to denied/, no user may subscribe to test/nosubscribe."""
    passwords, keys = (os.path.join(_folder.name, name) for name in ("passwords", "scram"))
    with open(passwords, "w") as file:
        file.writelines(password_line(*user) for user in USERS.items())
    with open(keys, "w") as file:
        file.writelines(scram.user_line(*user) for user in USERS.items())
    return {"access": {
        "password_file": passwords,
        "scram_file": keys,
        "rules": [
            {"effect": "deny", "action": "subscribe", "filter": "test/nosubscribe"},
            {"effect": "deny", "user": "reader", "action": "publish", "filter": "denied/#"},
            {"effect": "allow", "action": "all", "filter": "#"}]}}


CONFIGURATIONS = {
    "plain": lambda: {},
    "quiet": lambda: {},
    "access": access,
    "qos0": lambda: {"mqtt": {"qos_max": 0, "retain_available": False}},
    "small": lambda: {"receive_maximum": 10},
}
