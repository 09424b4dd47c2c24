"""Ten thousand idle connections, and half of them killed."""

import os
import resource
import subprocess
import sys

from case import Case, eventually, main

COUNT = int(os.environ.get("IDLE_CONNECTIONS", "10000"))
HALF = COUNT // 2
FOLDER = os.path.dirname(os.path.abspath(__file__))


class Idle(Case):
    @classmethod
    def setUpClass(cls):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if hard < COUNT + 200:
            raise AssertionError(f"{COUNT} connections need more than {hard} descriptors")
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        super().setUpClass()

    def clients(self, prefix):
        held = subprocess.Popen([sys.executable, os.path.join(FOLDER, "idle_clients.py"),
                                 str(self.server.mqtt_port), str(HALF), prefix],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

        def end():
            held.kill()
            held.wait()
            held.stdin.close()
            held.stdout.close()
        self.addCleanup(end)
        self.assertEqual(held.stdout.readline(), "ready\n")
        return held

    def gauge(self, name):
        return sum(value for key, value in self.server.metrics().items()
                   if key.partition("{")[0] == name)

    def wait_for(self, clients):
        """Waits until the server has exactly this many clients, sessions and descriptors."""
        def settled():
            return (self.server.descriptors() - self.descriptors == clients and
                    self.gauge("millrace_clients_open") == clients and
                    self.gauge("millrace_sessions") == clients)
        eventually(settled, f"{clients} clients, sessions and descriptors")

    def test_killing_half_of_ten_thousand_leaves_nothing_behind(self):
        self.server.mqtt_port, self.server.ws_port  # Waits until it listens.
        self.descriptors, empty = self.server.descriptors(), self.server.resident_bytes()
        self.clients("stays")
        self.wait_for(HALF)
        peaks = []
        for number in range(3):
            killed = self.clients(f"goes{number}-")
            self.wait_for(COUNT)
            peaks.append(self.server.resident_bytes())
            killed.kill()
            killed.wait()
            self.wait_for(HALF)
        # Memory that is not freed for a killed client would add up: 5,000 of them in each round.
        self.assertLess(peaks[2] - peaks[0], HALF * 100)
        print(f"{COUNT} idle connections: {(peaks[0] - empty) // COUNT} bytes each; two more rounds of "
              f"{HALF} killed clients: {peaks[2] - peaks[0]} bytes more")


if __name__ == "__main__":
    main()
