// What the management API tells of clients: GET /clients, /slow, /clients/{id}.
//
// The processor walks its sessions a slice a batch (core/broker/inquiry.hpp) and keeps the rows of
// one page; then each I/O thread adds what it knows of the connections that are its own. A query that
// asks for what only they know (ClientQuery::asks_for_connection) is answered by a walk whose slices
// go to the I/O threads as they are, and from there to the HTTP thread, which keeps the page.
//
// Threads: a query is parsed and a page rendered on the HTTP thread; the inquiries are the
// processor's.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/broker/connection_facts.hpp"
#include "core/broker/inquiry.hpp"
#include "core/broker/sessions.hpp"
#include "server/config/address_range.hpp"
#include "server/http/server.hpp"

namespace millrace::server {

struct ClientQuery {
  static constexpr std::uint32_t limit_default = 100;
  static constexpr std::uint32_t limit_max = 1000;

  enum class State : std::uint8_t { any, connected, away, slow };
  // All but `id`: the greatest first.
  enum class Sort : std::uint8_t { id, waiting, waiting_bytes, age, connected, received, sent };
  // The place of a row in the order: the value that is sorted by, turned round, and the identifier
  // with what tells it from others of that identifier.
  using Place = std::pair<std::uint64_t, std::string>;

  std::string prefix;               // of the client identifier, without the user
  std::optional<std::string> user;  // "": the anonymous
  std::optional<AddressRange> address;
  std::optional<std::string> listener;
  State state = State::any;
  Sort sort = Sort::id;
  std::uint32_t limit = limit_default;
  Place after{0, ""};  // only rows behind this place

  // Of connected clients alone then.
  bool asks_for_connection() const { return address || listener || sort >= Sort::connected; }
};
// The query of a request; if it makes no sense, `fault` says why.
std::optional<ClientQuery> parse_client_query(const HttpRequest& request, std::string& fault);

struct ClientRow {
  // Of the session: see server/config/session_name.hpp; the next three are what is shown of it.
  std::string name;
  std::string id;
  std::string user;
  bool is_link = false;
  broker::OutboxRef outbox;  // null: away
  std::string_view protocol;
  bool slow = false;
  std::uint32_t subscriptions = 0;
  std::uint32_t inflight = 0;
  std::uint64_t waiting = 0;
  std::uint64_t waiting_bytes = 0;
  std::uint64_t unwritten_bytes = 0;
  std::uint32_t credit_bytes = 0;          // that unwritten_bytes may come to
  std::uint64_t conflated = 0;             // replaced by newer ones since it connected
  std::optional<std::uint64_t> oldest_ms;  // that may be replaced and waits
  std::uint32_t expiry_seconds = 0;
  std::optional<broker::ConnectionFacts> connection;
};
ClientRow row_of(const broker::Session& session, const broker::Inquiry::Scope& scope);
nlohmann::ordered_json json_of(const ClientRow& row);

struct ClientPage {
  std::vector<ClientRow> rows;
  std::optional<std::string> next;  // `after` of the next page
};
nlohmann::ordered_json json_of(const ClientPage& page);

// Keeps the first rows behind a place, as many as the query's limit.
class ClientPageMaker {
 public:
  explicit ClientPageMaker(const ClientQuery& query) : query_(query) {}

  // A row of that place would be kept now.
  bool wants(const ClientQuery::Place& place) const;
  void add(ClientQuery::Place place, ClientRow row);
  // A row whose connection is described, if the query picks it.
  void consider(ClientRow row);
  void clear() { rows_.clear(); }
  ClientPage finish();

 private:
  const ClientQuery query_;
  std::map<ClientQuery::Place, ClientRow> rows_;  // one more than the limit
};

struct ClientDetail {
  struct Subscription {
    std::string filter;
    std::uint8_t qos = 0;
    broker::Mode mode = broker::Mode::adaptive;
    std::uint32_t interval_ms = 0;
  };
  std::optional<ClientRow> row;  // none: there is no such client
  std::vector<Subscription> subscriptions;
  bool more_subscriptions = false;
};
nlohmann::ordered_json json_of(const ClientDetail& detail);

// Each calls `done` on the processor's side; the list not once `asker` is gone, which ends its walk.
class ClientListInquiry final : public broker::Inquiry {
 public:
  using Done = std::function<void(ClientPage)>;
  // What a slice picked, if the query asks for connections; the page stays empty then. `begun`: the
  // number of the walk, before which nothing counts.
  using Sift = std::function<void(std::vector<ClientRow>, std::uint32_t begun)>;
  ClientListInquiry(ClientQuery query, std::weak_ptr<void> asker, Done done, Sift sift = {})
      : query_(std::move(query)),
        asker_(std::move(asker)),
        done_(std::move(done)),
        sift_(std::move(sift)),
        page_(query_) {}
  bool step(const Scope& scope, std::uint32_t budget) override;

 private:
  void consider(const broker::Session& session, const Scope& scope);

  const ClientQuery query_;
  const std::weak_ptr<void> asker_;
  const Done done_;
  const Sift sift_;
  broker::SessionCursor cursor_;
  std::uint32_t begun_ = 0;
  ClientPageMaker page_;
  std::vector<ClientRow> slice_;  // for sift_
};

class ClientInquiry final : public broker::Inquiry {
 public:
  static constexpr std::uint32_t subscriptions_max = 1000;
  using Done = std::function<void(ClientDetail)>;
  // Of the session of that name.
  ClientInquiry(std::string name, Done done) : name_(std::move(name)), done_(std::move(done)) {}
  bool step(const Scope& scope, std::uint32_t budget) override;

 private:
  const std::string name_;
  const Done done_;
};

}  // namespace millrace::server
