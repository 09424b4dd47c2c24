// A control socket without a broker: the real server::ControlLoop and shm::Registry, and in place
// of the processor a thread with a map of newest values. What local publishers publish is appended
// to every ring that matches.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/shm/control/registry.hpp"
#include "protocol/topic.hpp"
#include "server/local/control_loop.hpp"

namespace millrace::test {

// A temporary directory, removed with the object.
class TempDirectory {
 public:
  TempDirectory() {
    char name[] = "/tmp/millrace-test-XXXXXX";
    EXPECT_NE(::mkdtemp(name), nullptr);
    path_ = name;
  }
  ~TempDirectory() {
    ::unlink(socket().c_str());
    ::unlink((socket() + ".lock").c_str());
    ::rmdir(path_.c_str());
  }
  std::string socket() const { return path_ + "/local.sock"; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct ServerOptions {
  shm::RegistryOptions registry;
  server::ControlLoopOptions loop;
  std::set<uid_t> forbidden_uids;
  // Replaces what is done with a message from a publisher ring.
  std::function<bool(const shm::PublisherRingMessage&)> publish;
};

class TestServer : public server::ControlHost, public shm::Registry::Watcher {
 public:
  TestServer(const std::string& path, ServerOptions options = {})
      : options_(std::move(options)), registry_(with_linger(options_.registry), *this) {
    options_.loop.path = path;
    options_.loop.epoch = options_.registry.epoch;
    loop_ = server::ControlLoop::open(options_.loop, *this, error_);
    if (!loop_) return;
    loop_->start();
    processor_ = std::thread([this] { run(); });
  }
  ~TestServer() override {
    if (loop_) loop_->stop();
    if (processor_.joinable()) {
      call([this] { stopping_ = true; });
      processor_.join();
    }
  }

  const std::string& error() const { return error_; }
  server::ControlLoop& loop() { return *loop_; }

  // Runs `task` on the processor and waits for it.
  void call(std::function<void()> task) {
    std::mutex done_mutex;
    std::condition_variable done;
    bool is_done = false;
    submit([&] {
      task();
      std::lock_guard lock(done_mutex);
      is_done = true;
      done.notify_one();
    });
    std::unique_lock lock(done_mutex);
    done.wait(lock, [&] { return is_done; });
  }

  void publish(const std::string& topic, const std::string& payload) {
    call([&] { route(topic, payload, 0); });
  }
  shm::Registry::Figures figures() {
    shm::Registry::Figures figures;
    call([&] { figures = registry_.figures(); });
    return figures;
  }
  // Waits until `holds()`, called on the processor, is true.
  void await(const std::function<bool(shm::Registry&)>& holds) {
    for (bool is_true = false; !is_true; std::this_thread::yield()) {
      call([&] { is_true = holds(registry_); });
    }
  }

  // --- server::ControlHost, on the loop's thread ---
  std::optional<std::string> admit(const shm::Credentials& peer) override {
    if (options_.forbidden_uids.contains(peer.uid)) return std::nullopt;
    return "uid" + std::to_string(peer.uid);
  }
  std::optional<shm::Refusal> check_filter(const std::string&, const std::string& filter) override {
    if (filter.empty()) return shm::Refusal::bad_filter;
    if (filter.starts_with("secret")) return shm::Refusal::not_allowed;
    return std::nullopt;
  }
  void ask(shm::ClientId client, shm::Request request) override {
    submit(
        [this, client, request = std::move(request)] { registry_.handle(client, request, now()); });
  }
  void gone(shm::ClientId client) override {
    submit([this, client] { registry_.gone(client, now()); });
  }
  bool has_room_for_publishes() override { return true; }
  bool publish(shm::ClientId, const std::string&,
               const shm::PublisherRingMessage& message) override {
    if (options_.publish) return options_.publish(message);
    if (!protocol::valid_topic_name(message.topic) || message.topic.starts_with("secret")) {
      return false;
    }
    std::string payload(reinterpret_cast<const char*>(message.payload.data()),
                        message.payload.size());
    submit([this, topic = std::string(message.topic), payload = std::move(payload),
            flags = message.flags] { route(topic, payload, flags); });
    return true;
  }
  void flush_publishes() override {}

  // --- Watcher, on the processor ---
  void feed_made(shm::Feed& feed) override { feeds_.insert(&feed); }
  void feed_ends(shm::Feed& feed) override { feeds_.erase(&feed); }
  std::unique_ptr<shm::NewestWalk> walk_newest(const std::vector<std::string>& filters) override {
    return std::make_unique<Walk>(newest_, filters);
  }
  bool newest(std::string_view filter, std::string_view topic, std::string& payload,
              std::uint8_t& flags) override {
    const auto found = newest_.find(std::string(topic));
    if (found == newest_.end() || !protocol::matches(filter, topic)) return false;
    payload = found->second;
    flags = 0;
    return true;
  }

 private:
  using Newest = std::map<std::string, std::string>;

  static bool matches_any(const std::vector<std::string>& filters, std::string_view topic) {
    return std::any_of(filters.begin(), filters.end(),
                       [&](const std::string& filter) { return protocol::matches(filter, topic); });
  }

  class Walk : public shm::NewestWalk {
   public:
    Walk(const Newest& newest, std::vector<std::string> filters)
        : newest_(newest), filters_(std::move(filters)), next_(newest.begin()) {}
    Step step(shm::NewestValue& value) override {
      if (next_ == newest_.end()) return Step::end;
      const auto& [topic, payload] = *next_++;
      if (!matches_any(filters_, topic)) return Step::other;
      value = {topic, std::as_bytes(std::span(payload)), 0, 1};
      return Step::value;
    }

   private:
    const Newest& newest_;
    const std::vector<std::string> filters_;
    Newest::const_iterator next_;
  };

  static shm::RegistryOptions with_linger(shm::RegistryOptions options) {
    options.linger_ns = 0;
    return options;
  }
  static std::uint64_t now() {
    return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
  }

  void route(const std::string& topic, const std::string& payload, std::uint8_t flags) {
    newest_[topic] = payload;
    const auto bytes = std::as_bytes(std::span(payload));
    for (shm::Feed* feed : feeds_) {
      if (!matches_any(feed->filters, topic)) continue;
      if (feed->ring) registry_.append(*feed, topic, bytes, flags, now());
      if (feed->table) feed->table->store(topic, bytes, flags, now());
    }
  }

  void submit(std::function<void()> task) {
    std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
    arrived_.notify_one();
  }

  void run() {
    while (!stopping_) {
      std::deque<std::function<void()>> batch;
      {
        std::unique_lock lock(mutex_);
        arrived_.wait_for(lock, std::chrono::milliseconds(registry_.needs_ticks() ? 50 : 1'000'000),
                          [this] { return !tasks_.empty(); });
        batch.swap(tasks_);
      }
      for (const auto& task : batch) {
        task();
        registry_.release(now());
      }
      while (registry_.work(now())) {
      }
      if (registry_.needs_ticks()) registry_.tick(now());
      loop_->post(registry_.take_outgoing());
    }
  }

  ServerOptions options_;
  std::string error_;
  std::set<shm::Feed*> feeds_;
  Newest newest_;
  shm::Registry registry_;
  std::unique_ptr<server::ControlLoop> loop_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<std::function<void()>> tasks_;
  bool stopping_ = false;
  std::thread processor_;
};

}  // namespace millrace::test
