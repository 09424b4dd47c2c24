// The wire format of the control socket: messages are decoded from pieces of any size, invalid
// bytes are a fault.
#include "core/shm/wire/wire.hpp"

#include <gtest/gtest.h>

#include <random>

namespace millrace::shm {
namespace {

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

TEST(Wire, ReadsARequestInPieces) {
  AttachRequest attach;
  attach.policy = Policy::lossless;
  attach.start = StartAt::latest;
  attach.wants_wake_pipe = true;
  attach.filters = {"a/+/b", "c/#"};
  attach.name = "me";
  attach.after = {"one", "two"};
  const std::string all = encode(Request{attach}) + encode(Request{MappedNotice{}});
  for (std::size_t piece = 1; piece < all.size(); ++piece) {
    RequestParser parser;
    std::vector<Request> seen;
    for (std::size_t at = 0; at < all.size(); at += piece) {
      parser.feed(bytes(std::string_view(all).substr(at, piece)));
      while (auto request = parser.next()) seen.push_back(*request);
    }
    ASSERT_EQ(seen.size(), 2u);
    const auto& read = std::get<AttachRequest>(seen[0]);
    EXPECT_EQ(read.policy, Policy::lossless);
    EXPECT_EQ(read.start, StartAt::latest);
    EXPECT_TRUE(read.wants_wake_pipe);
    EXPECT_EQ(read.filters, attach.filters);
    EXPECT_EQ(read.name, "me");
    EXPECT_EQ(read.after, attach.after);
    EXPECT_TRUE(std::holds_alternative<MappedNotice>(seen[1]));
  }
}

TEST(Wire, ManyWakeUpsAreOne) {
  RequestParser parser;
  parser.feed(bytes(std::string(100, '\x01') + encode(Request{PublisherRingRequest{"x"}})));
  EXPECT_TRUE(std::holds_alternative<WakeUp>(*parser.next()));
  EXPECT_EQ(std::get<PublisherRingRequest>(*parser.next()).name, "x");
  EXPECT_FALSE(parser.next());
}

TEST(Wire, RefusesAnotherVersion) {
  std::string request = encode(Request{TableRequest{"#"}});
  request[1] = static_cast<char>(layout_version + 1);
  RequestParser parser;
  parser.feed(bytes(request));
  EXPECT_FALSE(parser.next());
  EXPECT_EQ(parser.fault(), Refusal::other_version);
}

TEST(Wire, RefusesWhatIsTooLongUnknownOrLeftOver) {
  const std::string good = encode(Request{TableRequest{"#"}});
  std::string too_long = good;
  too_long[7] = '\x7f';
  std::string unknown = good;
  unknown[0] = '\x77';
  std::string left_over = good + "x";
  left_over[4] = static_cast<char>(left_over[4] + 1);
  for (const std::string& bad : {too_long, unknown, left_over}) {
    RequestParser parser;
    parser.feed(bytes(bad));
    EXPECT_FALSE(parser.next());
    EXPECT_EQ(parser.fault(), Refusal::malformed);
  }
}

TEST(Wire, SurvivesAnyBytes) {
  std::mt19937 random(7);
  for (int round = 0; round < 20'000; ++round) {
    std::string text = encode(Request{AttachRequest{{}, {}, {}, {"filter"}, "name", {"after"}}});
    for (int i = 0; i < 3; ++i) text[random() % text.size()] = static_cast<char>(random());
    RequestParser requests;
    requests.feed(bytes(text));
    while (requests.next()) {
    }
    ReplyParser replies;
    replies.feed(bytes(text));
    while (replies.next()) {
    }
  }
}

TEST(Wire, ReadsEveryReplyBack) {
  ReplyParser parser;
  parser.feed(bytes(encode(Reply{Attached{1, 2, 3, 4, 5, true, {6, 7}}}, 5)));
  parser.feed(bytes(encode(Reply{Refused{Refusal::no_memory, "why"}}, 0)));
  parser.feed(bytes(encode(Reply{EvictedNotice{Eviction::lease_ended}}, 0)));
  parser.feed(bytes(encode(Reply{NeighbourCame{9, true}}, 1)));
  parser.feed(bytes(encode(Reply{NeighbourGone{9}}, 0)));
  parser.feed(bytes(encode(Reply{PublisherRingOpened{8}}, 2)));
  parser.feed(bytes(encode(Reply{TableOpened{8}}, 1)));
  parser.feed(bytes(encode(Reply{ValueReply{true, 1, 2, 3, "value"}}, 0)));
  auto item = parser.next();
  EXPECT_EQ(item->descriptor_count, 5u);
  EXPECT_EQ(std::get<Attached>(item->reply).predecessors, (std::vector<std::uint64_t>{6, 7}));
  EXPECT_EQ(std::get<Refused>(parser.next()->reply).text, "why");
  EXPECT_EQ(std::get<EvictedNotice>(parser.next()->reply).reason, Eviction::lease_ended);
  EXPECT_TRUE(std::get<NeighbourCame>(parser.next()->reply).is_predecessor);
  EXPECT_EQ(std::get<NeighbourGone>(parser.next()->reply).consumer_id, 9u);
  EXPECT_EQ(std::get<PublisherRingOpened>(parser.next()->reply).epoch, 8u);
  EXPECT_EQ(std::get<TableOpened>(parser.next()->reply).epoch, 8u);
  EXPECT_EQ(std::get<ValueReply>(parser.next()->reply).payload, "value");
  EXPECT_FALSE(parser.next());
  EXPECT_FALSE(parser.is_faulty());
}

}  // namespace
}  // namespace millrace::shm
