// A path and a reader, in simulated time: what LateWindow is tried on before it meets a socket.
//
// One direction carries data through a bottleneck with a queue, a delay and losses (a lost segment
// comes a round trip later, and all behind it waits for it, as TCP delivers in order); the other
// carries acknowledgements. The receiver is like that of Linux (net/ipv4/tcp_input.c and tcp.c, read
// at 6.18): it acknowledges at once only when more than a segment is pending and its window need not
// become narrower; else when its reader has read and more than a segment is pending, or nothing is
// left to read; else after 40 ms. It advertises what is free, rounded to the window's scale; it does
// not report room that comes back while the window is wide (RFC 9293, section 3.8.6.2.2); how much of
// its buffer it advertises depends on the size of the segments that came last (`swing`); and segments
// that wait are merged, of which nothing is free before all of it is read (`merges`).
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <random>
#include <utility>
#include <vector>

#include "server/net/late_window.hpp"

namespace millrace::test {

struct PathOptions {
  std::int64_t one_way_ns = 50'000;
  double rate_bytes_per_s = 0;  // of the bottleneck; 0: any
  double queue_seconds = 0.2;   // what the bottleneck holds; more is lost
  double loss = 0;
  std::uint32_t receive_buffer_bytes = 128 * 1024;
  std::uint32_t receive_buffer_bytes_max = 128 * 1024;  // it grows to this with what is read
  double window_ratio_end = 1;            // the window falls to this share of the buffer after 2 s
  double swing = 1;                       // and to this share and back, each time after
  std::int64_t swing_ns = 1'000'000'000;  // half of this to one and a half times
  unsigned window_scale = 7;
  bool delays_acks = true;
  int merges = 0;  // so many segments (Linux: 17 pieces of memory); 0: each byte is free once read
  std::uint32_t segment_bytes = 1448;
  // Bytes per second that the reader takes at a time, every `read_interval_ns`.
  std::function<double(std::int64_t)> read_rate = [](std::int64_t) { return 400'000.0; };
  std::int64_t read_interval_ns = 5'000'000;
  bool makes_up = true;  // it reads more later for what it did not find
  std::uint64_t seed = 1;
};

class SimulatedPath {
 public:
  explicit SimulatedPath(const PathOptions& options)
      : options_(options),
        random_(options.seed),
        buffer_bytes_(options.receive_buffer_bytes),
        window_(advertised()) {}

  std::int64_t now_ns() const { return now_ns_; }
  // Room in the send buffer is not modelled; what the window does not admit is unsent.
  void send(std::uint32_t bytes) {
    unsent_.push_back({bytes, now_ns_});
    unsent_bytes_ += bytes;
  }

  server::PathSample sample() const {
    server::PathSample sample;
    sample.now_ns = now_ns_;
    sample.acked_bytes = acked_;
    sample.unsent_bytes = static_cast<std::uint32_t>(unsent_bytes_);
    sample.flight_bytes = static_cast<std::uint32_t>(sent_ - acked_);
    sample.window_bytes = window_;
    sample.window_step = 1u << options_.window_scale;
    sample.least_rtt_us = least_rtt_us_;
    sample.segment_bytes = options_.segment_bytes;
    return sample;
  }

  void advance(std::int64_t step_ns) {
    now_ns_ += step_ns;
    while (!acks_.empty() && acks_.front().at_ns <= now_ns_) take_ack();
    while (!segments_.empty() && segments_.front().at_ns <= now_ns_) arrive();
    if (pending_bytes_ > 0 && now_ns_ >= ack_due_ns_) acknowledge();
    if (options_.swing < 1 && now_ns_ >= swings_at_ns_) swing();
    if (now_ns_ >= next_read_ns_) {
      read();
      next_read_ns_ += options_.read_interval_ns;
    }
    transmit();
  }

  // What was read so far: total, and the ages of it in milliseconds, one for each piece.
  std::uint64_t read_bytes() const { return read_; }
  const std::vector<std::pair<std::int64_t, double>>& ages() const { return ages_; }
  std::uint64_t in_receive_buffer() const { return received_ - read_; }

 private:
  struct Piece {
    std::uint64_t bytes;
    std::int64_t bound_ns;
  };
  struct Segment {
    std::int64_t at_ns;
    std::vector<Piece> pieces;
    std::uint64_t bytes;
    std::int64_t sent_ns;
  };
  struct Merged {
    int segments = 0;
    std::uint64_t bytes = 0;
  };
  struct Ack {
    std::int64_t at_ns;
    std::uint64_t upto;
    std::uint32_t window;
    std::int64_t echo_ns;
  };

