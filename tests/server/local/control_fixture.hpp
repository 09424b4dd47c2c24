// The fixture of tests with a control socket: a socket in a temporary directory, and short forms; and
// clients that speak to it without the client library.
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "core/shm/include/millrace/local.hpp"
#include "test_server.hpp"
#include "tests/shm/client/next_payload.hpp"

namespace millrace::local {

using shm::Registry;
using test::ServerOptions;
using test::TempDirectory;
using test::TestServer;

class ControlSocket : public ::testing::Test {
 protected:
  ReaderOptions options() const {
    ReaderOptions options;
    options.socket = directory.socket();
    return options;
  }
  ReaderOptions lossless(std::string name = {}, std::vector<std::string> after = {}) const {
    ReaderOptions options = this->options();
    options.policy = Policy::lossless;
    options.name = std::move(name);
    options.after = std::move(after);
    return options;
  }
  static std::string refusal(const std::string& filter, const ReaderOptions& options) {
    return refusal(std::vector<std::string>{filter}, options);
  }
  static std::string refusal(const std::vector<std::string>& filters,
                             const ReaderOptions& options) {
    try {
      Reader reader(filters, options);
    } catch (const Error& error) {
      return error.what();
    }
    return "attached";
  }

  TempDirectory directory;
};

inline void send_bytes(const shm::UniqueFd& socket, const std::string& bytes) {
  ASSERT_EQ(::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(bytes.size()));
}

// Up to `count` replies, fewer if the server ends the connection.
inline std::vector<shm::Reply> replies(const shm::UniqueFd& socket, std::size_t count,
                                       std::vector<shm::UniqueFd>& descriptors) {
  std::vector<shm::Reply> got;
  shm::ReplyParser parser;
  std::byte buffer[4096];
  while (got.size() < count) {
    const ssize_t bytes = shm::receive_with_descriptors(socket.get(), buffer, descriptors, 0);
    if (bytes <= 0) break;
    parser.feed({buffer, static_cast<std::size_t>(bytes)});
    while (auto item = parser.next()) got.push_back(std::move(item->reply));
  }
  return got;
}

// A client with a publisher ring that is full of frames, of which its tail says none yet.
struct RawPublisherRing {
  static constexpr std::size_t frame_bytes = 32;
  static constexpr std::size_t data_bytes = server::ControlLoopOptions().publisher_ring_bytes;

  shm::UniqueFd socket;
  shm::Mapping ring;  // none, if the server gave none
};

inline RawPublisherRing open_raw_publisher_ring(const std::string& path) {
  RawPublisherRing opened;
  opened.socket = shm::connect_to(path);
  send_bytes(opened.socket, shm::encode(shm::Request(shm::PublisherRingRequest{"p"})));
  std::vector<shm::UniqueFd> descriptors;
  EXPECT_EQ(replies(opened.socket, 1, descriptors).size(), 1u);
  if (descriptors.empty()) return opened;
  const std::size_t header_bytes = shm::ring_header_bytes(shm::system_page_bytes());
  opened.ring = shm::Mapping::map_ring(descriptors[0].get(), header_bytes,
                                       RawPublisherRing::data_bytes, shm::Access::read_write);
  if (!opened.ring) return opened;
  for (std::size_t at = 0; at < RawPublisherRing::data_bytes; at += RawPublisherRing::frame_bytes) {
    shm::store_header(opened.ring.data() + header_bytes + at,
                      {RawPublisherRing::frame_bytes - sizeof(shm::FrameHeader), 0,
                       shm::FrameKind::message, 0, 0, 0});
  }
  return opened;
}

}  // namespace millrace::local
