#include "server/net/late_window.hpp"

#include <algorithm>
#include <cassert>

namespace millrace::server {

namespace {

// Headroom over rate x round trip: without it a rate that was measured too low would hold itself
// there, and the round trip of a path that carries data is longer than its least one.
constexpr double path_gain = 1.5;
// A fast reader may have this much time's worth unread, so that it never waits for our next look:
// looks are some milliseconds apart. On a machine where they come late, this and twice the time by
// which they usually do; one that came late says little, so it counts as an eighth.
constexpr double unread_seconds = 0.02;
constexpr double unread_seconds_min = 0.004;
constexpr double lateness_share = 2;
constexpr int lateness_weight = 8;
constexpr double wide_share = 0.25;
constexpr double fast_share = 0.5;

// A rate is measured over spans of this length, or of a round trip if that is longer, so that an
// unread figure that is wrong by half an allowance makes it wrong by little; nearby until
// it has several reports in it, as one may tell of much at once, or for the longest time.
constexpr std::int64_t span_ns_min = 120'000'000;
constexpr std::int64_t span_ns_max = 1'000'000'000;
constexpr int span_reports_min = 8;

// What a reader is expected to have read, and is not seen to have, is forgotten within about this time.
constexpr double untold_seconds = 1;
// The most that is expected: what the reader reads in this time, but no more than may be merged.
constexpr double untold_seconds_max = 0.05;
constexpr double untold_bytes_max = 24 * 1024;

// A window stays the same if it does for this long, and for the time in which the reader would have
// made it wider by several steps.
constexpr std::int64_t watch_ns_min = 8'000'000;
constexpr std::int64_t watch_ns_max = 400'000'000;
constexpr double watch_steps = 4;
constexpr std::uint32_t step_min = 128;
// "Distinctly less than it could read": this share of the rate.
constexpr double slow_share = 0.5;
// And what is sent meanwhile.
constexpr double trickle_share = 0.25;

// An acknowledgement that comes within this and a round trip is prompt: it was not delayed, which
// takes 40 ms and more. So many in a row tell that all is read; more where none was ever delayed,
// and yet more the second time: Linux delays none of the first 16 segments, nor after a pause.
constexpr std::int64_t prompt_ns = 35'000'000;
constexpr int prompt_acks_needed = 4;
constexpr int prompt_acks_doubted = 8;
constexpr std::int64_t far_ns = 10'000'000;  // a longer round trip is a long one
constexpr std::int64_t prompt_pause_ns = 150'000'000;

// Between two drains, which cost a round trip and a watch of goodput.
constexpr std::int64_t drain_ns = 10'000'000'000;
constexpr std::int64_t drain_round_trips = 100;
// The window has become wider; twice that each time that nothing was hidden.
constexpr std::int64_t drain_ns_urgent = 250'000'000;
constexpr std::int64_t drain_round_trips_urgent = 25;
// And so many times that for which the reader was without data in the last one: less than 2 %.
constexpr std::int64_t drain_cost_intervals = 64;
constexpr int doubt_max = 16;
constexpr std::int64_t drain_ns_max = 500'000'000;
constexpr std::int64_t alive_ns = 100'000'000;

// Without a look for so long, nothing was held back.
constexpr std::int64_t unwatched_ns = 300'000'000;

constexpr std::int64_t trickle_ns_min = 5'000'000;
constexpr std::int64_t trickle_ns_unknown = 20'000'000;
constexpr std::int64_t trickle_ns_max = 500'000'000;
constexpr std::int64_t trickle_silence_share = 8;  // the longer it is silent, the less

// Of more for a reader that runs dry.
constexpr double boost_step = 1.25;
constexpr double boost_max = 16;
constexpr double boosted_seconds_max = 0.03;
constexpr std::int64_t boost_ns_min = 100'000'000;
constexpr std::int64_t look_ns_unknown = 2'000'000;  // while no rate is known
constexpr std::int64_t near_ns = 2'000'000;
constexpr std::int64_t calm_ns = 400'000'000;
constexpr double calm_decay = 0.8;

std::int64_t ns(double seconds) {
  return static_cast<std::int64_t>(std::min(seconds, 1e6) * 1e9);
}
double seconds(std::int64_t ns) {
  return static_cast<double>(ns) * 1e-9;
}

}  // namespace

void LateWindow::begin(const PathSample& sample) {
  began_ = true;
  last_ = sample;
  told_at_ns_ = moved_at_ns_ = span_began_ns_ = sent_at_ns_ = drain_began_ns_ = found_at_ns_ =
      sample.now_ns;
  right_edge_ = sample.acked_bytes + sample.window_bytes;
  empty_window_ = sample.window_bytes;
  sent_bytes_ = sample.acked_bytes + sample.flight_bytes + sample.unsent_bytes;
  // All is full of what came before: how much the reader has of it is not known.
  draining_ = sample.unsent_bytes > 0;
  restart_watch(sample);
}

// Nobody looked because nothing was held back: the time says nothing about the reader.
void LateWindow::forget_times(const PathSample& sample) {
  told_at_ns_ = moved_at_ns_ = span_began_ns_ = sample.now_ns;
  span_read_bytes_ = 0;
  span_reports_ = 0;
  found_at_ns_ += sample.now_ns - last_.now_ns;
  full_ = false;
  trickle_sent_ = 0;
  lone_ = Lone::none;
  prompt_acks_ = 0;
  follows_ = false;
  untold_bytes_ = 0;
  restart_watch(sample);
}

void LateWindow::look(const PathSample& sample, bool holds_back) {
  if (!began_) begin(sample);
  assert(sample.now_ns >= last_.now_ns);
  const bool paused = sample.now_ns - last_.now_ns > unwatched_ns + 2 * round_trip_ns();
  if (full_ && !paused) {
    const std::int64_t late_ns = std::max<std::int64_t>(sample.now_ns - planned_ns_, 0);
    lateness_ns_ += (late_ns - lateness_ns_) / lateness_weight;
  }
  if (paused) forget_times(sample);
  note_sent(sample);
  if (!paused) {
    note_rate(sample);
    note_untold(sample);
  }
  note_window(sample);
  last_ = sample;
  just_found_ = false;
  watch_window(sample);
  watch_acks(sample);
  unread_bytes_ = empty_window_ - sample.window_bytes;
  untold_bytes_ = std::clamp(untold_bytes_, 0.0, untold_allowed());
  if (holds_back) drain_if_due(sample);
  note_dryness(holds_back);
  planned_ns_ = next_look_ns();
}

void LateWindow::note_sent(const PathSample& sample) {
  const std::uint64_t sent = sample.acked_bytes + sample.flight_bytes + sample.unsent_bytes;
  if (lone_ == Lone::goes && sent > trickle_sent_) {
    lone_ = Lone::went;
    lone_end_ = sent;
  } else if (lone_ == Lone::went && sent > lone_end_) {
    lone_ = Lone::none;
    prompt_acks_ = 0;
  }
  if (trickle_sent_ != 0 && sent > trickle_sent_) {
    const std::uint64_t bytes = sent - trickle_sent_;
    trickled_ = bytes < lump_bytes();
    if (trickled_) trickle_bytes_ = static_cast<std::uint32_t>(bytes);
    trickle_sent_ = 0;
  } else if (sent > sent_bytes_) {
    sent_at_ns_ = sample.now_ns;
    trickled_ = false;
  }
  sent_bytes_ = sent;
}

// --- The rate ------------------------------------------------------------------------------------

// What was read is what arrived, less what became unread.
void LateWindow::note_rate(const PathSample& sample) {
  const std::uint32_t unread =
      empty_window_ > sample.window_bytes ? empty_window_ - sample.window_bytes : 0;
  const auto arrived = static_cast<std::int64_t>(sample.acked_bytes - last_.acked_bytes);
  const std::int64_t read = arrived + std::int64_t{unread_bytes_} - std::int64_t{unread};
  span_read_bytes_ += read;
  if (read > 0) ++span_reports_;
  const std::int64_t elapsed_ns = sample.now_ns - span_began_ns_;
  if (elapsed_ns < std::max(span_ns_min, round_trip_ns())) return;
  const bool is_near = round_trip_ns() < far_ns;
  if (is_near && span_reports_ < span_reports_min && elapsed_ns < span_ns_max) return;
  const auto bytes = static_cast<double>(std::max<std::int64_t>(span_read_bytes_, 0));
  const double rate = bytes / seconds(elapsed_ns);
  // One that is drained reads what little it gets.
  if (!draining_ || rate > rate_bytes_per_s()) {
    rates_[next_rate_] = rate;
    next_rate_ = (next_rate_ + 1) % spans_kept;
  }
  span_began_ns_ = sample.now_ns;
  span_read_bytes_ = 0;
  span_reports_ = 0;
}

// The window's edge moves by what the reader is seen to have read.
void LateWindow::note_untold(const PathSample& sample) {
  const double elapsed_s = seconds(sample.now_ns - last_.now_ns);
  const std::uint64_t edge = sample.acked_bytes + sample.window_bytes;
  const std::uint64_t last_edge = last_.acked_bytes + last_.window_bytes;
  const auto told = static_cast<double>(edge > last_edge ? edge - last_edge : 0);
  untold_bytes_ *= std::max(0.0, 1 - elapsed_s / untold_seconds);
  untold_bytes_ += mean_rate() * elapsed_s - told;
}

double LateWindow::untold_allowed() const {
  const double sent = held_bytes() - last_.unsent_bytes;
  const double most = std::min(rate_bytes_per_s() * untold_seconds_max, untold_bytes_max);
  return std::min(sent, std::max(unread_allowed(), most));
}

// Over a long path much is told by each acknowledgement, and what is merged is little of that.
double LateWindow::expected_bytes() const {
  if (round_trip_ns() < far_ns) return untold_bytes_;
  const double silent_s = seconds(last_.now_ns - told_at_ns_);
  return std::min(rate_bytes_per_s() * silent_s, std::max(unread_allowed(), plain_allowance() / 2));
}

// For what is expected: the highest rate, which rate_bytes_per_s() is, is too high for that.
double LateWindow::mean_rate() const {
  double sum = 0;
  int known = 0;
  for (const double rate : rates_) {
    sum += rate;
    if (rate > 0) ++known;
  }
  return known > 0 ? sum / known : 0;
}

double LateWindow::rate_bytes_per_s() const {
  return *std::max_element(rates_.begin(), rates_.end());
}

// --- The empty buffer's window -------------------------------------------------------------------

void LateWindow::note_window(const PathSample& sample) {
  const std::uint64_t edge = sample.acked_bytes + sample.window_bytes;
  const std::int64_t told_before_ns = told_at_ns_;
  if (sample.acked_bytes != last_.acked_bytes || sample.window_bytes != last_.window_bytes) {
    told_at_ns_ = sample.now_ns;
  }
  if (edge > right_edge_) {
    right_edge_ = edge;
    moved_at_ns_ = sample.now_ns;
    follows_ = false;
    prompt_finds_ = 0;
  }
  if (sample.window_bytes <= empty_window_) return;
  hidden_bytes_ += sample.window_bytes - empty_window_;
  // What was unread, and should not have been read by now, is unread still: the rest is growth.
  const double rate = rate_bytes_per_s();
  const double left = unread_bytes_ - rate * seconds(sample.now_ns - told_before_ns);
  empty_window_ = sample.window_bytes;
  if (draining_) drain_began_ns_ = sample.now_ns;  // it had more to read than was known
  if (rate <= 0 || left <= 0) return;
  empty_window_ += static_cast<std::uint32_t>(left);
  hidden_bytes_ += static_cast<std::uint32_t>(left);  // a guess
}

std::int64_t LateWindow::watch_ns() const {
  const double rate = rate_bytes_per_s();
  if (rate <= 0) return watch_ns_max;
  const double steps_s = watch_steps * std::max(last_.window_step, step_min) / rate;
  return std::clamp(ns(steps_s), watch_ns_min, watch_ns_max);
}

void LateWindow::restart_watch(const PathSample& sample) {
  watch_since_ns_ = sample.now_ns;
  watch_acked_ = sample.acked_bytes;
  watch_window_ = sample.window_bytes;
  watch_news_ = 0;
}

// Does the window stay the same although the reader is sent less than it could read? That it has
// become narrower takes more to be believed: some receivers narrow it by half of what is unread.
void LateWindow::watch_window(const PathSample& sample) {
  if (sample.acked_bytes > watch_acked_ && told_at_ns_ == sample.now_ns) ++watch_news_;
  const std::uint64_t step = std::max<std::uint32_t>(sample.window_step, step_min);
  const std::uint64_t got = sample.acked_bytes - watch_acked_;
  const bool widens = sample.window_bytes > watch_window_ + step;
  // What came last may not have been read yet.
  const bool narrows = sample.window_bytes + step + 2 * trickle_bytes_ + got / 8 < watch_window_;
  // Its buffer is so full that nothing more is admitted.
  if (widens || narrows || sample.unsent_bytes > 0) return restart_watch(sample);
  const bool is_lower = sample.window_bytes + step < empty_window_;
  const std::int64_t elapsed_ns = sample.now_ns - watch_since_ns_;
  if (elapsed_ns < watch_ns() || watch_news_ < (is_lower ? 3 : 2)) return;
  if (got < (is_lower ? 4 * (step + trickle_bytes_) : 2 * step)) return;
  const double could_read = rate_bytes_per_s() * seconds(elapsed_ns);
  if (static_cast<double>(got) <= slow_share * could_read) take_for_empty(sample);
  restart_watch(sample);
}

void LateWindow::take_for_empty(const PathSample& sample) {
  const auto noticed = static_cast<std::uint32_t>(unread_allowed() / 4);
  if (draining_) {
    const bool was_hidden = sample.window_bytes > drain_window_ + noticed;
    doubt_ = was_hidden ? 1 : std::min(2 * doubt_, doubt_max);
    drain_cost_ns_ = sample.now_ns - std::max(drain_began_ns_, watch_since_ns_);
  }
  hidden_bytes_ = 0;
  // If that was wrong, as much is hidden now: it will be looked into soon.
  if (sample.window_bytes + noticed < empty_window_) {
    hidden_bytes_ = empty_window_ - sample.window_bytes;
    doubt_ = 1;
  }
  empty_window_ = sample.window_bytes;
  found_at_ns_ = moved_at_ns_ = sample.now_ns;
  draining_ = false;
  just_found_ = true;
}

// Is what little it is sent acknowledged at once? While something is unread, a small segment is
// acknowledged late; Linux acknowledges at once when its reader has emptied the buffer.
void LateWindow::watch_acks(const PathSample& sample) {
  const bool awaits = sample.flight_bytes > 0 && sample.unsent_bytes == 0;
  if (awaits && sample.now_ns - sent_at_ns_ > prompt_ns + round_trip_ns()) delays_acks_ = true;
  if (follows_) return follow(sample);
  if (lone_ != Lone::went || sample.acked_bytes < lone_end_) return;
  lone_ = Lone::none;
  const std::uint64_t edge = sample.acked_bytes + sample.window_bytes;
  const std::uint64_t moved = edge > prompt_edge_ ? edge - prompt_edge_ : 0;
  const std::uint64_t got = sample.acked_bytes - prompt_acked_;
  const bool is_prompt = sample.now_ns - sent_at_ns_ <= prompt_ns + round_trip_ns();
  if (!is_prompt) delays_acks_ = true;
  // The window widens: something was unread, and is read.
  const bool widens = moved > got + std::max(sample.window_step, step_min);
  if (!is_prompt || widens || prompt_acks_ == 0) {
    prompt_acks_ = is_prompt ? 1 : 0;
    prompt_edge_ = edge;
    prompt_acked_ = sample.acked_bytes;
    return;
  }
  const int doubted = prompt_finds_ == 0 ? prompt_acks_doubted : 2 * prompt_acks_doubted;
  const int needed = delays_acks_ ? prompt_acks_needed : doubted;
  if (++prompt_acks_ < needed) return;
  prompt_acks_ = 0;
  ++prompt_finds_;
  const std::uint32_t step = std::max(sample.window_step, step_min);
  const bool is_sure = delays_acks_ || prompt_finds_ > 1;
  follows_ = is_sure && sample.window_bytes + step < empty_window_;
  take_for_empty(sample);
  restart_watch(sample);
}

// The window becomes narrower byte by byte, down to that of the empty buffer, while all that comes
// is read: what is acknowledged at once tells it, until the window's edge moves again.
void LateWindow::follow(const PathSample& sample) {
  const bool is_prompt = sample.now_ns - sent_at_ns_ <= prompt_ns + round_trip_ns();
  if (sample.flight_bytes + sample.unsent_bytes > 0) {
    if (!is_prompt) follows_ = false;
    return;
  }
  if (!is_prompt || sample.window_bytes >= empty_window_) return;
  hidden_bytes_ += empty_window_ - sample.window_bytes;
  empty_window_ = sample.window_bytes;
  just_found_ = true;
}

std::int64_t LateWindow::drain_interval_ns(bool urgent) const {
  const std::int64_t least_ns = drain_cost_intervals * drain_cost_ns_;
  return std::max(least_ns, urgent ? doubt_ * std::max(drain_ns_urgent,
                                                       drain_round_trips_urgent * round_trip_ns())
                                   : std::max(drain_ns, drain_round_trips * round_trip_ns()));
}

void LateWindow::drain_if_due(const PathSample& sample) {
  if (draining_) {
    // One that reads, but so unevenly that its window is never seen to stay the same.
    const std::int64_t most_ns = drain_ns_max + 10 * round_trip_ns();
    const bool reads = sample.now_ns - moved_at_ns_ < alive_ns + 2 * round_trip_ns();
    if (reads && sample.now_ns - drain_began_ns_ > most_ns) {
      take_for_empty(sample);
      unread_bytes_ = 0;
    }
    return;
  }
  const bool urgent = hidden_bytes_ > unread_allowed() / 4;
  if (sample.now_ns - found_at_ns_ < drain_interval_ns(urgent)) return;
  draining_ = true;
  drain_began_ns_ = sample.now_ns;
  drain_window_ = empty_window_;
  follows_ = false;
  prompt_acks_ = 0;
  restart_watch(sample);
}

// --- What may be sent ----------------------------------------------------------------------------

void LateWindow::note_dryness(bool holds_back) {
  const bool was_full = full_;
  full_ = holds_back && held_bytes() + lump_bytes() > allowance_bytes();
  // Nearby, what is not acknowledged has arrived.
  const bool is_near = round_trip_ns() < near_ns;
  const std::uint32_t left = unread_bytes_ + (is_near ? last_.flight_bytes : 0);
  const bool is_dry = was_full && !draining_ && !just_found_ && left < unread_allowed() / 8;
  const std::int64_t since_ns = last_.now_ns - boost_at_ns_;
  if (is_dry) {
    if (since_ns < std::max(boost_ns_min, 2 * round_trip_ns())) return;
    boost_ = std::min(boost_ * boost_step, boost_max);
  } else {
    if (since_ns < calm_ns) return;
    boost_ = std::max(1.0, boost_ * calm_decay);
  }
  boost_at_ns_ = last_.now_ns;
}

double LateWindow::unread_allowed() const {
  const double rate = rate_bytes_per_s();
  const double late_s = unread_seconds_min + lateness_share * seconds(lateness_ns_);
  double usual = std::max<double>(limits_.unread_bytes, rate * std::max(unread_seconds, late_s));
  // A reader that takes all that its buffer holds in a moment is fresh anyway, and its window is
  // known no better than to some tens of per cent.
  if (usual > wide_share * empty_window_) usual = std::max(usual, fast_share * empty_window_);
  // What makes up for its pauses is not to make it stale.
  const double most = std::max(1.5 * limits_.unread_bytes, rate * boosted_seconds_max);
  return std::max(usual, std::min(boost_ * usual, most));
}

double LateWindow::plain_allowance() const {
  const double path = path_gain * rate_bytes_per_s() * seconds(round_trip_ns());
  return std::min<double>(unread_allowed() + path, limits_.allowance_bytes_max);
}

std::uint32_t LateWindow::allowance_bytes() const {
  if (draining_) return 0;
  double allowance = plain_allowance();
  allowance += expected_bytes();
  allowance = std::min<double>(allowance, limits_.allowance_bytes_max);
  // What the peer's window does not admit, or the congestion window, waits in our own buffer.
  if (last_.unsent_bytes > 0) {
    const double sent = held_bytes() - last_.unsent_bytes;
    allowance = std::min(allowance, sent + 2.0 * last_.segment_bytes);
  }
  return static_cast<std::uint32_t>(allowance);
}

std::uint32_t LateWindow::lump_bytes() const {
  return std::max<std::uint32_t>(static_cast<std::uint32_t>(plain_allowance() / 4), 1);
}

std::int64_t LateWindow::next_look_ns() const {
  const double rate = rate_bytes_per_s();
  const double lump = lump_bytes();
  const double room = static_cast<double>(allowance_bytes()) - held_bytes();
  std::int64_t wait_ns = look_ns_unknown;
  if (rate > 0) wait_ns = ns(std::clamp(lump - room, lump / 2, lump) / rate);
  wait_ns = std::min(wait_ns, sent_at_ns_ + trickle_interval_ns() - last_.now_ns);
  if (lone_ != Lone::none || prompt_acks_ > 0) {
    wait_ns = std::min(wait_ns, trickle_ns_min);
  } else {  // the longer it has been silent, the less it matters
    wait_ns = std::max(wait_ns, (last_.now_ns - moved_at_ns_ - round_trip_ns()) / 8);
  }
  return last_.now_ns + std::clamp(wait_ns, look_ns_min, look_ns_max);
}

std::int64_t LateWindow::trickle_interval_ns() const {
  const double rate = rate_bytes_per_s();
  std::int64_t interval_ns = trickle_ns_unknown;
  if (rate > 0) interval_ns = ns(trickle_bytes_ / (trickle_share * rate));
  if (prompt_acks_ == 0) {
    interval_ns = std::max(interval_ns, (last_.now_ns - moved_at_ns_) / trickle_silence_share);
  }
  // While it has what it was allowed, that comes to its end first.
  if (!draining_ && !trickled_ && rate > 0) {
    interval_ns = std::max(interval_ns, ns(plain_allowance() / 2 / rate));
  }
  return std::clamp(interval_ns, trickle_ns_min, trickle_ns_max);
}

bool LateWindow::takes_trickle(std::int64_t now_ns) {
  const std::int64_t since_ns = now_ns - sent_at_ns_;
  // One at a time, so that its acknowledgement tells something; over a long path only if it has to.
  const bool matters = round_trip_ns() < far_ns || now_ns - moved_at_ns_ > 4 * round_trip_ns();
  const bool awaits_ack = matters && lone_ == Lone::went && since_ns <= prompt_ns + round_trip_ns();
  if (awaits_ack || since_ns < trickle_interval_ns()) return false;
  const bool is_alone = last_.flight_bytes + last_.unsent_bytes == 0;
  lone_ = is_alone ? Lone::goes : Lone::none;
  if (!is_alone || since_ns > prompt_pause_ns + round_trip_ns()) prompt_acks_ = 0;
  trickle_sent_ = sent_bytes_;
  sent_at_ns_ = now_ns;
  trickled_ = true;
  return true;
}

}  // namespace millrace::server
