// The adversary: clients that spend what they may send so that the server holds most, or works most,
// for each byte of it. It searches greedily: what an action brought, per byte, decides how often it is
// tried again. Whatever it finds, memory stays within its limit, a batch within its slice and two
// commands, the work within a number of units for each byte that was sent, and a healthy client is
// served within a few batches.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "core/broker/command_turns.hpp"
#include "tests/broker/world.hpp"

namespace millrace::broker {
namespace {

using protocol::PacketType;
using protocol::Version;

constexpr std::uint64_t mib = 1 << 20;
constexpr std::uint64_t memory_bytes = 4 * mib;
constexpr int steps = 1500;
constexpr std::uint32_t slice_units = 2000;
constexpr std::uint64_t units_per_byte_max = 200;
constexpr int batches_max = 8;  // until the healthy client is served: others may be costly for once

enum class Goal : std::uint8_t { memory, work };

class Adversary {
 public:
  Adversary(std::uint64_t seed, Goal goal)
      : random_(seed), goal_(goal), world_(limits()), turns_(world_.processor) {
    healthy_ = &world_.peer("healthy", Version::v5);
    healthy_->connect().subscribe("healthy", 0, Mode::every);
    world_.end_batch();
    for (int i = 0; i < 8; ++i) new_client();
    worth_.fill(1.0);
  }

  // Empty, or which promise it broke.
  std::string run() {
    for (int step = 0; step < steps && fault_.empty(); ++step) {
      const std::size_t action = choose();
      const std::uint64_t sent = sent_bytes_;
      const std::uint64_t before = spent();
      act(static_cast<Action>(action));
      run_batches();
      const double brought = static_cast<double>(spent()) - static_cast<double>(before);
      const double per_byte = brought / static_cast<double>(1 + sent_bytes_ - sent);
      worth_[action] = 0.8 * worth_[action] + 0.2 * std::max(0.01, per_byte);
      check(step);
    }
    return fault_;
  }
  double most_per_byte() const { return *std::max_element(worth_.begin(), worth_.end()); }
  // Something was given up for memory: by the end of a step there is enough again.
  bool was_scarce() const {
    const ProcessorStats& stats = world_.processor.stats();
    return stats.memory_sessions_shed.value() + stats.memory_sessions_ended.value() > 0;
  }

 private:
  enum class Action : std::uint8_t {
    connect,
    leave,
    come_back,
    subscribe_all,
    subscribe_many,
    subscribe_long,
    subscribe_levels,
    subscribe_latest,
    publish_small,
    publish_large,
    publish_levels,
    publish_retained,
    publish_qos2,
    publish_topics,
    read,
    acknowledge,
    count
  };
  static constexpr std::size_t action_count = static_cast<std::size_t>(Action::count);

  static ProcessorLimits limits() {
    ProcessorLimits limits;
    limits.memory_bytes = memory_bytes;
    limits.session_bytes = 2 * mib;
    limits.slots.bytes_max = 2 * mib;
    limits.units_per_batch = slice_units;
    return limits;
  }

  std::uint32_t pick(std::size_t count) { return static_cast<std::uint32_t>(random_() % count); }
  // In proportion to what they are worth; each now and then.
  std::size_t choose() {
    if (pick(4) == 0) return pick(action_count);
    std::discrete_distribution<std::size_t> by_worth(worth_.begin(), worth_.end());
    return by_worth(random_);
  }
  std::uint64_t spent() {
    world_.processor.update_ledger();
    return goal_ == Goal::memory ? world_.processor.ledger().total() : units_;
  }

