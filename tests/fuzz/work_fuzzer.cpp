// The fuzz target that looks for inputs which are slow, or hold much: an input is the script of what up
// to eight clients ask of the processor.
//
// What it costs is counted, not timed: units of work for each byte that the clients would have sent,
// units of one batch, and bytes that are held. libFuzzer is shown these counts as if they were
// coverage, so that it keeps an input that costs more than any before, and goes on from there.
//
// Each step is a byte that says what is done (the lower half) and by whom (the upper half), and as many
// bytes as that takes; any bytes are a script. make_work_seeds.py writes scripts by name.
//
// What must hold: a batch ends after its slice and two commands; the work is within a number of units
// for each byte that was sent; memory is within its limit; a client that asks for little is served
// within a few batches; when all have left, nothing is held.
#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "core/broker/command_turns.hpp"
#include "tests/broker/world.hpp"

namespace millrace::broker {
namespace {

constexpr std::uint64_t mib = 1 << 20;
constexpr std::uint64_t memory_bytes = 4 * mib;
constexpr std::uint32_t slice_units = 2000;
constexpr std::uint64_t units_per_byte_max = 200;
constexpr std::uint64_t free_units = 20 * slice_units;  // of a short script
constexpr int batches_max = 8;
constexpr std::size_t script_bytes_max = 2048;
constexpr std::size_t connections_max = 200;

// What libFuzzer looks at beside coverage: which of these are not 0. It sets all to 0 before a run.
enum class Seen : std::uint8_t { units_per_byte, units_of_batch, held_per_byte, count };
constexpr std::size_t buckets = 256;
[[gnu::section("__libfuzzer_extra_counters"),
  gnu::used]] std::uint8_t seen[static_cast<std::size_t>(Seen::count) * buckets];

// Four for each doubling.
std::size_t bucket_of(std::uint64_t value) {
  if (value < 4) return static_cast<std::size_t>(value);
  const auto width = static_cast<std::size_t>(std::bit_width(value));
  return 4 * (width - 2) + (value >> (width - 3) & 3);
}

void note(Seen what, std::uint64_t value) {
  seen[static_cast<std::size_t>(what) * buckets + bucket_of(value)] = 1;
}

void expect(bool holds, const std::string& what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what.c_str());
  std::abort();
}

class Run {
 public:
  Run(const std::uint8_t* data, std::size_t size)
      : data_(data), left_(size), world_(limits()), turns_(world_.processor) {
    world_.gathered = &commands_;
    modest_ = &world_.peer("modest", protocol::Version::v5);
    modest_->connect().subscribe("modest", 0, Mode::every);
    run_batches();
  }
  ~Run() { world_.gathered = nullptr; }

  void play() {
    while (left_ > 0) {
      step(byte());
      run_batches();
      check();
    }
    leave();
  }

 private:
  static ProcessorLimits limits() {
    ProcessorLimits limits;
    limits.memory_bytes = memory_bytes;
    limits.session_bytes = 2 * mib;
    limits.slots.bytes_max = 2 * mib;
    limits.units_per_batch = slice_units;
    return limits;
  }

  std::uint8_t byte() {
    if (left_ == 0) return 0;
    --left_;
    return *data_++;
  }

  // So many levels, each of two bits: "a", "b", "+", or a name of its own.
  std::string levels(bool wildcards) {
    std::string name = "r";
    const std::size_t count = byte() % 32;
    for (std::size_t i = 0; i < count; i += 4) {
      std::uint8_t bits = byte();
      for (std::size_t k = i; k < std::min(count, i + 4); ++k, bits >>= 2) {
        constexpr std::array<const char*, 4> words = {"/a", "/b", "/+", "/c"};
        name += !wildcards && bits % 4 == 2 ? "/d" : words[bits % 4];
      }
    }
    return name;
  }

