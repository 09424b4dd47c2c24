// Resident: an object of one I/O thread that is called back at a time of its choice. TimerWheel:
// the coarse timer of all residents of a thread, so that no connection needs one of its own.
//
// A resident is always in exactly one slot. It is not moved when something happens on it: when its
// slot comes round it looks at the time itself, and says when to look again.
//
// Threads: the I/O thread alone.
#pragma once

#include <algorithm>
#include <array>
#include <boost/intrusive/list.hpp>
#include <cstddef>
#include <cstdint>

namespace millrace::server {

using WheelHook =
    boost::intrusive::list_base_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>>;

class Resident : public WheelHook {
 public:
  // Its slot came round. It must schedule() itself again, or leave.
  virtual void on_due() = 0;
  // The settings of the thread were replaced: what the peer may do is judged by the new ones.
  virtual void apply_settings() = 0;
  // Memory is scarce: who makes the server hold much, and has for a while, has to leave.
  virtual void relieve_memory() {}
  // The server drains: no more is read.
  virtual void stop_reading() = 0;
  // The server ends: say so to the peer and leave. Those with a will go first, so that the others
  // still hear of it.
  enum class Which : std::uint8_t { with_will, all };
  virtual void end(Which which) = 0;
  // The thread ends: leave without telling the peer.
  virtual void abandon() = 0;

 protected:
  ~Resident() = default;
};

class TimerWheel {
 public:
  static constexpr std::uint32_t slot_count = 512;  // a power of two

  // The current tick; only advance() moves it.
  std::uint32_t tick() const { return tick_; }

  // Calls on_due() at that tick, or before it if it is more than a turn away.
  void schedule(Resident& resident, std::uint32_t at_tick) {
    if (resident.is_linked()) resident.unlink();
    // Signed: a tick that has passed already means the next one.
    const auto away = static_cast<std::int32_t>(at_tick - tick_);
    const std::int32_t within = std::clamp<std::int32_t>(away, 1, slot_count - 1);
    slots_[(tick_ + static_cast<std::uint32_t>(within)) % slot_count].push_back(resident);
  }

  void advance() {
    ++tick_;
    Slot due;
    due.swap(slots_[tick_ % slot_count]);
    while (!due.empty()) {
      Resident& resident = due.front();
      due.pop_front();
      resident.on_due();
    }
  }

  // Each resident once; `visit` may make it leave.
  template <class Visit>
  void for_each(Visit visit) {
    for (Slot& slot : slots_) {
      Slot visited;
      visited.swap(slot);
      while (!visited.empty()) {
        Resident& resident = visited.front();
        visited.pop_front();
        slot.push_back(resident);
        visit(resident);
      }
    }
  }

 private:
  using Slot = boost::intrusive::list<Resident, boost::intrusive::constant_time_size<false>>;

  std::array<Slot, slot_count> slots_;
  std::uint32_t tick_ = 0;
};

}  // namespace millrace::server
