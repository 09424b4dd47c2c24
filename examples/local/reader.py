"""Reads topics below md/ from shared memory: the newest value of each, then every new message."""
import sys
from millrace_local import LATEST, Reader

for message in Reader("md/#", socket=sys.argv[1], start=LATEST):
    print(message.topic, message.payload.decode(), flush=True)
