// The fixture of tests with one ring, whose writer and readers are in one thread, step by step.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/shm/ring/ring_reader.hpp"
#include "core/shm/ring/ring_writer.hpp"

namespace millrace::shm {

inline std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

inline std::string text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

inline constexpr RingOptions small{.data_bytes = 4096, .frame_bytes_max = 1024};
inline constexpr RingOptions small_lossless{
    .data_bytes = 4096, .frame_bytes_max = 1024, .lossless = true, .overflow_bytes_max = 4096};
inline constexpr RingOptions leased{.data_bytes = 4096,
                                    .frame_bytes_max = 1024,
                                    .lossless = true,
                                    .overflow_bytes_max = 4096,
                                    .lease_ns = 100};

class Ring : public ::testing::Test {
 protected:
  void make(RingOptions options) {
    writer = RingWriter::make(options);
    ASSERT_TRUE(writer);
  }

  std::unique_ptr<RingReader> attach(bool from_oldest = false) {
    const auto start = writer->add_reader(++consumers, from_oldest, now);
    auto reader = std::make_unique<RingReader>();
    EXPECT_EQ(reader->open(writer->fd(), start.consumer_page->fd(), start.position, start.sequence),
              nullptr);
    consumer_pages.push_back(start.consumer_page);
    return reader;
  }

  std::unique_ptr<RingReader> attach_after(std::uint64_t before) {
    const auto start = writer->add_reader(++consumers, false, now, false, true);
    auto reader = std::make_unique<RingReader>();
    EXPECT_EQ(reader->open(writer->fd(), start.consumer_page->fd(), start.position, start.sequence),
              nullptr);
    EXPECT_TRUE(reader->add_predecessor(before, consumer_pages.at(before - 1)->fd()));
    consumer_pages.push_back(start.consumer_page);
    return reader;
  }

  void publish(std::string_view topic, std::string_view payload) {
    writer->append(topic, bytes(payload), 0, 1'000);
    writer->release(now);
  }
  // Frames of 24 + 3 + 61 = 88 bytes, numbered by sequence.
  void publish_many(int count) {
    for (int i = 0; i < count; ++i) writer->append("abc", bytes(std::string(61, 'x')), 0, 0);
    writer->release(now);
  }

  // What the ring has no room for, long after its readers came: their leases begin now.
  void fill_behind_a_stopped_reader() {
    writer->release(now = 1'000);
    publish_many(60);
    ASSERT_TRUE(writer->has_overflow());
  }

  std::vector<std::uint64_t> read_sequences(RingReader& reader) {
    std::vector<std::uint64_t> all;
    RingReader::Frame frame;
    while (reader.next(frame)) all.push_back(frame.sequence);
    reader.release();
    return all;
  }

  PositionPage* page(std::size_t i) {
    pages.push_back(Mapping::map(consumer_pages[i]->fd(), page_bytes, Access::read_write));
    return pages.back().as<PositionPage>();
  }

  std::unique_ptr<RingWriter> writer;
  std::vector<std::shared_ptr<ConsumerPage>> consumer_pages;
  std::vector<Mapping> pages;
  std::uint64_t consumers = 0;
  std::uint64_t now = 1;
};

}  // namespace millrace::shm
