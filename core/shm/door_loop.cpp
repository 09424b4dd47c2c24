#include "core/shm/door_loop.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <utility>

namespace millrace::shm {
namespace {

constexpr std::uint64_t listener_tag = 0;
constexpr std::uint64_t bell_tag = 1;
constexpr int busy_ms = 1;  // the processor's queue is full: look again soon
constexpr std::size_t messages_per_turn = 256;

std::string why(const std::string& what) {
  return what + ": " + std::strerror(errno);
}

bool is_socket(const std::string& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode);
}

// Nobody answers at a socket that a killed server left behind.
bool is_stale(const std::string& path) {
  return !connect_to(path) && errno == ECONNREFUSED;
}

}  // namespace

struct DoorLoop::Client {
  ClientId id;
  UniqueFd socket;
  std::string user;
  RequestParser parser;
  std::deque<Outgoing> outgoing;
  std::size_t sent = 0;  // of the first one
  std::size_t outgoing_bytes = 0;
  std::shared_ptr<Seat> seat;
  std::unique_ptr<LaneReader> lane;
  bool has_asked = false;  // the processor knows of it
  bool wants_write = false;
  bool is_finished = false;
};

DoorLoop::DoorLoop(const DoorLoopOptions& options, DoorHost& host)
    : options_(options), host_(host) {}

std::unique_ptr<DoorLoop> DoorLoop::open(const DoorLoopOptions& options, DoorHost& host,
                                         std::string& error) {
  if (!system_can_seal()) {
    error = "the kernel does not know F_SEAL_FUTURE_WRITE (5.1); without it there is no door";
    return nullptr;
  }
  std::unique_ptr<DoorLoop> loop(new DoorLoop(options, host));
  return loop->listen(error) ? std::move(loop) : nullptr;
}

DoorLoop::~DoorLoop() {
  stop();
}

bool DoorLoop::listen(std::string& error) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (options_.path.empty() || options_.path.size() >= sizeof address.sun_path) {
    return error = "the door's path is empty or too long", false;
  }
  std::memcpy(address.sun_path, options_.path.data(), options_.path.size());
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) return error = why("socket"), false;
  const auto bind = [&] {
    return ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  };
  if (!bind()) {
    if (errno != EADDRINUSE) return error = why("cannot open the door at " + options_.path), false;
    // Nobody answers at a file of another kind either, but it is somebody's.
    if (!is_socket(options_.path)) return error = options_.path + " is not a socket", false;
    if (!is_stale(options_.path)) {
      return error = "another server listens at " + options_.path, false;
    }
    ::unlink(options_.path.c_str());
    if (!bind()) return error = why("cannot open the door at " + options_.path), false;
  }
  if (::chmod(options_.path.c_str(), options_.mode) != 0) return error = why("chmod"), false;
  if (::listen(socket.get(), 64) != 0) return error = why("listen"), false;
  listener_ = std::move(socket);
  poll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  bell_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!poll_ || !bell_ || !watch(listener_.get(), listener_tag, EPOLLIN, true) ||
      !watch(bell_.get(), bell_tag, EPOLLIN, true)) {
    return error = why("epoll"), false;
  }
  return true;
}

bool DoorLoop::watch(int fd, std::uint64_t tag, std::uint32_t events, bool is_new) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = tag;
  return ::epoll_ctl(poll_.get(), is_new ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event) == 0;
}

void DoorLoop::start() {
  thread_ = std::thread([this] { run(); });
}

void DoorLoop::stop() {
  if (stopping_.exchange(true)) return;
  wake();
  if (thread_.joinable()) thread_.join();
  if (listener_) ::unlink(options_.path.c_str());
  listener_.reset();
}

void DoorLoop::wake() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(bell_.get(), &one, sizeof one);
}

