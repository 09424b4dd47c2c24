#!/usr/bin/env python3
"""Writes the seeds of the corpus `http`: requests to the HTTP port and to WebSocket listeners, by hand.

Beside them stand inputs of the fuzzer: found-* each reached something new, crash-* broke something.
"""
import base64
import pathlib


def request(line, body=b"", **fields):
    head = [line + " HTTP/1.1", "Host: localhost:9464"]
    head += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    if body:
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


BASIC = base64.b64encode(b"ann:se:cret").decode()
UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec_WebSocket_Version": "13",
           "Sec_WebSocket_Key": base64.b64encode(b"k" * 16).decode()}
SEEDS = {
    "metrics": request("GET /metrics"),
    "list": request("GET /topics?filter=a%2F%23&limit=10&after=a/b"),
    "list-newest": request("GET /topics?sort=age&limit=10"),
    "empty-filter": request("GET /topics?filter="),
    "value": request("GET /topics/a%20b", If_None_Match='"1-2", W/"3"', Prefer="wait=10"),
    "basic": request("GET /topics", Authorization=f"Basic {BASIC}"),
    "bearer": request("GET /topics", Authorization="Bearer  abc.def.ghi"),
    "publish": request("PUT /api/v1/topics/t?qos=1&retain=true&user_property=k%3Dv%3Dw&content_type=text/plain", b"x"),
    "publish-odd": request("POST /api/v1/topics/%00?expiry_seconds=99999999999", b"x"),
    "clients": request("GET /api/v1/clients?state=slow&sort=age&limit=5&prefix=a"),
    "values": request("GET /api/v1/topics?filter=%2B/a&payload=text&payload_bytes_max=10"),
    "events": request("GET /events?filter=a/%23&filter=%2B/b&max_rate_hz=0.5&payload_bytes_max=100",
                      Last_Event_ID="run-18446744073709551615"),
    "events-odd": request("GET /events?filter=$latest/a&max_rate_hz=nan", Last_Event_ID="run--1"),
    "trace-client": request("POST /api/v1/trace?client=c%201&minutes=60"),
    "trace-topic": request("POST /api/v1/trace?topic=a/%2B/%23"),
    "trace-address": request("POST /api/v1/trace?address=2001:db8::/32&minutes=61"),
    "subscriptions": request("GET /api/v1/subscriptions?topic=a/%C3%A4"),
    "absolute": request("GET http://evil.example:80/topics?x=%zz"),
    "two-hosts": request("GET / HTTP/1.1\r\nHost: other"),
    "origin": request("DELETE /api/v1/clients/c", Origin="http://evil.example", Sec_Fetch_Site="cross-site"),
    "upgrade": request("GET /mqtt", Sec_WebSocket_Protocol="mqttv3.1, mqtt", **UPGRADE),
    "upgrade-origin": request("GET /mqtt/?a=b", Origin="https://example.com", Sec_WebSocket_Protocol="mqtt",
                              X_Forwarded_For="192.0.2.1, 10.0.0.1", **UPGRADE),
    "chunked": b"POST /echo HTTP/1.1\r\nHost: [::1]:80\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "url": b"http://[::1]:8080/login?a=b",
    "url-secret": b"https://user:secret@login.example/",
}

folder = pathlib.Path(__file__).parent / "http"
folder.mkdir(exist_ok=True)
for name, data in SEEDS.items():
    (folder / name).write_bytes(data)
