// The connections of one run: set-up (dial, CONNECT, SUBSCRIBE, a limited number at a time), the
// event loop, and closing.
//
// One thread. Invariants: after connect_all() every client is ready and every filter granted, or
// RunError was thrown with the broker's reason.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "loadtest/client.hpp"
#include "loadtest/options.hpp"

namespace millrace::loadtest {

// The run cannot be done: no broker, a refused subscription, ...
struct RunError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Resolves --host and reads the TLS files; throws RunError. `other_port`: instead of
// --port; 0: that one.
Endpoint make_endpoint(const Options& options, std::uint16_t other_port = 0,
                       const std::string& other_host = {});

class Fleet : public ClientEvents {
 public:
  explicit Fleet(const Options& options);

  struct Subscription {
    std::vector<std::string> filters;
    std::uint8_t qos = 0;
    std::vector<std::pair<std::string, std::string>> user_properties;
  };
  // The filters for --filter and --topics; with --filter-prefix if `measured`.
  Subscription subscription(bool measured) const;

  Client& add(const std::string& role) { return add(role, endpoint_); }
  Client& add_publisher();
  Client& add_subscriber(Receiver* receiver, bool measured);

  void connect_all();
  // One iteration of the loop: waits at most `timeout_ns` and handles the ready events.
  void pump(Nanos timeout_ns);
  void close_all();

  EventLoop& loop() { return loop_; }
  const Endpoint& endpoint() const { return endpoint_; }
  const TopicNames& topics() const { return topics_; }
  std::uint32_t run() const { return run_; }
  std::uint32_t streams() const { return options_.publishers * options_.topics; }
  const std::vector<Client*>& publishers() const { return publishers_; }
  std::size_t ready() const { return ready_; }
  // The number of connections that the generator did not close itself, and the last one's reason.
  std::uint64_t broken() const { return broken_; }
  const std::string& broken_why() const { return broken_why_; }
  std::uint64_t protocol_errors() const;
  std::uint64_t refused() const;

  void on_ready(Client& client) override;
  void on_subscribed(Client& client) override;
  void on_closed(Client& client, const std::string& why) override;

 private:
  struct Member {
    std::unique_ptr<Client> client;
    std::unique_ptr<Subscription> subscription;
    bool counted = false;  // counted in ready_
  };

  Client& add(const std::string& role, const Endpoint& endpoint);
  void send_keepalives(Nanos now);
  std::uint32_t source_for(std::size_t index) const;

  const Options& options_;
  EventLoop loop_;
  Endpoint endpoint_;
  Endpoint publish_endpoint_;
  Endpoint subscribe_endpoint_;
  TopicNames topics_;
  std::uint32_t run_;
  std::string name_prefix_;
  std::vector<std::unique_ptr<Member>> members_;
  std::vector<Client*> publishers_;
  std::size_t ready_ = 0;
  std::uint64_t broken_ = 0;
  std::string broken_why_;
  Nanos next_ping_ns_ = 0;
};

}  // namespace millrace::loadtest
