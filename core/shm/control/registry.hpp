// The registry of rings, tables and their consumers: it answers the requests of local clients.
//
// The control socket's thread does the I/O: it parses requests, checks them against the access
// rules, passes them to the processor, and sends the replies. So the registry works without a
// socket, also in tests.
//
// Thread contract: the processor's role. What take_outgoing() returns is for the control socket's
// thread, which may lift the ConsumerPage in it when the connection ends.
// Invariants: a ring is shared by all consumers with the same (filters, policy), and freed
// `linger_ns` after the last one left; every count and size has a limit; nothing outlives its
// connection. A client must be allowed to read all of its filters, so all readers of a ring have
// the same rights. Walks over many topics (the newest values, for a reader that starts at `latest`
// and for a new table) are resumed from batch to batch, one at a time, a bounded number of topics
// and bytes each.
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
  std::size_t topics_per_batch = 4'096;  // topics that a walk over newest values visits in a batch
  std::size_t walk_bytes_per_batch = std::size_t{1} << 20;
  std::uint64_t lease_ns = 5'000'000'000;
  std::uint64_t linger_ns = 1'000'000'000;
};

// The refusal for a limit; `key` is the limit's name in the configuration.
Refused limit_reached(std::string_view key, std::uint64_t limit);

// What a client is told where the system refuses memory or a descriptor. `error`: errno, or 0 if the
// system did not say why.
Refused no_memory(int error);

using ClientId = std::uint64_t;  // of a connection at the control socket, never reused

// A reply for the control socket's thread to send.
struct Outgoing {
  ClientId to = 0;
  std::string bytes;
  std::vector<UniqueFd> descriptors;
  std::shared_ptr<ConsumerPage> consumer_page;  // of a consumer that was just attached
  bool closes = false;                          // the last one for this client
};

// A ring or a table that gets the messages that match its filters. For the broker it is a
// subscription without a session, from Watcher::feed_made until Watcher::feed_ends.
struct Feed {
  std::vector<std::string> filters;    // sorted; a table has one
  std::unique_ptr<RingWriter> ring;    // either the ring
  std::unique_ptr<TableWriter> table;  // or the table is set, the other is null
  std::size_t users = 0;
  std::uint64_t unused_since_ns = 0;
  bool is_filled = false;  // a table: the values from before it was made have been added
  Policy policy = Policy::lossy;
  bool dirty = false;             // appended to since the last release
  std::uint64_t last_append = 0;  // for the broker: the last message that it has seen for this ring
};

struct NewestValue {
  std::string_view topic;
  std::span<const std::byte> payload;
  std::uint8_t flags = 0;
  std::uint64_t time_ns = 0;  // when it was published, since 1970
};

// A walk over the topics that match any of some filters and were published before the walk began.
// Messages published later are appended to the feed like any other.
class NewestWalk {
 public:
  enum class Step : std::uint8_t { value, other, end };
  virtual ~NewestWalk() = default;
  // Looks at one topic. A value is valid until the next step.
  virtual Step step(NewestValue& value) = 0;
};

class Registry {
 public:
  // The registry's interface to the broker. feed_ends is called before the feed is destroyed.
  struct Watcher {
    virtual ~Watcher() = default;
    virtual void feed_made(Feed& feed) = 0;
    virtual void feed_ends(Feed& feed) = 0;
    virtual std::unique_ptr<NewestWalk> walk_newest(const std::vector<std::string>& filters) = 0;
    // The newest value of one topic; false: there is none, or the filter does not match.
    virtual bool newest(std::string_view filter, std::string_view topic, std::string& payload,
                        std::uint8_t& flags) = 0;
  };

  Registry(const RegistryOptions& options, Watcher& watcher);
  ~Registry();
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  // Makes a ring that is never freed. False if a limit is reached or the system refuses the memory.
  bool declare(const std::string& filter, Policy policy);

  // Handles a client's request; its filters must be valid and allowed by the access rules.
  void handle(ClientId client, Request request, std::uint64_t now_ns);
  // To be called when the client's connection has ended.
  void gone(ClientId client, std::uint64_t now_ns);

