// One client of the control socket: its requests, the replies to it, its publisher ring, its end.
#include "server/local/control_loop_client.hpp"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <span>
#include <utility>

namespace millrace::server {
namespace {

constexpr std::size_t messages_per_turn = 256;  // from one publisher ring

// Descriptors that a client has sent. Closing a socket that lingers could block the loop's thread,
// so its lingering is turned off before.
void discard(const std::vector<shm::UniqueFd>& descriptors) {
  const linger none{};
  for (const shm::UniqueFd& fd : descriptors) {
    ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &none, sizeof none);
  }
}

}  // namespace

void ControlLoop::receive(Client& client) {
  std::byte buffer[16'384];
  std::vector<shm::UniqueFd> unwanted;  // the server accepts no descriptors: they are closed
  const ssize_t count =
      shm::receive_with_descriptors(client.socket.get(), buffer, unwanted, MSG_DONTWAIT);
  const int error = errno;
  discard(unwanted);
  if (count < 0 && (error == EAGAIN || error == EWOULDBLOCK)) return;
  if (count <= 0) {
    // At once, not through the queue: a dead consumer must not hold the writer back.
    if (client.consumer_page) client.consumer_page->lift();
    finished_.push_back(client.id);
    return;
  }
  if (client.is_finished) return;
  client.parser.feed({buffer, static_cast<std::size_t>(count)});
  while (auto request = client.parser.next()) {
    on_request(client, std::move(*request));
    if (client.is_finished) return;
  }
  if (const auto fault = client.parser.fault()) refuse(client, *fault);
}

void ControlLoop::on_request(Client& client, shm::Request request) {
  if (std::get_if<shm::WakeUp>(&request) && client.publisher_ring)
    return client.publisher_ring->wake_up();
  if (std::get_if<shm::PublisherRingRequest>(&request)) return open_publisher_ring(client);
  if (client.publisher_ring) return refuse(client, shm::Refusal::malformed);
  std::span<const std::string> filters;
  if (const auto* attach = std::get_if<shm::AttachRequest>(&request)) filters = attach->filters;
  if (const auto* table = std::get_if<shm::TableRequest>(&request)) filters = {&table->filter, 1};
  if (filters.empty() && !client.has_asked) return refuse(client, shm::Refusal::malformed);
  for (const std::string& filter : filters) {
    if (const auto refusal = host_.check_filter(client.user, filter)) {
      return refuse(client, {*refusal, describe(*refusal) + (": " + filter)});
    }
  }
  if (std::holds_alternative<shm::ValueRequest>(request) &&
      std::exchange(client.awaits_value, true)) {
    return refuse(client, shm::Refusal::malformed);  // the previous one has not been answered yet
  }
  client.has_asked = true;
  host_.ask(client.id, std::move(request));
}

void ControlLoop::open_publisher_ring(Client& client) {
  if (client.publisher_ring || client.has_asked) return refuse(client, shm::Refusal::malformed);
  if (publisher_rings_.size() >= options_.publisher_rings_max) {
    return refuse(client, shm::limit_reached("local.publishers_max", options_.publisher_rings_max));
  }
  errno = 0;
  client.publisher_ring =
      shm::PublisherRingReader::make({.epoch = options_.epoch,
                                      .data_bytes = options_.publisher_ring_bytes,
                                      .frame_bytes_max = options_.publisher_ring_frame_bytes_max});
  if (!client.publisher_ring) return refuse(client, shm::no_memory(errno));
  shm::Outgoing out;
  out.descriptors.emplace_back(::fcntl(client.publisher_ring->ring_fd(), F_DUPFD_CLOEXEC, 3));
  out.descriptors.emplace_back(::fcntl(client.publisher_ring->control_fd(), F_DUPFD_CLOEXEC, 3));
  if (!out.descriptors[0] || !out.descriptors[1]) {
    const int error = errno;
    client.publisher_ring.reset();
    return refuse(client, shm::no_memory(error));
  }
  out.bytes = encode(shm::PublisherRingOpened{options_.epoch}, 2);
  publisher_rings_.push_back(client.id);
  publisher_ring_count_.store(publisher_rings_.size());
  send(client, std::move(out));
}

void ControlLoop::refuse(Client& client, const shm::Refused& refusal) {
  refused_.fetch_add(1, std::memory_order_relaxed);
  shm::Outgoing out;
  out.bytes = encode(refusal, 0);
  out.closes = true;
  send(client, std::move(out));
}

void ControlLoop::send(Client& client, shm::Outgoing outgoing) {
  if (client.is_finished) return;
  if (outgoing.consumer_page) client.consumer_page = std::move(outgoing.consumer_page);
  client.is_finished = outgoing.closes;
  client.outgoing_bytes += outgoing.bytes.size();
  client.outgoing.push_back(std::move(outgoing));
  write(client);
  if (client.outgoing_bytes > options_.outgoing_bytes_max ||
      client.outgoing.size() > options_.outgoing_messages_max) {
    finished_.push_back(client.id);  // it does not read
  }
}

void ControlLoop::write(Client& client) {
  while (!client.outgoing.empty()) {
    const shm::Outgoing& first = client.outgoing.front();
    int descriptors[shm::descriptors_max];
    std::size_t count = 0;
    if (client.sent == 0) {
      for (const shm::UniqueFd& fd : first.descriptors) descriptors[count++] = fd.get();
    }
    const ssize_t sent = shm::send_with_descriptors(
        client.socket.get(), std::string_view(first.bytes).substr(client.sent),
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
  // Closing now, with unread bytes of the client in the socket, would discard the reply. So the
  // client is expected to close, unless too many such connections are open.
  ::shutdown(client.socket.get(), SHUT_WR);
  if (clients_.size() > 2 * options_.clients_max) finished_.push_back(client.id);
}

bool ControlLoop::drain_publisher_rings() {
  bool more = false;
  for (auto next = publisher_rings_.begin(); next != publisher_rings_.end(); ++next) {
    Client& client = *clients_.at(*next);
    if (client.is_finished) continue;
    if (!host_.has_room_for_publishes()) {
      // The next turn begins here, else the first ones would take all the room that there is.
      std::rotate(publisher_rings_.begin(), next, publisher_rings_.end());
      return true;
    }
    auto result = drain(client);
    if (result == shm::PublisherRingReader::Drained::empty &&
        !client.publisher_ring->go_to_sleep()) {
      result = shm::PublisherRingReader::Drained::more;
    }
    if (result == shm::PublisherRingReader::Drained::faulty)
      refuse(client, shm::Refusal::malformed);
    more |= result == shm::PublisherRingReader::Drained::more;
  }
  return more;
}

shm::PublisherRingReader::Drained ControlLoop::drain(Client& client) {
  shm::PublisherRingReader& ring = *client.publisher_ring;
  const std::uint64_t taken = ring.taken(), refused = ring.refused();
  const auto result = ring.drain(messages_per_turn, [&](const shm::PublisherRingMessage& message) {
    return host_.publish(client.id, client.user, message);
  });
  published_.fetch_add(ring.taken() - taken, std::memory_order_relaxed);
  refused_publishes_.fetch_add(ring.refused() - refused, std::memory_order_relaxed);
  host_.flush_publishes();
  return result;
}

// No more than the ring holds, since its process may go on writing.
bool ControlLoop::take_rest(Client& client) {
  if (!client.rest_turns) {
    client.rest_turns =
        options_.publisher_ring_bytes / sizeof(shm::FrameHeader) / messages_per_turn + 1;
  }
  while (*client.rest_turns > 0) {
    if (!host_.has_room_for_publishes()) return false;
    --*client.rest_turns;
    if (drain(client) != shm::PublisherRingReader::Drained::more) *client.rest_turns = 0;
  }
  return true;
}

bool ControlLoop::close(shm::ClientId id) {
  const auto found = clients_.find(id);
  if (found == clients_.end()) return true;
  Client& client = *found->second;
  if (client.publisher_ring && !take_rest(client)) {
    // Not watched while it waits: its end, seen again and again, would keep the loop busy.
    ::epoll_ctl(poll_.get(), EPOLL_CTL_DEL, client.socket.get(), nullptr);
    client.is_finished = true;
    return false;
  }
  remove(id);
  return true;
}

void ControlLoop::remove(shm::ClientId id) {
  const auto found = clients_.find(id);
  if (found == clients_.end()) return;
  Client& client = *found->second;
  if (client.consumer_page) client.consumer_page->lift();
  if (client.publisher_ring) {
    std::erase(publisher_rings_, id);
    publisher_ring_count_.store(publisher_rings_.size());
  }
  if (client.has_asked) host_.gone(id);
  clients_.erase(found);
  client_count_.store(clients_.size());
  if (!is_accepting_) accept_again();
}

}  // namespace millrace::server
