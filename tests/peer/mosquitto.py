"""mosquitto as a process, for tests of what is between two brokers."""

import os
import shutil
import socket
import subprocess
import tempfile

from suite import eventually, free_port

# Debian installs servers in a folder that is only in root's PATH.
SERVERS = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
MOSQUITTO = shutil.which("mosquitto", path=SERVERS)


class Mosquitto:
    """mosquitto on one port, the same after each restart. `lines`: more of its configuration."""

    def __init__(self, *lines):
        self.port = free_port()
        self.folder = tempfile.TemporaryDirectory(prefix="millrace-mosquitto-")
        self.file = self.path("mosquitto.conf")
        with open(self.file, "w") as out:
            out.write("\n".join([f"listener {self.port} 127.0.0.1", "user root", *lines, ""]))
        self.start()

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def start(self):
        self.log = open(self.path("log"), "a+")
        self.process = subprocess.Popen([MOSQUITTO, "-v", "-c", self.file], stdout=self.log,
                                        stderr=subprocess.STDOUT)
        eventually(self.listens, "mosquitto listens")

    def listens(self):
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
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
