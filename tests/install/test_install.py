"""The installed components: core alone, without a library of the server's, and the server."""

import os
import subprocess
import tempfile
import unittest

SOURCE, BUILD, CMAKE = (os.environ[name] for name in ("SOURCE", "BUILD", "CMAKE"))
SERVERS_LIBRARIES = ("Boost", "OpenSSL", "nlohmann_json", "prometheus-cpp", "spdlog", "GTest",
                     "benchmark")
PROJECT = """
cmake_minimum_required(VERSION 3.16)
project(outside LANGUAGES CXX)
find_package(millrace-core 0.1 REQUIRED COMPONENTS queue latest disruptor)
foreach(part queue latest disruptor)
  add_executable(${part} ${part}.cpp)
  target_compile_options(${part} PRIVATE -Wall -Wextra -Werror)
  target_link_libraries(${part} PRIVATE millrace::${part})
endforeach()
# The adapter for Asio is a header that needs Boost, which is the outsider's affair.
add_executable(await await.cpp)
target_link_libraries(await PRIVATE millrace::latest)
"""
FAMILY = """
#include <core/queue/async_queue.hpp>
#include <core/queue/elastic_mpsc_queue.hpp>
#include <core/queue/locked_mpmc_queue.hpp>
#include <core/queue/mpmc_queue.hpp>
#include <core/queue/spsc_queue.hpp>
#include <iostream>

using namespace millrace::queue;

long through(auto&& queue) {
  long sum = 0;
  for (long i = 1; i <= 100; ++i) queue->try_push(i).value();
  queue->pop_batch(100, [&](long& item) { sum += item; });
  return sum;
}

int main() {
  const auto config = QueueConfig().with_initial_capacity(64).with_min_capacity(8);
  std::cout << through(*ElasticMpscQueue<long>::create(config)) << ' '
            << through(*LockedMpmcQueue<long>::create(config)) << ' '
            << through(*SpscQueue<long>::create(100)) << ' '
            << through(*MpmcQueue<long>::create(100)) << ' '
            << describe(SpscQueue<long>::create(0).error()) << std::endl;
}
"""
BUS = """
#include <core/latest/bus.hpp>

int main() {
  millrace::latest::Bus<int> bus;
  auto subscriber = bus.subscribe("a");
  if (!bus.publish("a", 1)) return 1;
  std::ignore = subscriber.try_get();
}
"""
AWAIT = """
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <core/latest/asio/async_wait.hpp>
#include <core/latest/bus.hpp>
#include <iostream>

namespace asio = boost::asio;

asio::awaitable<void> follow(millrace::latest::Subscriber<int>& numbers) {
  while (auto poll = co_await numbers.async_wait()) std::cout << poll.value() << std::endl;
}

int main() {
  millrace::latest::Bus<int> bus;
  auto numbers = bus.subscribe("a");
  asio::io_context context;
  asio::co_spawn(context, follow(numbers), asio::detached);
  if (!bus.publish("a", 42)) return 1;
  context.poll();
  bus.close();
  context.run();
}
"""
RING = """
#include <core/disruptor/disruptor.hpp>
#include <iostream>

int main() {
  long sum = 0;
  millrace::disruptor::Disruptor<long> line({.capacity = 64});
  line.add("sum", [&](long& event, std::int64_t, bool) { sum += event; });
  line.start();
  for (long i = 1; i <= 1000; ++i) {
    if (!line.producer().publish_with([i](long& event) { event = i; })) return 1;
  }
  if (!line.drain()) return 1;
  std::cout << sum << std::endl;
}
"""


def run(*command, fails=False):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if (done.returncode != 0) != fails:
        raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


class CoreAlone(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="millrace-install-")
        cls.addClassCleanup(folder.cleanup)
        cls.build, cls.prefix, source, cls.outside = (
            os.path.join(folder.name, name) for name in ("build", "prefix", "source", "outside"))
        # As on a machine that has none of the server's libraries.
        missing = [f"-DCMAKE_DISABLE_FIND_PACKAGE_{name}=TRUE" for name in SERVERS_LIBRARIES]
        run(CMAKE, "-G", "Ninja", "-S", SOURCE, "-B", cls.build, "-DMILLRACE_SERVER=OFF", "-DMILLRACE_TESTS=OFF",
            "-DMILLRACE_BENCH=OFF", *missing)
        cls.too_early = run(CMAKE, "--install", cls.build, "--component", "core", "--prefix",
                            cls.prefix, fails=True)
        run(CMAKE, "--build", cls.build, "--target", "millrace_core")
        run(CMAKE, "--install", cls.build, "--component", "core", "--prefix", cls.prefix)
        os.mkdir(source)
        for name, content in (("CMakeLists.txt", PROJECT), ("queue.cpp", FAMILY),
                              ("latest.cpp", BUS), ("disruptor.cpp", RING), ("await.cpp", AWAIT)):
            with open(os.path.join(source, name), "w") as out:
                out.write(content)
        run(CMAKE, "-G", "Ninja", "-S", source, "-B", cls.outside, f"-DCMAKE_PREFIX_PATH={cls.prefix}")
        run(CMAKE, "--build", cls.outside)

    def test_an_installation_before_the_build_names_the_target_to_build(self):
        self.assertIn(f"cmake --build {self.build} --target millrace_core",
                      " ".join(self.too_early.split()))

    def test_it_says_under_which_licence_it_is(self):
        with open(os.path.join(self.prefix, "share", "doc", "libmillrace-core-dev", "copyright")) as file:
            self.assertIn("Apache License", file.read())

    def test_the_queues(self):
        self.assertEqual(run(os.path.join(self.outside, "queue")),
                         "5050 5050 5050 5050 min_capacity must be above 0\n")

    def test_the_bus(self):
        run(os.path.join(self.outside, "latest"))

    def test_a_value_awaited_by_a_coroutine_of_asio(self):
        self.assertEqual(run(os.path.join(self.outside, "await")), "42\n")

    def test_the_disruptor(self):
        self.assertEqual(run(os.path.join(self.outside, "disruptor")), "500500\n")

    def test_no_header_needs_another_library_but_the_adapters_for_asio(self):
        for folder, _, names in os.walk(os.path.join(self.prefix, "include")):
            for name in names:
                if os.path.basename(folder) == "asio":
                    continue
                with open(os.path.join(folder, name)) as header:
                    self.assertNotIn("#include <boost", header.read(), name)


class Server(unittest.TestCase):
    def test_the_program_its_unit_and_an_example_of_its_configuration(self):
        with tempfile.TemporaryDirectory(prefix="millrace-install-") as prefix:
            run(CMAKE, "--install", BUILD, "--component", "server", "--prefix", prefix)
            program = os.path.join(prefix, "bin", "millrace")
            self.assertIn("0.", run(program, "--version"))
            self.assertTrue(os.path.exists(
                os.path.join(prefix, "lib", "systemd", "system", "millrace.service")))
            example = os.path.join(prefix, "share", "millrace", "millrace.json")
            self.assertTrue(os.path.exists(example))
            for name, source in (("copyright", "deploy/debian/copyright"), ("LICENSE", "LICENSE")):
                with open(os.path.join(prefix, "share", "doc", "millrace", name)) as installed:
                    with open(os.path.join(SOURCE, source)) as expected:
                        self.assertEqual(installed.read(), expected.read())


if __name__ == "__main__":
    unittest.main()
