// What the management API tells of a topic's subscribers: GET /subscriptions?topic=a/b. The
// processor goes through the filters that match, and their subscriptions, a slice a batch
// (core/broker/inquiry.hpp); those that it does not show it only counts.
//
// So the answer is of a time, not of a moment. A subscription that is there throughout is in it
// once; one that comes or goes meanwhile may be in it or not. The count of those that are not shown
// is wrong by no more than came and went.
//
// Threads: the inquiry is the processor's; the rest any.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "core/broker/command.hpp"
#include "core/broker/filter_walk.hpp"
#include "core/broker/inquiry.hpp"

namespace millrace::server {

struct Subscriber {
  enum class Kind : std::uint8_t { client, group, local };

  Kind kind = Kind::client;
  std::string name;      // the client identifier, or the group's name; of local readers: none
  std::string user;      // a client's; empty: anonymous
  bool is_link = false;  // a client that is a link to another broker
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

// Calls `done` on the processor's side; not once `asker` is gone, which ends the walk.
class SubscribersInquiry final : public broker::Inquiry {
 public:
  static constexpr std::size_t shown_max = 1000;
  using Done = std::function<void(Subscribers)>;
  SubscribersInquiry(std::string topic, std::weak_ptr<void> asker, Done done)
      : topic_(std::move(topic)), asker_(std::move(asker)), done_(std::move(done)), walk_(topic_) {}
  bool step(const Scope& scope, std::uint32_t budget) override;

 private:
  void begin_filter(const broker::SubscriptionIndex& index, std::uint32_t& budget);
  void go_on_with_filter(const broker::SubscriptionIndex& index, std::uint32_t& budget);
  void consider(const broker::Subscription& subscription);

  const std::string topic_;
  const std::weak_ptr<void> asker_;
  const Done done_;
  broker::FilterWalk walk_;
  // The filter that it is at, where its subscriptions stand, and how many of them are left. They
  // are looked at from the last one to the first: new ones come last, and whichever takes the place
  // of one that goes was looked at, or else it is still among those that are left.
  std::string filter_;
  broker::SubscriptionIndex::Place place_ = 0;
  std::size_t left_ = 0;
  Subscribers found_;
  std::unordered_set<const broker::Subscription*> shown_;  // none is shown twice
};

}  // namespace millrace::server
