// The client's end of the control socket: a connection, and a thread that waits for its messages.
//
// Thread contract: one owner's thread, and the watcher thread, which runs from watch() to the
// destructor: it appends to the list that take() empties, and calls `on_event` after each addition
// and at the end of the connection. Everything but `on_event` is called by the owner.
// Invariants: the end of the connection is noticed at once, also while the owner sleeps elsewhere.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "core/shm/wire/descriptors.hpp"
#include "core/shm/wire/wire.hpp"

namespace millrace::shm {

class ControlClient {
 public:
  struct Item {
    Reply reply;
    std::vector<UniqueFd> descriptors;
  };

  // Connects, sends the request, and waits for the reply to it. On failure null, and the reason in
  // `error`.
  static std::unique_ptr<ControlClient> connect(const std::string& path, const Request& request,
                                                Item& reply, std::string& error);
  ~ControlClient();
  ControlClient(const ControlClient&) = delete;
  ControlClient& operator=(const ControlClient&) = delete;

  // From now on `on_event` is called, on the watcher thread, whenever has_event() becomes true.
  void watch(std::function<void()> on_event);
  bool send(const Request& request);

  bool has_event() const { return has_event_.load(std::memory_order_acquire); }
  bool is_closed() const { return closed_.load(std::memory_order_acquire); }
  std::vector<Item> take();
  // Only the neighbours that came and went, in order; the rest stays.
  std::vector<Item> take_neighbours();
  // The next item; nullopt at the time-out or at the end of the connection.
  std::optional<Item> wait_for_item(std::chrono::nanoseconds timeout);

 private:
  explicit ControlClient(UniqueFd socket) : socket_(std::move(socket)) {}
  // False at the end of the connection.
  bool receive();
  void run();

  UniqueFd socket_;
  UniqueFd stop_;
  ReplyParser parser_;
  std::vector<UniqueFd> descriptors_;
  std::function<void()> on_event_;

  std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<Item> items_;
  std::atomic<bool> has_event_{false};
  std::atomic<bool> closed_{false};
  std::thread watcher_;
};

}  // namespace millrace::shm
