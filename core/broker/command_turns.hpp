// CommandTurns: in which order the processor applies the commands that came out of the queue, so that
// nobody waits long for what others ask.
//
// As a rule that is the order of the queue. But a batch has a slice of work; once that is used up,
// what is left of it begins the next batch, so that what is done is handed over. And a connection
// that asked for something costly, by one command (a topic that very many filters match, a message
// for very many offline sessions) or by those of a second together, in batches that become long,
// has a line of its own for a second after that: such lines are served in turn, a command each,
// after what the others asked for. What is asked by one command alone may be costly, too:
// Processor::apply_some() does a part of it, and the rest has its turn later.
//
// What always holds: the commands of one connection are applied in their order, and those of the next
// connection of its session come after them; a batch does no more than its slice and one command;
// commands of others wait for one batch, not for lines.
//
// Threads: the processor's holder alone.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <list>
#include <utility>
#include <vector>

#include "core/broker/command.hpp"
#include "core/broker/processor.hpp"

namespace millrace::broker {

// What waits of one connection, and of those that came meanwhile to take over its session.
struct CommandLine {
  std::vector<Outbox*> outboxes;  // of those whose Close is not applied yet
  std::deque<Command> commands;
  std::int64_t costly_at_ns = 0;  // when it asked for something costly last
  std::int64_t much_at_ns = 0;    // the same, by one command
  std::list<CommandLine>::iterator place;
};

class CommandTurns {
 public:
  explicit CommandTurns(Processor& processor) : processor_(processor) {}
  CommandTurns(const CommandTurns&) = delete;
  CommandTurns& operator=(const CommandTurns&) = delete;

  // A batch: first what is left of the one before; then, unless that is too much, each command as it
  // comes out of the queue; then the lines.
  void begin();
  void admit(Command& command) {
    if (!nobody_waits_) [[unlikely]]
      return admit_beside_others(command);
    if (slice_is_used_up() || !apply(command)) [[unlikely]]
      put_off(command);
  }
  void finish();
  // The server ends: what waits in lines of publishes, SUBSCRIBE and UNSUBSCRIBE packets is dropped.
  // None of it has been acknowledged.
  void hurry() { hurries_ = true; }

  // The slice did not even do for what was left of the batch before: nothing more is to come.
  bool is_behind() const { return !held_.empty(); }
  // False: commands wait here, and another batch is needed.
  bool empty() const { return held_.empty() && waiting_.empty(); }

 private:
  static constexpr std::int64_t costly_ns = 1'000'000'000;

  static bool has_line(const Command& command) {
    return command.outbox != nullptr && command.outbox->line != nullptr;
  }
  bool slice_is_used_up() const { return spent_units_ >= slice_units_; }
  // False: it goes on in a later turn. Then it has a line.
  bool apply(Command& command) {
    const bool is_over = processor_.apply_some(command);
    const std::uint64_t before = std::exchange(spent_units_, processor_.spent_units());
    const std::uint64_t units = spent_units_ - before;
    // What costs little is counted only where a batch becomes long: elsewhere nobody waits for it.
    if (units >= costly_units_ || spent_units_ >= slice_units_ / 2 || !is_over) [[unlikely]]
      note_cost(command, units, is_over);
    return is_over;
  }
  void admit_beside_others(Command& command);
  void put_off(Command& command);
  void join_line(const Command& command);
  void note_cost(const Command& command, std::uint64_t units, bool is_over);
  std::uint64_t count_cost(const Session& session, std::uint64_t units);
  void make_line(Outbox& outbox);
  void leave_line(CommandLine& line, Outbox& outbox);
  void drop_requests(CommandLine& line);
  void close_idle_lines();
  void note_who_waits() { nobody_waits_ = held_.empty() && waiting_.empty() && idle_.empty(); }

  Processor& processor_;
  std::deque<Command> held_;        // in the order of the queue; none of them has a line
  std::list<CommandLine> waiting_;  // lines with commands, the next in turn first
  std::list<CommandLine> idle_;     // without
  bool nobody_waits_ = true;        // held_ is empty, and there are no lines
  std::uint64_t spent_units_ = 0;   // in this batch
  std::uint64_t slice_units_ = 0;
  std::uint64_t costly_units_ = 0;  // a part of a slice; most commands cost none or a few
  bool hurries_ = false;
  // What connections asked for in this second, as far as it was counted, by the numbers of their
  // sessions. Two that share a place get a line too early, which does little harm.
  struct Cost {
    std::int64_t second = 0;
    std::uint64_t units = 0;
  };
  std::array<Cost, 1024> costs_{};
};

}  // namespace millrace::broker
