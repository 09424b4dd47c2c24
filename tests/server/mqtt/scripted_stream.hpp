// A stream without a socket: takes as many bytes a write as the test says, and remembers them; each
// read brings what the test has put in line.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <vector>

#include "server/net/stream.hpp"

namespace millrace::server {

class ScriptedStream : public Stream {
 public:
  // What the "kernel" takes before it says `again`.
  std::size_t room = SIZE_MAX;
  std::vector<std::uint8_t> taken;
  std::size_t writes = 0;
  std::vector<std::size_t> write_bytes;  // of each that it was asked for
  std::deque<std::vector<std::uint8_t>> reads;
  bool posted = false;  // on_readable() is asked for

  IoResult write(std::span<const iovec> from) override {
    ++writes;
    std::size_t count = 0;
    write_bytes.push_back(0);
    for (const iovec& part : from) {
      write_bytes.back() += part.iov_len;
      const std::size_t bytes = std::min(part.iov_len, room);
      const auto* begin = static_cast<const std::uint8_t*>(part.iov_base);
      taken.insert(taken.end(), begin, begin + bytes);
      room -= bytes;
      count += bytes;
    }
    return count > 0 ? IoResult{IoStatus::ok, count} : IoResult{IoStatus::again};
  }

  void open(StreamUser&) override {}
  IoResult read(std::span<std::uint8_t> into) override {
    if (into.empty()) return {IoStatus::end};  // as recv() says with no room
    if (reads.empty()) return {IoStatus::again};
    std::vector<std::uint8_t>& front = reads.front();
    const std::size_t bytes = std::min(front.size(), into.size());
    std::copy_n(front.begin(), bytes, into.begin());
    front.erase(front.begin(), front.begin() + static_cast<std::ptrdiff_t>(bytes));
    if (front.empty()) reads.pop_front();
    return {IoStatus::ok, bytes};
  }
  void wait_readable() override {}
  void wait_writable() override {}
  void post_readable() override { posted = true; }
  void shutdown() override {}
  void close() override {}
  int fd() override { return -1; }
};

}  // namespace millrace::server