  Peer& new_client() {
    Peer& peer = world_.peer(std::to_string(clients_.size()) + std::string(pick(3) * 300, 'i'),
                             pick(2) == 0 ? Version::v5 : Version::v3_1_1);
    clients_.push_back(&peer);
    ConnectRequest::Will will{message("will", std::string(pick(4) * 20'000, 'w')), never_expires};
    sent_bytes_ += 50 + peer.client_id.size() + will.message.packet_bytes;
    peer.connect(pick(2) == 0, never_expires, std::move(will));
    return peer;
  }
  Peer& client() { return *clients_[pick(clients_.size())]; }

  void subscribe(std::string filter, int qos, Mode mode) {
    Peer& peer = client();
    sent_bytes_ += 8 + filter.size();
    if (peer.is_open) peer.subscribe(std::move(filter), qos, mode);
  }
  void publish(const std::string& topic, const std::string& payload, int qos, bool retain) {
    Peer& peer = client();
    sent_bytes_ += 8 + topic.size() + payload.size();
    if (!peer.is_open) return;
    const auto packet_id =
        qos > 0 ? static_cast<std::uint16_t>(1 + pick(60'000)) : std::uint16_t{0};
    commands_.push_back(publish_command(
        message(topic, payload, qos, retain, packet_id, world_.now_ns), peer.outbox.get()));
  }
  // "a/a/+/a": so many levels, some of them wildcards.
  std::string levels(bool wildcards) {
    std::string name = "a";
    for (int i = 0; i < 8; ++i) name += wildcards && pick(2) == 0 ? "/+" : "/a";
    return name;
  }

  void act(Action action) {
    switch (action) {
      case Action::connect:
        if (clients_.size() < 300) new_client();
        break;
      case Action::leave: {
        Peer& peer = client();
        sent_bytes_ += 2;
        if (peer.is_open) peer.close();
        break;
      }
      case Action::come_back: {
        Peer& before = client();
        Peer& peer = world_.peer(before.client_id, before.outbox->version);
        sent_bytes_ += 30 + peer.client_id.size();
        if (before.is_open) before.close();
        *std::find(clients_.begin(), clients_.end(), &before) = &peer;
        peer.connect(false, never_expires);
        break;
      }
      case Action::subscribe_all:
        subscribe("#", 1, Mode::every);
        break;
      case Action::subscribe_many:
        for (int i = 0; i < 50; ++i)
          subscribe("b/" + std::to_string(pick(100'000)), 1, Mode::every);
        break;
      case Action::subscribe_long:
        subscribe(std::string(1 + pick(60'000), 'l'), 1, Mode::every);
        break;
      case Action::subscribe_levels:
        for (int i = 0; i < 50; ++i) subscribe(levels(true), 1, Mode::every);
        break;
      case Action::subscribe_latest:
        subscribe("#", 0, Mode::latest);
        break;
      case Action::publish_small:
        for (int i = 0; i < 20; ++i) publish("t", "v", 1, false);
        break;
      case Action::publish_large:
        publish("t", std::string(100'000, 'p'), 1, false);
        break;
      case Action::publish_levels:
        for (int i = 0; i < 20; ++i)
          publish(levels(false) + std::to_string(pick(1000)), "v", 1, false);
        break;
      case Action::publish_retained:
        publish("r/" + std::to_string(pick(1000)), std::string(pick(50'000), 'r'), 1, true);
        break;
      case Action::publish_qos2:
        for (int i = 0; i < 50; ++i) publish("q", "v", 2, false);
        break;
      case Action::publish_topics:
        for (int i = 0; i < 50; ++i) publish("n/" + std::to_string(random_()), "v", 0, false);
        break;
      case Action::read: {
        Peer& peer = client();
        peer.take();
        if (peer.is_open && !peer.closed) peer.report_drained();
        break;
      }
      case Action::acknowledge: {
        Peer& peer = client();
        if (!peer.is_open || peer.closed) break;
        for (const Got& got : peer.got) {
          if (got.qos == 1) peer.acknowledge(PacketType::puback, got.packet_id);
        }
        peer.got.clear();
        break;
      }
      case Action::count:
        break;
    }
  }

  // As Inbox does it; the healthy client's message comes last.
  void run_batches() {
    world_.end_batch();
    for (Peer* peer : clients_) peer->control.clear();
    commands_.push_back(publish_command(message("healthy", "v"), healthy_->outbox.get()));
    int batches = 0;
    do {
      ++batches;
      world_.now_ns += 3'000'000;
      world_.processor.begin(world_.now_ns);
      turns_.begin();
      if (!turns_.is_behind()) {
        for (Command& command : std::exchange(commands_, {})) turns_.admit(command);
      }
      turns_.finish();
      const std::uint64_t units = world_.processor.spent_units();
      units_ += units;
      if (units > slice_units + 2 * command_units_max()) {
        fault_ = "a batch of " + std::to_string(units) + " units";
      }
      world_.processor.finish();
      if (served()) most_batches_ = std::max(most_batches_, batches);
    } while (!turns_.empty() || !commands_.empty() || world_.processor.has_more());
  }
  // Of one command: a publish for all subscriptions and sessions that there are.
  std::uint64_t command_units_max() const {
    constexpr std::uint64_t nodes = 1024;
    const ProcessorStats& stats = world_.processor.stats();
    return 2 * (stats.subscriptions.value() + stats.sessions.value() + nodes);
  }
  bool served() {
    healthy_->take();
    healthy_->report_drained();
    world_.end_batch();
    served_ += healthy_->got.size();
    return !std::exchange(healthy_->got, {}).empty();
  }

  void check(int step) {
    const Ledger& ledger = world_.processor.ledger();
    const auto fail = [&](const std::string& what) {
      fault_ = what + " at step " + std::to_string(step);
    };
    if (ledger.total() > memory_bytes + mib) {
      fail("memory: " + std::to_string(ledger.total()));
    }
    if (healthy_->closed) fail("the healthy client was disconnected");
    if (served_ != static_cast<std::uint64_t>(step) + 1) fail("the healthy client was not served");
    if (most_batches_ > batches_max) {
      fail("the healthy client waited for " + std::to_string(most_batches_) + " batches");
    }
    if (units_ > units_per_byte_max * sent_bytes_ + 100 * slice_units) {
      fail(std::to_string(units_) + " units for " + std::to_string(sent_bytes_) + " bytes");
    }
  }

  std::mt19937_64 random_;
  const Goal goal_;
  World world_;
  CommandTurns turns_;
  Peer* healthy_ = nullptr;
  std::vector<Peer*> clients_;
  std::vector<Command> commands_;
  std::array<double, action_count> worth_{};
  std::uint64_t sent_bytes_ = 0;
  std::uint64_t units_ = 0;
  int most_batches_ = 0;
  std::uint64_t served_ = 0;
  std::string fault_;
};

std::uint64_t first_seed() {
  const char* given = std::getenv("MILLRACE_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : 1;
}

TEST(Stress, MemoryStaysWithinItsLimitWhateverClientsDo) {
  int scarce = 0;
  for (std::uint64_t seed = first_seed(); seed < first_seed() + 10; ++seed) {
    Adversary adversary(seed, Goal::memory);
    ASSERT_EQ(adversary.run(), "") << "seed " << seed;
    scarce += adversary.was_scarce() ? 1 : 0;
  }
  EXPECT_GT(scarce, 0) << "the adversary is too weak to tell";
}

TEST(Stress, AHealthyClientIsServedWhateverClientsDo) {
  for (std::uint64_t seed = first_seed(); seed < first_seed() + 10; ++seed) {
    ASSERT_EQ(Adversary(seed, Goal::work).run(), "") << "seed " << seed;
  }
}

}  // namespace
}  // namespace millrace::broker
