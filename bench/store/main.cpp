// millrace-store-bench: the store alone, and beside RocksDB if it was built with that.
//
//   millrace-store-bench ENGINE FOLDER messages BATCH COUNT   durable QoS 1 to one session, a commit a
//                                                             batch; each was acknowledged by the next
//   millrace-store-bench ENGINE FOLDER fill COUNT             so many sessions and retained values
//   millrace-store-bench ENGINE FOLDER read                   opens that and reads everything
//   millrace-store-bench FOLDER make COUNT                    a server's sessions, and then
//   millrace-store-bench FOLDER recover                       start and clean end of a server with them
//
// ENGINE: log or rocksdb. FOLDER: of a new store. bench/store/run.sh does all of it in turns.
#include <sys/resource.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

#include "bench/store/engine.hpp"
#include "bench/store/sessions.hpp"

namespace millrace::bench {

double cpu_seconds() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

double written_bytes() {
  std::ifstream file("/proc/self/io");
  std::string key;
  double value = 0;
  while (file >> key >> value) {
    if (key == "write_bytes:") return value;
  }
  return 0;
}

double memory_bytes(bool peak) {
  std::ifstream file("/proc/self/status");
  const std::string wanted = peak ? "VmHWM:" : "VmRSS:";
  for (std::string word; file >> word;) {
    double kib = 0;
    if (word == wanted && file >> kib) return 1024 * kib;
  }
  return 0;
}

double folder_bytes(const std::string& folder) {
  double bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.is_regular_file()) bytes += static_cast<double>(entry.file_size());
  }
  return bytes;
}

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint8_t session_space = 2;
constexpr std::uint8_t retained_space = 3;
constexpr std::size_t payload_bytes = 250;

std::unique_ptr<Engine> open(const std::string& name, const std::string& folder) {
  auto engine = name == "log" ? open_log(folder) : open_rocksdb(folder);
  if (!engine) throw std::runtime_error("this program was built without RocksDB");
  return engine;
}

std::string entry_key(std::uint64_t number) {
  std::string key = "E";
  for (int shift = 24; shift >= 0; shift -= 8) key += static_cast<char>(number >> shift);
  return key;
}

void run_messages(const std::string& name, const std::string& folder, std::uint64_t batch,
                  std::uint64_t count) {
  auto engine = open(name, folder);
  const std::string packet(payload_bytes + 30, 'p');
  const std::string entry(16, 'e');
  const auto started = Clock::now();
  const double cpu = cpu_seconds();
  const double written = written_bytes();
  std::uint64_t number = 0;
  while (number < count) {
    const std::uint64_t before = number;
    for (std::uint64_t i = 0; i < batch; ++i) {
      ++number;
      engine->put({store::body_space, number, {}}, packet);
      engine->put({session_space, 1, entry_key(number)}, entry, number);
    }
    for (std::uint64_t acked = before; acked > 0 && acked + batch > before; --acked) {
      engine->erase({session_space, 1, entry_key(acked)});
      engine->erase_body(acked);
    }
    engine->commit();
  }
  const double took = seconds_since(started);
  const double used = cpu_seconds() - cpu;
  engine.reset();
  const auto sent = static_cast<double>(number);
  std::printf(
      "%-8s %5llu a commit: %8.0f messages/s, %6.0f commits/s, %6.2f us CPU a message, %5.2f bytes "
      "written a byte, folder %.1f MB\n",
      name.c_str(), static_cast<unsigned long long>(batch), sent / took,
      sent / static_cast<double>(batch) / took, 1e6 * used / sent,
      (written_bytes() - written) / (sent * payload_bytes), folder_bytes(folder) / 1e6);
}

void run_fill(const std::string& name, const std::string& folder, std::uint64_t count) {
  const auto started = Clock::now();
  auto engine = open(name, folder);
  const std::string session(70, 's');
  const std::string subscription(30, 'b');
  const std::string value(150, 'v');
  for (std::uint64_t i = 1; i <= count; ++i) {
    const std::string device = "devices/" + std::to_string(i);
    engine->put({session_space, i, "A"}, session);
    engine->put({session_space, i, "B" + device + "/ota/#"}, subscription);
    engine->put({session_space, i, "B" + device + "/set"}, subscription);
    engine->put({retained_space, 0, device + "/state"}, value);
    if (i % 5000 == 0) engine->commit();
  }
  engine->commit();
  engine.reset();
  std::printf("%-8s fill: %.2f s, %.2f s CPU, %.0f MB written, folder %.0f MB\n", name.c_str(),
              seconds_since(started), cpu_seconds(), written_bytes() / 1e6,
              folder_bytes(folder) / 1e6);
}

void run_read(const std::string& name, const std::string& folder) {
  const auto started = Clock::now();
  const double before = memory_bytes();
  const auto engine = open(name, folder);
  std::printf("%-8s read: %.2f s, %.2f s CPU, %llu records, %.0f MB memory at most\n", name.c_str(),
              seconds_since(started), cpu_seconds(),
              static_cast<unsigned long long>(engine->found()),
              (memory_bytes(true) - before) / 1e6);
}

int run(const std::vector<std::string>& arguments) {
  const auto number = [&](std::size_t i) { return std::stoull(arguments.at(i)); };
  const auto is = [&](std::size_t i, const char* what, std::size_t count) {
    return arguments.size() == count && arguments[i] == what;
  };
  if (is(2, "messages", 5)) {
    run_messages(arguments[0], arguments[1], number(3), number(4));
  } else if (is(2, "fill", 4)) {
    run_fill(arguments[0], arguments[1], number(3));
  } else if (is(2, "read", 3)) {
    run_read(arguments[0], arguments[1]);
  } else if (is(1, "make", 3)) {
    make_sessions(arguments[0], number(2));
  } else if (is(1, "recover", 2)) {
    recover_sessions(arguments[0]);
  } else {
    std::cerr << "usage: see bench/store/main.cpp\n";
    return 2;
  }
  return 0;
}

}  // namespace
}  // namespace millrace::bench

int main(int count, char** arguments) {
  try {
    return millrace::bench::run({arguments + 1, arguments + count});
  } catch (const std::exception& error) {
    std::cerr << "millrace-store-bench: " << error.what() << "\n";
    return 1;
  }
}
