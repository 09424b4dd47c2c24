#include "server/api/subscribers.hpp"

#include "core/broker/session.hpp"
#include "core/broker/shared_group.hpp"
#include "core/broker/subscription_index.hpp"
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
  found.name = std::string_view(subscription.session->client_id);
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

// In one step: beyond the limit, subscriptions are only counted, and nothing of them is read.
bool SubscribersInquiry::step(const Scope& scope, std::uint32_t) {
  Subscribers found;
  scope.index.match(topic_, [&](const broker::Subscription* subscription) {
    if (found.shown.size() < shown_max) {
      // A session that has just ended is taken out of the index little by little.
      if (subscription->session != nullptr && subscription->session->ended) return;
      found.shown.push_back(describe(*subscription, topic_));
    }
    ++found.count;
  });
  done_(std::move(found));
  return true;
}

}  // namespace millrace::server
