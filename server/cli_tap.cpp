// `millrace tap`: prints what a local server's shared memory carries, without a system call for
// each.
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "core/shm/include/millrace/local.hpp"
#include "server/cli.hpp"

namespace millrace::server {

namespace po = boost::program_options;
using Clock = std::chrono::steady_clock;

namespace {

volatile sig_atomic_t interrupted = 0;

void interrupt(int) {
  interrupted = 1;
}

// The rate, the lag and the losses, once a second on one line of standard error.
class LiveStats {
 public:
  void show(const local::Reader& reader, std::uint64_t count) {
    const auto now = Clock::now();
    const double seconds = std::chrono::duration<double>(now - shown_at_).count();
    if (seconds < 1) return;
    const double rate = static_cast<double>(count - shown_count_) / seconds;
    const bool is_terminal = ::isatty(STDERR_FILENO) == 1;
    std::cerr << (is_terminal ? "\r\x1b[K" : "") << static_cast<std::uint64_t>(rate)
              << " msg/s  total " << count << "  lag " << reader.lag_bytes() << " bytes  lost "
              << reader.missed() << (is_terminal ? "" : "\n") << std::flush;
    shown_at_ = now;
    shown_count_ = count;
  }

 private:
  Clock::time_point shown_at_ = Clock::now();
  std::uint64_t shown_count_ = 0;
};

void print(const local::MessageCopy& message, bool as_json, std::string& out) {
  if (as_json) {
    nlohmann::ordered_json line{{"topic", message.topic},
                                {"payload", message.payload},
                                {"sequence", message.sequence},
                                {"time_ns", message.time_ns},
                                {"retained", message.retained}};
    if (message.oversize) line["oversize_bytes"] = message.oversize_bytes;
    out += line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  } else {
    out += message.topic;
    out += ' ';
    if (message.oversize) {
      out.append("(").append(std::to_string(message.oversize_bytes)).append(" bytes)");
    } else {
      out += message.payload;
    }
  }
  out += '\n';
}

// What is printed leaves when there is nothing more to read, or when it is a good piece.
class Output {
 public:
  std::string& text() { return text_; }
  void flush_if_large() {
    if (text_.size() > 64 * 1024) flush();
  }
  void flush() {
    std::cout << text_ << std::flush;
    text_.clear();
  }

 private:
  std::string text_;
};

po::options_description tap_options() {
  po::options_description options("Options");
  options.add_options()("help,h", "this text");
  options.add_options()("socket", po::value<std::string>()->default_value(local::default_socket),
                        "the server's local.socket");
  options.add_options()("lossless", "the server keeps what is unread, within its limits");
  options.add_options()("start", po::value<std::string>()->default_value("now"),
                        "now, oldest (in the ring) or latest (newest values first)");
  options.add_options()("name", po::value<std::string>()->default_value(""),
                        "by which others may stand after this one");
  options.add_options()("after", po::value<std::vector<std::string>>(),
                        "read only what this reader of the same filter has passed");
  options.add_options()("json", "one object a line");
  options.add_options()("count", po::value<std::uint64_t>()->default_value(0),
                        "end after so many messages; 0: never");
  options.add_options()("stats", "show rate, lag and losses instead of the messages");
  options.add_options()("filter", po::value<std::string>()->default_value("#"), "");
  return options;
}

local::ReaderOptions reader_options(const po::variables_map& values) {
  local::ReaderOptions options;
  options.socket = values["socket"].as<std::string>();
  options.name = values["name"].as<std::string>();
  if (values.count("lossless") > 0) options.policy = local::Policy::lossless;
  if (values.count("after") > 0) options.after = values["after"].as<std::vector<std::string>>();
  const std::string start = values["start"].as<std::string>();
  if (start == "oldest") {
    options.start = local::Start::oldest;
  } else if (start == "latest") {
    options.start = local::Start::latest;
  } else if (start != "now") {
    throw UsageError("--start must be now, oldest or latest");
  }
  return options;
}

void report(local::Status status, const local::Reader& reader) {
  if (status == local::Status::disconnected || status == local::Status::evicted) {
    std::cerr << "millrace: " << reader.last_error() << std::endl;
  } else if (status == local::Status::reconnected) {
    std::cerr << "millrace: attached again; what was published in between is missed" << std::endl;
  }
}

}  // namespace

int run_tap(const Arguments& arguments) {
  po::positional_options_description positional;
  positional.add("filter", 1);
  const po::options_description options = tap_options();
  const po::variables_map values = parse_options(arguments, options, positional);
  if (values.count("help") > 0) {
    std::cout << "usage: millrace tap [FILTER] [options]\n\n" << options;
    return 0;
  }
  local::Reader reader(values["filter"].as<std::string>(), reader_options(values));
  ::signal(SIGINT, interrupt);
  ::signal(SIGTERM, interrupt);
  ::signal(SIGPIPE, SIG_DFL);
  const bool as_json = values.count("json") > 0, only_stats = values.count("stats") > 0;
  const std::uint64_t count_max = values["count"].as<std::uint64_t>();
  std::cerr << "millrace: attached" << std::endl;

  constexpr auto patience = std::chrono::milliseconds(100);
  LiveStats stats;
  Output output;
  local::MessageCopy message;
  std::uint64_t count = 0;
  while (!interrupted && (count_max == 0 || count < count_max)) {
    auto status = reader.next_copy(message, std::chrono::nanoseconds(0));
    if (status == local::Status::timeout) {
      output.flush();
      status = reader.next_copy(message, patience);
    }
    if (status == local::Status::message) {
      ++count;
      if (!only_stats) print(message, as_json, output.text());
      output.flush_if_large();
    } else {
      report(status, reader);
    }
    if (only_stats) stats.show(reader, count);
  }
  output.flush();
  if (reader.missed() > 0) std::cerr << "millrace: " << reader.missed() << " missed" << std::endl;
  return 0;
}

}  // namespace millrace::server
