// What of the processor's state outlives the process, as the values of the store's records
// (journal_records.hpp); and write_state(), all of it at once.
//
// Threads: the processor's holder alone.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

#include "core/broker/journal_records.hpp"
#include "core/broker/session.hpp"
#include "core/broker/sessions.hpp"
#include "core/broker/subscription.hpp"
#include "core/broker/values.hpp"
#include "core/store/format.hpp"

namespace millrace::broker {

// One moment on both clocks. The processor's times are monotonic, those of the store are not.
struct WallClock {
  std::int64_t now_ns = 0;
  std::uint64_t time_of_day_ns = 0;  // Unix nanoseconds

  std::uint64_t unix_ns(std::int64_t monotonic_ns) const {
    const std::int64_t since_now = monotonic_ns - now_ns;
    return static_cast<std::uint64_t>(static_cast<std::int64_t>(time_of_day_ns) + since_now);
  }
};

// A session is kept if it outlives its connection. What waits for a link to another broker is not:
// see docs/upstreams.md.
inline bool outlives_the_process(const Session& session) {
  return session.expiry_s != 0 && session.origin == 0;
}
// Figures of a process that is gone are not kept.
inline bool outlives_the_process(std::string_view topic) {
  return !topic.starts_with("$SYS/");
}

records::SessionState state_of(const Session& session, const WallClock& clock);
records::SubscriptionState state_of(const Subscription& subscription);
// Without what is known of one that waits, or that was sent.
records::Entry entry_of(const Delivery& delivery);
records::Packet packet_of(const Message& message, const WallClock& clock);
records::Retained retained_of(const BufferRef& value, std::optional<std::string_view> user,
                              const WallClock& clock);

// Shows everything that outlives the process as records that are put, in the order of their keys;
// with `newest_values` also the newest value of each topic.
// Takes memory for one entry a message that waits, and for a list of the sessions.
void write_state(const Sessions& sessions, Values& values, const WallClock& clock,
                 bool newest_values, const std::function<void(const store::Record&)>& visit);

}  // namespace millrace::broker