  void step(std::uint8_t what) {
    const std::size_t who = (what >> 4) % peers_.size();
    Peer* const peer = peers_[who];
    const bool is_here = peer != nullptr && peer->is_open && !peer->closed;
    switch (what % 16) {
      case 0:
        return connect(who);
      case 1:
        sent(2);
        if (peer != nullptr && peer->is_open) peer->close();
        return;
      case 2:
        return is_here ? subscribe(*peer, levels(true)) : void();
      case 3: {
        constexpr std::array<const char*, 4> ends = {"#", "+/#", "r/#", "r/+/#"};
        return is_here ? subscribe(*peer, ends[byte() % 4]) : void();
      }
      case 4:
        return is_here ? subscribe(*peer, std::string(byte() * 100u, 'l') + "/" + levels(true))
                       : void();
      case 5:
        return is_here ? unsubscribe(*peer) : void();
      case 6:
        return is_here ? publish(*peer, levels(false), 1, false) : void();
      case 7:
        return is_here ? publish(*peer, levels(false), byte() * 200u, true) : void();
      case 8: {
        const std::string topic = levels(false);
        return is_here ? publish(*peer, topic + "/" + std::to_string(topics_++), 1, false) : void();
      }
      case 9:
        return is_here ? publish(*peer, std::string(byte() * 100u, 't'), 1, false) : void();
      case 10:
        if (peer != nullptr) peer->take();
        if (is_here) peer->report_drained();
        return;
      case 11:
        return is_here ? acknowledge(*peer) : void();
      default:
        world_.now_ns += std::int64_t{byte()} * 100'000'000;
    }
  }

  void connect(std::size_t who) {
    if (connections_ == connections_max) return;
    ++connections_;
    const std::uint8_t how = byte();
    Peer*& peer = peers_[who];
    if (peer != nullptr && peer->is_open) peer->close();
    std::string id = std::to_string(who) + std::string((how >> 4) * 100u, 'i');
    std::optional<ConnectRequest::Will> will;
    if ((how & 1) != 0) will = {message("r/a", std::string(byte() * 100u, 'w')), byte()};
    sent(20 + id.size() + (will ? will->message.packet_bytes : 0));
    peer = &world_.peer(std::move(id),
                        (how & 2) != 0 ? protocol::Version::v5 : protocol::Version::v3_1_1);
    if ((how & 8) != 0) peer->receive_maximum = 4;
    peer->connect((how & 4) != 0, byte(), std::move(will));
  }

  void subscribe(Peer& peer, const std::string& filter) {
    const std::uint8_t how = byte();
    constexpr std::array<Mode, 4> modes = {Mode::every, Mode::adaptive, Mode::latest, Mode::every};
    SubscriptionRequest wanted;
    wanted.mode = modes[how % 4];
    wanted.qos = how >> 2 & 1;
    wanted.shape = rate_limit((how & 8) != 0 ? 1000 : 0);
    wanted.filter = filter;
    wanted.name = filter;
    if (how % 4 == 3) {
      wanted.share_group = "g";
      wanted.name = "$share/g/" + filter;
      wanted.shape = nullptr;
    } else if (how % 4 == 2) {
      wanted.name = "$latest/" + filter;
    }
    sent(8 + wanted.name.size());
    const bool identified = (how & 16) != 0 && peer.outbox->version == protocol::Version::v5;
    peer.subscribe(std::move(wanted), identified ? 1u + how : 0);
  }

  void unsubscribe(Peer& peer) {
    std::string filter = levels(true);
    sent(8 + filter.size());
    peer.unsubscribe(std::move(filter));
  }

  // Some of them at once.
  void publish(Peer& peer, const std::string& topic, std::size_t bytes, bool retain) {
    if (topic.empty()) return;
    const std::uint8_t how = byte();
    const std::string payload(bytes, 'p');
    for (int i = 0; i <= how % 16; ++i) {
      sent(8 + topic.size() + bytes);
      peer.publish(topic, payload, how >> 4 & 1, retain);
    }
  }

  void acknowledge(Peer& peer) {
    peer.take();
    for (const Got& got : peer.got) {
      if (got.qos != 1) continue;
      sent(4);
      peer.acknowledge(protocol::PacketType::puback, got.packet_id);
    }
    peer.got.clear();
    peer.control.clear();
  }

