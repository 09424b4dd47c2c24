// Traces: what happens to one client, one topic or one address, for a while: the packets of MQTT
// clients each way, without their payloads, and the lines of the log, whatever the log's level is.
// The management API starts and reads them (server/api/traces.cpp).
//
// Bounded: so many traces, each of so many entries and bytes, of which the oldest give way, and of so
// many entries a second; what is over that is counted and left out. Nothing is recorded after a
// trace's end, and what it has recorded stays until it is forgotten or a new one needs its place.
//
// While no trace runs, a packet costs one comparison (tracing()). While one runs, every packet is
// looked at by the thread that has it, without a lock but where a trace wants it; a trace of an
// address asks the system for the peer of each.
//
// Threads: any. There is one set of traces for the process, as there is one log.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/config/address_range.hpp"

namespace millrace::server {

struct TraceSubject {
  enum class Kind : std::uint8_t { client, topic, address };

  Kind kind = Kind::client;
  std::string text;  // the identifier; a topic filter; an address or a range of them
  // Of a client: whose it is, where several users may have that identifier (session.scope); empty: the
  // anonymous. Nothing: any user's.
  std::optional<std::string> user{};
};
std::string_view word_of(TraceSubject::Kind kind);

// Whom something is about. Empty: it is about no client, or not known; the client is anonymous.
struct TraceClient {
  std::string_view id{};
  std::string_view user{};
};

enum class TraceKind : std::uint8_t { received, sent, log };
std::string_view word_of(TraceKind kind);

struct TraceEntry {
  std::uint64_t sequence = 0;  // from 1, one after the other
  std::chrono::system_clock::time_point at;
  TraceKind kind = TraceKind::log;
  std::string client;  // these four: empty if not known, or none
  std::string user;
  std::string address;
  std::string topic;
  // The packet's type and what else there is to say, or the line's event and fields.
  std::string text;

  std::size_t bytes() const {
    return sizeof(TraceEntry) + client.size() + user.size() + address.size() + topic.size() +
           text.size();
  }
};

class Trace {
 public:
  using Clock = std::chrono::steady_clock;

  static constexpr std::size_t entries_max = 5000;
  static constexpr std::size_t bytes_max = 1 << 20;
  static constexpr std::uint32_t entries_per_second_max = 1000;
  static constexpr std::size_t text_bytes_max = 512;  // of each text of an entry

  // The subject makes sense: fault_of().
  Trace(std::uint64_t id, TraceSubject subject, Clock::time_point ends_at);

  const std::uint64_t id;
  const TraceSubject subject;
  const Clock::time_point ends_at;

  bool wants(TraceClient client, std::string_view address, std::string_view topic) const;
  void add(TraceEntry entry, Clock::time_point now = Clock::now());

  struct Counts {
    std::uint64_t recorded = 0;  // entries, those that gave way among them
    std::uint64_t skipped = 0;   // over entries_per_second_max
  };
  Counts counts() const;
  // At most `count` entries behind that sequence, as far as they are still there.
  std::vector<TraceEntry> entries(std::uint64_t after, std::size_t count) const;
  void forget_entries();

 private:
  const std::optional<AddressRange> range_;  // of a subject that is an address
  mutable std::mutex mutex_;
  // All that follows under mutex_.
  std::deque<TraceEntry> entries_;
  std::size_t bytes_ = 0;
  Counts counts_;
  Clock::time_point second_began_{};
  std::uint32_t in_second_ = 0;
};

// Whether any trace runs.
inline std::atomic<bool> any_trace_runs{false};
inline bool tracing() {
  return any_trace_runs.load(std::memory_order_relaxed);
}

class Traces {
 public:
  using Ref = std::shared_ptr<Trace>;
  using Clock = Trace::Clock;

  static constexpr std::size_t traces_max = 8;
  static constexpr std::chrono::minutes time_max{60};

  // Why it makes no sense; empty: it does.
  static std::string fault_of(const TraceSubject& subject);

  // Null: as many as may run do so already.
  Ref start(TraceSubject subject, std::chrono::seconds time, Clock::time_point now = Clock::now());
  Ref find(std::uint64_t id) const;
  std::vector<Ref> all() const;
  // False: there is none.
  bool forget(std::uint64_t id);
  // Lets those go on no longer whose time is over. True: some still run.
  bool end_due(Clock::time_point now = Clock::now());

  // What happened, to every trace that wants it. `address_of` and `text_of` are called if needed.
  template <class AddressOf, class TextOf>
  void record(TraceKind kind, TraceClient client, std::string_view topic, AddressOf&& address_of,
              TextOf&& text_of) {
    std::optional<std::string> address;
    for (const Ref& trace : running()) {
      const bool by_address = trace->subject.kind == TraceSubject::Kind::address;
      if (by_address && !address) address = address_of();
      if (!trace->wants(client, by_address ? std::string_view(*address) : "", topic)) continue;
      if (!address) address = address_of();
      trace->add({0, std::chrono::system_clock::now(), kind, std::string(client.id),
                  std::string(client.user), *address, std::string(topic), text_of()});
    }
  }

 private:
  Traces() = default;
  friend Traces& traces();

  // This thread's copy of running_, brought up to date.
  const std::vector<Ref>& running() const;
  void set_running(std::vector<Ref> running);

  mutable std::mutex mutex_;
  std::vector<Ref> all_;                      // under mutex_, the oldest first
  std::vector<Ref> running_;                  // under mutex_
  std::uint64_t last_id_ = 0;                 // under mutex_
  std::atomic<std::uint64_t> generation_{0};  // of running_
};

Traces& traces();

}  // namespace millrace::server
