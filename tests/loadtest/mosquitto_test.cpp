// The generator with a real broker: mosquitto, started here on free loopback ports, with few
// messages.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "loadtest/fleet.hpp"
#include "loadtest/scenarios.hpp"

extern char** environ;

namespace millrace::loadtest {
namespace {

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

// Whether no other test has the port: tests/peer/suite.py uses the same names.
bool take(std::uint16_t port) {
  const std::string text = "millrace-test-port-" + std::to_string(port);
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  text.copy(name.sun_path + 1, sizeof name.sun_path - 1);  // after a zero byte: no file
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + text.size());
  const int mark = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (::bind(mark, reinterpret_cast<sockaddr*>(&name), size) == 0) return true;
  ::close(mark);
  return false;
}

// The port that a socket can be bound to: `wanted`, or if that is 0 one that the system assigns.
// Nothing: it is in use.
std::optional<std::uint16_t> bindable(std::uint16_t wanted) {
  sockaddr_in address = loopback(wanted);
  auto* const any = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof address;
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool bound = ::bind(fd, any, size) == 0 && ::getsockname(fd, any, &size) == 0;
  ::close(fd);
  return bound ? std::optional(ntohs(address.sin_port)) : std::nullopt;
}

// A port outside the range that the system assigns by itself (bind to port 0, local ends of
// connections). An abstract socket marks it, so no other test takes it until this process ends. The
// ports 10,000 to 11,999 belong to the page's tests. Where no port is left outside the range, the
// system assigns one.
std::uint16_t free_port() {
  int first = 0, last = 0;
  std::ifstream("/proc/sys/net/ipv4/ip_local_port_range") >> first >> last;
  std::vector<std::uint16_t> ports;
  for (int port = 12'000; port <= 65'535; ++port) {
    if (port < first || port > last) ports.push_back(static_cast<std::uint16_t>(port));
  }
  std::shuffle(ports.begin(), ports.end(), std::random_device());
  ports.push_back(0);
  for (const std::uint16_t wanted : ports) {
    if (wanted != 0 && !take(wanted)) continue;
    if (const auto port = bindable(wanted)) return *port;
  }
  ADD_FAILURE() << "no port is free";
  return 0;
}

bool accepts(std::uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  const sockaddr_in address = loopback(port);
  const int result = ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  ::close(fd);
  return result == 0;
}

std::string find_mosquitto() {
  for (const char* path :
       {"/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/usr/bin/mosquitto"}) {
    if (::access(path, X_OK) == 0) return path;
  }
  return {};
}

class Mosquitto : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    char pattern[] = "/tmp/millrace-load-test-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern), nullptr);
    folder_ = pattern;
    ASSERT_EQ(
        std::system(("cd " + folder_ +
                     " && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
                     " -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem"
                     " 2>/dev/null")
                        .c_str()),
        0);
    ASSERT_EQ(::chmod((folder_ + "/key.pem").c_str(), 0644), 0);
    for (std::uint16_t& port : ports_) port = free_port();
    write_configuration();
    start();
  }

  static void TearDownTestSuite() {
    if (pid_ > 0) {
      ::kill(pid_, SIGTERM);
      ::waitpid(pid_, nullptr, 0);
    }
    if (!folder_.empty()) std::filesystem::remove_all(folder_);
  }

  static void write_configuration() {
    std::ofstream file(folder_ + "/mosquitto.conf");
    file << "allow_anonymous true\nset_tcp_nodelay true\nmax_queued_messages 0\nuser root\n";
    for (std::size_t i = 0; i < 4; ++i) {
      file << "listener " << ports_[i] << " 127.0.0.1\n";
      if (i == 1 || i == 3) {
        file << "certfile " << folder_ << "/cert.pem\nkeyfile " << folder_ << "/key.pem\n";
      }
      if (i >= 2) file << "protocol websockets\n";
    }
  }

  static void start() {
    const std::string program = find_mosquitto();
    ASSERT_FALSE(program.empty()) << "the test needs mosquitto: apt-get install mosquitto";
    const std::string file = folder_ + "/mosquitto.conf";
    const std::string log = folder_ + "/log";
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT, 0644);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    const char* words[] = {program.c_str(), "-c", file.c_str(), nullptr};
    ASSERT_EQ(::posix_spawn(&pid_, program.c_str(), &actions, nullptr,
                            const_cast<char* const*>(words), environ),
              0);
    posix_spawn_file_actions_destroy(&actions);
    for (const std::uint16_t port : ports_) {
      while (!accepts(port)) {
        ASSERT_EQ(::waitpid(pid_, nullptr, WNOHANG), 0) << "mosquitto ended";
        ::usleep(10'000);
      }
    }
  }

  static Result run(std::vector<std::string> words) {
    words.insert(words.begin(), "millrace-load");
    words.push_back("--progress=never");
    // Upper limits; a run that is in order ends earlier.
    const std::string scenario = words[1];
    if (scenario != "fresh" && scenario != "idle" && scenario != "connect") {
      words.push_back("--drain=60");
    }
    if (scenario == "slow") words.push_back("--give-up=60");
    std::vector<const char*> argv;
    for (const std::string& w : words) argv.push_back(w.c_str());
    const auto options = parse_options(static_cast<int>(argv.size()), argv.data());
    return run_scenario(options.value()).front();
  }

  static std::string port(TransportKind kind) {
    return std::to_string(ports_[static_cast<std::size_t>(kind)]);
  }

  static std::int64_t whole(const Result& r, const std::string& name) {
    for (const auto& [key, value] : r.figures) {
      if (key == name) return std::get<std::int64_t>(value);
    }
    ADD_FAILURE() << "no figure " << name;
    return -1;
  }
  static double number(const Result& r, const std::string& name) {
    for (const auto& [key, value] : r.figures) {
      if (key == name) return std::get<double>(value);
    }
    ADD_FAILURE() << "no figure " << name;
    return -1;
  }

  static void expect_faultless(const Result& r, std::int64_t delivered) {
    EXPECT_EQ(whole(r, "delivered"), delivered);
    for (const char* name : {"lost", "duplicates", "reordered", "gaps", "foreign", "wrong_topic"}) {
      EXPECT_EQ(whole(r, name), 0) << name;
    }
    EXPECT_FALSE(r.has_faults);
    for (const std::string& warning : r.warnings) {
      // The load of the machine does not matter here.
      EXPECT_THAT(warning, testing::HasSubstr("core"));
    }
  }

  static inline std::string folder_;
  static inline std::uint16_t ports_[4];  // by TransportKind
  static inline pid_t pid_ = 0;
};

