#include "core/broker/inbox.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <latch>
#include <thread>
#include <utility>
#include <vector>

#include "core/broker/processor.hpp"
#include "tests/broker/world.hpp"

namespace millrace::broker {
namespace {

struct Case {
  WaitStrategy wait;
  bool borrow;
};

class InboxThreads : public testing::TestWithParam<Case> {};

// A front-end as an I/O thread is one: submits, and sleeps until its ready list rings. As an I/O
// thread's, its list lives until the inbox has stopped: the processor may still put outboxes on it.
class FrontEnd : public OutboxOwner {
 public:
  FrontEnd(Inbox& inbox, std::string id)
      : inbox_(inbox),
        ready_([this] {
          wake_up_.store(true);
          wake_up_.notify_all();
        }),
        outbox_(new Outbox(ready_, *this)) {
    auto request = std::make_unique<ConnectRequest>();
    request->client_id = std::move(id);
    submit(command::Connect{std::move(request)});
  }
  ~FrontEnd() { outbox_->forget_owner(); }

  void close() { submit(command::Close{}); }

  void submit(command::Body body) {
    Command command{outbox_.get(), std::move(body)};
    while (inbox_.submit({&command, 1}) == 0) {
      inbox_.wait_for_room(outbox_);
      if (inbox_.submit({&command, 1}) == 1) return;
      wait();
    }
  }
  void on_outbox_ready() override {
    auto handover = outbox_->take();
    if (!handover) return;
    std::uint32_t drained = 0;
    for (const HandoverItem& item : handover->deliveries) {
      received += packet_count(item);
      drained += charge_bytes(item);
    }
    acknowledged += handover->control.size() / 4;
    outbox_->recycle(std::move(handover));
    if (drained == 0) return;
    submit(command::Drained{drained, false});
  }
  // Blocks until something was ready, and handles it.
  void wait() {
    std::vector<OutboxRef> outboxes;
    while (!ready_.take(outboxes)) {
      if (ready_.prepare_to_sleep()) {
        wake_up_.wait(false);
        wake_up_.store(false);
        ready_.awake();
      }
    }
    for (OutboxRef& outbox : outboxes) outbox->dispatch();
  }

  std::uint64_t received = 0;
  std::uint64_t acknowledged = 0;

