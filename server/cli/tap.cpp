// `millrace tap`: prints the messages that a server on this host publishes, read from shared
// memory.
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "core/shm/include/millrace/local.hpp"
#include "server/cli/local_options.hpp"

namespace millrace::server {

namespace po = boost::program_options;
using Clock = std::chrono::steady_clock;

namespace {

volatile sig_atomic_t interrupted = 0;

// A second one ends the program at once: it may wait for whoever reads its output.
void interrupt(int number) {
  interrupted = 1;
  ::signal(number, SIG_DFL);
}

// Prints rate, lag and missed messages once a second on one line of standard error, and at the end
// those of the whole time.
class LiveStats {
 public:
  void show(const local::Reader& reader, std::uint64_t count) {
    const auto now = Clock::now();
    if (now - shown_at_ < std::chrono::seconds(1)) return;
    print(reader, count, count - shown_count_, now - shown_at_, is_terminal_ ? "" : "\n");
    shown_at_ = now;
    shown_count_ = count;
  }
  void finish(const local::Reader& reader, std::uint64_t count) const {
    print(reader, count, count, Clock::now() - began_at_, "\n");
  }

 private:
  void print(const local::Reader& reader, std::uint64_t count, std::uint64_t counted,
             Clock::duration time, const char* end) const {
    const double rate = static_cast<double>(counted) / std::chrono::duration<double>(time).count();
    std::cerr << (is_terminal_ ? "\r\x1b[K" : "") << static_cast<std::uint64_t>(rate)
              << " msg/s  total " << count << "  lag " << reader.lag_bytes() << " bytes  lost "
              << reader.missed() << end << std::flush;
  }

  const bool is_terminal_ = ::isatty(STDERR_FILENO) == 1;
  const Clock::time_point began_at_ = Clock::now();
  Clock::time_point shown_at_ = began_at_;
  std::uint64_t shown_count_ = 0;
};

void print_json(const local::MessageCopy& message, std::string& out) {
  nlohmann::ordered_json line{{"topic", message.topic},
                              {"payload", message.payload},
                              {"sequence", message.sequence},
                              {"time_ns", message.time_ns},
                              {"retained", message.retained}};
  if (message.oversize) line["oversize_bytes"] = message.oversize_bytes;
  out += line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void print_plain(const local::MessageCopy& message, std::string& out) {
  out.append(message.topic).append(1, ' ');
  if (message.oversize) {
    out.append("(").append(std::to_string(message.oversize_bytes)).append(" bytes)");
  } else {
    out += message.payload;
  }
}

// Buffered output: written when there is nothing more to read, or when 64 KiB are there.
class Output {
 public:
  void add(const local::MessageCopy& message, bool as_json) {
    as_json ? print_json(message, text_) : print_plain(message, text_);
    text_ += '\n';
    if (text_.size() > 64 * 1024) flush();
  }
  void flush() {
    if (!(std::cout << text_ << std::flush)) {
      throw std::system_error(errno, std::generic_category(), "cannot write to standard output");
    }
    text_.clear();
  }

 private:
  std::string text_;
};

po::options_description tap_options() {
  po::options_description options("Options");
  options.add_options()("lossless",
                        "the server keeps unread messages for this reader, up to its limits");
  options.add_options()(
      "start", po::value<std::string>()->default_value("now"),
      "where to begin: now, oldest (what is still in the ring) or latest (the newest value of each "
      "topic first)");
  options.add_options()("name", po::value<std::string>()->default_value(""),
                        "a name for this reader, which others can give to --after");
  options.add_options()(
      "after", po::value<std::vector<std::string>>(),
      "read a message only after the reader of this name has; it must have the same filters and "
      "policy");
  options.add_options()("wildcards", po::value<std::string>()->default_value("mqtt"),
                        "of the filters: mqtt (+ and #), or star (also * for one level, and ** at "
                        "the end for all that follow)");
  options.add_options()("json", "print one JSON object a line");
  options.add_options()("count", po::value<std::uint64_t>()->default_value(0),
                        "end after this many messages; 0: never");
  options.add_options()("stats", "print rate, lag and losses instead of the messages");
  return options;
}

local::ReaderOptions reader_options(const po::variables_map& values) {
  local::ReaderOptions options;
  options.socket = local_socket(values);
  options.name = values["name"].as<std::string>();
  if (values.count("lossless") > 0) options.policy = local::Policy::lossless;
  if (values.count("after") > 0) options.after = values["after"].as<std::vector<std::string>>();
  const std::string wildcards = values["wildcards"].as<std::string>();
  if (wildcards == "star") {
    options.wildcards = local::Wildcards::star;
  } else if (wildcards != "mqtt") {
    throw UsageError("--wildcards must be mqtt or star");
  }
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
  const auto parsed = parse_local_client(arguments, "millrace tap [FILTER...] [options]", "filter",
                                         -1, tap_options());
  if (!parsed) return 0;
  const po::variables_map& values = *parsed;
  std::vector<std::string> filters{"#"};
  if (values.count("filter") > 0) filters = values["filter"].as<std::vector<std::string>>();
  local::Reader reader(std::move(filters), reader_options(values));
  if (const std::string warning = reader.warning(); !warning.empty()) {
    std::cerr << "millrace: warning: " << warning << std::endl;
  }
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
    const bool has_caught_up = status == local::Status::timeout;
    if (has_caught_up) {
      output.flush();
      status = reader.next_copy(message, patience);
    }
    if (status == local::Status::message) {
      ++count;
      if (!only_stats) output.add(message, as_json);
    } else {
      report(status, reader);
    }
    // Not for each message: reading the clock costs more than reading a message.
    if (only_stats && (has_caught_up || count % 1024 == 0)) stats.show(reader, count);
  }
  output.flush();
  if (only_stats) {
    stats.finish(reader, count);
  } else if (reader.missed() > 0) {
    std::cerr << "millrace: " << reader.missed() << " missed" << std::endl;
  }
  return 0;
}

}  // namespace millrace::server
