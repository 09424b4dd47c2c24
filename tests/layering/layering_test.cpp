// Nothing includes upward: protocol <- core <- server, and the folders as docs/architecture.md says.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

struct Include {
  std::string file;    // from the root
  std::string target;  // as written
  bool quoted;
};

bool is_source(const fs::path& path) {
  const std::string extension = path.extension().string();
  return extension == ".hpp" || extension == ".cpp" || extension == ".ipp" || extension == ".h";
}

std::vector<Include> includes_below(const std::string& folder) {
  static const std::regex pattern(R"(^\s*#\s*include\s*([<"])([^>"]+)[>"])");
  const fs::path root = MILLRACE_SOURCE_DIR;
  std::vector<Include> includes;
  if (!fs::exists(root / folder)) return includes;
  for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
    if (!entry.is_regular_file() || !is_source(entry.path())) continue;
    std::ifstream stream(entry.path());
    std::string line;
    while (std::getline(stream, line)) {
      std::smatch match;
      if (!std::regex_search(line, match, pattern)) continue;
      includes.push_back(
          {fs::relative(entry.path(), root).string(), match[2].str(), match[1].str() == "\""});
    }
  }
  return includes;
}

// Files of `folder` that include something that begins with one of `forbidden`.
std::vector<std::string> offenders(const std::string& folder,
                                   const std::vector<std::string>& forbidden) {
  std::vector<std::string> found;
  for (const Include& include : includes_below(folder)) {
    for (const std::string& prefix : forbidden) {
      if (include.target.starts_with(prefix)) {
        found.push_back(include.file + " includes " + include.target);
      }
    }
  }
  return found;
}

const std::vector<std::string> none;

// For other programs: adapters that make Asio operations of the libraries' waits. They need Asio, and
// who does not include them does not.
const std::vector<std::string> asio_adapters = {"core/latest/asio/",
                                                "core/shm/include/millrace/local_asio.hpp"};

std::vector<std::string> without_adapters(std::vector<std::string> found) {
  std::erase_if(found, [](const std::string& line) {
    return std::any_of(asio_adapters.begin(), asio_adapters.end(),
                       [&](const std::string& adapter) { return line.starts_with(adapter); });
  });
  return found;
}

TEST(Layering, SeesTheIncludesOfEveryLayer) {
  for (const char* folder :
       {"protocol", "core/base", "core/queue", "core/store", "core/broker", "server"}) {
    EXPECT_FALSE(includes_below(folder).empty()) << folder;
  }
}

TEST(Layering, ProtocolKnowsNothingAboveIt) {
  EXPECT_EQ(offenders("protocol", {"core/", "server/", "loadtest/", "bench/"}), none);
}

TEST(Layering, CoreKnowsNoServer) {
  EXPECT_EQ(offenders("core", {"server/", "loadtest/", "bench/"}), none);
}

TEST(Layering, BaseKnowsNothingButTheStandardLibrary) {
  EXPECT_EQ(offenders("core/base", {"protocol/", "core/broker", "core/shm", "core/latest",
                                    "core/queue", "core/disruptor", "boost/"}),
            none);
}

TEST(Layering, QueueLatestAndDisruptorNeedNothingThatAProgramWouldHaveToInstall) {
  for (const char* folder : {"core/queue", "core/latest", "core/disruptor"}) {
    EXPECT_EQ(without_adapters(offenders(folder, {"boost/"})), none);
  }
}

// What base has once is not made again beside it.
TEST(Layering, OnlyBaseTalksToFutexesAndPauses) {
  for (const char* folder :
       {"core/queue", "core/latest", "core/disruptor", "core/shm", "core/broker", "server"}) {
    EXPECT_EQ(offenders(folder, {"linux/futex.h", "immintrin.h", "emmintrin.h"}), none);
  }
}