 private:
  Inbox& inbox_;
  std::atomic<bool> wake_up_{false};
  ReadyList ready_;
  OutboxRef outbox_;
};

TEST_P(InboxThreads, LoseNoMessageAndNoWakeUp) {
  constexpr std::uint64_t messages = 2000;
  constexpr int writers = 3;
  ProcessorLimits processor_limits;
  Processor processor(processor_limits);
  InboxLimits limits;
  limits.queue.min_capacity = limits.queue.initial_capacity = 32;
  limits.queue.max_capacity = 128;  // small, so that the queue is full now and then
  limits.wait = GetParam().wait;
  limits.borrow_role = GetParam().borrow;
  Inbox inbox(limits, processor);
  inbox.start();
  std::latch subscribed(1);
  std::deque<FrontEnd> front_ends;
  front_ends.emplace_back(inbox, "reader");
  std::thread reader([&, &front_end = front_ends.back()] {
    auto request = std::make_unique<SubscribeRequest>();
    request->packet_id = 1;
    SubscriptionRequest wanted;
    wanted.name = wanted.filter = "#";
    wanted.qos = 0;
    wanted.mode = Mode::every;
    request->filters.push_back(wanted);
    front_end.submit(command::Subscribe{std::move(request)});
    while (front_end.acknowledged == 0) front_end.wait();
    subscribed.count_down();
    while (front_end.received < messages * writers) front_end.wait();
    front_end.close();
  });
  std::vector<std::thread> threads;
  for (int i = 0; i < writers; ++i) {
    front_ends.emplace_back(inbox, "writer" + std::to_string(i));
    threads.emplace_back([&, &front_end = front_ends.back()] {
      subscribed.wait();
      for (std::uint64_t n = 0; n < messages; ++n) {
        Message one = message("a", "x", 1, false, static_cast<std::uint16_t>(n % 1000 + 1));
        const std::uint32_t bytes = one.packet_bytes;
        front_end.submit(command::Publish{std::move(one), bytes});
      }
      while (front_end.acknowledged < messages) front_end.wait();
      front_end.close();
    });
  }
  for (std::thread& thread : threads) thread.join();
  reader.join();
  inbox.stop();
  EXPECT_EQ(inbox.queued_bytes(), 0u);
  EXPECT_EQ(processor.stats().sessions.value(), 0u);
}

// The last attempt of a publisher charges its bytes for a moment. The list is so long that it takes
// long to count them and take them back, and the processor ends the batch that empties the queue
// just then: it waits for that charge where it hands over the acknowledgement of what it took.
TEST_P(InboxThreads, WakeAPublisherWhoseOwnChargeWasInTheWay) {
  constexpr std::uint32_t all_bytes = 1000;
  std::vector<Command> list(100'000);
  for (Command& one : list) one.body = command::Publish{Message(), 1};
  for (int round = 0; round < 3; ++round) {
    Processor processor(ProcessorLimits{});
    InboxLimits limits;
    limits.bytes_max = all_bytes;
    limits.wait = GetParam().wait;
    limits.borrow_role = GetParam().borrow;
    Inbox inbox(limits, processor);
    struct Silent : OutboxOwner {
      void on_outbox_ready() override {}
    } owner;
    std::atomic<bool> tried{false};
    ReadyList first_ready([&] {
      while (inbox.queued_bytes() <= all_bytes && !tried.load()) std::this_thread::yield();
    });
    ReadyList second_ready([] {});
    const OutboxRef first(new Outbox(first_ready, owner));
    const OutboxRef second(new Outbox(second_ready, owner));
    const auto submit = [&](command::Body body) {
      Command command{first.get(), std::move(body)};
      ASSERT_EQ(inbox.submit({&command, 1}), 1u);
    };
    inbox.start();
    auto request = std::make_unique<ConnectRequest>();
    request->client_id = "first";
    submit(command::Connect{std::move(request)});
    std::vector<OutboxRef> ready;
    while (!first_ready.take(ready)) std::this_thread::yield();
    first->dispatch();
    ASSERT_TRUE(first_ready.prepare_to_sleep());
    std::thread publisher([&] {
      while (inbox.queued_bytes() == 0) std::this_thread::yield();
      inbox.wait_for_room(second);
      EXPECT_EQ(inbox.submit(list), 0u);
      tried.store(true);
    });
    submit(command::Publish{message("a", "x", 1, false, 1), all_bytes});
    publisher.join();
    inbox.stop();  // no batch is under way any more
    EXPECT_EQ(inbox.queued_bytes(), 0u);
    EXPECT_TRUE(second_ready.take(ready)) << "the queue is empty, and the publisher sleeps";
    submit(command::Close{});
    inbox.start();
    inbox.stop();
    for (const OutboxRef& outbox : {first, second}) outbox->forget_owner();
  }
}

INSTANTIATE_TEST_SUITE_P(Strategies, InboxThreads,
                         testing::Values(Case{WaitStrategy::block, true},
                                         Case{WaitStrategy::block, false},
                                         Case{WaitStrategy::yield, false}));

TEST(Inbox, FiresATimerWithoutACommand) {
  World world;  // for its peers; the processor below is the Inbox's
  Processor processor(ProcessorLimits{});
  Inbox inbox(InboxLimits{}, processor);
  inbox.start();
  FrontEnd reader(inbox, "reader");
  ReadyList ready([] {});
  std::thread([&] {
    auto subscribe = std::make_unique<SubscribeRequest>();
    subscribe->packet_id = 1;
    SubscriptionRequest wanted;
    wanted.name = wanted.filter = "will";
    subscribe->filters.push_back(wanted);
    reader.submit(command::Subscribe{std::move(subscribe)});
    OutboxRef outbox(new Outbox(ready, reader));
    auto request = std::make_unique<ConnectRequest>();
    request->client_id = "mortal";
    request->session_expiry_s = 100;
    request->will = ConnectRequest::Will{message("will", "late", 0, false, 0, Inbox::now_ns()), 1};
    Command connect{outbox.get(), command::Connect{std::move(request)}};
    ASSERT_EQ(inbox.submit({&connect, 1}), 1u);
    Command close{outbox.get(), command::Close{protocol::ReasonCode::unspecified_error, {}}};
    ASSERT_EQ(inbox.submit({&close, 1}), 1u);
    outbox->forget_owner();
    while (reader.received == 0) reader.wait();
    reader.close();
  }).join();
  inbox.stop();
  EXPECT_EQ(processor.stats().wills.value(), 1u);
}

TEST(Inbox, RefusesAnInvalidQueueByName) {
  Processor processor(ProcessorLimits{});
  InboxLimits limits;
  limits.queue.min_capacity = 0;
  EXPECT_THROW(Inbox(limits, processor), std::invalid_argument);
}

}  // namespace
}  // namespace millrace::broker