  void sent(std::size_t bytes) { sent_bytes_ += bytes; }

  // As Inbox does it; the modest client's message comes last.
  void run_batches() {
    const bool connected = modest_->is_open;
    if (connected) modest_->publish("modest", "v");
    int batches = 0;
    bool served = !connected;
    do {
      ++batches;
      world_.now_ns += 3'000'000;
      const std::uint64_t most = slice_units + 2 * command_units_max();
      world_.processor.begin(world_.now_ns);
      turns_.begin();
      if (!turns_.is_behind()) {
        for (Command& command : std::exchange(commands_, {})) turns_.admit(command);
      }
      turns_.finish();
      const std::uint64_t units = world_.processor.spent_units();
      note(Seen::units_of_batch, units);
      expect(units <= most, "a batch is short: " + std::to_string(units));
      world_.processor.finish();
      units_ += world_.processor.spent_units();
      let_go();
      if (served) continue;
      served = take_own();
      expect(served || batches <= batches_max, "who asks for little is served");
    } while (!turns_.empty() || !commands_.empty() || world_.processor.has_more());
    for (Peer* peer : peers_) {
      if (peer != nullptr) peer->control.clear();
    }
  }
  // As the I/O thread of a connection that is over.
  void let_go() {
    for (Peer* peer : peers_) {
      if (peer == nullptr || peer->outbox->attached()) continue;
      peer->take();
      peer->got.clear();
    }
  }
  bool take_own() {
    modest_->take();
    modest_->report_drained();
    modest_->control.clear();
    return !std::exchange(modest_->got, {}).empty();
  }
  // Of one command: a publish that all nodes of the index match, and whose value each subscription
  // conflates.
  std::uint64_t command_units_max() const {
    const ProcessorStats& stats = world_.processor.stats();
    return 8 * (stats.subscriptions.value() + stats.sessions.value()) +
           2 * world_.processor.index().node_count() + 256;
  }

  void check() {
    const Ledger& ledger = world_.processor.ledger();
    const std::uint64_t bytes = 1 + sent_bytes_;
    note(Seen::units_per_byte, units_ / bytes);
    note(Seen::held_per_byte, ledger.total() / bytes);
    expect(units_ <= units_per_byte_max * bytes + free_units,
           std::to_string(units_) + " units for " + std::to_string(bytes) + " bytes");
    expect(ledger.total() <= memory_bytes + mib,
           "memory is within its limit: " + std::to_string(ledger.total()));
    expect(!modest_->closed, "who asks for little stays");
  }

  void leave() {
    for (Peer* peer : peers_) {
      if (peer != nullptr && peer->is_open) peer->close();
    }
    modest_->close();
    run_batches();
    world_.now_ns += 256'000'000'000;  // the longest expiry
    run_batches();
    const ProcessorStats& stats = world_.processor.stats();
    expect(stats.sessions.value() == 0 && world_.processor.index().size() == 0, "sessions end");
    expect(stats.pending.value() == 0 && stats.inflight.value() == 0, "nothing waits for nobody");
    world_.processor.update_ledger();
    const Ledger& ledger = world_.processor.ledger();
    for (const Holding kind : {Holding::queues, Holding::inflight, Holding::sessions}) {
      expect(ledger.bytes(kind) == 0,
             "nothing is held: " + std::string(holding_names[static_cast<std::size_t>(kind)]));
    }
  }

  const std::uint8_t* data_;
  std::size_t left_;
  std::vector<Command> commands_;
  World world_;
  CommandTurns turns_;
  Peer* modest_ = nullptr;
  std::array<Peer*, 8> peers_{};
  std::size_t connections_ = 0;
  std::uint64_t topics_ = 0;
  std::uint64_t sent_bytes_ = 0;
  std::uint64_t units_ = 0;
};

}  // namespace
}  // namespace millrace::broker

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size <= millrace::broker::script_bytes_max) millrace::broker::Run(data, size).play();
  return 0;
}
