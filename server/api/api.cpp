#include "server/api/api.hpp"

#include <algorithm>
#include <atomic>
#include <boost/asio/post.hpp>
#include <chrono>
#include <utility>

#include "protocol/properties.hpp"
#include "protocol/topic.hpp"
#include "server/api/answers.hpp"
#include "server/api/openapi.hpp"
#include "server/api/publish_query.hpp"
#include "server/api/subscribers.hpp"
#include "server/api/topic_values.hpp"
#include "server/config/session_name.hpp"
#include "server/http/problem.hpp"
#include "server/http/refusal.hpp"
#include "server/observe/log.hpp"
#include "server/observe/trace.hpp"

namespace millrace::server {

using Json = nlohmann::ordered_json;

namespace {

// On the thread of its connection, which may be over by now.
void add_connection(ClientRow& row) {
  broker::ConnectionFacts facts;
  if (row.outbox->describe(facts)) row.connection = std::move(facts);
}

// The rest of the path is its identifier.
void answer_no_client(HttpExchange& exchange) {
  const HttpRequest& request = exchange.request();
  std::string text = "no client \"" + request.rest + "\"";
  for (const auto& [name, value] : request.query) {
    if (name == "user") text += value.empty() ? " without a user" : " of \"" + value + "\"";
  }
  exchange.answer(problem(404, text));
}

const char* text_of(broker::PublishRefusal why) {
  switch (why) {
    case broker::PublishRefusal::user_is_full:
      return "you have as many retained values, or as much in them, as one user may "
             "(slots.user_count_max, slots.user_bytes_max)";
    case broker::PublishRefusal::slots_are_full:
      return "there is no room for one more retained value (slots.count_max, slots.bytes_max)";
    case broker::PublishRefusal::memory_is_scarce:
      return "memory is scarce (memory.bytes_max): no retained value may grow, and none may be "
             "added";
    case broker::PublishRefusal::store_is_full:
      return "the store cannot keep it: its disk is full";
    case broker::PublishRefusal::store_fails:
      return "the store cannot keep it: its disk fails";
  }
  return "";
}

HttpResponse too_fast(std::chrono::seconds wait) {
  HttpResponse response = problem(429,
                                  "you publish faster than one client may "
                                  "(connection.messages_per_second, connection.bytes_per_second)");
  response.headers.emplace_back("Retry-After", std::to_string(wait.count()));
  return response;
}

}  // namespace

ApiRoutes::ApiRoutes(Parts parts, std::shared_ptr<const Settings> settings)
    : parts_(std::move(parts)), rights_(parts_.topics.access()), settings_(std::move(settings)) {
  add_routes();
}

void ApiRoutes::set_settings(std::shared_ptr<const Settings> settings) {
  const std::lock_guard lock(mutex_);
  settings_ = std::move(settings);
}

void ApiRoutes::add_routes() {
  HttpServer& http = parts_.http;
  const auto route = [&](const char* method, const std::string& path,
                         void (ApiRoutes::*handler)(const Ptr&)) {
    http.route(method, "/api/v1" + path, "",
               [this, handler](const Ptr& exchange) { (this->*handler)(exchange); });
  };
  route("GET", "/clients", &ApiRoutes::list_clients);
  route("GET", "/slow", &ApiRoutes::list_slow);
  route("GET", "/clients/*", &ApiRoutes::get_client);
  route("DELETE", "/clients/*", &ApiRoutes::expel_client);
  route("GET", "/subscriptions", &ApiRoutes::list_subscribers);
  route("GET", "/topics", &ApiRoutes::list_topics);
  route("DELETE", "/topics/*", &ApiRoutes::clear_topic);
  route("DELETE", "/bans/*", &ApiRoutes::lift_ban);
  route("GET", "/trace", &ApiRoutes::list_traces);
  route("POST", "/trace", &ApiRoutes::start_trace);
  route("GET", "/trace/*", &ApiRoutes::read_trace);
  route("DELETE", "/trace/*", &ApiRoutes::forget_trace);
  route("POST", "/reload", &ApiRoutes::reload);
  route("POST", "/drain", &ApiRoutes::drain);
  http.route("PUT", "/api/v1/topics/*", "",
             [this](const Ptr& exchange) { publish(exchange, true); });
  http.route("POST", "/api/v1/topics/*", "",
             [this](const Ptr& exchange) { publish(exchange, false); });
  http.route("GET", "/api/v1/openapi.json", "the management API", [](const Ptr& exchange) {
    exchange->answer(200, "application/json", std::string(openapi_document));
  });
  add_reading("/server", [this] { return server_json(); });
  add_reading("/queue", [this] { return queue_json(); });
  add_reading("/rings", [this] { return rings_json(); });
  add_reading("/limits", [this] { return limits_json(); });
  add_reading("/config", [this] { return config_json_of(); });
  add_reading("/upstreams", [this] { return upstreams_json(); });
  add_reading("/bans", [this] { return bans_json(); });
}

void ApiRoutes::add_reading(const std::string& path, std::function<Json()> make) {
  parts_.http.route("GET", "/api/v1" + path, "", [this, make](const Ptr& exchange) {
    if (!check_no_parameters(*exchange)) return;
    rights_.read(exchange, [exchange, make](const auto&) { answer_json(*exchange, make()); });
  });
}

std::shared_ptr<const Settings> ApiRoutes::settings() const {
  const std::lock_guard lock(mutex_);
  return settings_;
}

// --- Clients -------------------------------------------------------------------------------------

void ApiRoutes::list_clients(const Ptr& exchange) {
  std::string fault;
  auto query = parse_client_query(exchange->request(), fault);
  if (!query) return exchange->answer(problem(400, fault));
  rights_.read(exchange, [=, this](const auto&) { begin_list(exchange, *query); });
}

void ApiRoutes::list_slow(const Ptr& exchange) {
  if (!check_no_parameters(*exchange)) return;
  ClientQuery query;
  query.state = ClientQuery::State::slow;
  query.sort = ClientQuery::Sort::age;
  query.limit = ClientQuery::limit_max;
  rights_.read(exchange, [=, this](const auto&) { begin_list(exchange, query); });
}

void ApiRoutes::begin_list(const Ptr& exchange, ClientQuery query) {
  if (query.asks_for_connection()) return begin_list_by_connection(exchange, std::move(query));
  const AskerRef asker_here = keep(exchange);
  auto done = [this, asker = WeakAsker(asker_here), ticket = ticket_](ClientPage page) {
    describe_rows(asker, std::move(page.rows),
                  [this, asker, next = std::move(page.next)](std::vector<ClientRow> rows) {
                    answer_page(asker, {std::move(rows), next});
                  });
  };
  inquire(asker_here,
          std::make_unique<ClientListInquiry>(std::move(query), asker_here, std::move(done)));
}

// The page is kept here; each slice of the processor's walk comes by way of the I/O threads, and
// after all of them its end.
void ApiRoutes::begin_list_by_connection(const Ptr& exchange, ClientQuery query) {
  struct Kept {
    ClientPageMaker page;
    std::uint32_t begun = 0;
  };
  const AskerRef asker_here = keep(exchange);
  const auto kept = std::make_shared<Kept>(Kept{ClientPageMaker(query), 0});
  auto sift = [this, asker = WeakAsker(asker_here), kept](std::vector<ClientRow> slice,
                                                          std::uint32_t begun) {
    describe_rows(asker, std::move(slice), [kept, begun](std::vector<ClientRow> rows) {
      if (kept->begun != begun) kept->page.clear();
      kept->begun = begun;
      for (ClientRow& row : rows) kept->page.consider(std::move(row));
    });
  };
  auto done = [this, asker = WeakAsker(asker_here), ticket = ticket_, kept](const ClientPage&) {
    describe_rows(asker, {}, [this, asker, kept](const std::vector<ClientRow>&) {
      answer_page(asker, kept->page.finish());
    });
  };
  inquire(asker_here, std::make_unique<ClientListInquiry>(std::move(query), asker_here,
                                                          std::move(done), std::move(sift)));
}

// Each I/O thread describes what is its own; the last one hands on. Whoever reads events is described
// on the HTTP thread.
void ApiRoutes::describe_rows(const WeakAsker& asker, std::vector<ClientRow> rows,
                              std::function<void(std::vector<ClientRow>)> then) {
  struct Shared {
    std::vector<ClientRow> rows;
    std::function<void(std::vector<ClientRow>)> then;
    std::atomic<std::size_t> left;
  };
  const auto shared = std::make_shared<Shared>();
  shared->rows = std::move(rows);
  shared->then = std::move(then);
  shared->left = parts_.threads.size();
  const auto finish = [this, asker, shared] {
    boost::asio::post(parts_.http.context(), [this, asker, shared] {
      if (asker.expired()) return;
      for (ClientRow& row : shared->rows) {
        if (row.outbox && parts_.events.owns(*row.outbox)) add_connection(row);
      }
      shared->then(std::move(shared->rows));
    });
  };
  for (IoThread* thread : parts_.threads) {
    thread->post([thread, shared, finish] {
      for (ClientRow& row : shared->rows) {
        if (row.outbox && &row.outbox->ready_list() == &thread->ready_list()) add_connection(row);
      }
      // Release and acquire: the last one sees what all have written.
      if (shared->left.fetch_sub(1, std::memory_order_acq_rel) == 1) finish();
    });
  }
}

void ApiRoutes::answer_page(const WeakAsker& asker, const ClientPage& page) {
  const AskerRef waiting = asker.lock();
  if (!waiting) return;
  answer_json(*waiting->exchange, json_of(page));
  forget(waiting);
}

void ApiRoutes::find_client(const Ptr& exchange, ClientChoice choice,
                            std::function<void(const Ptr&, FoundClient)> then) {
  const AskerRef asker_here = keep(exchange);
  auto done = [this, asker = WeakAsker(asker_here), ticket = ticket_,
               then = std::move(then)](FoundClient found) {
    resume(asker, [then, found = std::move(found)](const Ptr& waiting) {
      if (!found.users.empty()) {
        const std::string& id = waiting->request().rest;
        return waiting->answer(problem(409, text_of_several(id, found.users)));
      }
      found.name.empty() ? answer_no_client(*waiting) : then(waiting, found);
    });
  };
  inquire(asker_here,
          std::make_unique<ClientSearch>(std::move(choice), settings()->config.session.scope,
                                         asker_here, std::move(done)));
}

void ApiRoutes::get_client(const Ptr& exchange) {
  std::string fault;
  const auto choice = parse_client_choice(exchange->request(), fault);
  if (!choice) return exchange->answer(problem(400, fault));
  rights_.read(exchange, [=, this](const auto&) {
    find_client(exchange, *choice, [this](const Ptr& waiting, FoundClient found) {
      const AskerRef asker_here = keep(waiting);
      auto done = [this, asker = WeakAsker(asker_here), ticket = ticket_](ClientDetail detail) {
        describe_client(asker, std::move(detail));
      };
      inquire(asker_here, std::make_unique<ClientInquiry>(std::move(found.name), std::move(done)));
    });
  });
}

// The processor's side: as describe_rows(), for the one thread that has its connection.
void ApiRoutes::describe_client(const WeakAsker& asker, ClientDetail detail) {
  const auto shared = std::make_shared<ClientDetail>(std::move(detail));
  const auto finish = [this, asker, shared] {
    resume(asker, [this, shared](const Ptr& exchange) {
      if (!shared->row) return answer_no_client(*exchange);
      ClientRow& row = *shared->row;
      if (row.outbox && parts_.events.owns(*row.outbox)) add_connection(row);
      answer_json(*exchange, json_of(*shared));
    });
  };
  if (!shared->row || !shared->row->outbox) return finish();
  for (IoThread* thread : parts_.threads) {
    if (&shared->row->outbox->ready_list() != &thread->ready_list()) continue;
    return thread->post([shared, finish] {
      add_connection(*shared->row);
      finish();
    });
  }
  finish();
}

void ApiRoutes::expel_client(const Ptr& exchange) {
  std::string fault;
  const auto choice = parse_client_choice(exchange->request(), fault);
  if (!choice) return exchange->answer(problem(400, fault));
  rights_.manage(exchange, [=, this](const std::shared_ptr<const Grants>& grants) {
    find_client(exchange, *choice,
                [this, with_session = choice->ends_session, by = grants->user()](
                    const Ptr& waiting, FoundClient found) {
                  expel_session(waiting, found, with_session, by);
                });
  });
}

void ApiRoutes::expel_session(const Ptr& exchange, const FoundClient& found, bool with_session,
                              const std::string& by) {
  const SessionName name = parse_session_name(found.name);
  if (with_session && name.is_link) {
    return exchange->answer(problem(
        409, "\"" + std::string(name.id) +
                 "\" is a link to another broker: what waits for it would be lost with its "
                 "session, which ends when the upstream is taken out of the configuration"));
  }
  const AskerRef asker_here = keep(exchange);
  log_info("api.disconnect", {{"client", name.id},
                              {"owner", found.user},
                              {"session", with_session ? "end" : "keep"},
                              {"user", by},
                              {"peer", exchange->request().peer}});
  auto expel = std::make_unique<broker::ExpelRequest>();
  expel->client_id = found.name;
  expel->with_session = with_session;
  expel->done = [this, asker = WeakAsker(asker_here), ticket = ticket_](bool is_there) {
    resume(asker, [is_there](const Ptr& waiting) {
      is_there ? answer_nothing(*waiting) : answer_no_client(*waiting);
    });
  };
  submit(asker_here, {nullptr, broker::command::Expel{std::move(expel)}});
}

void ApiRoutes::list_subscribers(const Ptr& exchange) {
  const HttpRequest& request = exchange->request();
  const std::string topic(request.query_value("topic"));
  if (request.query.size() != 1 || !protocol::valid_topic_name(topic)) {
    return exchange->answer(problem(400, "?topic=, and the name of a topic"));
  }
  rights_.read(exchange, [=, this](const auto&) {
    const AskerRef asker_here = keep(exchange);
    auto done = [this, asker = WeakAsker(asker_here), ticket = ticket_, topic](Subscribers found) {
      resume(asker, [topic, found = std::move(found)](const Ptr& waiting) {
        answer_json(*waiting, json_of(topic, found));
      });
    };
    inquire(asker_here, std::make_unique<SubscribersInquiry>(topic, asker_here, std::move(done)));
  });
}

// --- Topics --------------------------------------------------------------------------------------

void ApiRoutes::list_topics(const Ptr& exchange) {
  std::string fault;
  auto query = parse_topic_values_query(exchange->request(), fault);
  if (!query) return exchange->answer(problem(400, fault));
  rights_.read_topics(exchange, query->filter, [=, this](HttpAccess::Verdict verdict) {
    if (exchange->request().method == "HEAD") {
      return exchange->answer(200, "application/json", "");
    }
    auto may_go_on = [this, verdict] { return parts_.topics.access().is_current(verdict); };
    std::make_shared<TopicValues>(parts_.http.context(), parts_.processor.topics(), *query,
                                  verdict.rules, std::move(may_go_on), exchange)
        ->start();
  });
}

void ApiRoutes::publish(const Ptr& exchange, bool retain) {
  const HttpRequest& request = exchange->request();
  std::string fault;
  const auto query = parse_publish_query(request, retain, fault);
  if (!query) return exchange->answer(problem(400, fault));
  if (!protocol::valid_topic_name(request.rest, settings()->config.mqtt.topic_levels_max)) {
    return exchange->answer(problem(400, "not a topic name: \"" + request.rest + "\""));
  }
  const auto then = [=, this](const std::shared_ptr<const Grants>& grants) {
    broker::Message message = make_message(exchange->request(), *query);
    auto refusal = refusal_of({query->qos, query->retain}, message.packet_bytes);
    if (refusal) return exchange->answer(std::move(*refusal));
    submit_publish(exchange, std::move(message), *grants);
  };
  rights_.publish(exchange, request.rest, {query->qos, query->retain}, then);
}

// What an MQTT client is told in its CONNACK holds for publishing over HTTP, too.
std::optional<HttpResponse> ApiRoutes::refusal_of(broker::PublishedHow how,
                                                  std::size_t packet_bytes) const {
  const auto now = settings();
  const Config& config = now->config;
  if (how.qos > config.mqtt.qos_max) {
    return problem(403, "QoS " + std::to_string(how.qos) + " is not taken (mqtt.qos_max)");
  }
  if (how.retain && !config.mqtt.retain_available) {
    return problem(403, "retained messages are not taken (mqtt.retain_available)");
  }
  if (packet_bytes > config.packet_bytes_max) {
    return problem(413, "larger than any message may be (packet_bytes_max)");
  }
  return std::nullopt;
}

void ApiRoutes::clear_topic(const Ptr& exchange) {
  const HttpRequest& request = exchange->request();
  if (!check_no_parameters(*exchange)) return;
  if (!protocol::valid_topic_name(request.rest)) {
    return exchange->answer(problem(400, "not a topic name: \"" + request.rest + "\""));
  }
  const auto then = [=, this](const std::shared_ptr<const Grants>& grants) {
    submit_publish(
        exchange,
        broker::build_message({.topic = exchange->request().rest, .payload = {}, .retain = true},
                              broker::Inbox::now_ns()),
        *grants);
  };
  rights_.publish(exchange, request.rest, {0, true}, then);
}

// Answered when the value is stored, so that who reads it then finds it; or with why it is not. A
// message over the rate is refused: here whoever waits would hold a connection.
void ApiRoutes::submit_publish(const Ptr& exchange, broker::Message message, const Grants& grants) {
  const auto wait =
      parts_.guests.charge_http_publish(grants.user(), message.packet_bytes, Guests::Clock::now());
  if (wait) return exchange->answer(too_fast(*wait));
  if (tracing()) [[unlikely]] {
    traces().record(
        TraceKind::received, {{}, grants.user()}, message.topic(),
        [&] { return exchange->request().peer; },
        [&] {
          return "published over HTTP, payload of " + std::to_string(message.payload_bytes()) +
                 " bytes";
        });
  }
  auto publish = std::make_unique<broker::PublishRequest>();
  publish->charged_bytes = message.packet_bytes;
  publish->message = std::move(message);
  publish->rights = grants.rights();
  const AskerRef asker_here = keep(exchange);
  publish->done = [this, asker = WeakAsker(asker_here),
                   ticket = ticket_](std::optional<broker::PublishRefusal> why) {
    resume(asker, [why](const Ptr& waiting) {
      why ? waiting->answer(problem(507, text_of(*why))) : answer_nothing(*waiting);
    });
  };
  submit(asker_here, {nullptr, broker::command::PublishFor{std::move(publish)}});
}

// --- Who waits -----------------------------------------------------------------------------------

ApiRoutes::AskerRef ApiRoutes::keep(const Ptr& exchange) {
  auto asker = std::make_shared<Asker>(Asker{exchange});
  askers_.push_back(asker);
  exchange->on_gone([this, weak = WeakAsker(asker)] {
    if (const auto gone = weak.lock()) forget(gone);
  });
  return asker;
}

void ApiRoutes::forget(const AskerRef& asker) {
  std::erase(askers_, asker);
}

void ApiRoutes::resume(const WeakAsker& asker, std::function<void(const Ptr&)> task) {
  boost::asio::post(parts_.http.context(), [this, asker, task = std::move(task)] {
    const AskerRef waiting = asker.lock();
    if (!waiting) return;
    task(waiting->exchange);
    forget(waiting);
  });
}

void ApiRoutes::inquire(const AskerRef& asker, std::unique_ptr<broker::Inquiry> inquiry) {
  submit(asker, {nullptr, broker::command::Inquire{std::move(inquiry)}});
}

void ApiRoutes::submit(const AskerRef& asker, broker::Command command) {
  const bool crowded = ticket_.use_count() > questions_max + 1;
  if (!crowded && parts_.inbox.submit({&command, 1}) == 1) return;
  asker->exchange->answer(problem_of(busy(crowded ? "too many questions wait for the processor"
                                                  : "the processor's queue is full")));
  forget(asker);
}

}  // namespace millrace::server
