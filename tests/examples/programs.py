"""What the examples have to do, wherever they were built. A test class says where: PROGRAMS, and
ENVIRONMENT for the Python ones."""

import os
import subprocess
import sys
from pathlib import Path

import wire
from local_case import ROOT, LocalCase

EXAMPLES = Path(ROOT).resolve() / "examples"


def run(*command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode:
        raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


class Programs(LocalCase):
    """Not a test by itself: a base of test cases."""

    PROGRAMS = None
    ENVIRONMENT = {}

    def built(self, name):
        return str(self.PROGRAMS / name)

    def reads(self, *command):
        """It begins with the newest values, and goes on with what comes."""
        publisher = self.peer()
        publisher.publish("md/eurusd", b"1.0842", qos=1)
        reader = self.program(*command, self.socket, env=self.ENVIRONMENT)
        self.assertEqual(reader.line("md/eurusd"), "md/eurusd 1.0842")
        for price in range(100):
            publisher.publish("md/eurusd", str(price).encode())
        for price in range(100):
            self.assertEqual(reader.line("md/eurusd"), f"md/eurusd {price}")

    def publishes(self, *command):
        """Every line of its input arrives, in order."""
        subscriber = self.peer()
        subscriber.subscribe(f"md/{self.unique}")
        lines = [str(number) for number in range(1000)]
        run(*command, self.socket, f"md/{self.unique}", input="\n".join(lines) + "\n",
            env={**os.environ, **self.ENVIRONMENT})
        for line in lines:
            self.assertEqual(subscriber.expect(wire.PUBLISH).payload, line.encode())


class Cases:
    """Mixed into the classes that say where the programs are."""

    def test_the_queue(self):
        self.assertEqual(run(self.built("queue")), "the sum of all is 2002000\n")

    def test_the_bus(self):
        self.assertEqual(run(self.built("bus")), "1000 rpm, 999 values skipped\n")

    def test_the_disruptor(self):
        self.assertEqual(run(self.built("disruptor")), "the orders are worth 250250\n")

    def test_readers_in_cpp_and_c_and_python(self):
        self.reads(self.built("reader_cpp"))
        self.reads(self.built("reader_c"))
        self.reads(sys.executable, EXAMPLES / "local" / "reader.py")

    def test_a_reader_that_is_awaited(self):
        self.reads(self.built("await_cpp"))

    def test_publishers_in_cpp_and_c_and_python(self):
        self.publishes(self.built("publisher_cpp"))
        self.publishes(self.built("publisher_c"))
        self.publishes(sys.executable, EXAMPLES / "local" / "publisher.py")

    def test_a_value_that_is_looked_up(self):
        self.peer().publish("md/gbpusd", b"1.2701", qos=1)
        self.assertEqual(run(self.built("lookup_cpp"), self.socket, "md/gbpusd"), "1.2701\n")
