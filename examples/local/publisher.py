"""Publishes the lines of standard input at one topic: publisher.py SOCKET TOPIC."""
import sys
from millrace_local import FULL, Publisher

with Publisher(socket=sys.argv[1]) as publisher:
    for line in sys.stdin:
        while publisher.publish(sys.argv[2], line.rstrip("\n").encode()) == FULL:
            publisher.drain()  # the server is behind: wait until it has taken what there is
    publisher.drain()
