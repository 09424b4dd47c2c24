// The control socket's mind: given who asks and what, it decides, and makes rings, pages, gates and tables.
//
// The server's control socket only moves bytes: it parses requests, asks the access rules, hands the request
// to the processor, and sends what comes back. So all of this runs without a socket, in tests too.
//
// Thread contract: the processor's role. What leaves through take_outgoing() is for the control socket's
// thread; the ConsumerPage in it may be lifted there, the moment its socket ends.
// What holds: rings are shared by all who ask for the same (filter, policy) and are freed `linger`
// after their last reader left; every count and size has a limit; nothing outlives its connection.
// Who asks must be allowed the whole filter, so that the rights of all readers of a ring are the
// same. What walks over many topics (the newest values, for one who starts at `latest` and for a
// new table) goes on from batch to batch, one at a time, a bounded piece each.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/shm/ring/ring_writer.hpp"
#include "core/shm/ring/slot_table.hpp"
#include "core/shm/ring/snapshot.hpp"
#include "core/shm/wire/wire.hpp"

namespace millrace::shm {

struct RegistryOptions {
  std::uint64_t epoch = 1;
  std::size_t rings_max = 64;
  std::size_t ring_bytes = std::size_t{1} << 20;
  std::size_t frame_bytes_max = 256 * 1024;
  std::size_t overflow_bytes_max = std::size_t{8} << 20;
  std::size_t consumers_max = 256;
  std::size_t tables_max = 16;
  std::uint32_t table_cells = 4'096;
  std::uint32_t table_cell_bytes = 512;
  std::size_t snapshot_bytes_max = std::size_t{64} << 20;
  std::size_t topics_per_batch = 4'096;  // looked at, of a walk over newest values
  std::size_t walk_bytes_per_batch = std::size_t{1} << 20;
  std::uint64_t lease_ns = 5'000'000'000;
  std::uint64_t linger_ns = 1'000'000'000;
};

using ClientId = std::uint64_t;  // of a connection at the control socket, never used twice

// For the control socket: send these bytes with these descriptors.
struct Outgoing {
  ClientId to = 0;
  std::string bytes;
  std::vector<UniqueFd> descriptors;
  std::shared_ptr<ConsumerPage> consumer_page;  // of a consumer that was just attached
  bool closes = false;                          // nothing comes after it
};

// A ring or a table that wants what matches its filter. The broker keeps one beside its
// subscriptions, from `made` until it is destroyed.
struct Feed {
  std::string filter;
  std::unique_ptr<RingWriter> ring;    // one of the two
  std::unique_ptr<TableWriter> table;  //
  std::size_t users = 0;
  std::uint64_t unused_since_ns = 0;
  bool is_filled = false;  // of a table: it has what was published before it was made
  Policy policy = Policy::lossy;
  bool dirty = false;  // appended to since the last release
};

struct NewestValue {
  std::string_view topic;
  std::span<const std::byte> payload;
  std::uint8_t flags = 0;
  std::uint64_t time_ns = 0;  // when it was published, since 1970
};

// Over the topics that match a filter, as far as they were published before it began; what comes
// later reaches its feed by itself.
class NewestWalk {
 public:
  enum class Step : std::uint8_t { value, other, end };
  virtual ~NewestWalk() = default;
  // Looks at one topic. A value stays good until the next step.
  virtual Step step(NewestValue& value) = 0;
};

class Registry {
 public:
  // How the broker learns which feeds there are: each is told before it is destroyed.
  struct Watcher {
    virtual ~Watcher() = default;
    virtual void feed_made(Feed& feed) = 0;
    virtual void feed_ends(Feed& feed) = 0;
    virtual std::unique_ptr<NewestWalk> walk_newest(const std::string& filter) = 0;
    // The newest value of one topic; false: there is none, or the filter does not match.
    virtual bool newest(std::string_view filter, std::string_view topic, std::string& payload,
                        std::uint8_t& flags) = 0;
  };

  Registry(const RegistryOptions& options, Watcher& watcher);
  ~Registry();
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  // A ring that is there from now on and stays; false: no room for it.
  bool declare(const std::string& filter, Policy policy);

  // What a client asks; the filter is valid and the access rules have allowed it.
  void handle(ClientId client, Request request, std::uint64_t now_ns);
  // Its socket has ended.
  void gone(ClientId client, std::uint64_t now_ns);

  // For each message, to each feed that matches.
  void append(Feed& feed, std::string_view topic, std::span<const std::byte> payload,
              std::uint8_t flags, std::uint64_t time_ns) {
    feed.ring->append(topic, payload, flags, time_ns);
    if (!feed.dirty) {
      feed.dirty = true;
      dirty_.push_back(&feed);
    }
  }
  // Once a batch: readers see what was appended.
  void release(std::uint64_t now_ns);
  // The next piece of what goes on from batch to batch. True: there is more.
  bool work(std::uint64_t now_ns);
  // Every 50 ms or so while needs_ticks(): leases, overflows, pages that say nonsense, rings nobody
  // reads.
  void tick(std::uint64_t now_ns);
  bool needs_ticks() const { return !consumers_.empty() || unused_feeds_ > 0; }
  // The server stops: everybody is told.
  void close();

