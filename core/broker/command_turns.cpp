#include "core/broker/command_turns.hpp"

#include <cassert>
#include <iterator>
#include <utility>

namespace millrace::broker {

void CommandTurns::begin() {
  spent_units_ = 0;
  slice_units_ = processor_.slice_units();
  if (held_.empty()) return;
  std::deque<Command> before = std::exchange(held_, {});
  for (Command& command : before) admit(command);
}

void CommandTurns::put_off(Command& command) {
  if (!has_line(command)) return held_.push_back(std::move(command));
  CommandLine& line = *command.outbox->line;
  if (line.commands.empty()) waiting_.splice(waiting_.end(), idle_, line.place);
  line.commands.push_back(std::move(command));
}

// The outbox is freed after its Close.
void CommandTurns::note_costly(const Command& command) {
  if (command.outbox == nullptr || command.get_if<command::Close>() != nullptr) return;
  Outbox& outbox = *command.outbox;
  if (outbox.line == nullptr) {
    idle_.emplace_back();
    outbox.line = &idle_.back();
    outbox.line->outbox = &outbox;
    outbox.line->place = std::prev(idle_.end());
    // What it has among those that are held would come too late behind what comes next.
    std::deque<Command> held = std::exchange(held_, {});
    for (Command& one : held) put_off(one);
  }
  outbox.line->costly_at_ns = processor_.now_ns();
}

void CommandTurns::finish() {
  for (bool applied = false; !waiting_.empty() && !(applied && slice_is_used_up());
       applied = true) {
    CommandLine& line = waiting_.front();
    Command command = std::move(line.commands.front());
    line.commands.pop_front();
    apply(command);
    if (command.get_if<command::Close>() != nullptr) {
      assert(line.commands.empty());
      line.outbox->line = nullptr;
      waiting_.pop_front();
    } else if (line.commands.empty()) {
      idle_.splice(idle_.end(), waiting_, line.place);
    } else {
      waiting_.splice(waiting_.end(), waiting_, line.place);
    }
  }
  close_idle_lines();
}

// In about the order in which they were costly; one behind a later one stays a little longer.
void CommandTurns::close_idle_lines() {
  while (!idle_.empty() && processor_.now_ns() - idle_.front().costly_at_ns > costly_ns) {
    idle_.front().outbox->line = nullptr;
    idle_.pop_front();
  }
}

std::uint64_t CommandTurns::take_applied_bytes() {
  return std::exchange(applied_bytes_, 0);
}

}  // namespace millrace::broker
