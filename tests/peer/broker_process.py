"""Another broker as a process, in a folder of its own, on the same ports after each restart."""

import os
import socket
import subprocess
import tempfile

from suite import eventually

# Debian installs servers in a folder that is only in root's PATH.
SERVERS = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"


class BrokerProcess:
    """A subclass writes its configuration to path(...), says `command` and `ports`, and calls start()."""
    command = ()
    ports = ()

    def __init__(self, name):
        self.name = name
        self.folder = tempfile.TemporaryDirectory(prefix=f"millrace-{name}-")

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def start(self):
        self.log = open(self.path("log"), "a+")
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=subprocess.STDOUT)
        eventually(lambda: all(self.listens(port) for port in self.ports), f"{self.name} listens")

    def connect(self, port):
        return socket.create_connection(("127.0.0.1", port))

    def listens(self, port):
        try:
            self.connect(port).close()
            return True
        except ConnectionRefusedError:
            return False

    def said(self):
        self.log.seek(0)
        return self.log.read()

    def end(self):
        self.process.kill()
        self.process.wait()
        self.log.close()

    def stop(self):
        self.end()
        self.folder.cleanup()
