// Local readers and the processor: newest values for one who starts at `latest`, piece by piece.
#include <gtest/gtest.h>

#include "core/broker/local_side.hpp"
#include "core/shm/ring/ring_reader.hpp"
#include "world.hpp"

namespace millrace::broker {
namespace {

constexpr shm::ClientId client = 2;

class LocalReaders : public ::testing::Test {
 protected:
  void open(std::size_t topics_per_batch) {
    shm::RegistryOptions options;
    options.topics_per_batch = topics_per_batch;
    world.processor.open_local_side(options, [this](std::vector<shm::Outgoing> outgoing) {
      for (shm::Outgoing& one : outgoing) answers.push_back(std::move(one));
    });
  }
  void submit(LocalRequest::What what, shm::Request request) {
    auto local = std::make_unique<LocalRequest>();
    local->what = what;
    local->client = client;
    local->request = std::move(request);
    world.apply({nullptr, command::Local{std::move(local)}});
  }
  void attach_at_latest(std::vector<std::string> filters) {
    shm::AttachRequest request;
    request.start = shm::StartAt::latest;
    request.filters = std::move(filters);
    submit(LocalRequest::What::ask, request);
  }
  std::size_t batches_until_answered() {
    std::size_t batches = 0;
    for (; answers.empty() && world.processor.has_more(); ++batches) {
      world.processor.begin(world.now_ns);
      world.processor.finish();
    }
    return batches;
  }
  shm::Attached attached() {
    shm::ReplyParser parser;
    parser.feed(std::as_bytes(std::span(answers.at(0).bytes)));
    return std::get<shm::Attached>(parser.next()->reply);
  }
  // The payloads of the snapshot, then what the ring holds.
  std::vector<std::string> everything() {
    std::vector<std::string> payloads;
    const shm::Attached start = attached();
    auto& descriptors = answers.at(0).descriptors;
    const auto snapshot =
        shm::Mapping::map(descriptors.at(2).get(), start.snapshot_bytes, shm::Access::read_only);
    for (std::size_t at = 0; at < start.snapshot_bytes;) {
      const shm::FrameHeader header = shm::load_header(snapshot.data() + at);
      payloads.emplace_back(
          reinterpret_cast<const char*>(snapshot.data()) + at + sizeof header + header.topic_bytes,
          header.payload_bytes);
      at += shm::frame_bytes(header.topic_bytes, header.payload_bytes);
    }
    shm::RingReader reader;
    EXPECT_EQ(reader.open(descriptors.at(0).get(), descriptors.at(1).get(), start.position,
                          start.sequence),
              nullptr);
    shm::RingReader::Frame frame;
    while (reader.next(frame)) {
      payloads.emplace_back(reinterpret_cast<const char*>(frame.payload.data()),
                            frame.payload.size());
    }
    return payloads;
  }

  World world;
  std::vector<shm::Outgoing> answers;
};

TEST_F(LocalReaders, WalkOverManyTopicsTakesABoundedPieceOfEachBatch) {
  open(10);
  Peer& publisher = world.peer("p").connect();
  for (int i = 0; i < 100; ++i) publisher.publish("t/" + std::to_string(i), std::to_string(i));
  attach_at_latest({"t/#"});
  EXPECT_TRUE(answers.empty()) << "not all at once";
  EXPECT_GE(batches_until_answered(), 9u);
  EXPECT_EQ(everything().size(), 100u);
}

TEST_F(LocalReaders, WhatIsPublishedDuringTheWalkComesOnceAndAfterIt) {
  open(1);
  Peer& publisher = world.peer("p").connect();
  for (const char* topic : {"t/a", "t/b", "t/c"}) publisher.publish(topic, "before");
  attach_at_latest({"t/+"});
  publisher.publish("t/c", "during");
  publisher.publish("t/c", "last");
  batches_until_answered();
  EXPECT_EQ(everything(), (std::vector<std::string>{"before", "before", "during", "last"}));
}

TEST_F(LocalReaders, OfSeveralFiltersGetEachMessageOnce) {
  open(100);
  Peer& publisher = world.peer("p").connect();
  for (const char* topic : {"a/x", "a/y", "b", "c"}) publisher.publish(topic, topic);
  attach_at_latest(std::vector<std::string>{"a/+", "b", "a/x", "a/#"});
  publisher.publish("a/x", "live a/x");
  publisher.publish("c", "live c");
  publisher.publish("b", "live b");
  publisher.publish("a/x", "again");
  batches_until_answered();
  EXPECT_EQ(everything(),
            (std::vector<std::string>{"a/x", "a/y", "b", "live a/x", "live b", "again"}));
}

TEST_F(LocalReaders, OfSeveralFiltersLeaveNoSubscriptionBehind) {
  open(10);
  attach_at_latest(std::vector<std::string>{"a/+", "b"});
  submit(LocalRequest::What::gone, {});
  for (int i = 0; i < 100; ++i) world.advance_ms(100);
  EXPECT_TRUE(world.processor.local_side()->figures().rings.empty());
  Peer& publisher = world.peer("p").connect();
  publisher.publish("a/x", "1");  // a route to the freed ring would be found by the sanitizers
  publisher.publish("b", "2");
}

TEST_F(LocalReaders, AReaderThatLeavesDuringTheWalkEndsIt) {
  open(1);
  Peer& publisher = world.peer("p").connect();
  for (int i = 0; i < 10; ++i) publisher.publish("t/" + std::to_string(i), "x");
  attach_at_latest({"#"});
  submit(LocalRequest::What::gone, {});
  EXPECT_FALSE(world.processor.has_more());
  world.run_until_idle();
  EXPECT_TRUE(answers.empty());
}

TEST_F(LocalReaders, EmptyValuesAreNoSeeds) {
  open(10);
  Peer& publisher = world.peer("p").connect();
  publisher.publish("t/a", "kept");
  publisher.publish("t/b", "x");
  publisher.publish("t/b", "");
  attach_at_latest({"t/#"});
  batches_until_answered();
  EXPECT_EQ(everything(), std::vector<std::string>{"kept"});
}

TEST_F(LocalReaders, TheClockIsNeededOnlyWhileThereAreReaders) {
  open(10);
  world.advance_ms(1'000);
  EXPECT_EQ(world.processor.next_deadline_ns(), Processor::no_deadline);
  attach_at_latest({"t/#"});
  world.run_until_idle();
  EXPECT_LE(world.processor.next_deadline_ns(), world.now_ns + 200'000'000);
  submit(LocalRequest::What::gone, {});
  for (int i = 0; i < 100; ++i) world.advance_ms(100);  // the ring lingers, then goes
  EXPECT_EQ(world.processor.next_deadline_ns(), Processor::no_deadline);
  EXPECT_TRUE(world.processor.local_side()->figures().rings.empty());
}

}  // namespace
}  // namespace millrace::broker