TEST_F(Mosquitto, DeliversEveryMessageOfAClosedLoop) {
  const Result r = run({"one2one", "-p", port(TransportKind::tcp), "--messages", "3000",
                        "--in-flight", "200", "--pid", std::to_string(pid_)});
  expect_faultless(r, 3000);
  EXPECT_EQ(r.histograms.front().second.count(), 3000u);
  EXPECT_GT(whole(r, "server_rss_peak_bytes"), 0);
}

TEST_F(Mosquitto, DeliversToEverySubscriber) {
  const Result r = run({"fanout", "-p", port(TransportKind::tcp), "--messages", "300",
                        "--subscribers", "7", "--filter", "exact"});
  expect_faultless(r, 2100);
}

TEST_F(Mosquitto, AcknowledgesAtEveryQosInBothVersions) {
  for (const char* version : {"3.1.1", "5"}) {
    for (const char* qos : {"0", "1", "2"}) {
      const Result r = run({"fanin", "-p", port(TransportKind::tcp), "--messages", "2000", "--qos",
                            qos, "--mqtt", version, "--in-flight", "400"});
      SCOPED_TRACE(std::string(version) + " QoS " + qos);
      expect_faultless(r, 2000);
    }
  }
}

TEST_F(Mosquitto, DeliversToSessionsThatAreKept) {
  for (const char* version : {"3.1.1", "5"}) {
    expect_faultless(run({"qos1", "-p", port(TransportKind::tcp), "--kept", "--messages", "500",
                          "--mqtt", version, "--publishers", "1", "--unacked", "1"}),
                     500);
  }
}

TEST_F(Mosquitto, SpeaksTlsAndWebSocket) {
  const std::string ca = folder_ + "/cert.pem";
  expect_faultless(run({"fanin", "-p", port(TransportKind::tls), "--transport", "tls", "--cafile",
                        ca, "--messages", "4000", "--qos", "1"}),
                   4000);
  expect_faultless(run({"fanin", "-p", port(TransportKind::ws), "--transport", "ws", "--messages",
                        "4000", "--qos", "1"}),
                   4000);
  expect_faultless(run({"one2one", "-p", port(TransportKind::ws), "--transport", "ws",
                        "--ws-frame-bytes", "0", "--messages", "4000", "--payload", "300"}),
                   4000);
  expect_faultless(run({"one2one", "-p", port(TransportKind::wss), "--transport", "wss",
                        "--insecure", "--messages", "2000"}),
                   2000);
}