  // Congestion control as the common ones end up: the bottleneck's queue is kept full.
  std::uint64_t congestion_window() const {
    if (options_.rate_bytes_per_s == 0) return UINT64_MAX;
    const double seconds = 2e-9 * static_cast<double>(options_.one_way_ns) + options_.queue_seconds;
    return static_cast<std::uint64_t>(options_.rate_bytes_per_s * seconds);
  }

  void transmit() {
    while (unsent_bytes_ > 0) {
      const std::uint64_t edge = acked_ + std::min<std::uint64_t>(window_, congestion_window());
      if (sent_ >= edge) return;
      std::uint64_t room = std::min<std::uint64_t>(options_.segment_bytes, edge - sent_);
      // A window that is too small for what waits is a silly one, unless nothing is in flight.
      if (room < options_.segment_bytes && room < unsent_bytes_ && sent_ > acked_) return;
      Segment segment{0, {}, 0, now_ns_};
      while (room > 0 && !unsent_.empty()) {
        const std::uint64_t take = std::min(room, unsent_.front().bytes);
        segment.pieces.push_back({take, unsent_.front().bound_ns});
        segment.bytes += take;
        room -= take;
        unsent_.front().bytes -= take;
        if (unsent_.front().bytes == 0) unsent_.pop_front();
      }
      unsent_bytes_ -= segment.bytes;
      sent_ += segment.bytes;
      std::int64_t start = now_ns_;
      if (options_.rate_bytes_per_s > 0) {
        start = std::max(start, free_at_ns_);
        const double wire = static_cast<double>(segment.bytes + 52);
        free_at_ns_ = start + static_cast<std::int64_t>(wire / options_.rate_bytes_per_s * 1e9);
        start = free_at_ns_;
      }
      segment.at_ns = start + options_.one_way_ns;
      if (options_.loss > 0 && std::uniform_real_distribution<>(0, 1)(random_) < options_.loss) {
        segment.at_ns += 2 * options_.one_way_ns + 1'000'000;
        segment.sent_ns = 0;
      }
      if (!segments_.empty()) segment.at_ns = std::max(segment.at_ns, segments_.back().at_ns);
      segments_.push_back(std::move(segment));
    }
  }

  void arrive() {
    Segment& segment = segments_.front();
    received_ += segment.bytes;
    if (segment.sent_ns != 0) echo_ns_ = segment.sent_ns;
    for (const Piece& piece : segment.pieces) waiting_.push_back(piece);
    if (merged_.empty() || merged_.back().segments >= options_.merges) merged_.push_back({});
    ++merged_.back().segments;
    merged_.back().bytes += segment.bytes;
    // What it takes for the size of a full segment: the largest, or one that came twice in a row.
    const bool is_size = segment.bytes >= usual_segment_ || segment.bytes == last_segment_;
    if (is_size) usual_segment_ = segment.bytes;
    last_segment_ = segment.bytes;
    if (pending_bytes_ == 0) ack_due_ns_ = now_ns_ + 40'000'000;
    pending_bytes_ += segment.bytes;
    segments_.pop_front();
    const bool as_wide = window_to_advertise() >= last_advertised_;
    if (!options_.delays_acks || (pending_bytes_ > usual_segment_ && as_wide)) acknowledge();
  }

  void swing() {
    swung_ = !swung_;
    const double share = std::uniform_real_distribution<>(0.5, 1.5)(random_);
    swings_at_ns_ =
        now_ns_ + static_cast<std::int64_t>(share * static_cast<double>(options_.swing_ns));
  }

