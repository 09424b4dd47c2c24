// LookWheel: fine timers of an I/O thread, a millisecond apart, for what must be looked at soon and
// often: how much a reader that is served late has taken by now.
//
// With many of them the intervals grow, so that looking never takes more than a bounded share of
// the thread: at most looks_per_s_max looks a second.
//
// Threads: the I/O thread alone.
#pragma once

#include <algorithm>
#include <array>
#include <boost/intrusive/list.hpp>
#include <cassert>
#include <cstddef>
#include <cstdint>

namespace millrace::server {

class Look : public boost::intrusive::list_base_hook<
                 boost::intrusive::link_mode<boost::intrusive::auto_unlink>> {
 public:
  // Its time has come. It may schedule itself again.
  virtual void on_look(std::int64_t now_ns) = 0;

 protected:
  ~Look() = default;
};

class LookWheel {
 public:
  static constexpr std::int64_t tick_ns = 1'000'000;
  static constexpr std::int64_t looks_per_s_max = 40'000;

  // In whole ticks, rounded up; at most a turn of the wheel away.
  void schedule(Look& look, std::int64_t at_ns, std::int64_t now_ns) {
    if (look.is_linked()) {
      look.unlink();
      --count_;
    }
    if (count_ == 0) tick_ = now_ns / tick_ns;  // it stood still meanwhile
    const auto crowd = static_cast<std::int64_t>(count_) * 1'000'000'000 / looks_per_s_max;
    at_ns = std::max(at_ns, now_ns + crowd);
    const std::int64_t away = (at_ns + tick_ns - 1) / tick_ns - tick_;
    slots_[index(tick_ + std::clamp<std::int64_t>(away, 1, slot_count - 1))].push_back(look);
    ++count_;
  }
  void cancel(Look& look) {
    if (!look.is_linked()) return;
    look.unlink();
    --count_;
  }

  bool empty() const { return count_ == 0; }
  // When the next look is due. Requires that there is one.
  std::int64_t next_due_ns() const {
    assert(!empty());
    std::int64_t tick = tick_ + 1;
    while (slots_[index(tick)].empty()) ++tick;
    return tick * tick_ns;
  }

  void advance(std::int64_t now_ns) {
    while (count_ > 0 && (tick_ + 1) * tick_ns <= now_ns) {
      // After a pause of the process, no more than a turn is made up for.
      tick_ = std::max(tick_ + 1, now_ns / tick_ns - slot_count + 1);
      Slot due;
      due.swap(slots_[index(tick_)]);
      while (!due.empty()) {
        Look& look = due.front();
        due.pop_front();
        --count_;
        look.on_look(now_ns);
      }
    }
  }

 private:
  static constexpr std::int64_t slot_count = 128;  // a power of two
  using Slot = boost::intrusive::list<Look, boost::intrusive::constant_time_size<false>>;

  static std::size_t index(std::int64_t tick) {
    return static_cast<std::size_t>(tick % slot_count);
  }

  std::array<Slot, slot_count> slots_;
  std::int64_t tick_ = 0;
  std::size_t count_ = 0;
};

}  // namespace millrace::server
