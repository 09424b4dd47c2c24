"""Keeps idle connections: idle_clients.py PORT COUNT PREFIX. Prints "ready" when all are accepted, and
runs until it is killed."""

import resource
import socket
import sys

import wire


def main():
    port, count, prefix = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    held = []
    for number in range(count):
        # Distributed over loopback addresses, so that there are enough ephemeral ports.
        client = socket.socket()
        client.bind((f"127.0.0.{2 + number % 200}", 0))
        client.connect(("127.0.0.1", port))
        client.sendall(wire.connect(f"{prefix}{number}", version=4, keep_alive=0))
        held.append(client)
    for client in held:
        answer = b""
        while len(answer) < 4:
            data = client.recv(4 - len(answer))
            if not data:
                sys.exit("refused")
            answer += data
        if answer != b"\x20\x02\x00\x00":
            sys.exit(f"not accepted: {answer.hex()}")
    print("ready", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