  // As advertised(), but that it may take back what was advertised.
  std::uint32_t window_to_advertise() const {
    double ratio = swung_ ? options_.swing : 1;
    if (now_ns_ > 2'000'000'000) ratio *= options_.window_ratio_end;
    const auto capacity = static_cast<std::uint64_t>(static_cast<double>(buffer_bytes_) * ratio);
    const std::uint64_t used = received_ - freed_;
    const std::uint64_t free = used < capacity ? capacity - used : 0;
    return static_cast<std::uint32_t>(free >> options_.window_scale << options_.window_scale);
  }

  std::uint32_t advertised() const {
    // The right edge is never taken back.
    const std::uint64_t edge = std::max(received_ + window_to_advertise(), edge_sent_);
    return static_cast<std::uint32_t>(edge - received_);
  }

  void acknowledge() {
    pending_bytes_ = 0;
    last_advertised_ = advertised();
    edge_sent_ = received_ + last_advertised_;
    acks_.push_back({now_ns_ + options_.one_way_ns, received_, last_advertised_, echo_ns_});
  }

  void take_ack() {
    const Ack ack = acks_.front();
    acks_.pop_front();
    acked_ = ack.upto;
    window_ = ack.window;
    if (ack.echo_ns > 0) {
      const auto rtt = static_cast<std::uint32_t>((now_ns_ - ack.echo_ns) / 1000);
      least_rtt_us_ = least_rtt_us_ == 0 ? rtt : std::min(least_rtt_us_, rtt);
    }
  }

  // As Linux does: twice of what was read in the last round trip.
  void tune(std::uint64_t got) {
    round_read_ += got;
    const std::int64_t round_ns = std::max<std::int64_t>(2 * options_.one_way_ns, 1'000'000);
    if (now_ns_ - round_began_ns_ < round_ns) return;
    const auto wanted = static_cast<std::uint32_t>(std::min<std::uint64_t>(
        2 * round_read_ + 16 * options_.segment_bytes, options_.receive_buffer_bytes_max));
    buffer_bytes_ = std::max(buffer_bytes_, wanted);
    round_began_ns_ = now_ns_;
    round_read_ = 0;
  }

  void read() {
    const double rate = options_.read_rate(now_ns_);
    granted_ += rate * static_cast<double>(options_.read_interval_ns) * 1e-9;
    granted_ = std::min(granted_, std::max(rate * 0.02, 65536.0));  // nothing is saved over a lull
    auto take = static_cast<std::uint64_t>(granted_);
    std::uint64_t got = 0;
    while (take > 0 && !waiting_.empty()) {
      const std::uint64_t part = std::min(take, waiting_.front().bytes);
      waiting_.front().bytes -= part;
      take -= part;
      got += part;
      if (waiting_.front().bytes == 0) {
        const double age_ms = static_cast<double>(now_ns_ - waiting_.front().bound_ns) * 1e-6;
        ages_.push_back({now_ns_, age_ms});
        waiting_.pop_front();
      }
    }
    granted_ = options_.makes_up ? granted_ - static_cast<double>(got) : 0;
    read_ += got;
    while (!merged_.empty() && freed_ + merged_.front().bytes <= read_) {
      freed_ += merged_.front().bytes;
      merged_.pop_front();
    }
    if (options_.merges == 0) freed_ = read_;
    if (got == 0) return;
    tune(got);
    const std::uint64_t left = edge_sent_ - received_;
    const bool opened = 2 * left <= buffer_bytes_ && advertised() >= 2 * left && advertised() > 0;
    const bool emptied = pending_bytes_ > 0 && received_ == read_;
    if (opened || emptied || pending_bytes_ > usual_segment_) acknowledge();
  }

  const PathOptions options_;
  std::mt19937_64 random_;
  std::int64_t now_ns_ = 0;

  std::deque<Piece> unsent_;
  std::uint64_t unsent_bytes_ = 0;
  std::uint64_t sent_ = 0;
  std::uint64_t acked_ = 0;
  std::uint32_t least_rtt_us_ = 0;

  std::int64_t free_at_ns_ = 0;
  std::deque<Segment> segments_;
  std::deque<Ack> acks_;

  std::uint64_t received_ = 0;
  std::uint64_t read_ = 0;
  std::uint64_t freed_ = 0;  // of what was read: counts as free in the buffer
  std::deque<Piece> waiting_;
  std::deque<Merged> merged_;
  std::uint64_t edge_sent_ = 0;
  std::uint32_t buffer_bytes_;
  std::uint32_t last_advertised_ = 0;
  std::int64_t round_began_ns_ = 0;
  std::uint64_t round_read_ = 0;
  std::int64_t echo_ns_ = 0;
  std::uint64_t pending_bytes_ = 0;  // received and not acknowledged
  std::uint64_t usual_segment_ = 536;
  std::uint64_t last_segment_ = 0;
  std::int64_t ack_due_ns_ = 0;
  bool swung_ = false;
  std::int64_t swings_at_ns_ = 1'000'000'000;
  double granted_ = 0;
  std::int64_t next_read_ns_ = 0;
  std::vector<std::pair<std::int64_t, double>> ages_;

  std::uint32_t window_;
};

}  // namespace millrace::test
