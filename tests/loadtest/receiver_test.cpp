// A Receiver accepts the messages of a PublishRing, and detects loss, duplicates and changes.
#include "loadtest/receiver.hpp"

#include <gtest/gtest.h>

#include <deque>
#include <random>
#include <string>

#include "loadtest/publish_ring.hpp"

namespace millrace::loadtest {
namespace {

constexpr std::uint32_t kRun = 123'456'789;

TEST(Stamp, SpreadsNumbersOverSevenBitBytes) {
  std::mt19937_64 random(4);
  for (int i = 0; i < 10'000; ++i) {
    const std::uint64_t value = random() >> (8 + random() % 56);
    EXPECT_EQ(spread(value) & 0x8080'8080'8080'8080, 0u);
    EXPECT_EQ(gather(spread(value)), value);
    EXPECT_EQ(spread_next(spread(value)), spread(value + 1) & 0x7F7F'7F7F'7F7F'7F7F);
  }
}

class Loop : public testing::Test {
 protected:
  // Takes the stamped packets out of the ring, `piece_bytes` at a time.
  void move(PublishRing& ring, std::size_t piece_bytes) {
    while (!ring.idle()) {
      iovec pieces[2];
      ASSERT_GE(ring.unsent(pieces), 1);
      const std::size_t n = std::min(piece_bytes, pieces[0].iov_len);
      line_.append(static_cast<const char*>(pieces[0].iov_base), n);
      ring.mark_sent(n);
    }
  }

  std::deque<std::string> packets() {
    std::deque<std::string> out;
    for (std::size_t at = 0; at < line_.size();) {
      PacketHead head{};
      EXPECT_EQ(read_head(line_.data() + at, line_.size() - at, head), HeadStatus::complete);
      out.push_back(line_.substr(at, head.head_bytes + head.body_bytes));
      at += out.back().size();
    }
    line_.clear();
    return out;
  }

  // QoS 0, MQTT 3.1.1.
  void deliver(const std::string& packet, Nanos now) {
    PacketHead head{};
    read_head(packet.data(), packet.size(), head);
    const char* const body = packet.data() + head.head_bytes;
    const std::size_t topic_bytes = read_u16(body);
    receiver_.on_publish(body + 2, topic_bytes, body + 2 + topic_bytes,
                         head.body_bytes - 2 - topic_bytes, now);
    receiver_.end_of_read(now);
  }

  static PublishShape shape() {
    PublishShape s;
    s.run = kRun;
    s.first_stream = 3;  // the second publisher
    s.first_topic = 1;
    return s;
  }

  TopicNames topics_{"t", 3};
  Measurement measurement_;
  Receiver receiver_{topics_, kRun, 6, &measurement_};
  std::string line_;
};

TEST_F(Loop, BringsEveryMessageRoundTheRingInOrder) {
  PublishRing ring(topics_, shape());
  const std::size_t rounds = 5 * ring.capacity() / 7;
  measurement_.window_begin_ns = 0;
  for (std::size_t i = 0; i < rounds; ++i) {
    for (int k = 0; k < 7; ++k) ring.stamp(spread(1000), spread(1400), 0);
    move(ring, 100);  // packets are split in the middle
  }
  for (const std::string& p : packets()) deliver(p, 2000);
  EXPECT_EQ(receiver_.tally().received, rounds * 7);
  EXPECT_EQ(receiver_.tally().gaps + receiver_.tally().duplicates, 0u);
  EXPECT_EQ(receiver_.foreign() + receiver_.wrong_topic(), 0u);
  EXPECT_EQ(measurement_.latency.count(), rounds * 7);
  EXPECT_EQ(measurement_.latency.max(), 1000u);
  EXPECT_EQ(measurement_.service.max(), 600u);
  for (std::uint32_t t = 0; t < 3; ++t) EXPECT_EQ(receiver_.next_of(3 + t), ring.stamped_of(t));
}

TEST_F(Loop, StampsNoMoreThanThereIsRoomFor) {
  PublishRing ring(topics_, shape());
  while (ring.room() > 0) ring.stamp(0, 0, 0);
  EXPECT_EQ(ring.unsent_bytes(), ring.capacity() * ring.packet_bytes());
  ring.mark_sent(ring.packet_bytes() - 1);
  EXPECT_EQ(ring.room(), 0u);
  EXPECT_FALSE(ring.at_boundary());
  ring.mark_sent(1);
  EXPECT_EQ(ring.room(), 1u);
  EXPECT_TRUE(ring.at_boundary());
}

TEST_F(Loop, NoticesLossDuplicatesAndDisorder) {
  PublishRing ring(topics_, shape());
  for (int i = 0; i < 30; ++i) ring.stamp(0, 0, 0);
  move(ring, 1 << 20);
  auto list = packets();
  std::swap(list[3], list[6]);    // the same topic: 3 apart
  list.push_back(list[9]);        // twice
  list.erase(list.begin() + 12);  // lost
  for (const std::string& p : list) deliver(p, 1);
  EXPECT_EQ(receiver_.tally().received, 29u);
  EXPECT_EQ(receiver_.tally().reordered, 1u);
  EXPECT_EQ(receiver_.tally().duplicates, 1u);
  EXPECT_EQ(receiver_.tally().gaps, 2u);
}

TEST_F(Loop, NoticesWrongTopicsAndForeignMessages) {
  PublishRing ring(topics_, shape());
  ring.stamp(0, 0, 0);
  move(ring, 1 << 20);
  std::string packet = packets().front();
  std::string misrouted = packet;
  misrouted[4 + 2 + 7] = '2';  // "t/00000001" became "t/00000002"
  deliver(misrouted, 1);
  EXPECT_EQ(receiver_.wrong_topic(), 1u);

  PublishShape other = shape();
  other.run = kRun + 1;
  PublishRing stranger(topics_, other);
  stranger.stamp(0, 0, 0);
  move(stranger, 1 << 20);
  deliver(packets().front(), 1);
  deliver(std::string("\x30\x05\x00\x01txy", 7), 1);  // no room for a stamp
  EXPECT_EQ(receiver_.foreign(), 2u);
}

TEST_F(Loop, DoesNotTimeMessagesOfTheWarmup) {
  PublishRing ring(topics_, shape());
  measurement_.window_begin_ns = 500;
  ring.stamp(spread(499), spread(600), 0);
  ring.stamp(spread(500), spread(600), 0);
  move(ring, 1 << 20);
  for (const std::string& p : packets()) deliver(p, 700);
  EXPECT_EQ(measurement_.latency.count(), 1u);
  EXPECT_EQ(measurement_.latency.max(), 200u);
}

}  // namespace
}  // namespace millrace::loadtest