  std::vector<Outgoing> take_outgoing() { return std::exchange(outgoing_, {}); }

  struct RingFigures {
    std::string filter;
    Policy policy;
    RingStats stats;
  };
  struct TableFigures {
    std::string filter;
    std::size_t users;
    std::uint64_t displaced;
  };
  struct Figures {
    std::vector<RingFigures> rings;
    std::vector<TableFigures> tables;
    std::size_t consumers = 0;
    std::array<std::uint64_t, eviction_count> evictions{};  // by reason, of all rings there were
    std::uint64_t lapped = 0;                               // frames, of all rings there were
  };
  Figures figures() const;
  std::size_t consumer_count() const { return consumers_.size(); }
  std::size_t feed_count() const { return feeds_.size(); }

 private:
  struct Consumer {
    ClientId client = 0;
    std::uint64_t id = 0;
    std::string name;
    Feed* feed = nullptr;
    Attachment start;
    std::vector<std::uint64_t> after;  // consumer ids it stands after now
    bool is_answered = false;          // told that it is attached
    bool is_mapped = false;
  };
  enum class Kind : std::uint8_t { lossy_ring, lossless_ring, table };

  // Newest values on their way to a consumer's snapshot, or into a new table.
  struct Filling {
    ClientId client = 0;
    std::uint64_t consumer_id = 0;  // 0: a table
    Feed* table = nullptr;
    std::unique_ptr<NewestWalk> walk;
    Snapshot snapshot;
  };

  // --- registry.cpp ---
  bool is_full(Kind kind) const;
  Feed* feed_for(Kind kind, const std::string& filter, std::uint64_t now_ns, Refusal& refusal);
  std::unique_ptr<Feed> make_feed(Kind kind, const std::string& filter);
  void join(Feed& feed);
  void leave(Feed& feed, std::uint64_t now_ns);
  void end_feed(Feed& feed);
  void free_unused(std::uint64_t now_ns, std::uint64_t linger_ns);
  void open_table(ClientId client, const TableRequest& request, std::uint64_t now_ns);
  void answer_table(ClientId client, Feed& feed);
  void answer_value(ClientId client, const ValueRequest& request);
  void begin_filling(std::uint64_t now_ns);
  // False: there is no room for all of it.
  bool fill(NewestWalk::Step& last);
  void end_filling(bool complete, std::uint64_t now_ns);
  void send(ClientId to, const Reply& reply, std::vector<UniqueFd> descriptors = {},
            bool closes = false);
  void refuse(ClientId to, Refusal refusal);

  // --- door_consumers.cpp ---
  void attach(ClientId client, const AttachRequest& request, std::uint64_t now_ns);
  void answer_attach(Consumer& consumer, Snapshot* snapshot, std::uint64_t now_ns);
  void mapped(Consumer& consumer, std::uint64_t now_ns);
  void turn_out(Consumer& consumer, Refusal refusal, std::uint64_t now_ns);
  void moved_on(Consumer& consumer, std::uint64_t now_ns);
  std::optional<Refusal> find_predecessors(const AttachRequest& request, const Feed& feed,
                                           std::vector<std::uint64_t>& found) const;
  void remove_consumer(std::uint64_t id, std::uint64_t now_ns);
  void rewire_after(const Consumer& gone);
  void show(const Consumer& page_of, const Consumer& to, bool stands_before);
  void end_evicted(Feed& feed, std::uint64_t now_ns);

  const RegistryOptions options_;
  Watcher& watcher_;
  std::map<std::pair<Kind, std::string>, std::unique_ptr<Feed>> feeds_;
  std::map<std::uint64_t, Consumer> consumers_;              // by consumer id
  std::unordered_map<ClientId, std::uint64_t> consumer_of_;  // by connection
  std::unordered_map<ClientId, Feed*> table_of_;             // by connection
  // Who waits for newest values, in turn; the first is served when the one in hand is done.
  std::deque<std::pair<ClientId, Request>> waiting_;
  std::optional<Filling> filling_;
  std::size_t unused_feeds_ = 0;
  std::array<std::uint64_t, eviction_count> evictions_{};
  std::uint64_t lapped_before_ = 0;  // of rings that are gone
  std::vector<Feed*> dirty_;
  std::vector<Outgoing> outgoing_;
  std::uint64_t last_consumer_id_ = 0;
  std::uint64_t last_feed_id_ = 0;
};

}  // namespace millrace::shm
