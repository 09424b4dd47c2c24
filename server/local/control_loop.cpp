#include "server/local/control_loop.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <utility>

#include "server/local/control_loop_client.hpp"
#include "server/net/unix_socket.hpp"
#include "server/observe/log.hpp"

namespace millrace::server {
namespace {

constexpr int retry_ms = 1;                             // when the processor's queue is full
constexpr std::chrono::milliseconds accept_retry{100};  // when no descriptor or memory is left
constexpr int accepts_per_turn = 64;  // so that connecting processes do not hold up the others

}  // namespace

ControlLoop::ControlLoop(const ControlLoopOptions& options, ControlHost& host)
    : options_(options), host_(host) {}

std::unique_ptr<ControlLoop> ControlLoop::open(const ControlLoopOptions& options, ControlHost& host,
                                               std::string& error) {
  if (!shm::system_can_seal()) {
    error = "shared memory needs the seal F_SEAL_FUTURE_WRITE (Linux 5.1), which this kernel lacks";
    return nullptr;
  }
  std::unique_ptr<ControlLoop> loop(new ControlLoop(options, host));
  return loop->listen(error) ? std::move(loop) : nullptr;
}

ControlLoop::~ControlLoop() {
  stop();
}

bool ControlLoop::listen(std::string& error) {
  constexpr int backlog = 64;
  listener_ = listen_at(options_.path, options_.mode, backlog, error);
  if (!listener_) return false;
  poll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  wake_up_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!poll_ || !wake_up_ || !watch(listener_.get(), listener_tag, EPOLLIN, true) ||
      !watch(wake_up_.get(), wake_up_tag, EPOLLIN, true)) {
    return error = std::string("epoll: ") + std::strerror(errno), false;
  }
  return true;
}

bool ControlLoop::watch(int fd, std::uint64_t tag, std::uint32_t events, bool is_new) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = tag;
  return ::epoll_ctl(poll_.get(), is_new ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event) == 0;
}

void ControlLoop::start() {
  thread_ = std::thread([this] { run(); });
}

void ControlLoop::stop() {
  if (stopping_.exchange(true)) return;
  wake();
  if (thread_.joinable()) thread_.join();
  if (listener_) ::unlink(options_.path.c_str());
  listener_.reset();
}

void ControlLoop::wake() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(wake_up_.get(), &one, sizeof one);
}

void ControlLoop::post(std::vector<shm::Outgoing> outgoing) {
  if (outgoing.empty()) return;
  bool first;
  {
    std::lock_guard lock(mutex_);
    first = posted_.empty();
    std::move(outgoing.begin(), outgoing.end(), std::back_inserter(posted_));
  }
  if (first) wake();
}

ControlFigures ControlLoop::figures() const {
  return {client_count_.load(), publisher_ring_count_.load(), published_.load(),
          refused_publishes_.load(), refused_.load()};
}

int ControlLoop::wait_ms(bool busy) {
  if (!host_.has_room_for_publishes()) return retry_ms;
  if (busy || !finished_.empty()) return 0;
  auto until = std::chrono::steady_clock::time_point::max();
  if (!silent_.empty()) until = silent_.front().until;
  if (!is_accepting_) until = std::min(until, accepts_again_);
  if (until == std::chrono::steady_clock::time_point::max()) return -1;
  const auto left = until - std::chrono::steady_clock::now();
  const auto left_ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
  return static_cast<int>(std::max<std::int64_t>(left_ms, 0));
}

void ControlLoop::end_silent() {
  while (!silent_.empty()) {
    const auto found = clients_.find(silent_.front().client);
    const bool is_silent = found != clients_.end() && !found->second->has_asked &&
                           !found->second->publisher_ring && !found->second->is_finished;
    if (is_silent && std::chrono::steady_clock::now() < silent_.front().until) return;
    if (is_silent) finished_.push_back(found->first);
    silent_.pop_front();
  }
}

void ControlLoop::run() {
  bool busy = false;
  while (!stopping_.load(std::memory_order_acquire)) {
    epoll_event events[64];
    const int count = ::epoll_wait(poll_.get(), events, 64, wait_ms(busy));
    for (int i = 0; i < count; ++i) on_ready(events[i].data.u64, events[i].events);
    take_posted();
    busy = drain_publisher_rings();
    end_silent();
    close_finished();
    if (!is_accepting_ && std::chrono::steady_clock::now() >= accepts_again_) accept_again();
  }
  take_posted();
  close_all();
}