TEST_F(Mosquitto, IsNotTrustedWithoutItsCertificate) {
  EXPECT_THROW(
      run({"one2one", "-p", port(TransportKind::tls), "--transport", "tls", "--messages", "1"}),
      RunError);
}

TEST_F(Mosquitto, LatencyCountsFromTheIntendedTime) {
  const Result r =
      run({"latency", "-p", port(TransportKind::tcp), "--rate", "2000", "--messages", "400"});
  expect_faultless(r, 400);
  ASSERT_EQ(r.histograms.size(), 2u);
  EXPECT_EQ(r.histograms[0].first, "latency");
  EXPECT_EQ(r.histograms[1].first, "service");
  EXPECT_GE(r.histograms[0].second.mean(), r.histograms[1].second.mean());
}

TEST_F(Mosquitto, AStoppedReaderSeesTheNewestInTheEnd) {
  const Result r = run({"slow", "-p", port(TransportKind::tcp), "--rate", "4000", "--warmup", "0.1",
                        "--pause", "0.3", "--topics", "10"});
  EXPECT_EQ(whole(r, "slow_skipped"), 0);
  EXPECT_EQ(whole(r, "lost"), 0);
  // The broker has queued everything published meanwhile: at least 256 bytes each.
  EXPECT_GT(whole(r, "bytes_to_newest"), whole(r, "published_meanwhile") * 256);
  EXPECT_FALSE(r.has_faults);
}

TEST_F(Mosquitto, ALimitedReaderSeesOldValues) {
  std::int64_t delivered = 0;
  for (int seconds = 1; seconds <= 16 && delivered <= 50; seconds *= 2) {
    const Result r = run({"fresh", "-p", port(TransportKind::tcp), "--rate", "4000", "--duration",
                          std::to_string(seconds), "--read-rate", "100000", "--topics", "10"});
    // No more than the bytes that it may read; fewer if it came too late to most of its reads.
    delivered = whole(r, "delivered");
    EXPECT_LT(delivered, seconds * 100'000 / 256);
    EXPECT_FALSE(r.has_faults);
  }
  EXPECT_GT(delivered, 50);
}

TEST_F(Mosquitto, HoldsIdleConnections) {
  const Result r = run({"idle", "-p", port(TransportKind::tcp), "--connections", "200",
                        "--duration", "0.1", "--pid", std::to_string(pid_)});
  EXPECT_EQ(whole(r, "still_connected"), 200);
}

TEST_F(Mosquitto, AcceptsOneConnectionAfterAnother) {
  std::int64_t connects = 0;
  // The first time may pass before an answer comes.
  for (const char* seconds : {"0.3", "1", "3", "10"}) {
    const Result r = run({"connect", "-p", port(TransportKind::tcp), "--warmup", "0", "--duration",
                          seconds, "--diallers", "4"});
    connects = whole(r, "connects");
    EXPECT_EQ(whole(r, "failed"), 0);
    if (connects > 0) break;
  }
  EXPECT_GT(connects, 0);
}

TEST_F(Mosquitto, LosesNothingWhileOtherClientsConnectAndLeave) {
  bool somebody_came = false;
  // The first time may pass before anybody comes.
  for (const char* seconds : {"1", "4", "16"}) {
    const Result r = run({"soak", "-p", port(TransportKind::tcp), "--duration", seconds, "--warmup",
                          "0", "--rate", "2000", "--churn", "50", "--pid", std::to_string(pid_)});
    EXPECT_EQ(whole(r, "lost"), 0);
    EXPECT_EQ(whole(r, "visitors_turned_away"), 0);
    EXPECT_FALSE(r.has_faults);
    somebody_came = whole(r, "visitors") > 0 && number(r, "delivered_per_s") > 0;
    if (somebody_came) break;
  }
  EXPECT_TRUE(somebody_came);
}

TEST_F(Mosquitto, SaysWhyARunCannotBeMade) {
  const std::string closed = std::to_string(free_port());
  EXPECT_THROW(run({"one2one", "-p", closed, "--messages", "1"}), RunError);
}

}  // namespace
}  // namespace millrace::loadtest
