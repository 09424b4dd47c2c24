"""mosquitto as a process, for tests of what is between two brokers."""

import shutil

from broker_process import SERVERS, BrokerProcess
from suite import free_port

MOSQUITTO = shutil.which("mosquitto", path=SERVERS)


class Mosquitto(BrokerProcess):
    """`lines`: more of its configuration."""

    def __init__(self, *lines):
        super().__init__("mosquitto")
        self.port = free_port()
        self.ports = (self.port,)
        self.file = self.path("mosquitto.conf")
        self.command = [MOSQUITTO, "-v", "-c", self.file]
        with open(self.file, "w") as out:
            out.write("\n".join([f"listener {self.port} 127.0.0.1", "user root", *lines, ""]))
        self.start()
