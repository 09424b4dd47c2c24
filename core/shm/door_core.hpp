// The door's mind: given who asks and what, it decides, and makes rings, pages, gates and tables.
//
// The server's door only moves bytes: it parses requests, asks the access rules, hands the request
// to the processor, and sends what comes back. So all of this runs without a socket, in tests too.
//
// Thread contract: the processor's role. What leaves through take_outgoing() is for the door's
// thread; the Seat in it may be lifted there, the moment its socket ends.
// What holds: rings are shared by all who ask for the same (filter, policy) and are freed `linger`
// after their last reader left; every count and size has a limit; nothing outlives its connection.
// Who asks must be allowed the whole filter, so that the rights of all readers of a ring are the
// same.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/shm/ring_writer.hpp"
#include "core/shm/slot_table.hpp"
#include "core/shm/wire.hpp"

namespace millrace::shm {

struct DoorOptions {
  std::uint64_t epoch = 1;
  std::size_t rings_max = 64;
  std::size_t ring_bytes = std::size_t{1} << 20;
  std::size_t frame_bytes_max = 256 * 1024;
  std::size_t overflow_bytes_max = std::size_t{8} << 20;
  std::size_t consumers_max = 256;
  std::size_t tables_max = 16;
  std::uint32_t table_cells = 4'096;
  std::uint32_t table_cell_bytes = 512;
  std::size_t seed_bytes_max = std::size_t{64} << 20;
  std::uint64_t lease_ns = 5'000'000'000;
  std::uint64_t linger_ns = 1'000'000'000;
};

using ClientId = std::uint64_t;  // of a connection at the door, never used twice

// For the door: send these bytes with these descriptors.
struct Outgoing {
  ClientId to = 0;
  std::string bytes;
  std::vector<UniqueFd> descriptors;
  std::shared_ptr<Seat> seat;  // of a consumer that was just attached
  bool closes = false;         // nothing comes after it
};

// Frames of the newest values, for one who starts at `latest`; sealed before it leaves.
class Seeds {
 public:
  explicit Seeds(std::size_t bytes_max) : bytes_max_(bytes_max) {}
  // False when there is no room for one more.
  bool add(std::string_view topic, std::span<const std::byte> payload, std::uint8_t flags,
           std::uint64_t time_ns);
  std::size_t bytes() const { return frames_.size(); }
  UniqueFd make_memory() const;

 private:
  const std::size_t bytes_max_;
  std::vector<std::byte> frames_;
};

// A ring or a table that wants what matches its filter. The broker keeps one beside its
// subscriptions, from `made` until it is destroyed.
struct Feed {
  std::string filter;
  std::unique_ptr<RingWriter> ring;    // one of the two
  std::unique_ptr<TableWriter> table;  //
  std::size_t users = 0;
  std::uint64_t unused_since_ns = 0;
  Policy policy = Policy::lossy;
  bool dirty = false;  // appended to since the last release
};

class DoorCore {
 public:
  // How the broker learns which feeds there are: each is told before it is destroyed.
  struct Watcher {
    virtual ~Watcher() = default;
    virtual void feed_made(Feed& feed) = 0;
    virtual void feed_ends(Feed& feed) = 0;
    // The newest value of each topic that matches, into a seed or a fresh table; false: too many.
    virtual bool each_newest(
        std::string_view filter,
        const std::function<bool(std::string_view topic, std::span<const std::byte> payload,
                                 std::uint8_t flags)>& visit) = 0;
    // The newest value of one topic; false: there is none.
    virtual bool newest(std::string_view topic, std::string& payload, std::uint8_t& flags) = 0;
  };

  DoorCore(const DoorOptions& options, Watcher& watcher);
  ~DoorCore();
  DoorCore(const DoorCore&) = delete;
  DoorCore& operator=(const DoorCore&) = delete;

  // A ring that is there from now on and stays; false: no room for it.
  bool declare(const std::string& filter, Policy policy);

  // What a client asks; the filter is valid and the access rules have allowed it.
  void handle(ClientId client, const Request& request, std::uint64_t now_ns);
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
  // Now and then, say every 50 ms: leases, overflows, pages that say nonsense, rings nobody reads.
  void tick(std::uint64_t now_ns);
  // The server stops: everybody is told.
  void close();

  std::vector<Outgoing> take_outgoing() { return std::exchange(outgoing_, {}); }

  struct RingFigures {
    std::string filter;
    Policy policy;
    RingStats stats;
  };
  std::vector<RingFigures> figures() const;
  std::size_t consumer_count() const { return consumers_.size(); }
  std::size_t feed_count() const { return feeds_.size(); }

 private:
  struct Consumer {
    ClientId client = 0;
    std::uint64_t id = 0;
    std::string name;
    Feed* feed = nullptr;
    std::shared_ptr<Seat> seat;
    std::vector<std::uint64_t> after;  // consumer ids it stands after now
    bool is_mapped = false;
  };
  enum class Kind : std::uint8_t { lossy_ring, lossless_ring, table };

  void attach(ClientId client, const AttachRequest& request, std::uint64_t now_ns);
  void mapped(Consumer& consumer);
  void open_table(ClientId client, const TableRequest& request, std::uint64_t now_ns);
  void answer_value(ClientId client, const ValueRequest& request);
  Feed* feed_for(Kind kind, const std::string& filter, std::uint64_t now_ns, Refusal& refusal);
  std::unique_ptr<Feed> make_feed(Kind kind, const std::string& filter);
  void leave(Feed& feed, std::uint64_t now_ns);
  bool find_predecessors(const AttachRequest& request, const Feed& feed,
                         std::vector<Consumer*>& found);
  void remove_consumer(std::uint64_t id, std::uint64_t now_ns);
  void rewire_after(const Consumer& gone);
  void end_evicted(Feed& feed, std::uint64_t now_ns);
  void free_unused(std::uint64_t now_ns);
  void send(ClientId to, const Reply& reply, std::vector<UniqueFd> descriptors = {},
            bool closes = false);
  void refuse(ClientId to, Refusal refusal);

  const DoorOptions options_;
  Watcher& watcher_;
  std::map<std::pair<Kind, std::string>, std::unique_ptr<Feed>> feeds_;
  std::map<std::uint64_t, Consumer> consumers_;              // by consumer id
  std::unordered_map<ClientId, std::uint64_t> consumer_of_;  // by connection
  std::unordered_map<ClientId, Feed*> table_of_;             // by connection
  std::vector<Feed*> dirty_;
  std::vector<Outgoing> outgoing_;
  std::uint64_t last_consumer_id_ = 0;
  std::uint64_t last_feed_id_ = 0;
};

// Does `filter` match `topic`? MQTT 5.0 section 4.7; both are valid.
bool filter_matches(std::string_view filter, std::string_view topic);

}  // namespace millrace::shm
