#include "core/broker/command_turns.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include "core/broker/check.hpp"

namespace millrace::broker {

namespace {

constexpr std::uint64_t costly_part = 8;

// What may be left undone without harm when the server ends: nobody has been told that it is done.
bool is_request(const Command& command) {
  return command.get_if<command::Publish>() != nullptr ||
         command.get_if<command::RefusedPublish>() != nullptr ||
         command.get_if<command::Subscribe>() != nullptr ||
         command.get_if<command::Unsubscribe>() != nullptr;
}

}  // namespace

void CommandTurns::begin() {
  spent_units_ = 0;
  slice_units_ = processor_.slice_units();
  costly_units_ = slice_units_ / costly_part;
  if (held_.empty()) return;
  std::deque<Command> before = std::exchange(held_, {});
  note_who_waits();
  for (Command& command : before) admit(command);
}

void CommandTurns::admit_beside_others(Command& command) {
  if (!waiting_.empty()) join_line(command);
  if (held_.empty() && !has_line(command) && !slice_is_used_up() && apply(command)) return;
  put_off(command);
}

void CommandTurns::put_off(Command& command) {
  nobody_waits_ = false;
  if (!has_line(command)) return held_.push_back(std::move(command));
  CommandLine& line = *command.outbox->line;
  if (line.commands.empty()) waiting_.splice(waiting_.end(), idle_, line.place);
  line.commands.push_back(std::move(command));
}

// Who names the identifier of a connection whose commands wait comes after those: else its CONNECT
// would take over a session that is about to be left in order, and publish its will.
void CommandTurns::join_line(const Command& command) {
  const auto* connect = command.get_if<command::Connect>();
  if (connect == nullptr || has_line(command)) return;
  const Session* session = processor_.find_session(connect->request->client_id.view());
  if (session == nullptr || !session->connected()) return;
  CommandLine* const line = session->outbox->line;
  if (line == nullptr || line->commands.empty()) return;
  line->outboxes.push_back(command.outbox);
  command.outbox->line = line;
}

// The outbox is freed after its Close.
void CommandTurns::note_cost(const Command& command, std::uint64_t units, bool is_over) {
  if (command.outbox == nullptr || command.get_if<command::Close>() != nullptr) return;
  Outbox& outbox = *command.outbox;
  const std::int64_t now_ns = processor_.now_ns();
  const bool is_much = units >= costly_units_ || !is_over;
  const bool has_asked_for_much =
      outbox.attached() && count_cost(*outbox.session, units) >= costly_units_;
  if (is_much || has_asked_for_much) {
    if (outbox.line == nullptr) make_line(outbox);
    outbox.line->costly_at_ns = now_ns;
  }
  // Many commands that cost little each may wait; else a client with many readers would be slow.
  if (is_much) {
    outbox.set_asks_much(true);
    outbox.line->much_at_ns = now_ns;
  } else if (outbox.line != nullptr && now_ns - outbox.line->much_at_ns > costly_ns) {
    outbox.set_asks_much(false);
  }
}

std::uint64_t CommandTurns::count_cost(const Session& session, std::uint64_t units) {
  Cost& cost = costs_[session.number % costs_.size()];
  const std::int64_t second = processor_.now_ns() / costly_ns;
  if (std::exchange(cost.second, second) != second) cost.units = 0;
  return cost.units += units;
}

void CommandTurns::make_line(Outbox& outbox) {
  MILLRACE_CHECK(held_.empty());  // else what it has there would come too late
  CommandLine& line = idle_.emplace_back();
  line.outboxes.push_back(&outbox);
  line.place = std::prev(idle_.end());
  outbox.line = &line;
  nobody_waits_ = false;
}

void CommandTurns::leave_line(CommandLine& line, Outbox& outbox) {
  outbox.line = nullptr;
  outbox.set_asks_much(false);
  std::erase(line.outboxes, &outbox);
}

void CommandTurns::finish() {
  for (bool applied = false; !waiting_.empty() && !(applied && slice_is_used_up());
       applied = true) {
    CommandLine& line = waiting_.front();
    if (hurries_) drop_requests(line);
    if (!line.commands.empty()) {
      Command& command = line.commands.front();
      if (apply(command)) {
        if (command.get_if<command::Close>() != nullptr) leave_line(line, *command.outbox);
        line.commands.pop_front();
      }
    }
    if (!line.commands.empty()) {
      waiting_.splice(waiting_.end(), waiting_, line.place);
    } else if (line.outboxes.empty()) {
      waiting_.pop_front();
    } else {
      idle_.splice(idle_.end(), waiting_, line.place);
    }
  }
  close_idle_lines();
  note_who_waits();
}

void CommandTurns::drop_requests(CommandLine& line) {
  std::erase_if(line.commands, [&](Command& command) {
    if (!is_request(command)) return false;
    processor_.discard(command);
    return true;
  });
}

// In about the order in which they were costly; one behind a later one stays a little longer.
void CommandTurns::close_idle_lines() {
  while (!idle_.empty() && processor_.now_ns() - idle_.front().costly_at_ns > costly_ns) {
    CommandLine& line = idle_.front();
    while (!line.outboxes.empty()) leave_line(line, *line.outboxes.back());
    idle_.pop_front();
  }
}

}  // namespace millrace::broker