  // Appends a message to a ring that matches it.
  void append(Feed& feed, std::string_view topic, std::span<const std::byte> payload,
              std::uint8_t flags, std::uint64_t time_ns) {
    feed.ring->append(topic, payload, flags, time_ns);
    if (!feed.dirty) {
      feed.dirty = true;
      dirty_.push_back(&feed);
    }
  }
  // To be called once a batch: makes the appended messages visible to readers.
  void release(std::uint64_t now_ns);
  // Does the next piece of a walk over newest values. True: there is more to do.
  bool work(std::uint64_t now_ns);
  // To be called about every 50 ms while needs_ticks(): ends leases, moves frames from overflows
  // into rings, checks position pages, frees unused rings.
  void tick(std::uint64_t now_ns);
  bool needs_ticks() const { return !consumers_.empty() || unused_feeds_ > 0; }
  // Closes every ring and tells its readers.
  void close();

  std::vector<Outgoing> take_outgoing() { return std::exchange(outgoing_, {}); }

  struct RingFigures {
    std::string filter;  // several: with commas between them
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
    std::array<std::uint64_t, eviction_count> evictions{};  // by reason, freed rings included
    std::uint64_t lapped = 0;                               // frames, freed rings included
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
    std::vector<std::uint64_t> after;  // its predecessors at present
    bool is_answered = false;          // the reply Attached was sent
    bool is_mapped = false;
  };
  enum class Kind : std::uint8_t { lossy_ring, lossless_ring, table };

  // A walk in progress: into a consumer's snapshot, or into a new table.
  struct Filling {
    ClientId client = 0;
    std::uint64_t consumer_id = 0;  // 0: a table
    Feed* table = nullptr;
    std::unique_ptr<NewestWalk> walk;
    Snapshot snapshot;
  };

  // --- registry.cpp ---
  bool is_full(Kind kind) const;
  Feed* feed_for(Kind kind, std::vector<std::string> filters, std::uint64_t now_ns,
                 Refused& refusal);
  std::unique_ptr<Feed> make_feed(Kind kind, std::vector<std::string> filters);
  void join(Feed& feed);
  void leave(Feed& feed, std::uint64_t now_ns);
  void end_feed(Feed& feed);
  void free_unused(std::uint64_t now_ns, std::uint64_t linger_ns);
  void open_table(ClientId client, const TableRequest& request, std::uint64_t now_ns);
  void answer_table(ClientId client, Feed& feed);
  void answer_value(ClientId client, const ValueRequest& request);
  void begin_filling(std::uint64_t now_ns);
  // False: the snapshot exceeds its limit.
  bool fill(NewestWalk::Step& last);
  void end_filling(bool complete, std::uint64_t now_ns);
  void send(ClientId to, const Reply& reply, std::vector<UniqueFd> descriptors = {},
            bool closes = false);
  void refuse(ClientId to, const Refused& refusal);
  void refuse(ClientId to, Refusal refusal) { refuse(to, Refused{refusal, describe(refusal)}); }

  // --- registry_consumers.cpp ---
  void attach(ClientId client, const AttachRequest& request, std::uint64_t now_ns);
  void answer_attach(Consumer& consumer, Snapshot* snapshot, std::uint64_t now_ns);
  void mapped(Consumer& consumer, std::uint64_t now_ns);
  void detach(Consumer& consumer, const Refused& refusal, std::uint64_t now_ns);
  void woken(Consumer& consumer, std::uint64_t now_ns);
  std::optional<Refusal> find_predecessors(const AttachRequest& request, const Feed& feed,
                                           std::vector<std::uint64_t>& found) const;
  void remove_consumer(std::uint64_t id, std::uint64_t now_ns);
  void replace_predecessor(const Consumer& gone);
  void send_page(const Consumer& page_of, const Consumer& to, bool is_predecessor);
  void end_evicted(Feed& feed, std::uint64_t now_ns);

  const RegistryOptions options_;
  Watcher& watcher_;
  std::map<std::pair<Kind, std::vector<std::string>>, std::unique_ptr<Feed>> feeds_;
  std::map<std::uint64_t, Consumer> consumers_;              // by consumer id
  std::unordered_map<ClientId, std::uint64_t> consumer_of_;  // by connection
  std::unordered_map<ClientId, Feed*> table_of_;             // by connection
  // Clients whose requests need a walk, in order; the first is served when the present walk ends.
  std::deque<std::pair<ClientId, Request>> waiting_;
  std::optional<Filling> filling_;
  std::size_t unused_feeds_ = 0;
  std::array<std::uint64_t, eviction_count> evictions_{};
  std::uint64_t lapped_before_ = 0;  // of rings that were freed
  std::vector<Feed*> dirty_;
  std::vector<Outgoing> outgoing_;
  std::uint64_t last_consumer_id_ = 0;
  std::uint64_t last_feed_id_ = 0;
};

}  // namespace millrace::shm
