// `millrace top`: what a server does, in a terminal: rates, the queue, slow clients, newest topics.
#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <map>
#include <sstream>
#include <string>

#include "server/cli/api_client.hpp"
#include "server/cli/interrupts.hpp"

namespace millrace::server {

namespace po = boost::program_options;

namespace {

using Json = nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr std::size_t rows_max = 10;

// Keys come one by one, and are not shown.
class KeyTerminal {
 public:
  KeyTerminal() {
    is_terminal_ = isatty(STDIN_FILENO) == 1 && tcgetattr(STDIN_FILENO, &before_) == 0;
    if (!is_terminal_) return;
    termios keys = before_;
    keys.c_lflag &= ~static_cast<tcflag_t>(ECHO | ICANON);
    tcsetattr(STDIN_FILENO, TCSANOW, &keys);
  }
  ~KeyTerminal() {
    if (is_terminal_) tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  }
  KeyTerminal(const KeyTerminal&) = delete;
  KeyTerminal& operator=(const KeyTerminal&) = delete;

  // The next key within the time; 0: none.
  char wait(int ms) const {
    pollfd input{is_terminal_ ? STDIN_FILENO : -1, POLLIN, 0};
    char key = 0;
    if (::poll(&input, 1, ms) > 0 && ::read(STDIN_FILENO, &key, 1) != 1) return 'q';
    return key;
  }

 private:
  termios before_{};
  bool is_terminal_ = false;
};

// One scrape: each metric's sum over its labels.
struct Scrape {
  std::map<std::string, double> sums;
  Clock::time_point at = Clock::now();

  double of(const std::string& name) const {
    const auto found = sums.find(name);
    return found == sums.end() ? 0 : found->second;
  }
};

Scrape parse_scrape(const std::string& text) {
  Scrape scrape;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const auto space = line.rfind(' ');
    if (line.empty() || line.front() == '#' || space == std::string::npos) continue;
    scrape.sums[line.substr(0, line.find_first_of("{ "))] += std::stod(line.substr(space + 1));
  }
  return scrape;
}

class Top {
 public:
  Top(ApiClient& api, bool is_terminal) : api_(api), is_terminal_(is_terminal) {}

  void begin() { before_ = scrape(); }
  // After begin(): rates are those since the last look.
  void look() {
    Scrape now = scrape();
    std::string text = figures(now) + clients() + topics();
    if (is_terminal_) {
      text =
          "\x1b[H\x1b[2J" + text + "\nq quit   sort clients: a age, w waiting, b bytes, n name\n";
    }
    std::cout << text << std::flush;
    before_ = std::move(now);
  }
  void press(char key) {
    const std::map<char, const char*> sorts = {
        {'a', "age"}, {'w', "waiting"}, {'b', "waiting_bytes"}, {'n', "id"}};
    if (const auto sort = sorts.find(key); sort != sorts.end()) sort_ = sort->second;
  }

 private:
  Scrape scrape() {
    try {
      return parse_scrape(api_.request("GET", "/metrics"));
    } catch (const ApiRefusal& refusal) {
      if (refusal.status != 404) throw;
      throw std::runtime_error(
          "/metrics is not served at this address: http.serves, or \"serves\" of its entry in "
          "http.listeners, has to have \"metrics\", too");
    }
  }

