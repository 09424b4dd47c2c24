#include "core/shm/client/control_client.hpp"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <utility>

namespace millrace::shm {
namespace {

constexpr int reply_timeout_s = 10;

}  // namespace

std::unique_ptr<ControlClient> ControlClient::connect(const std::string& path,
                                                      const Request& request, Item& reply,
                                                      std::string& error) {
  UniqueFd socket = connect_to(path);
  if (!socket) {
    error = "cannot connect to the server's local.socket at " + path + ": " + std::strerror(errno);
    return nullptr;
  }
  const timeval timeout{reply_timeout_s, 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  std::unique_ptr<ControlClient> control(new ControlClient(std::move(socket)));
  control->send(request);  // even if this fails, a refusal may have arrived
  while (control->items_.empty()) {
    if (!control->receive()) {
      error = "the server at " + path + " closed the connection without a reply";
      return nullptr;
    }
  }
  reply = std::move(control->items_.front());
  control->items_.erase(control->items_.begin());
  if (const auto* refused = std::get_if<Refused>(&reply.reply)) {
    error = "refused: " + (refused->text.empty() ? describe(refused->reason) : refused->text);
    return nullptr;
  }
  if (const auto* evicted = std::get_if<EvictedNotice>(&reply.reply)) {
    error = describe(evicted->reason);  // while its snapshot was being made
    return nullptr;
  }
  return control;
}

ControlClient::~ControlClient() {
  if (!watcher_.joinable()) return;
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(stop_.get(), &one, sizeof one);
  watcher_.join();
}

bool ControlClient::send(const Request& request) {
  const std::string bytes = encode(request);
  std::string_view rest = bytes;
  while (!rest.empty()) {
    const ssize_t sent = send_with_descriptors(socket_.get(), rest, {}, 0);
    if (sent <= 0) return false;
    rest.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

bool ControlClient::receive() {
  std::byte buffer[16'384];
  const ssize_t count = receive_with_descriptors(socket_.get(), buffer, descriptors_, 0);
  if (count <= 0) return false;
  parser_.feed({buffer, static_cast<std::size_t>(count)});
  std::lock_guard lock(mutex_);
  while (auto item = parser_.next()) {
    if (item->descriptor_count > descriptors_.size()) return false;
    Item whole{std::move(item->reply), {}};
    const auto end = descriptors_.begin() + static_cast<std::ptrdiff_t>(item->descriptor_count);
    whole.descriptors.assign(std::make_move_iterator(descriptors_.begin()),
                             std::make_move_iterator(end));
    descriptors_.erase(descriptors_.begin(), end);
    items_.push_back(std::move(whole));
  }
  return !parser_.is_faulty();
}

void ControlClient::watch(std::function<void()> on_event) {
  on_event_ = std::move(on_event);
  stop_.reset(::eventfd(0, EFD_CLOEXEC));
  if (!items_.empty()) has_event_.store(true, std::memory_order_release);
  // The watcher thread must not handle the program's signals.
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  watcher_ = std::thread([this] { run(); });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void ControlClient::run() {
  for (;;) {
    pollfd waits[2] = {{socket_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
    const bool failed = ::poll(waits, 2, -1) < 0;
    if (failed && errno == EINTR) continue;
    if (!failed && waits[1].revents != 0) return;
    // Without poll() nothing that the server says is seen any more: that is a closed socket.
    const bool open = !failed && receive();
    {
      std::lock_guard lock(mutex_);
      if (!open) closed_.store(true, std::memory_order_release);
      has_event_.store(true, std::memory_order_release);
    }
    arrived_.notify_all();
    on_event_();
    if (!open) return;
  }
}

std::vector<ControlClient::Item> ControlClient::take() {
  std::lock_guard lock(mutex_);
  has_event_.store(closed_.load(std::memory_order_relaxed), std::memory_order_release);
  return std::exchange(items_, {});
}

std::vector<ControlClient::Item> ControlClient::take_neighbours() {
  const auto is_neighbour = [](const Item& item) {
    return std::holds_alternative<NeighbourCame>(item.reply) ||
           std::holds_alternative<NeighbourGone>(item.reply);
  };
  std::lock_guard lock(mutex_);
  std::vector<Item> taken = std::exchange(items_, {});
  const auto others = std::stable_partition(taken.begin(), taken.end(), is_neighbour);
  items_.assign(std::make_move_iterator(others), std::make_move_iterator(taken.end()));
  taken.erase(others, taken.end());
  has_event_.store(!items_.empty() || closed_.load(std::memory_order_relaxed),
                   std::memory_order_release);
  return taken;
}

std::optional<ControlClient::Item> ControlClient::wait_for_item(std::chrono::nanoseconds timeout) {
  std::unique_lock lock(mutex_);
  arrived_.wait_for(lock, timeout, [&] { return !items_.empty() || is_closed(); });
  if (items_.empty()) return std::nullopt;
  Item item = std::move(items_.front());
  items_.erase(items_.begin());
  return item;
}

}  // namespace millrace::shm
