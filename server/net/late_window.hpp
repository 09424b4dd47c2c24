// LateWindow: how much may be on its way to one reader, so that what it reads is fresh.
//
// The kernel's buffers are hidden queues: a value that was handed to the socket can no longer be
// replaced by a newer one, and waits there, mostly in the reader's own receive buffer. This
// controller tells from what TCP says about a connection how many bytes the reader has not read
// yet, and how many there may be before the next value is bound:
//
//     held      = not sent yet + in flight + unread (in the reader's receive buffer)
//     unread    = the window of the reader's empty buffer - the window that it advertises
//     allowance = what the path needs (rate x least round trip, with headroom) + a little to read
//
// (RFC 9293, section 3.8.6: the window that is advertised is the free part of the buffer.)
//
// The window of the empty buffer is not told, and it changes: receivers tune their buffers, and
// Linux reckons what fits by the size of the segments that came last, so that the window swings by
// a third when small packets follow large ones. It is found in three ways:
// - A window that is wider than what was taken for the empty one shows that that is wider.
// - While the reader is sent distinctly less than it could read, its window widens as long as there
//   is something unread, and stays the same once all is read. So a window that stays the same then
//   is the window of the empty buffer.
// - What was advertised is not taken back: when the window of the empty buffer has become narrower,
//   it looks for a while as if nothing was read. But what little the reader is sent is acknowledged
//   at once then; while something is unread, a small segment is acknowledged late (40 ms and more).
// A reader that seems full is sent a little every now and then (takes_trickle()), so these ways are
// open whenever data is held back: one that was taken for full by mistake is without data for some
// tens of milliseconds. What is hidden in a window that has become wider would never show; so then,
// and now and again, data is held back on purpose until the window widens no more ("drained").
//
// Receivers do not tell each read: acknowledgements are delayed, room that comes back while the window
// is wide is told with the next one, which only new data brings, and Linux merges small segments that
// wait, of which none is free before all of it is read. So the reader is expected to go on as it did,
// whatever an acknowledgement says meanwhile, up to what may be unread beyond what it told; then it
// tells, as more than one segment has come. (With less than that a reader that has nothing left to
// read would wait until a delayed acknowledgement told us so.) What does not come true is forgotten.
//
// A reader that comes back rarely, and then takes all at once, needs more than usual to be unread:
// each time that one was full, and has nothing left before it was given more, it may have a quarter
// more, up to what it reads in 30 ms or half more than the limit.
//
// What always holds: a reader that seems full is sent a value at least twice a second, or each round
// trip if that is longer; allowance_bytes() is never above Limits::allowance_bytes_max.
//
// A pure state machine: samples in, figures out; no clock, no socket. Threads: one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace millrace::server {

// What TCP says about a connection at one moment (tcp_info.hpp reads it).
struct PathSample {
  std::int64_t now_ns = 0;
  std::uint64_t acked_bytes = 0;    // since the connection began
  std::uint32_t unsent_bytes = 0;   // in our send buffer, not sent once
  std::uint32_t flight_bytes = 0;   // sent and not acknowledged
  std::uint32_t window_bytes = 0;   // that the peer advertised last
  std::uint32_t window_step = 1;    // the peer's window comes in multiples of this
  std::uint32_t least_rtt_us = 0;   // 0: not measured yet
  std::uint32_t segment_bytes = 0;  // of a full segment (MSS)
};

class LateWindow {
 public:
  struct Limits {
    std::uint32_t unread_bytes = 8 * 1024;  // that may wait for the reader beyond the path
    std::uint32_t allowance_bytes_max = 2 * 1024 * 1024;
  };

  // Intervals between two looks.
  static constexpr std::int64_t look_ns_min = 1'000'000;
  static constexpr std::int64_t look_ns_max = 20'000'000;

  explicit LateWindow(const Limits& limits) : limits_(limits) {}

  // Not before the one before it. `holds_back`: what was allowed at the last look is used up, so
  // there may be values that wait.
  void look(const PathSample& sample, bool holds_back);

  std::uint32_t held_bytes() const {
    return unread_bytes_ + last_.unsent_bytes + last_.flight_bytes;
  }
  // Part of held_bytes(): what seems to be in the reader's receive buffer.
  std::uint32_t unread_bytes() const { return unread_bytes_; }
  // As of the last look.
  std::uint32_t allowance_bytes() const;
  // Less than this at once is not worth a hand-over.
  std::uint32_t lump_bytes() const;
  std::uint32_t segment_bytes() const { return last_.segment_bytes; }
  std::int64_t looked_at_ns() const { return last_.now_ns; }
  // What the reader takes, bytes per second; 0 while nothing is known.
  double rate_bytes_per_s() const;