TEST(Layering, QueueLatestAndDisruptorKnowNothingOfMqttOrOfEachOther) {
  EXPECT_EQ(offenders("core/queue",
                      {"protocol/", "core/broker", "core/shm", "core/latest", "core/disruptor"}),
            none);
  EXPECT_EQ(offenders("core/latest",
                      {"protocol/", "core/broker", "core/shm", "core/queue", "core/disruptor"}),
            none);
  EXPECT_EQ(offenders("core/disruptor",
                      {"protocol/", "core/broker", "core/shm", "core/latest", "core/queue"}),
            none);
}

TEST(Layering, TheStoreKnowsNothingOfMqtt) {
  EXPECT_EQ(offenders("core/store", {"protocol/", "core/broker", "core/shm", "core/latest",
                                     "core/queue", "core/disruptor"}),
            none);
}

TEST(Layering, SharedMemoryKnowsNoBroker) {
  EXPECT_EQ(offenders("core/shm", {"core/broker", "core/queue", "core/latest"}), none);
  for (const char* folder : {"core/shm/ring", "core/shm/wire", "core/shm/control"}) {
    EXPECT_EQ(offenders(folder, {"protocol/"}), none);
  }
}

// The server's wings, lowest first; those in one group do not know each other.
TEST(Layering, NoWingOfTheServerReachesUp) {
  const std::vector<std::vector<std::string>> wings = {
      {"config"},   {"observe"},        {"auth"}, {"net"}, {"mqtt", "http", "local"},
      {"upstream"}, {"api", "console"}, {"app"},  {"cli"}};
  for (std::size_t level = 0; level < wings.size(); ++level) {
    for (const std::string& wing : wings[level]) {
      std::vector<std::string> forbidden;
      for (std::size_t above = level; above < wings.size(); ++above) {
        for (const std::string& other : wings[above]) {
          if (other != wing) forbidden.push_back("server/" + other + "/");
        }
      }
      EXPECT_EQ(offenders("server/" + wing, forbidden), none) << wing;
    }
  }
}

// Sockets and pollers are the server's. Two exceptions: passing descriptors over a Unix socket,
// which the server and its local clients share, and the client library, which other programs link.
TEST(Layering, CoreUsesNoSocketOrPollerExceptForItsLocalClientsAndTheirDescriptors) {
  const std::vector<std::string> headers = {
      "sys/socket.h", "sys/un.h", "sys/epoll.h", "sys/eventfd.h", "sys/timerfd.h",
      "sys/poll.h",   "poll.h",   "netinet/",    "arpa/",         "netdb.h"};
  std::vector<std::string> found = offenders("core", headers);
  std::erase_if(found, [](const std::string& offender) {
    return offender.starts_with("core/shm/wire/descriptors.cpp ") ||
           offender.starts_with("core/shm/client/");
  });
  EXPECT_EQ(found, none);
}

TEST(Layering, OnlyTheServerAndAnOptionalAdapterIncludeAsioAndBeast) {
  const std::vector<std::string> network = {"boost/asio", "boost/beast"};
  EXPECT_EQ(offenders("protocol", network), none);
  EXPECT_EQ(without_adapters(offenders("core", network)), none);
  for (const char* folder : {"core", "server", "loadtest"}) {
    for (const std::string& adapter : asio_adapters) {
      EXPECT_EQ(offenders(folder, {adapter}), none);
    }
  }
}

TEST(Layering, ProtocolUsesNoSocketThreadOrClock) {
  EXPECT_EQ(offenders("protocol", {"sys/socket.h", "thread", "mutex", "atomic", "chrono"}), none);
}

TEST(Layering, IncludesAreWrittenFromTheRoot) {
  const fs::path root = MILLRACE_SOURCE_DIR;
  for (const char* folder : {"protocol", "core", "server"}) {
    for (const Include& include : includes_below(folder)) {
      if (!include.quoted) continue;
      EXPECT_TRUE(fs::exists(root / include.target))
          << include.file << " includes " << include.target;
    }
  }
}

}  // namespace
