// The door's talk with one client: its requests, what is sent to it, its lane, its end.
#include "core/shm/door_loop_client.hpp"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

namespace millrace::shm {
namespace {

constexpr std::size_t messages_per_turn = 256;  // out of one lane

}  // namespace

void DoorLoop::receive(Client& client) {
  std::byte room[16'384];
  std::vector<UniqueFd> unwanted;  // the server accepts no descriptor: these are closed
  const ssize_t count = receive_with_descriptors(client.socket.get(), room, unwanted, MSG_DONTWAIT);
  if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
  if (count <= 0) {
    // At once, outside the queue: a consumer that died holds nobody up.
    if (client.seat) client.seat->lift();
    finished_.push_back(client.id);
    return;
  }
  if (client.is_finished) return;
  client.parser.feed({room, static_cast<std::size_t>(count)});
  while (auto request = client.parser.next()) {
    on_request(client, std::move(*request));
    if (client.is_finished) return;
  }
  if (const auto fault = client.parser.fault()) refuse(client, *fault);
}

void DoorLoop::on_request(Client& client, Request request) {
  if (std::get_if<Bell>(&request) && client.lane) return client.lane->wake_up();
  if (std::get_if<LaneRequest>(&request)) return open_lane(client);
  if (client.lane) return refuse(client, Refusal::malformed);
  const std::string* filter = nullptr;
  if (const auto* attach = std::get_if<AttachRequest>(&request)) filter = &attach->filter;
  if (const auto* table = std::get_if<TableRequest>(&request)) filter = &table->filter;
  if (filter) {
    if (const auto refusal = host_.check_filter(client.user, *filter)) {
      return refuse(client, *refusal);
    }
  } else if (!client.has_asked) {
    return refuse(client, Refusal::malformed);
  }
  if (std::holds_alternative<ValueRequest>(request) && std::exchange(client.awaits_value, true)) {
    return refuse(client, Refusal::malformed);  // the one before has not been answered yet
  }
  client.has_asked = true;
  host_.ask(client.id, std::move(request));
}

void DoorLoop::open_lane(Client& client) {
  if (client.lane || client.has_asked) return refuse(client, Refusal::malformed);
  if (lanes_.size() >= options_.lanes_max) return refuse(client, Refusal::limit_reached);
  client.lane = LaneReader::make({.epoch = options_.epoch,
                                  .data_bytes = options_.lane_bytes,
                                  .frame_bytes_max = options_.lane_frame_bytes_max});
  if (!client.lane) return refuse(client, Refusal::no_memory);
  Outgoing out;
  out.descriptors.emplace_back(::fcntl(client.lane->lane_fd(), F_DUPFD_CLOEXEC, 3));
  out.descriptors.emplace_back(::fcntl(client.lane->control_fd(), F_DUPFD_CLOEXEC, 3));
  if (!out.descriptors[0] || !out.descriptors[1]) {
    client.lane.reset();
    return refuse(client, Refusal::no_memory);
  }
  out.bytes = encode(LaneOpened{options_.epoch}, 2);
  lanes_.push_back(client.id);
  lane_count_.store(lanes_.size());
  send(client, std::move(out));
}

void DoorLoop::refuse(Client& client, Refusal refusal) {
  refused_.fetch_add(1, std::memory_order_relaxed);
  Outgoing out;
  out.bytes = encode(Refused{refusal, describe(refusal)}, 0);
  out.closes = true;
  send(client, std::move(out));
}

void DoorLoop::send(Client& client, Outgoing outgoing) {
  if (client.is_finished) return;
  if (outgoing.seat) client.seat = std::move(outgoing.seat);
  client.is_finished = outgoing.closes;
  client.outgoing_bytes += outgoing.bytes.size();
  client.outgoing.push_back(std::move(outgoing));
  if (client.outgoing_bytes > options_.outgoing_bytes_max) {
    finished_.push_back(client.id);  // it asks and does not read
    return;
  }
  write(client);
}

void DoorLoop::write(Client& client) {
  while (!client.outgoing.empty()) {
    const Outgoing& first = client.outgoing.front();
    int descriptors[descriptors_max];
    std::size_t count = 0;
    if (client.sent == 0) {
      for (const UniqueFd& fd : first.descriptors) descriptors[count++] = fd.get();
    }
    const ssize_t sent = send_with_descriptors(client.socket.get(),
                                               std::string_view(first.bytes).substr(client.sent),
                                               {descriptors, count}, MSG_DONTWAIT);
    if (sent < 0) {
      const bool full = errno == EAGAIN || errno == EWOULDBLOCK;
      if (!full) {
        finished_.push_back(client.id);
      } else if (!client.wants_write) {
        client.wants_write = watch(client.socket.get(), client.id, EPOLLIN | EPOLLOUT, false);
      }
      return;
    }
    client.sent += static_cast<std::size_t>(sent);
    if (client.sent < first.bytes.size()) continue;
    client.outgoing_bytes -= first.bytes.size();
    client.outgoing.pop_front();
    client.sent = 0;
  }
  if (client.wants_write) {
    client.wants_write = !watch(client.socket.get(), client.id, EPOLLIN, false);
  }
  if (!client.is_finished) return;
  // The rest of what it says is not read, but not cut off either: closing now would take the answer
  // with it. Its end closes it, unless too many linger.
  ::shutdown(client.socket.get(), SHUT_WR);
  if (clients_.size() > 2 * options_.clients_max) finished_.push_back(client.id);
}

bool DoorLoop::drain_lanes() {
  bool more = false;
  for (const ClientId id : lanes_) {
    Client& client = *clients_.at(id);
    if (client.is_finished) continue;
    if (!host_.has_room_for_publishes()) return true;
    const std::uint64_t taken = client.lane->taken(), refused = client.lane->refused();
    auto result = client.lane->drain(messages_per_turn, [&](const LaneMessage& message) {
      return host_.publish(id, client.user, message);
    });
    published_.fetch_add(client.lane->taken() - taken, std::memory_order_relaxed);
    refused_publishes_.fetch_add(client.lane->refused() - refused, std::memory_order_relaxed);
    host_.flush_publishes();
    if (result == LaneReader::Drained::empty && !client.lane->go_to_sleep()) {
      result = LaneReader::Drained::more;
    }
    if (result == LaneReader::Drained::faulty) refuse(client, Refusal::malformed);
    more |= result == LaneReader::Drained::more;
  }
  return more;
}

void DoorLoop::close(ClientId id) {
  const auto found = clients_.find(id);
  if (found == clients_.end()) return;
  Client& client = *found->second;
  if (client.seat) client.seat->lift();
  if (client.lane) {
    // What it published before it left still counts: no more than its lane holds, since it may go
    // on writing.
    std::size_t left = options_.lane_bytes / sizeof(FrameHeader) / messages_per_turn + 1;
    while (left-- > 0 && host_.has_room_for_publishes() &&
           client.lane->drain(messages_per_turn, [&](const LaneMessage& message) {
             return host_.publish(id, client.user, message);
           }) == LaneReader::Drained::more) {
      host_.flush_publishes();
    }
    host_.flush_publishes();
    std::erase(lanes_, id);
    lane_count_.store(lanes_.size());
  }
  if (client.has_asked) host_.gone(id);
  clients_.erase(found);
  client_count_.store(clients_.size());
  if (!is_accepting_) is_accepting_ = watch(listener_.get(), listener_tag, EPOLLIN, false);
}

}  // namespace millrace::shm
