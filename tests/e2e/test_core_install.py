"""README's program with the queue and the bus, built as an outside project would from what
`cmake --install` puts there."""

import os
import re
import subprocess
import tempfile
import unittest

from case import main
from test_readme import section

BUILD = os.path.join(os.path.dirname(os.path.abspath(os.environ["SERVER_BINARY"])), "..")
PROJECT = """
cmake_minimum_required(VERSION 3.16)
project(outside LANGUAGES CXX)
find_package(millrace-core REQUIRED)
add_executable(parts parts.cpp)
target_compile_options(parts PRIVATE -Wall -Wextra -Werror)
target_link_libraries(parts PRIVATE millrace::queue millrace::latest)
add_executable(ring ring.cpp)
target_link_libraries(ring PRIVATE millrace::disruptor)
"""
RING = """
#include <core/disruptor/disruptor.hpp>
#include <iostream>

int main() {
  long sum = 0;
  millrace::disruptor::Disruptor<long> line({.capacity = 64});
  line.add("sum", [&](long& event, std::int64_t, bool) { sum += event; });
  line.start();
  for (long i = 1; i <= 1000; ++i) line.producer().publish_with([i](long& event) { event = i; });
  line.drain();
  std::cout << sum << std::endl;
}
"""


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise AssertionError(f"{command} failed:\n{done.stdout}")
    return done.stdout


class Installed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="millrace-core-")
        cls.addClassCleanup(folder.cleanup)
        source, cls.build, prefix = (os.path.join(folder.name, name)
                                     for name in ("source", "build", "prefix"))
        run("cmake", "--install", BUILD, "--component", "core", "--prefix", prefix)
        [code] = re.findall(r"`parts\.cpp`:\n\n((?: {4}.*\n|\n)+)", section("The parts, on their own"))
        os.mkdir(source)
        for name, content in (("CMakeLists.txt", PROJECT), ("ring.cpp", RING),
                              ("parts.cpp", re.sub(r"^ {4}", "", code, flags=re.M))):
            with open(os.path.join(source, name), "w") as out:
                out.write(content)
        run("cmake", "-S", source, "-B", cls.build, f"-DCMAKE_PREFIX_PATH={prefix}")
        run("cmake", "--build", cls.build)

    def test_the_queue_and_the_bus(self):
        self.assertEqual(run(os.path.join(self.build, "parts")), "500500, 999 values skipped\n")

    def test_the_disruptor(self):
        self.assertEqual(run(os.path.join(self.build, "ring")), "500500\n")


if __name__ == "__main__":
    main()