  std::string figures(const Scrape& now) const {
    const double seconds =
        std::max(0.001, std::chrono::duration<double>(now.at - before_.at).count());
    const auto rate = [&](const char* name) {
      return short_number(std::max(0.0, now.of(name) - before_.of(name)) / seconds) + "/s";
    };
    const auto number = [&](const char* name) { return short_number(now.of(name)); };
    const Json server = api_.get("/api/v1/server");
    std::ostringstream text;
    text << "millrace " << server.at("version").get<std::string>() << ", up "
         << short_time(server.at("uptime_seconds").get<double>()) << "\n"
         << "clients   " << number("millrace_sessions_connected") << " connected, "
         << number("millrace_sessions") << " sessions, " << number("millrace_slow_sessions")
         << " slow\n"
         << "messages  " << rate("millrace_messages_received_total") << " in, "
         << rate("millrace_messages_sent_total") << " out, "
         << rate("millrace_messages_conflated_total") << " conflated, "
         << rate("millrace_messages_dropped_total") << " dropped\n"
         << "bytes     " << rate("millrace_socket_received_bytes_total") << " in, "
         << rate("millrace_socket_sent_bytes_total") << " out\n"
         << "queue     " << number("millrace_queue_depth") << " of "
         << number("millrace_queue_capacity") << ", " << rate("millrace_batches_total")
         << " batches\n"
         << "topics    " << number("millrace_slots") << ", " << number("millrace_retained_messages")
         << " retained\n\n";
    return text.str();
  }

  std::string clients() {
    const Json page =
        api_.get("/api/v1/clients?limit=" + std::to_string(rows_max) + "&sort=" + sort_);
    char line[256];
    std::snprintf(line, sizeof line, "%-32s %-10s %8s %10s %10s\n", "CLIENT", "STATE", "LAG",
                  "WAITING", "BYTES");
    std::string text = line;
    for (const Json& client : page.at("clients")) {
      const Json& lag = client.at("oldest_waiting_ms");
      const auto state = client.at("slow").get<bool>() ? std::string("slow")
                                                       : client.at("state").get<std::string>();
      std::snprintf(line, sizeof line, "%-32.64s %-10s %8s %10s %10s\n",
                    printable(client.at("id").get<std::string>()).c_str(), state.c_str(),
                    lag.is_null() ? "" : short_time(lag.get<double>() / 1000).c_str(),
                    short_number(client.at("waiting").get<double>()).c_str(),
                    short_number(client.at("waiting_bytes").get<double>()).c_str());
      text += line;
    }
    return text;
  }

  std::string topics() {
    const Json list = api_.get("/topics?sort=age&limit=" + std::to_string(rows_max));
    char line[256];
    std::snprintf(line, sizeof line, "\n%-48s %8s %10s\n", "NEWEST TOPICS", "AGE", "BYTES");
    std::string text = line;
    for (const Json& topic : list.at("topics")) {
      std::snprintf(line, sizeof line, "%-48.96s %8s %10s\n",
                    printable(topic.at("topic").get<std::string>()).c_str(),
                    short_time(topic.at("age_seconds").get<double>()).c_str(),
                    short_number(topic.at("size").get<double>()).c_str());
      text += line;
    }
    return text;
  }

  ApiClient& api_;
  const bool is_terminal_;
  std::string sort_ = "age";
  Scrape before_;
};

}  // namespace

int run_top(const Arguments& arguments) {
  po::options_description options("Options");
  options.add_options()("interval", po::value<double>()->default_value(1),
                        "the seconds between two looks");
  options.add_options()("count", po::value<std::uint32_t>(),
                        "so many looks; without it, 1 where the output is no terminal, else until "
                        "q is pressed");
  const auto values =
      parse_api_command(arguments, "millrace top [options]", "", 0, std::move(options));
  if (!values) return 0;
  const double interval = (*values)["interval"].as<double>();
  if (!(interval >= 0.1 && interval <= 3600)) throw UsageError("--interval must be 0.1 to 3600");
  const bool is_terminal = isatty(STDOUT_FILENO) == 1;
  std::uint64_t left = UINT64_MAX;
  if (!is_terminal) left = 1;
  if (values->count("count") > 0) left = (*values)["count"].as<std::uint32_t>();
  ApiClient api(*values);
  Top top(api, is_terminal);
  const Interrupts interrupts;  // the terminal is put back
  const KeyTerminal keys;
  top.begin();
  for (; left > 0; --left) {
    const char key = keys.wait(static_cast<int>(interval * 1000));
    if (key == 'q' || interrupts.came()) break;
    top.press(key);
    top.look();
  }
  return 0;
}

}  // namespace millrace::server
