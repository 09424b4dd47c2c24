// What the management API tells of a topic's subscribers: GET /subscriptions?topic=a/b. The processor
// looks them up as it does for a message, but counts what it does not show.
//
// Threads: the inquiry is the processor's; the rest any.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "core/broker/command.hpp"
#include "core/broker/inquiry.hpp"

namespace millrace::server {

struct Subscriber {
  enum class Kind : std::uint8_t { client, group, local };

  Kind kind = Kind::client;
  std::string name;  // the client identifier, or the group's name; of local readers: none
  std::string filter;
  broker::Mode mode = broker::Mode::adaptive;
  std::uint8_t qos = 0;
  bool connected = false;  // a client
  bool may_read = true;    // a client: the rules let it read this topic
  std::uint32_t interval_ms = 0;
  std::size_t members = 0;  // of a group
};

struct Subscribers {
  std::vector<Subscriber> shown;
  std::size_t count = 0;  // of all
};
nlohmann::ordered_json json_of(const std::string& topic, const Subscribers& subscribers);

class SubscribersInquiry final : public broker::Inquiry {
 public:
  static constexpr std::size_t shown_max = 1000;
  using Done = std::function<void(Subscribers)>;
  SubscribersInquiry(std::string topic, Done done)
      : topic_(std::move(topic)), done_(std::move(done)) {}
  bool step(const Scope& scope, std::uint32_t budget) override;

 private:
  const std::string topic_;
  const Done done_;
};

}  // namespace millrace::server
