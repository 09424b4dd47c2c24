"""The Paho clients for C and C++: runs the programs built from paho_c.c and paho_cpp.cpp."""

import os

from case import Case, main


class Native(Case):
    def run_client(self, name):
        path = os.path.join(os.environ["CLIENT_PROGRAMS"], name)
        if not os.path.exists(path):
            self.skipTest(f"{name} was not built: its library is not installed")
        print(*self.program(path, f"tcp://127.0.0.1:{self.server.mqtt_port}").finish(), sep="\n")

    def test_paho_c(self):
        self.run_client("paho_c")

    def test_paho_cpp(self):
        self.run_client("paho_cpp")


if __name__ == "__main__":
    main()
