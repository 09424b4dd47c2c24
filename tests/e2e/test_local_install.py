"""README's consumers, built as an outside project would from what `cmake --install` puts there, and
run against the real server."""

import os
import re
import subprocess
import sys

from case import main
from local_case import BUILD, LocalCase
from test_readme import section

PROJECT = """
cmake_minimum_required(VERSION 3.16)
project(outside LANGUAGES CXX)
find_package(millrace-local REQUIRED)
add_executable(consumer consumer.cpp)
target_link_libraries(consumer PRIVATE millrace::local)
"""


def example(name):
    """The code that follows the mention of its file name."""
    found = re.search(rf"`{re.escape(name)}`:\n\n((?: {{4}}.*\n|\n)+)", section("On the same host"))
    return "\n".join(line[4:] for line in found[1].rstrip().splitlines()) + "\n"


class Installed(LocalCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.prefix = os.path.join(cls.folder.name, "prefix")
        cls.run_quietly("cmake", "--install", BUILD, "--component", "local", "--prefix", cls.prefix)
        cls.library = os.path.dirname(cls.file("libmillrace-local.so"))

    @staticmethod
    def run_quietly(*command, **options):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              **options)
        if done.returncode:
            raise AssertionError(f"{command} failed:\n{done.stdout}")
        return done.stdout

    @classmethod
    def file(cls, name):
        for folder, _, files in os.walk(cls.prefix):
            if name in files:
                return os.path.join(folder, name)
        raise AssertionError(f"{name} is not installed")

    def write(self, name, content):
        path = os.path.join(self.folder.name, name)
        with open(path, "w") as out:
            out.write(content)
        return path

    def reads(self, *command, **environment):
        """It begins with the newest values, and goes on with what comes."""
        publisher = self.peer()
        publisher.publish("md/eurusd", b"1.0842", qos=1)
        consumer = self.program(*command, self.socket, env=environment)
        self.assertEqual(consumer.line(), "md/eurusd 1.0842")
        for price in range(100):
            publisher.publish("md/eurusd", str(price).encode())
        for price in range(100):
            self.assertEqual(consumer.line(), f"md/eurusd {price}")

    def test_each_consumer_is_short(self):
        for name in ("consumer.cpp", "consumer.c", "consumer.py"):
            lines = [line for line in example(name).splitlines() if line.strip()]
            self.assertLessEqual(len(lines), 15, name)

    def test_the_cpp_consumer_through_the_cmake_package(self):
        self.write("consumer.cpp", example("consumer.cpp"))
        self.write("CMakeLists.txt", PROJECT)
        build = os.path.join(self.folder.name, "build")
        self.run_quietly("cmake", "-S", self.folder.name, "-B", build,
                         f"-DCMAKE_PREFIX_PATH={self.prefix}")
        self.run_quietly("cmake", "--build", build)
        self.reads(os.path.join(build, "consumer"))

    def test_the_c_consumer_through_pkg_config(self):
        source, program = self.write("consumer.c", example("consumer.c")), self.folder.name + "/c"
        flags = self.run_quietly(
            "pkg-config", "--cflags", "--libs", "millrace-local",
            env={**os.environ, "PKG_CONFIG_PATH": os.path.dirname(self.file("millrace-local.pc"))})
        self.run_quietly("cc", "-Wall", "-Wextra", "-Werror", source, "-o", program, *flags.split())
        self.reads(program, LD_LIBRARY_PATH=self.library)

    def test_the_python_consumer(self):
        source = self.write("consumer.py", example("consumer.py"))
        self.reads(sys.executable, source,
                   PYTHONPATH=os.path.dirname(self.file("millrace_local.py")),
                   LIBMILLRACE_LOCAL=os.path.join(self.library, "libmillrace-local.so.0"))


if __name__ == "__main__":
    main()
