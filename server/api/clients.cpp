#include "server/api/clients.hpp"

#include <algorithm>
#include <array>

#include "core/broker/credit.hpp"
#include "server/api/client_search.hpp"
#include "server/auth/jwt_keys.hpp"
#include "server/config/session_name.hpp"
#include "server/config/words.hpp"
#include "server/http/target.hpp"

namespace millrace::server {

namespace {

using Json = nlohmann::ordered_json;
using State = ClientQuery::State;
using Sort = ClientQuery::Sort;

constexpr std::array<std::pair<std::string_view, State>, 3> state_words = {
    {{"connected", State::connected}, {"away", State::away}, {"slow", State::slow}}};
constexpr std::array<std::pair<std::string_view, Sort>, 7> sort_words = {
    {{"id", Sort::id},
     {"waiting", Sort::waiting},
     {"waiting_bytes", Sort::waiting_bytes},
     {"age", Sort::age},
     {"connected", Sort::connected},
     {"received", Sort::received},
     {"sent", Sort::sent}}};

template <class Words, class Value>
bool find_word(const Words& words, std::string_view word, Value& value) {
  const auto found = std::find_if(words.begin(), words.end(),
                                  [&](const auto& candidate) { return candidate.first == word; });
  if (found == words.end()) return false;
  value = found->second;
  return true;
}

// "17/bGFtcAA": what tells rows apart, as a URL may have it. There is a zero byte in it, which no URL
// has.
std::string text_of(const ClientQuery::Place& place) {
  return std::to_string(place.first) + "/" + to_base64url(place.second);
}

bool parse_place(std::string_view text, ClientQuery::Place& place) {
  const auto slash = text.find('/');
  if (slash == std::string_view::npos) return false;
  const auto value = parse_number<std::uint64_t>(text.substr(0, slash));
  auto id = from_base64url(text.substr(slash + 1));
  if (!value || !id) return false;
  place = {*value, std::move(*id)};
  return true;
}

// Nothing: it is right.
std::string fault_of(const std::string& name, const std::string& value, ClientQuery& query) {
  if (name == "prefix") {
    query.prefix = value;
  } else if (name == "user") {
    query.user = value;
  } else if (name == "address") {
    query.address = AddressRange::parse(value);
    if (!query.address) return "address: not an address, and not a range as 10.0.0.0/8";
  } else if (name == "listener") {
    query.listener = value;
  } else if (name == "state") {
    if (!find_word(state_words, value, query.state)) return "state: connected, away or slow";
  } else if (name == "sort") {
    if (!find_word(sort_words, value, query.sort)) {
      return "sort: id, waiting, waiting_bytes, age, connected, received or sent";
    }
  } else if (name == "limit") {
    query.limit = parse_number<std::uint32_t>(value).value_or(0);
    if (query.limit == 0 || query.limit > ClientQuery::limit_max) return "limit: 1 to 1000";
  } else if (name == "after") {
    if (!parse_place(value, query.after)) return "after: not the next of a page";
  } else {
    return "unknown parameter: " + name +
           " (there are prefix, user, address, listener, state, sort, limit, after)";
  }
  return "";
}

bool fits(const ClientQuery& query, const broker::Session& session) {
  if (!parse_session_name(session.client_id).id.starts_with(query.prefix)) return false;
  if (query.user && user_of(session) != *query.user) return false;
  if (query.asks_for_connection() && !session.connected()) return false;
  switch (query.state) {
    case State::any:
      return true;
    case State::connected:
      return session.connected();
    case State::away:
      return !session.connected();
    case State::slow:
      return session.counted_slow;
  }
  return false;
}

std::optional<std::uint64_t> oldest_ms(const broker::Session& session, std::int64_t now_ns) {
  const auto since_ns = session.pending.newest_since_ns();
  if (!since_ns) return std::nullopt;
  return static_cast<std::uint64_t>(std::max<std::int64_t>(0, now_ns - *since_ns)) / 1'000'000;
}

std::uint64_t value_of(Sort sort, const broker::Session& session, std::int64_t now_ns) {
  switch (sort) {
    case Sort::id:
      return 0;
    case Sort::waiting:
      return session.pending.size();
    case Sort::waiting_bytes:
      return session.pending.bytes();
    case Sort::age:
      return oldest_ms(session, now_ns).value_or(0);
    default:
      return 0;  // the connection's
  }
}

std::uint64_t value_of(Sort sort, const ClientRow& row) {
  switch (sort) {
    case Sort::id:
      return 0;
    case Sort::waiting:
      return row.waiting;
    case Sort::waiting_bytes:
      return row.waiting_bytes;
    case Sort::age:
      return row.oldest_ms.value_or(0);
    case Sort::connected:
      return row.connection->connected_seconds;
    case Sort::received:
      return row.connection->bytes_received;
    case Sort::sent:
      return row.connection->bytes_sent;
  }
  return 0;
}

// By the identifier first, whatever stands before it in the session's name.
std::string order_of(std::string_view session_name) {
  const SessionName name = parse_session_name(session_name);
  std::string order(name.id);
  order.append(1, '\0').append(name.user);
  if (name.is_link) order.push_back('\0');
  return order;
}

ClientQuery::Place place_of(Sort sort, std::uint64_t value, std::string_view session_name) {
  return {sort == Sort::id ? 0 : ~value, order_of(session_name)};
}

Json json_of(const broker::ConnectionFacts& facts) {
  return {{"address", facts.address},
          {"port", facts.port},
          {"listener", facts.listener},
          {"transport", facts.transport},
          {"keep_alive_seconds", facts.keep_alive_seconds},
          {"connected_seconds", facts.connected_seconds},
          {"silent_seconds", facts.silent_seconds},
          {"last_sent_seconds", facts.last_sent_seconds},
          {"bytes_received", facts.bytes_received},
          {"bytes_sent", facts.bytes_sent},
          {"messages_received", facts.messages_received},
          {"messages_sent", facts.messages_sent}};
}

}  // namespace

std::optional<ClientQuery> parse_client_query(const HttpRequest& request, std::string& fault) {
  ClientQuery query;
  for (const auto& [name, value] : request.query) {
    fault = fault_of(name, value, query);
    if (!fault.empty()) return std::nullopt;
  }
  return query;
}

ClientRow row_of(const broker::Session& session, const broker::Inquiry::Scope& scope) {
  ClientRow row;
  const SessionName name = parse_session_name(session.client_id);
  row.name = session.client_id.view();
  row.id = name.id;
  row.user = user_of(session);
  row.is_link = name.is_link;
  row.outbox = session.outbox;
  row.protocol = session.outbox  ? protocol::to_string(session.outbox->version)
                 : session.is_v5 ? protocol::to_string(protocol::Version::v5)
                                 : protocol::to_string(protocol::Version::v3_1_1);
  row.slow = session.counted_slow;
  row.subscriptions = session.subscriptions.read().of.size();
  row.inflight = session.inflight.unsettled();
  row.waiting = session.pending.size();
  row.waiting_bytes = session.pending.bytes();
  row.unwritten_bytes = session.outbox ? session.outbox->outstanding_bytes : 0;
  row.credit_bytes = session.outbox ? broker::credit_bytes(*session.outbox, scope.limits) : 0;
  row.conflated = session.conflated;
  row.oldest_ms = oldest_ms(session, scope.now_ns);
  row.expiry_seconds = session.expiry_s;
  return row;
}

Json json_of(const ClientRow& row) {
  Json json = {{"id", row.id}};
  json["user"] = row.user.empty() ? Json(nullptr) : Json(row.user);
  json["link"] = row.is_link;
  json["state"] = row.outbox ? "connected" : "away";
  json["slow"] = row.slow;
  json["protocol"] = row.protocol;
  json["subscriptions"] = row.subscriptions;
  json["inflight"] = row.inflight;
  json["waiting"] = row.waiting;
  json["waiting_bytes"] = row.waiting_bytes;
  json["unwritten_bytes"] = row.unwritten_bytes;
  json["credit_bytes"] = row.credit_bytes;
  json["conflated"] = row.conflated;
  json["oldest_waiting_ms"] = row.oldest_ms ? Json(*row.oldest_ms) : Json(nullptr);
  const bool expires = row.expiry_seconds != broker::never_expires;
  json["session_expiry_seconds"] = expires ? Json(row.expiry_seconds) : Json(nullptr);
  json["connection"] = row.connection ? json_of(*row.connection) : Json(nullptr);
  return json;
}

Json json_of(const ClientPage& page) {
  Json rows = Json::array();
  for (const ClientRow& row : page.rows) rows.push_back(json_of(row));
  Json json = {{"clients", std::move(rows)}};
  json["next"] = page.next ? Json(*page.next) : Json(nullptr);
  return json;
}

Json json_of(const ClientDetail& detail) {
  Json json = json_of(*detail.row);
  Json list = Json::array();
  for (const auto& subscription : detail.subscriptions) {
    list.push_back({{"filter", subscription.filter},
                    {"qos", subscription.qos},
                    {"mode", word_of(subscription.mode)},
                    {"interval_ms", subscription.interval_ms}});
  }
  json["subscribed"] = std::move(list);
  json["more_subscriptions"] = detail.more_subscriptions;
  return json;
}

// --- Pages ---------------------------------------------------------------------------------------

bool ClientPageMaker::wants(const ClientQuery::Place& place) const {
  if (place <= query_.after) return false;
  return rows_.size() <= query_.limit || place < rows_.rbegin()->first;
}

void ClientPageMaker::add(ClientQuery::Place place, ClientRow row) {
  rows_.emplace(std::move(place), std::move(row));
  if (rows_.size() > query_.limit + std::size_t{1}) rows_.erase(std::prev(rows_.end()));
}

void ClientPageMaker::consider(ClientRow row) {
  if (!row.connection) return;  // it has just gone
  const broker::ConnectionFacts& facts = *row.connection;
  if (query_.address && !query_.address->contains(facts.address)) return;
  if (query_.listener && facts.listener != *query_.listener) return;
  auto place = place_of(query_.sort, value_of(query_.sort, row), row.name);
  if (wants(place)) add(std::move(place), std::move(row));
}

ClientPage ClientPageMaker::finish() {
  ClientPage page;
  const bool more = rows_.size() > query_.limit;
  if (more) rows_.erase(std::prev(rows_.end()));
  if (more) page.next = text_of(rows_.rbegin()->first);
  for (auto& [place, row] : rows_) page.rows.push_back(std::move(row));
  rows_.clear();
  return page;
}

// --- Inquiries -----------------------------------------------------------------------------------

bool ClientListInquiry::step(const Scope& scope, std::uint32_t budget) {
  if (asker_.expired()) return true;
  scope.sessions.walk(cursor_, budget, [&](const broker::Session& session) {
    if (cursor_.begun != begun_) {
      page_.clear();
      slice_.clear();
    }
    begun_ = cursor_.begun;
    consider(session, scope);
  });
  if (!slice_.empty()) sift_(std::exchange(slice_, {}), begun_);
  if (!cursor_.done) return false;
  done_(page_.finish());
  return true;
}

void ClientListInquiry::consider(const broker::Session& session, const Scope& scope) {
  if (!fits(query_, session)) return;
  if (query_.asks_for_connection()) return slice_.push_back(row_of(session, scope));
  auto place =
      place_of(query_.sort, value_of(query_.sort, session, scope.now_ns), session.client_id.view());
  if (page_.wants(place)) page_.add(std::move(place), row_of(session, scope));
}

bool ClientInquiry::step(const Scope& scope, std::uint32_t) {
  ClientDetail detail;
  if (const broker::Session* session = scope.sessions.find(name_)) {
    detail.row = row_of(*session, scope);
    const auto& subscriptions = session->subscriptions.read().of;
    std::uint32_t slot = 0;
    while (slot < subscriptions.slot_count() && detail.subscriptions.size() < subscriptions_max) {
      slot = subscriptions.for_some(slot, 64, [&](const broker::Subscription& subscription) {
        detail.subscriptions.push_back({std::string(subscription.name()), subscription.qos,
                                        subscription.mode,
                                        subscription.extras.read().interval_ms()});
      });
    }
    detail.more_subscriptions = detail.subscriptions.size() < subscriptions.size();
    std::sort(detail.subscriptions.begin(), detail.subscriptions.end(),
              [](const auto& a, const auto& b) { return a.filter < b.filter; });
  }
  done_(std::move(detail));
  return true;
}

}  // namespace millrace::server
