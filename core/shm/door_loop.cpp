#include "core/shm/door_loop.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <utility>

#include "core/shm/door_loop_client.hpp"
#include "core/shm/door_socket.hpp"

namespace millrace::shm {
namespace {

constexpr int busy_ms = 1;  // the processor's queue is full: look again soon

}  // namespace

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
  listener_ = listen_at(options_.path, options_.mode, error);
  if (!listener_) return false;
  poll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  bell_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!poll_ || !bell_ || !watch(listener_.get(), listener_tag, EPOLLIN, true) ||
      !watch(bell_.get(), bell_tag, EPOLLIN, true)) {
    return error = std::string("epoll: ") + std::strerror(errno), false;
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
    found->second->awaits_value = false;
    send(*found->second, std::move(out));
  }
}

void DoorLoop::close_finished() {
  for (const ClientId id : std::exchange(finished_, {})) close(id);
}

}  // namespace millrace::shm
