// SUBSCRIBE, resolved as far as it can be without the session: what is asked for, whether it is
// offered and allowed, and how it will be served; and UNSUBSCRIBE. Source: MQTT 5.0 sections 3.8
// and 3.10.
#include <algorithm>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "core/broker/ledger.hpp"
#include "protocol/topic.hpp"
#include "server/mqtt/connection.hpp"
#include "server/mqtt/delivery_mode.hpp"

namespace millrace::server {

namespace {

// So much a request may take at any time.
constexpr std::uint64_t request_bytes_unasked = 64 * 1024;

// What this server does not offer, as its configuration says.
std::optional<protocol::ReasonCode> not_offered(const protocol::ParsedFilter& filter,
                                                bool has_identifier, const MqttConfig& mqtt) {
  using protocol::ReasonCode;
  if (filter.shared() && !mqtt.shared_available)
    return ReasonCode::shared_subscriptions_not_supported;
  if (!mqtt.wildcard_available && filter.filter.find_first_of("+#") != std::string_view::npos) {
    return ReasonCode::wildcard_subscriptions_not_supported;
  }
  if (has_identifier && !mqtt.subscription_identifiers_available) {
    return ReasonCode::subscription_identifiers_not_supported;
  }
  return std::nullopt;
}

// One for all filters, if all were granted the same; else one for each, empty where it was refused.
std::vector<std::string> granted_by(const broker::SubscribeRequest& request) {
  std::vector<std::string> granted;
  for (const broker::SubscriptionRequest& one : request.filters) {
    granted.push_back(one.refused ? "" : granted_text(one.mode, one.shape.get(), one.history));
  }
  if (std::ranges::adjacent_find(granted, std::ranges::not_equal_to()) != granted.end()) {
    return granted;
  }
  granted.resize(std::min<std::size_t>(granted.size(), 1));
  if (!granted.empty() && granted.front().empty()) granted.clear();
  return granted;
}

}  // namespace

bool Connection::handle(protocol::Subscribe& packet) {
  auto request = std::make_unique<broker::SubscribeRequest>();
  request->packet_id = packet.packet_id;
  request->rights_revision = grants_->rights()->revision;
  if (!packet.properties.subscription_identifiers.empty()) {
    request->identifier = packet.properties.subscription_identifiers.front();
  }
  const DeliveryWish* const of_connect = uncommon_.read().wish.get();
  const ParsedWish wish =
      parse_delivery_wish(packet.properties, of_connect != nullptr ? *of_connect : DeliveryWish{});
  bool asks = wish.wish.is_any();
  request->fault = wish.fault;
  // A session has no room for more, so more are not looked at: access rules take their time.
  const std::size_t count = std::min<std::size_t>(packet.subscriptions.size(),
                                                  thread_.config().session.subscriptions_max);
  request->beyond = static_cast<std::uint32_t>(packet.subscriptions.size() - count);
  request->filters.reserve(count);
  std::uint64_t bytes = 0;
  for (protocol::Subscription& wanted : std::span(packet.subscriptions).first(count)) {
    broker::SubscriptionRequest& resolved = request->filters.emplace_back();
    bytes += sizeof resolved + 2 * wanted.filter.size();
    if (!wish.fault.empty()) resolved.refused = ReasonCode::implementation_specific_error;
    std::string fault = resolve(wanted, wish.wish, request->identifier != 0, resolved);
    if (request->fault.empty()) request->fault = std::move(fault);
    asks = asks || wanted.filter.starts_with("$latest;") || resolved.history > 0;
    if (tracing()) [[unlikely]]
      trace_filter("SUBSCRIBE", wanted.filter);
    resolved.name = std::move(wanted.filter);
  }
  if (!takes_reasons_) {
    request->fault.clear();
  } else if (asks) {
    request->granted = granted_by(*request);
    for (const std::string& one : request->granted) bytes += sizeof one + one.size();
  }
  return add_request(std::move(request), bytes);
}

// What very many filters take may be more than there is room for.
template <class Request>
bool Connection::add_request(std::unique_ptr<Request> request, std::uint64_t bytes) {
  if (bytes > request_bytes_unasked && !thread_.inbox().ledger().has_room_for(bytes)) {
    close({ReasonCode::quota_exceeded, CloseCause::limit, true});
    return false;
  }
  submission_.add_request(std::move(request), bytes);
  return true;
}

std::string Connection::resolve(const protocol::Subscription& wanted, const DeliveryWish& wish,
                                bool has_identifier, broker::SubscriptionRequest& resolved) {
  const Config& config = thread_.config();
  const auto filter = protocol::parse_filter(wanted.filter, config.mqtt.topic_levels_max);
  if (!filter) {
    resolved.refused = filter.error();
    return {};
  }
  if (const auto reason = not_offered(*filter, has_identifier, config.mqtt)) {
    resolved.refused = *reason;
    return {};
  }
  const ParsedWish own = parse_prefix_options(filter->options, wish);
  if (!own.fault.empty()) {
    resolved.refused = ReasonCode::topic_filter_invalid;
    return own.fault;
  }
  auto rules = grants_->subscription(filter->filter);
  if (!rules) {
    thread_.counters().subscribe_denied.add();
    log_subscribe_denied(*stream_, listener_, log_client(), wanted.filter);
    resolved.refused = rules.error();
    return {};
  }
  resolved.rules = std::move(*rules);
  resolved.filter = filter->filter;
  resolved.share_group = filter->share_group;
  resolved.qos = static_cast<std::uint8_t>(std::min(
      {static_cast<std::uint32_t>(wanted.qos), config.mqtt.qos_max,
       static_cast<std::uint32_t>(grants_->rights()->subscription_qos_max(filter->filter))}));
  resolved.no_local = wanted.no_local || is_bridge_;
  resolved.retain_as_published = wanted.retain_as_published || is_bridge_;
  resolved.retain_handling = static_cast<std::uint8_t>(wanted.retain_handling);

  const DeliveryChoice choice = choose_delivery(*filter, resolved.qos, own.wish, config.delivery,
                                                grants_->user(), listener_.name);
  resolved.mode = choice.mode;
  resolved.shape = broker::make_shape(choice.shape);
  if (choice.history > 0 && config.history.depth == 0) {
    resolved.refused = filter->history > 0 ? ReasonCode::topic_filter_invalid
                                           : ReasonCode::implementation_specific_error;
    return "history is not kept here (history.depth is 0)";
  }
  resolved.history = std::min(choice.history, config.history.depth);
  // Values that may be replaced cannot be delivered exactly once.
  if (choice.mode == broker::Mode::latest && resolved.qos == 2) resolved.qos = 1;
  return {};
}

bool Connection::handle(protocol::Unsubscribe& packet) {
  auto request = std::make_unique<broker::UnsubscribeRequest>();
  request->packet_id = packet.packet_id;
  std::uint64_t bytes = 0;
  for (const std::string& name : packet.filters) {
    bytes += sizeof name + name.size();
    if (tracing()) [[unlikely]]
      trace_filter("UNSUBSCRIBE", name);
  }
  request->names = std::move(packet.filters);
  return add_request(std::move(request), bytes);
}

}  // namespace millrace::server
