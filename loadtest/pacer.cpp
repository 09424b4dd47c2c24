#include "loadtest/pacer.hpp"

#include <algorithm>
#include <limits>

namespace millrace::loadtest {
namespace {

// If a publisher writes more at once than the TCP window of a new connection, a packet is split at
// the window's end, which costs every server an additional read (and breaks the framing of a
// forwarder that does not parse packets).
constexpr std::size_t kBurstBytes = 60 * 1024;
// The limit of messages in flight at the start; it grows by one with each message received.
constexpr std::uint64_t kFirstInFlight = 64;

}  // namespace

std::uint64_t ClosedLoop::credit(Nanos now, std::uint64_t received) {
  if (received != received_before_ || last_progress_ns_ == 0) {
    received_before_ = received;
    last_progress_ns_ = now;
  }
  if (in_flight_max_ == 0) return std::numeric_limits<std::uint64_t>::max();
  const std::uint64_t outstanding = published_ - received;
  given_up_ = std::min(given_up_, outstanding);  // some have arrived after all
  if (now - last_progress_ns_ > stall_ns_ && outstanding > given_up_) {
    given_up_ = outstanding;
    last_progress_ns_ = now;
    ++stalls_;
  }
  const std::uint64_t waited_for = outstanding - given_up_;
  const std::uint64_t window = std::min(in_flight_max_, kFirstInFlight + received);
  return window - std::min(window, waited_for);
}

Nanos ClosedLoop::step(Nanos now, std::uint64_t received, std::uint64_t published_max) {
  std::uint64_t left = std::min(credit(now, received), published_max - published_);
  const std::size_t count = publishers_.size();
  bool can_go_on = false;
  for (std::size_t i = 0; i < count && left > 0; ++i) {
    Client& client = *publishers_[(first_ + i) % count];
    const std::uint64_t share = (left + count - i - 1) / (count - i);
    const std::uint64_t burst =
        std::max<std::size_t>(1, kBurstBytes / client.ring()->packet_bytes());
    const std::uint64_t n = std::min<std::uint64_t>({share, burst, client.publish_room()});
    if (n == 0) continue;
    client.stamp(n, now, now);
    client.flush();
    left -= n;
    published_ += n;
    if (client.publish_room() > 0) can_go_on = true;
  }
  first_ = (first_ + 1) % count;
  return left > 0 && can_go_on ? 0 : 100 * kMillisecond;
}

Nanos OpenLoop::step(Nanos now, std::uint64_t published_max) {
  Nanos next_due = now + 100 * kMillisecond;
  for (std::size_t p = 0; p < publishers_.size(); ++p) {
    Client& client = *publishers_[p];
    bool any = false;
    while (published_ < published_max && due_at(p, next_[p]) <= now && client.publish_room() > 0) {
      client.stamp(1, due_at(p, next_[p]), now);
      ++next_[p];
      ++published_;
      any = true;
      if (client.publish_room() == 0) client.flush();
    }
    if (any) client.flush();
    const Nanos due = due_at(p, next_[p]);
    // A publisher that is due but has no room is served after its socket is writable or its
    // acknowledgements arrive.
    if (due > now) next_due = std::min(next_due, due);
  }
  return next_due - now;
}

std::uint64_t OpenLoop::record_unsent(Nanos until, Measurement& measurement,
                                      std::uint32_t readers) const {
  std::uint64_t count = 0;
  for (std::size_t p = 0; p < publishers_.size(); ++p) {
    for (std::uint64_t i = next_[p]; due_at(p, i) < until; ++i, ++count) {
      if (due_at(p, i) < measurement.window_begin_ns) continue;
      measurement.latency.record(until - due_at(p, i), readers);
    }
  }
  return count;
}

}  // namespace millrace::loadtest