  // When the reader will have taken enough for another lump, as far as is known, or a trickle is due.
  std::int64_t next_look_ns() const;

  // The reader seems full: is it time to send it a little nevertheless? If so that is noted.
  bool takes_trickle(std::int64_t now_ns);

 private:
  static constexpr std::size_t spans_kept = 4;

  void begin(const PathSample& sample);
  void forget_times(const PathSample& sample);
  void note_sent(const PathSample& sample);
  void note_rate(const PathSample& sample);
  void note_untold(const PathSample& sample);
  double untold_allowed() const;
  double expected_bytes() const;
  double mean_rate() const;
  void note_window(const PathSample& sample);
  void watch_window(const PathSample& sample);
  void restart_watch(const PathSample& sample);
  void watch_acks(const PathSample& sample);
  void follow(const PathSample& sample);
  void take_for_empty(const PathSample& sample);
  void drain_if_due(const PathSample& sample);
  void note_dryness(bool holds_back);
  std::int64_t drain_interval_ns(bool urgent) const;
  std::int64_t watch_ns() const;
  std::int64_t trickle_interval_ns() const;
  double unread_allowed() const;
  double plain_allowance() const;
  std::int64_t round_trip_ns() const { return std::int64_t{last_.least_rtt_us} * 1000; }

  const Limits limits_;
  bool began_ = false;
  PathSample last_;
  std::uint32_t unread_bytes_ = 0;
  std::uint64_t sent_bytes_ = 0;
  double untold_bytes_ = 0;       // read as far as can be expected, and not told
  std::int64_t told_at_ns_ = 0;   // when an acknowledgement or a window came last
  std::int64_t moved_at_ns_ = 0;  // when the reader was last seen to read
  std::uint64_t right_edge_ = 0;  // of the window, the furthest so far

  std::uint32_t empty_window_ = 0;  // what the reader's empty buffer advertises
  std::uint32_t hidden_bytes_ = 0;  // by which it has become wider since it was found
  std::int64_t found_at_ns_ = 0;
  bool draining_ = false;
  std::int64_t drain_began_ns_ = 0;
  std::int64_t drain_cost_ns_ = 0;  // time without data, in the last one
  std::uint32_t drain_window_ = 0;  // that was taken for the empty one when it began
  int doubt_ = 1;  // the more often nothing was hidden, the less often it is looked for

  // The window that is watched for whether it stays the same.
  std::int64_t watch_since_ns_ = 0;
  std::uint64_t watch_acked_ = 0;
  std::uint32_t watch_window_ = 0;
  int watch_news_ = 0;  // acknowledgements since then

  // Rates by span of time: a ring.
  std::array<double, spans_kept> rates_{};
  std::size_t next_rate_ = 0;
  std::int64_t span_began_ns_ = 0;
  std::int64_t span_read_bytes_ = 0;
  int span_reports_ = 0;

  double boost_ = 1;  // of what may wait for the reader
  std::int64_t boost_at_ns_ = 0;
  bool full_ = false;             // no lump was allowed when we looked last
  bool just_found_ = false;       // that nothing is unread, at this look
  std::int64_t planned_ns_ = 0;   // of the next look
  std::int64_t lateness_ns_ = 0;  // of looks, on average

  std::int64_t sent_at_ns_ = 0;        // something, last
  bool trickled_ = false;              // that was a trickle
  std::uint64_t trickle_sent_ = 0;     // bytes sent before it; 0: none is on its way
  std::uint32_t trickle_bytes_ = 256;  // what came of it

  // A trickle that alone is not acknowledged.
  enum class Lone : std::uint8_t { none, goes, went };
  Lone lone_ = Lone::none;
  std::uint64_t lone_end_ = 0;  // bytes sent with it
  bool delays_acks_ = false;    // the receiver, once
  int prompt_acks_ = 0;         // in a row
  std::uint64_t prompt_edge_ = 0;
  std::uint64_t prompt_acked_ = 0;
  int prompt_finds_ = 0;  // times that they told that all is read, since the edge moved
  bool follows_ = false;  // the empty window, as it becomes narrower
};

}  // namespace millrace::server
