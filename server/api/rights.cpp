#include "server/api/rights.hpp"

#include <utility>

#include "protocol/topic.hpp"
#include "server/config/config.hpp"
#include "server/http/problem.hpp"
#include "server/http/refusal.hpp"

namespace millrace::server {

namespace {

HttpResponse sign_in(std::string why) {
  return problem_of(unauthorized(std::move(why)));
}

}  // namespace

// Sec-Fetch-Site comes from every current browser, Origin from older ones too with what changes
// something; other programs send neither.
bool is_cross_origin(const HttpRequest& request) {
  const std::string_view site = request.header("sec-fetch-site");
  if (!site.empty()) return site != "same-origin" && site != "none";
  const std::string_view origin = request.header("origin");
  if (origin.empty()) return false;
  const auto scheme = origin.find("://");
  return scheme == std::string_view::npos || origin.substr(scheme + 3) != request.header("host");
}

void ApiRights::read(const HttpExchange::Ptr& exchange, Then then) {
  access_.judge(exchange, "$SYS/#", [exchange, then](HttpAccess::Verdict verdict) {
    if (verdict.refusal) return exchange->answer(problem_of(std::move(*verdict.refusal)));
    if (verdict.grants->user().empty() && !is_loopback(exchange->request().peer)) {
      return exchange->answer(
          sign_in("from another machine, a user name and a password are needed"));
    }
    then(verdict.grants);
  });
}

void ApiRights::read_topics(const HttpExchange::Ptr& exchange, std::string filter,
                            std::function<void(HttpAccess::Verdict)> then) {
  access_.judge(exchange, std::move(filter), [exchange, then](HttpAccess::Verdict verdict) {
    if (verdict.refusal) return exchange->answer(problem_of(std::move(*verdict.refusal)));
    then(std::move(verdict));
  });
}

void ApiRights::change(const HttpExchange::Ptr& exchange, HttpScope needed,
                       std::function<void(HttpAccess::Verdict)> then) {
  if (is_cross_origin(exchange->request())) {
    return exchange->answer(problem(403, "not from a page of another origin"));
  }
  access_.identify(exchange, [exchange, needed, then](HttpAccess::Verdict verdict) {
    if (verdict.refusal) return exchange->answer(problem_of(std::move(*verdict.refusal)));
    if (!verdict.has(needed)) {
      return exchange->answer(
          problem(403, "the token has not the scope " + std::string(to_string(needed))));
    }
    if (verdict.grants->user().empty()) {
      const bool publishes = needed == HttpScope::publish;
      return exchange->answer(
          sign_in(publishes ? "to publish, a user name and a password are needed "
                              "(access.password_file)"
                            : "only administrators may do this, and are known by user name and "
                              "password (access.administrators)"));
    }
    then(std::move(verdict));
  });
}

void ApiRights::publish(const HttpExchange::Ptr& exchange, std::string topic,
                        broker::PublishedHow how, Then then) {
  change(exchange, HttpScope::publish, [=](const HttpAccess::Verdict& verdict) {
    if (protocol::is_reserved_topic(topic) || verdict.grants->publish_refusal(topic, how)) {
      return exchange->answer(problem(403, "not allowed to publish to " + topic));
    }
    then(verdict.grants);
  });
}

void ApiRights::manage(const HttpExchange::Ptr& exchange, Then then) {
  change(exchange, HttpScope::manage, [=, this](const HttpAccess::Verdict& verdict) {
    const std::string& user = verdict.grants->user();
    // A token with rules of its own was made to give less than its user may do.
    if (!verdict.token && verdict.grants->rights()->carried) {
      return exchange->answer(problem(
          403,
          "this token lists what it allows (access.jwt.acl_claim), and managing is not of it"));
    }
    if (!verdict.token && !access_.current()->is_administrator(user)) {
      return exchange->answer(
          problem(403, "\"" + user + "\" is none of the administrators (access.administrators)"));
    }
    then(verdict.grants);
  });
}

}  // namespace millrace::server
