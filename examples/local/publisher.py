"""Publishes the lines of standard input to one topic: publisher.py SOCKET TOPIC."""
import sys
from millrace_local import FULL, Publisher

with Publisher(socket=sys.argv[1]) as publisher:
    for line in sys.stdin:
        while publisher.publish(sys.argv[2], line.rstrip("\n").encode()) == FULL:
            publisher.drain()  # the ring is full: wait until the server has emptied it
    publisher.drain()
