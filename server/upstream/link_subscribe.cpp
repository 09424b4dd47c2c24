// What a link subscribes to, on both sides, when it has come up.
#include <algorithm>
#include <utility>

#include "protocol/encode.hpp"
#include "protocol/topic.hpp"
#include "server/upstream/hops.hpp"
#include "server/upstream/link.hpp"
#include "server/upstream/spool_session.hpp"

namespace millrace::server {

using protocol::PacketType;

namespace {

// The processor leaves it free (InflightWindow); one request at a time waits for its answer.
constexpr std::uint16_t request_id = 65535;
constexpr std::size_t filters_max = 32;  // in one packet
// An upstream that takes only smaller packets is of no use.
constexpr std::uint32_t packet_bytes_min = 64;

}  // namespace

void Link::come_up(const protocol::Connack& connack) {
  terms_ = terms_of(connack, plan_, config(), setting_.dialect);
  // What a message may be longer there than here.
  const std::uint32_t added = plan_.map.longer_by_max() + hops_bytes_max;
  if (terms_.packet_bytes_max != 0) {
    if (terms_.packet_bytes_max < added + packet_bytes_min) {
      return close({Why::fault, "its Maximum Packet Size is too small"},
                   ReasonCode::implementation_specific_error);
    }
    terms_.packet_bytes_max -= added;
  }
  // QoS 0 has no acknowledgement, and a rule says that there is one. What waits goes on waiting.
  const bool needs_acks = std::ranges::any_of(plan_.map.rules(), [](const TopicMap::Rule& rule) {
    return rule.config.goes_out() && rule.config.ack == AckBy::upstream;
  });
  if (terms_.qos_max == 0 && needs_acks) {
    return close({Why::fault, "it takes QoS 0 alone, and a rule has `ack: upstream`"},
                 ReasonCode::implementation_specific_error);
  }
  state_ = State::up;
  last_ping_tick_ = last_sent_tick_ = connected_tick_ = thread_.wheel().tick();
  keep_alive();
  open_session();
  subscribe_here();
  queue_requests();
  send_next_request();
}

void Link::open_session() {
  const auto& rules = plan_.map.rules();
  edits_ = is_v5() || !terms_.takes_retained || setting_.rules_changed ||
           std::ranges::any_of(rules, [](const TopicMap::Rule& rule) {
             return rule.config.goes_out() && (rule.renames() || !rule.config.retained);
           });
  if (edits_) writer_.set_editor(*this);
  writer_.set_peer(version_, terms_.aliases_max);
  broker::OutboxRef outbox(new broker::Outbox(thread_.ready_list(), *this));
  outbox->version = version_;
  outbox->encodes_anew = edits_ || terms_.aliases_max > 0;
  auto request = spool_session_request(plan_, stats_);
  request->version = version_;
  request->receive_maximum = terms_.receive_maximum;
  request->packet_bytes_max = terms_.packet_bytes_max;
  request->peer_forgot = !terms_.session_present;
  request->keeps = outbox;
  submission_.open(std::move(outbox), std::move(request));
}

void Link::subscribe_here() {
  auto request = spool_subscriptions(plan_, terms_, SubscribesAs::link);
  if (!request->filters.empty()) submission_.add(broker::command::Subscribe{std::move(request)});
}

void Link::queue_requests() {
  std::vector<std::string> unwanted = setting_.stale;
  std::vector<std::size_t> wanted;
  const auto& rules = plan_.map.rules();
  asked_.assign(rules.size(), Asked::never);
  for (std::size_t i = 0; i < rules.size(); ++i) {
    if (!rules[i].config.comes_in() || !can_serve(rules[i])) continue;
    // A SUBSCRIBE brings what is retained there once more. Where nothing goes out that heals what was
    // missed; else it could bring an older value of this server's own.
    const bool has_it = terms_.session_present && setting_.subscribed_before;
    if (has_it && rules[i].config.goes_out()) continue;
    if (is_wanted(i)) {
      wanted.push_back(i);
    } else if (!demand_) {
      asked_[i] = Asked::unknown;
    } else {
      asked_[i] = Asked::nothing;
      if (terms_.session_present) unwanted.push_back(rules[i].remote_filter);
    }
  }
  queue_unsubscribe(std::move(unwanted));
  queue_subscribes(wanted);
}

bool Link::is_wanted(std::size_t rule) const {
  return !plan_.map.rules()[rule].config.follows_demand() || (demand_ && (*demand_)[rule]);
}

void Link::set_demand(std::vector<bool> wanted) {
  demand_ = std::move(wanted);
  if (state_ != State::up) return;
  const StreamUserRef keep(this);
  follow_demand();
  write();
}

// One request at a time, so that whoever comes and goes all the time asks no more of the upstream than
// it answers.
void Link::follow_demand() {
  if (!requests_.empty() || !demand_) return;
  std::vector<std::string> unwanted;
  std::vector<std::size_t> wanted;
  const auto& rules = plan_.map.rules();
  for (std::size_t i = 0; i < rules.size(); ++i) {
    if (!rules[i].config.follows_demand() || asked_[i] == Asked::never) continue;
    if (is_wanted(i)) {
      if (asked_[i] != Asked::all) wanted.push_back(i);
    } else if (asked_[i] != Asked::nothing) {
      unwanted.push_back(rules[i].remote_filter);
      asked_[i] = Asked::nothing;
    }
  }
  queue_unsubscribe(std::move(unwanted));
  queue_subscribes(wanted);
  if (!requests_.empty()) send_request();
}

void Link::queue_unsubscribe(std::vector<std::string> filters) {
  if (filters.empty()) return;
  protocol::Unsubscribe unsubscribe;
  unsubscribe.packet_id = request_id;
  unsubscribe.filters = filters;
  Request& request = requests_.emplace_back();
  request.answer = PacketType::unsuback;
  request.filters = std::move(filters);
  protocol::encode(protocol::Packet(std::move(unsubscribe)), version_, request.packet);
}

void Link::queue_subscribes(const std::vector<std::size_t>& rules) {
  protocol::Subscribe subscribe;
  for (const std::size_t i : rules) {
    const TopicMap::Rule& rule = plan_.map.rules()[i];
    asked_[i] = Asked::all;
    protocol::Subscription& wanted = subscribe.subscriptions.emplace_back();
    wanted.filter = rule.remote_filter;
    wanted.qos = static_cast<protocol::QoS>(std::min(rule.config.qos_max, terms_.qos_max));
    wanted.no_local = true;
    wanted.retain_as_published = rule.config.retained;
    wanted.retain_handling = rule.config.retained ? protocol::RetainHandling::send
                                                  : protocol::RetainHandling::do_not_send;
    if (subscribe.subscriptions.size() < filters_max && i != rules.back()) continue;
    subscribe.packet_id = request_id;
    Request& request = requests_.emplace_back();
    for (const auto& one : subscribe.subscriptions) request.filters.push_back(one.filter);
    protocol::encode(protocol::Packet(std::exchange(subscribe, {})), version_, request.packet);
  }
}

bool Link::can_serve(const TopicMap::Rule& rule) {
  const std::string& filter = rule.remote_filter;
  if (!terms_.takes_wildcards && filter.find_first_of("+#") != std::string::npos) {
    owner_->on_rule_refused(filter, "the upstream offers no wildcards");
    return false;
  }
  if (has_no_local(setting_.dialect)) return true;
  for (const TopicMap::Rule& other : plan_.map.rules()) {
    if (!other.config.goes_out() || !protocol::overlaps(filter, other.remote_filter)) continue;
    owner_->on_rule_refused(filter,
                            "the upstream would send back what goes out: it knows neither No "
                            "Local nor bridges");
    return false;
  }
  return true;
}

void Link::send_next_request() {
  if (!requests_.empty()) return send_request();
  owner_->on_link_subscribed();
  follow_demand();
}

void Link::send_request() {
  const auto& packet = requests_.front().packet;
  writer_.add_control(packet);
  thread_.counters().packets_sent[packet[0] >> 4].add();
}

bool Link::handle(const protocol::Suback& suback) {
  if (requests_.empty() || requests_.front().answer != PacketType::suback ||
      suback.packet_id != request_id || suback.reasons.size() != requests_.front().filters.size()) {
    return fault(ReasonCode::protocol_error, "SUBACK");
  }
  for (std::size_t i = 0; i < suback.reasons.size(); ++i) {
    if (!protocol::is_failure(suback.reasons[i])) continue;
    owner_->on_rule_refused(requests_.front().filters[i], protocol::to_string(suback.reasons[i]));
  }
  requests_.pop_front();
  send_next_request();
  return true;
}

bool Link::handle(const protocol::Unsuback& unsuback) {
  if (requests_.empty() || requests_.front().answer != PacketType::unsuback ||
      unsuback.packet_id != request_id) {
    return fault(ReasonCode::protocol_error, "UNSUBACK");
  }
  requests_.pop_front();
  send_next_request();
  return true;
}

}  // namespace millrace::server
