// What administrators do to the server as a whole.
#include <chrono>
#include <utility>

#include "server/api/answers.hpp"
#include "server/api/api.hpp"
#include "server/http/problem.hpp"
#include "server/observe/log.hpp"

namespace millrace::server {

namespace {

// The answer that says that the server ends is on its way by then.
constexpr std::chrono::milliseconds drain_delay{100};

}  // namespace

void ApiRoutes::set_controls(Reload reload, Drain drain) {
  const std::lock_guard lock(mutex_);
  reload_ = std::move(reload);
  drain_ = std::move(drain);
}

void ApiRoutes::reload(const Ptr& exchange) {
  if (!check_no_parameters(*exchange)) return;
  rights_.manage(exchange, [=, this](const std::shared_ptr<const Grants>& grants) {
    log_info("api.reload", {{"user", grants->user()}, {"peer", exchange->request().peer}});
    const std::lock_guard lock(mutex_);  // who carries it out is there until it is set anew
    if (!reload_) return exchange->answer(problem(503, "the server starts, or ends"));
    reload_([this, asker = WeakAsker(keep(exchange))](ReloadResult result) {
      resume(asker, [result = std::move(result)](const Ptr& waiting) {
        const Json json = {{"reloaded", result.faults.empty()},
                           {"faults", result.faults},
                           {"changed", result.changed},
                           {"needs_restart", result.needs_restart}};
        answer_json(*waiting, json, result.faults.empty() ? 200 : 422);
      });
    });
  });
}

void ApiRoutes::drain(const Ptr& exchange) {
  if (!check_no_parameters(*exchange)) return;
  rights_.manage(exchange, [=, this](const std::shared_ptr<const Grants>& grants) {
    log_info("api.drain", {{"user", grants->user()}, {"peer", exchange->request().peer}});
    answer_json(*exchange, {{"draining", true}}, 202);
    drain_timer_.expires_after(drain_delay);
    drain_timer_.async_wait([this](boost::system::error_code error) {
      const std::lock_guard lock(mutex_);
      if (!error && drain_) drain_();
    });
  });
}

void ApiRoutes::lift_ban(const Ptr& exchange) {
  if (!check_no_parameters(*exchange)) return;
  rights_.manage(exchange, [=, this](const std::shared_ptr<const Grants>& grants) {
    const std::string& address = exchange->request().rest;
    if (!parts_.guests.lift_ban(address, Guests::Clock::now())) {
      return exchange->answer(problem(404, "\"" + address + "\" is not banned"));
    }
    log_info("address.ban_lifted", {{"peer", address}, {"user", grants->user()}});
    answer_nothing(*exchange);
  });
}

}  // namespace millrace::server
