// HeldAnswers: what the connection answers by itself (PINGRESP, AUTH) while the processor still owes
// answers to earlier packets. Clients use PINGREQ as a barrier, so PINGRESP stays behind the SUBACK,
// the PUBACK and the messages that were asked for before it.
//
// An answer waits first until the commands before it are applied, then until the deliveries that
// they brought are written. Answers that are added meanwhile form a second group, which waits for
// the mark of its last answer. The first group's mark does not move, so the first answers are
// written however many commands follow them.
//
// Threads: the connection's I/O thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace millrace::server {

class HeldAnswers {
 public:
  bool empty() const { return first_.packets.empty(); }
  std::size_t bytes() const { return first_.packets.size() + second_.packets.size(); }

  // Behind the first `mark` commands. (Counts wrap around.)
  void hold(std::span<const std::uint8_t> packet, std::uint32_t mark) {
    Group& group = empty() ? first_ : second_;
    group.packets.insert(group.packets.end(), packet.begin(), packet.end());
    group.mark = mark;
  }

  // Some wait for more commands than those that are `applied`.
  bool waits_for_commands(std::uint32_t applied) const {
    return !empty() && !has_reached(applied, first_.mark);
  }

  // What is due; empty: nothing yet. What the `applied` commands brought has been given to the
  // writer, which has got `deliveries_added` in all and written `deliveries_written` of them.
  std::vector<std::uint8_t> take_due(std::uint32_t applied, std::uint32_t deliveries_added,
                                     std::uint32_t deliveries_written) {
    std::vector<std::uint8_t> due;
    while (!empty() && has_reached(applied, first_.mark)) {
      if (!first_.behind_delivery) first_.behind_delivery = deliveries_added;
      if (!has_reached(deliveries_written, *first_.behind_delivery)) break;
      due.insert(due.end(), first_.packets.begin(), first_.packets.end());
      first_ = std::exchange(second_, {});
    }
    return due;
  }

 private:
  struct Group {
    std::vector<std::uint8_t> packets;
    std::uint32_t mark = 0;
    std::optional<std::uint32_t> behind_delivery;  // set once the commands are applied
  };

  static bool has_reached(std::uint32_t count, std::uint32_t mark) {
    return static_cast<std::int32_t>(count - mark) >= 0;
  }

  Group first_;
  Group second_;  // empty while the first is
};

}  // namespace millrace::server
