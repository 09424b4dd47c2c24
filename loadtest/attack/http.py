"""Attacks over HTTP."""

import wire
from .attacker import attack


def _http(path, times=1, header=""):
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{header}\r\n".encode() * times


@attack()
def silent_http(me):
    """HTTP connections that say nothing."""
    socks = []
    while me.going():
        socks = me.drain(socks) if socks else socks
        if len(socks) < 600:
            sock = me.open(me.http_port)
            socks += [sock] if sock else []
        else:
            me.rest()


@attack()
def long_polls(me):
    """Pipelined requests that wait for a value."""
    while me.going():
        socks = [me.open(me.http_port) for _ in range(64)]
        for sock in socks:
            me.send(sock, _http("/topics/none", 8, "Prefer: wait=60\r\n"))
        me.rest(1)
        for sock in socks:
            me.leave(sock)


@attack()
def topic_walks(me):
    """Pipelined walks over all topics."""
    writer = me.dial()
    for first in range(0, 50_000, 500):
        me.send(writer, b"".join(wire.publish(f"walk/{i}", b"v") for i in range(first, first + 500)))
    while me.going():
        socks = [me.open(me.http_port) for _ in range(20)]
        for sock in socks:
            me.send(sock, _http("/topics?filter=%2B/none/%23", 50))
        me.rest(1)
        for sock in socks:
            me.leave(sock)
