#!/usr/bin/env python3
"""Writes the seeds of the corpora `jwt`, `proxy` and `passwd`: tokens, keys, headers and users, by hand.

Beside them stand inputs of the fuzzer: found-* each reached something new, crash-* broke something.
"""
import base64
import hmac
import json
import pathlib
import struct

TOKEN, KEYS = b"\x00", b"\x01"
SECRET = b"s" * 32


def encoded(value):
    data = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def token(claims, header=None):
    text = encoded(header or {"alg": "HS256"}) + b"." + encoded(claims)
    return TOKEN + text + b"." + encoded(hmac.digest(SECRET, text, "sha256"))


GOOD = {"sub": "ann", "exp": 1000100, "acl": {"publish": ["a/#"], "all": ["b"]}}
RSA = {"kty": "RSA", "e": "AQAB", "n": encoded(b"\xc1" + b"\x35" * 255).decode()}
P256 = {"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}
ED25519 = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
JWT = {
    "good": token(GOOD),
    "expired": token({**GOOD, "exp": 1}),
    "times": token({**GOOD, "nbf": 999999, "iat": 1000000.5}),
    "audience": token({**GOOD, "aud": ["a", "b"]}),
    "rules": token({**GOOD, "acl": {"publish": ["a/#/b"]}}),
    "twice": token(b'{"sub":"a","sub":"b","exp":1000100,"acl":{}}'),
    "deep": token(b'{"x":' + b"[" * 40 + b"]" * 40 + b"}"),
    "none": TOKEN + encoded({"alg": "none"}) + b"." + encoded(GOOD) + b".",
    "critical": token(GOOD, {"alg": "HS256", "crit": ["x"]}),
    "identifier": token(GOOD, {"alg": "HS256", "kid": "k"}),
    "set": KEYS + json.dumps({"keys": [RSA, P256, ED25519, {"kty": "oct", "k": "A" * 43}]}).encode(),
    "one-key": KEYS + json.dumps(P256).encode(),
    "weak": KEYS + json.dumps({"keys": [{"kty": "oct", "k": "AAAA"}, {**RSA, "n": "AQAB"}]}).encode(),
    "pem": KEYS + b"-----BEGIN PUBLIC KEY-----\n"
           b"MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n",
}

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
ADDRESSES = bytes([192, 0, 2, 1, 192, 0, 2, 2]) + struct.pack(">HH", 5000, 1883)


def v2(head, body):
    return SIGNATURE + head + struct.pack(">H", len(body)) + body


PROXY = {
    "tcp4": b"PROXY TCP4 192.0.2.1 192.0.2.2 5000 1883\r\n\x10",
    "tcp6": b"PROXY TCP6 2001:db8::1 ::1 5000 1883\r\n",
    "unknown": b"PROXY UNKNOWN\r\n",
    "binary4": v2(b"\x21\x11", ADDRESSES) + b"\x10",
    "binary6": v2(b"\x21\x21", b"\xfd" + b"\0" * 31 + b"\x13\x88\x07\x5b"),
    "extended": v2(b"\x21\x11", ADDRESSES + b"\x03\x00\x04skip"),
    "own": v2(b"\x20\x00", b""),
    "unix": v2(b"\x21\x31", b"/" * 216),
    "forwarded": b"192.0.2.9, 192.0.2.1, 10.0.0.2",
    "forwarded6": b"2001:db8::1,fd00::2",
}

SALT, HASH = base64.b64encode(b"s" * 12), base64.b64encode(b"h" * 64)
KEY = base64.b64encode(b"k" * 32)
PASSWD = {
    "pbkdf2": b"ann:$7$1000$" + SALT + b"$" + HASH + b"\n",
    "sha512": b"# users\r\n\r\nann:$6$" + SALT + b"$" + HASH + b"\r\nbob:$6$" + SALT + b"$" + HASH,
    "argon2": b"ann:$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$" + KEY.rstrip(b"=") + b"\n",
    "scram": b"ann:SCRAM-SHA-256$4096:" + SALT + b"$" + KEY + b":" + KEY + b"\n",
    "twice": (b"ann:$6$" + SALT + b"$" + HASH + b"\n") * 2,
    "plain": b"ann:secret\n:x\nbob\n",
    "limits": b"a:$7$99999999$" + SALT + b"$" + HASH + b"\nb:$argon2id$v=19$m=9999999,t=2,p=1$AAAA$AAAA\n",
    "first": b"n,,n=ann=2Cb,r=fyko+d2lbbFgONRv9qkxdawL",
    "binding": b"p=tls-unique,,n=ann,r=fyko",
}

for folder_name, seeds in (("jwt", JWT), ("proxy", PROXY), ("passwd", PASSWD)):
    folder = pathlib.Path(__file__).parent / folder_name
    folder.mkdir(exist_ok=True)
    for name, data in seeds.items():
        (folder / name).write_bytes(data)