void DoorLoop::post(std::vector<Outgoing> outgoing) {
  if (outgoing.empty()) return;
  bool first;
  {
    std::lock_guard lock(mutex_);
    first = posted_.empty();
    std::move(outgoing.begin(), outgoing.end(), std::back_inserter(posted_));
  }
  if (first) wake();
}

DoorFigures DoorLoop::figures() const {
  return {client_count_.load(), lane_count_.load(), published_.load(), refused_publishes_.load(),
          refused_.load()};
}

int DoorLoop::wait_ms(bool busy) {
  if (!host_.has_room_for_publishes()) return busy_ms;
  return busy ? 0 : -1;
}

void DoorLoop::run() {
  bool busy = false;
  while (!stopping_.load(std::memory_order_acquire)) {
    epoll_event events[64];
    const int count = ::epoll_wait(poll_.get(), events, 64, wait_ms(busy));
    for (int i = 0; i < count; ++i) on_ready(events[i].data.u64, events[i].events);
    take_posted();
    busy = drain_lanes();
    close_finished();
  }
  take_posted();
  std::vector<ClientId> all;
  for (const auto& [id, client] : clients_) all.push_back(id);
  for (const ClientId id : all) close(id);
}

void DoorLoop::on_ready(std::uint64_t tag, std::uint32_t events) {
  if (tag == listener_tag) return accept_all();
  if (tag == bell_tag) {
    std::uint64_t count;
    [[maybe_unused]] const auto read = ::read(bell_.get(), &count, sizeof count);
    return;
  }
  const auto found = clients_.find(tag);
  if (found == clients_.end()) return;
  if ((events & EPOLLOUT) != 0) write(*found->second);
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) receive(*found->second);
}

void DoorLoop::accept_all() {
  for (;;) {
    UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!socket) {
      // Out of descriptors: look again when somebody leaves, rather than spin on the listener.
      if (errno == EMFILE || errno == ENFILE) {
        is_accepting_ = !watch(listener_.get(), listener_tag, 0, false);
      }
      return;
    }
    const auto peer = peer_credentials(socket.get());
    const auto user = peer ? host_.admit(*peer) : std::nullopt;
    if (!user) {
      turn_away(socket.get(), Refusal::not_allowed);
    } else if (clients_.size() >= options_.clients_max) {
      turn_away(socket.get(), Refusal::limit_reached);
    } else {
      let_in(std::move(socket), *user);
    }
  }
}

// Told and closed at once: who may not come in takes no place from those who may.
void DoorLoop::turn_away(int socket, Refusal refusal) {
  refused_.fetch_add(1, std::memory_order_relaxed);
  send_with_descriptors(socket, encode(Refused{refusal, describe(refusal)}, 0), {}, MSG_DONTWAIT);
}

void DoorLoop::let_in(UniqueFd socket, std::string user) {
  auto client = std::make_unique<Client>();
  client->id = ++last_client_;
  client->socket = std::move(socket);
  client->user = std::move(user);
  if (!watch(client->socket.get(), client->id, EPOLLIN, true)) return;
  const ClientId id = client->id;
  clients_.emplace(id, std::move(client));
  client_count_.store(clients_.size());
}

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

void DoorLoop::take_posted() {
  std::vector<Outgoing> posted;
  {
    std::lock_guard lock(mutex_);
    posted.swap(posted_);
  }
  for (Outgoing& out : posted) {
    const auto found = clients_.find(out.to);
    if (found == clients_.end()) {
      if (out.seat) out.seat->lift();  // it left before it was let in
      continue;
    }
    send(*found->second, std::move(out));
  }
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

void DoorLoop::close_finished() {
  for (const ClientId id : std::exchange(finished_, {})) close(id);
}

void DoorLoop::close(ClientId id) {
  const auto found = clients_.find(id);
  if (found == clients_.end()) return;
  Client& client = *found->second;
  if (client.seat) client.seat->lift();
  if (client.lane) {
    // What it published before it left still counts.
    while (host_.has_room_for_publishes() &&
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
