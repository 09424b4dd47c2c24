#include "server/api/subscribers.hpp"

#include <algorithm>

#include "core/broker/session.hpp"
#include "core/broker/shared_group.hpp"
#include "core/broker/subscription_index.hpp"
#include "server/api/client_search.hpp"
#include "server/config/session_name.hpp"
#include "server/config/words.hpp"

namespace millrace::server {

namespace {

using Json = nlohmann::ordered_json;

Subscriber describe(const broker::Subscription& subscription, std::string_view topic) {
  const broker::SubscriptionExtras& extras = subscription.extras.read();
  Subscriber found;
  found.filter = subscription.filter();
  if (extras.group != nullptr) {
    found.kind = Subscriber::Kind::group;
    found.name = extras.group->name();
    found.members = extras.group->member_count();
    return found;
  }
  if (subscription.session == nullptr) {
    found.kind = Subscriber::Kind::local;
    return found;
  }
  const SessionName name = parse_session_name(subscription.session->client_id);
  found.name = name.id;
  found.user = user_of(*subscription.session);
  found.is_link = name.is_link;
  found.mode = subscription.mode;
  found.qos = subscription.qos;
  found.connected = subscription.session->connected();
  found.may_read = subscription.may_read(topic);
  found.interval_ms = extras.interval_ms();
  return found;
}

Json json_of(const Subscriber& one) {
  switch (one.kind) {
    case Subscriber::Kind::group:
      return {
          {"kind", "group"}, {"group", one.name}, {"filter", one.filter}, {"members", one.members}};
    case Subscriber::Kind::local:
      return {{"kind", "local"}, {"filter", one.filter}};
    case Subscriber::Kind::client:
      break;
  }
  return {{"kind", "client"},
          {"client", one.name},
          {"user", one.user.empty() ? Json(nullptr) : Json(one.user)},
          {"link", one.is_link},
          {"connected", one.connected},
          {"filter", one.filter},
          {"qos", one.qos},
          {"mode", word_of(one.mode)},
          {"interval_ms", one.interval_ms},
          {"may_read", one.may_read}};
}

}  // namespace

Json json_of(const std::string& topic, const Subscribers& subscribers) {
  Json list = Json::array();
  for (const Subscriber& one : subscribers.shown) list.push_back(json_of(one));
  return {{"topic", topic},
          {"count", subscribers.count},
          {"subscriptions", std::move(list)},
          {"more", subscribers.count > subscribers.shown.size()}};
}

bool SubscribersInquiry::step(const Scope& scope, std::uint32_t budget) {
  if (asker_.expired()) return true;
  while (budget > 0 && (left_ > 0 || !walk_.done())) {
    left_ > 0 ? go_on_with_filter(scope.index, budget) : begin_filter(scope.index, budget);
  }
  if (left_ > 0 || !walk_.done()) return false;
  done_(std::move(found_));
  return true;
}

void SubscribersInquiry::begin_filter(const broker::SubscriptionIndex& index,
                                      std::uint32_t& budget) {
  const auto place = walk_.next(index, budget);
  if (place == broker::SubscriptionIndex::no_place) return;
  const auto there = index.all_at(place);
  filter_ = there.front()->filter();
  place_ = place;
  left_ = there.size();
}

void SubscribersInquiry::go_on_with_filter(const broker::SubscriptionIndex& index,
                                           std::uint32_t& budget) {
  const auto there = index.all_at(place_);
  // All of them may have gone since the last step, and other ones be there.
  const bool is_there = !there.empty() && there.front()->filter() == filter_;
  left_ = is_there ? std::min(left_, there.size()) : 0;
  for (; left_ > 0 && budget > 0 && found_.shown.size() < shown_max; --budget) {
    consider(*there[--left_]);
  }
  // Nothing of the others is read.
  if (found_.shown.size() == shown_max) found_.count += std::exchange(left_, 0);
}

void SubscribersInquiry::consider(const broker::Subscription& subscription) {
  // A session that has just ended is taken out of the index little by little.
  if (subscription.session != nullptr && subscription.session->ended) return;
  if (!shown_.insert(&subscription).second) return;
  found_.shown.push_back(describe(subscription, topic_));
  ++found_.count;
}

}  // namespace millrace::server