void ControlLoop::on_ready(std::uint64_t tag, std::uint32_t events) {
  if (tag == listener_tag) return accept_all();
  if (tag == wake_up_tag) {
    std::uint64_t count;
    [[maybe_unused]] const auto read = ::read(wake_up_.get(), &count, sizeof count);
    return;
  }
  const auto found = clients_.find(tag);
  if (found == clients_.end()) return;
  if ((events & EPOLLOUT) != 0) write(*found->second);
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) receive(*found->second);
}

void ControlLoop::accept_all() {
  for (int i = 0; i < accepts_per_turn; ++i) {
    shm::UniqueFd socket(
        ::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!socket) {
      // Out of descriptors, or of memory: accept again when a client leaves, or a while later, as
      // it may be anybody in the process who gives some back, instead of spinning on the listener.
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        is_accepting_ = !watch(listener_.get(), listener_tag, 0, false);
        accepts_again_ = std::chrono::steady_clock::now() + accept_retry;
      }
      return;
    }
    const auto peer = shm::peer_credentials(socket.get());
    const auto user = peer ? host_.admit(*peer) : std::nullopt;
    if (!user) {
      reject(socket.get(), {shm::Refusal::not_allowed, "not allowed by local.allow"});
    } else if (clients_.size() >= options_.clients_max) {
      reject(socket.get(), {shm::Refusal::limit_reached,
                            "the limit of " + std::to_string(options_.clients_max) +
                                " local connections is reached (twice local.consumers_max, and "
                                "local.publishers_max)"});
    } else {
      add_client(std::move(socket), *user);
    }
  }
}

void ControlLoop::accept_again() {
  is_accepting_ = watch(listener_.get(), listener_tag, EPOLLIN, false);
}

// A rejected connection is told so and closed at once: it does not count among the clients.
void ControlLoop::reject(int socket, const shm::Refused& refusal) {
  refused_.fetch_add(1, std::memory_order_relaxed);
  shm::send_with_descriptors(socket, encode(refusal, 0), {}, MSG_DONTWAIT);
}

void ControlLoop::add_client(shm::UniqueFd socket, std::string user) {
  auto client = std::make_unique<Client>();
  client->id = ++last_client_;
  client->socket = std::move(socket);
  client->user = std::move(user);
  if (!watch(client->socket.get(), client->id, EPOLLIN, true)) return;
  const shm::ClientId id = client->id;
  clients_.emplace(id, std::move(client));
  client_count_.store(clients_.size());
  silent_.push_back({std::chrono::steady_clock::now() + options_.request_timeout, id});
}

void ControlLoop::take_posted() {
  std::vector<shm::Outgoing> posted;
  {
    std::lock_guard lock(mutex_);
    posted.swap(posted_);
  }
  for (shm::Outgoing& out : posted) {
    const auto found = clients_.find(out.to);
    if (found == clients_.end()) {
      if (out.consumer_page) out.consumer_page->lift();  // it left before it was answered
      continue;
    }
    found->second->awaits_value = false;
    send(*found->second, std::move(out));
  }
}

void ControlLoop::close_finished() {
  for (const shm::ClientId id : std::exchange(finished_, {})) {
    if (!close(id)) finished_.push_back(id);
  }
}

void ControlLoop::close_all() {
  finished_.clear();
  for (const auto& [id, client] : clients_) finished_.push_back(id);
  const auto until = std::chrono::steady_clock::now() + options_.stop_timeout;
  close_finished();
  while (!finished_.empty() || !host_.has_room_for_publishes()) {
    if (std::chrono::steady_clock::now() >= until) break;  // the host takes nothing any more
    std::this_thread::sleep_for(std::chrono::milliseconds(retry_ms));
    close_finished();
  }
  if (!finished_.empty() || !host_.has_room_for_publishes()) {
    log_warn("local.publishes_lost", {{"publishers", finished_.size()}});
  }
  for (const shm::ClientId id : std::exchange(finished_, {})) remove(id);
}

}  // namespace millrace::server
