// Lines go out in order; a reader that stalls holds up nobody.
#include "server/observe/log_writer.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <sstream>
#include <string>

namespace millrace::server {
namespace {

using std::chrono::seconds;

struct Pipe {
  Pipe() { EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0); }
  ~Pipe() {
    ::close(ends[0]);
    ::close(ends[1]);
  }
  // All that can be read without waiting longer than for the writer's next piece.
  std::string read_until(const std::string& last) {
    std::string text;
    char bytes[65536];
    while (!text.ends_with(last)) {
      pollfd readable{ends[0], POLLIN, 0};
      if (::poll(&readable, 1, 60'000) < 1) break;
      const ssize_t got = ::read(ends[0], bytes, sizeof bytes);
      if (got <= 0) break;
      text.append(bytes, static_cast<std::size_t>(got));
    }
    return text;
  }
  int ends[2];
};

std::string lost_line(std::uint64_t lines) {
  return "lost " + std::to_string(lines);
}

std::uint64_t sum_of_lost_lines(const std::string& text) {
  std::uint64_t sum = 0;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("lost ")) sum += std::stoull(line.substr(5));
  }
  return sum;
}

TEST(LogWriter, WritesLinesInOrder) {
  Pipe pipe;
  LogWriter writer(pipe.ends[1], 16, lost_line);
  writer.write("one");
  writer.write("two {} %v");
  writer.flush(seconds(10));
  EXPECT_EQ(pipe.read_until("%v\n"), "one\ntwo {} %v\n");
  EXPECT_EQ(writer.lines_lost(), 0u);
}

TEST(LogWriter, NeverWaitsForItsReaderAndCountsWhatItLoses) {
  Pipe pipe;
  LogWriter writer(pipe.ends[1], 16, lost_line);
  const std::string line(10'000, 'x');
  for (int i = 0; i < 1000; ++i) writer.write(line);  // a pipe holds 64 KiB
  EXPECT_GT(writer.lines_lost(), 900u);
  EXPECT_LT(writer.lines_lost(), 1000u);
  const std::uint64_t lost = writer.lines_lost();
  writer.write("last");
  const std::string read = pipe.read_until("last\n");
  EXPECT_TRUE(read.ends_with("\nlast\n"));
  EXPECT_GE(sum_of_lost_lines(read), lost);
  EXPECT_EQ(sum_of_lost_lines(read), writer.lines_lost());
}

TEST(LogWriter, EndsAlthoughNobodyReads) {
  Pipe pipe;
  {
    LogWriter writer(pipe.ends[1], 1024, lost_line);
    for (int i = 0; i < 1000; ++i) writer.write(std::string(10'000, 'x'));
  }
  SUCCEED();
}

}  // namespace
}  // namespace millrace::server
