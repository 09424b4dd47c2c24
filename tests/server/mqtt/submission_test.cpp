#include "server/mqtt/submission.hpp"

#include <gtest/gtest.h>

#include "tests/server/mqtt/front_end.hpp"

namespace millrace::server {
namespace {

using protocol::ReasonCode;

struct NoOwner : broker::OutboxOwner {
  void on_outbox_ready() override { ++calls; }
  int calls = 0;
};

Config small() {
  Config config;
  config.queue.initial_capacity = 16;
  config.queue.min_capacity = 16;
  config.queue.max_capacity = 32;
  config.queue.bytes_max = 4096;
  config.connection.unapplied_bytes = 1000;
  config.connection.unapplied_commands = 8;
  return config;
}

struct SubmissionTest : testing::Test {
  FrontEnd front{small()};
  NoOwner owner;
  broker::OutboxRef outbox{new broker::Outbox(front.thread.ready_list(), owner)};
  Submission submission{front.thread};

  SubmissionTest() {
    auto request = std::make_unique<broker::ConnectRequest>();
    request->client_id = "c";
    submission.open(outbox, std::move(request));
    submission.submit();
    front.apply();
  }
  ~SubmissionTest() override {
    if (!submission.has_close()) submission.add_close(ReasonCode::normal_disconnection, {});
    submission.submit();
    while (!submission.is_over()) {
      front.apply();
      submission.submit();
    }
    front.apply();
    outbox->forget_owner();
  }

  static broker::Message message(std::size_t payload_bytes) {
    const std::vector<std::uint8_t> payload(payload_bytes);
    broker::MessageParts parts;
    parts.topic = "t";
    parts.payload = payload;
    return broker::build_message(parts, broker::Inbox::now_ns());
  }
};

TEST_F(SubmissionTest, CountsWhatIsNotAppliedAgainstItsLimits) {
  EXPECT_TRUE(submission.all_applied());
  submission.add_publish(message(400));
  EXPECT_FALSE(submission.all_applied());  // gathered is not applied
  EXPECT_FALSE(submission.is_at_limit());
  submission.add_publish(message(700));
  submission.submit();
  EXPECT_TRUE(submission.is_at_limit());
  EXPECT_FALSE(submission.is_below_low_mark());
  front.apply();
  EXPECT_TRUE(submission.all_applied());
  EXPECT_FALSE(submission.is_at_limit());
  EXPECT_TRUE(submission.is_below_low_mark());
}

TEST_F(SubmissionTest, KeepsInOrderWhatTheQueueDoesNotTake) {
  for (int i = 0; i < 60; ++i) submission.add_publish(message(1));
  submission.submit();
  ASSERT_TRUE(submission.has_kept());
  EXPECT_TRUE(submission.is_at_limit());
  submission.add_close(ReasonCode::normal_disconnection, {});
  submission.submit();
  EXPECT_FALSE(submission.is_over());
  for (int rounds = 0; rounds < 10 && !submission.is_over(); ++rounds) {
    front.apply();
    submission.submit();
  }
  EXPECT_TRUE(submission.is_over());
  front.apply();
  EXPECT_TRUE(submission.all_applied());
  EXPECT_EQ(front.processor.stats().published[0].value(), 60u);
  EXPECT_EQ(front.processor.find_session("c"), nullptr);
}

// Nothing that fits no queue is kept for ever.
TEST_F(SubmissionTest, ABatchAboveTheLimitOfTheQueueIsTakenInParts) {
  for (int i = 0; i < 10; ++i) submission.add_publish(message(1500));
  submission.add_publish(message(10'000));  // alone above the limit
  submission.submit();
  EXPECT_TRUE(submission.has_kept());
  for (int rounds = 0; rounds < 20 && submission.has_kept(); ++rounds) {
    front.apply();
    submission.submit();
  }
  EXPECT_FALSE(submission.has_kept());
  front.apply();
  EXPECT_EQ(front.processor.stats().published[0].value(), 11u);
}

TEST_F(SubmissionTest, TheOutboxIsCalledWhenMoreIsApplied) {
  submission.add_publish(message(1));
  submission.submit();
  submission.ask_for_progress();
  front.apply();
  EXPECT_TRUE(front.thread.dispatch_ready());
  EXPECT_GT(owner.calls, 0);
}

TEST_F(SubmissionTest, ASlicePaysForWhatItPins) {
  broker::BufferRef buffer = broker::Buffer::allocate(900);
  std::vector<std::uint8_t> packet = {0x30, 3, 0, 1, 't'};
  std::copy(packet.begin(), packet.end(), buffer->data());
  const auto frame = protocol::frame(packet, 100, protocol::Version::v3_1_1);
  const auto view =
      protocol::decode_publish(**frame, {buffer->data(), 5}, protocol::Version::v3_1_1);
  submission.add_publish(broker::make_message(buffer, 0, 5, *view, protocol::Version::v3_1_1));
  submission.add(broker::command::Puback{1, {}});
  submission.charge_last_slice(buffer.get(), 1100);
  submission.submit();
  EXPECT_TRUE(submission.is_at_limit());
  EXPECT_EQ(front.inbox.queued_bytes(), 1105u);
}

TEST_F(SubmissionTest, WhatIsCostlyHasASmallLimit) {
  Config config = small();
  config.connection.unapplied_commands = 1000;
  config.connection.unapplied_bytes = 1 << 20;
  config.queue.bytes_max = 1 << 20;
  config.queue.max_capacity = 4096;
  FrontEnd other(config);
  broker::OutboxRef of_other(new broker::Outbox(other.thread.ready_list(), owner));
  Submission costly(other.thread);
  auto request = std::make_unique<broker::ConnectRequest>();
  request->client_id = "c";
  costly.open(of_other, std::move(request));
  for (int i = 0; i < 100; ++i) costly.add_publish(message(1));
  EXPECT_FALSE(costly.is_at_limit());
  of_other->set_asks_much(true);
  EXPECT_TRUE(costly.is_costly());
  EXPECT_TRUE(costly.is_at_limit()) << "also before it is submitted";
  costly.add_close(ReasonCode::normal_disconnection, {});
  costly.submit();
  other.apply();
  EXPECT_FALSE(costly.is_at_limit());
  of_other->forget_owner();
}

// Of 420,000 filters in a packet of 2 MiB, too.
TEST_F(SubmissionTest, ARequestIsChargedToItsConnectionAndToTheLedgerUntilItIsApplied) {
  broker::Ledger& ledger = front.inbox.ledger();
  const std::uint64_t before = ledger.bytes(broker::Holding::connections);
  auto request = std::make_unique<broker::UnsubscribeRequest>();
  request->packet_id = 1;
  request->names = {"a", "b"};
  submission.add_request(std::move(request), 2000);
  submission.submit();
  EXPECT_TRUE(submission.is_at_limit());
  EXPECT_EQ(ledger.bytes(broker::Holding::connections), before + 2000);
  front.apply();
  EXPECT_FALSE(submission.is_at_limit());
  EXPECT_EQ(ledger.bytes(broker::Holding::connections), before);
}

}  // namespace
}  // namespace millrace::server
