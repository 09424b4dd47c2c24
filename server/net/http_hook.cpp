#include "server/net/http_hook.hpp"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <nlohmann/json.hpp>
#include <utility>

#include "server/auth/crypto.hpp"
#include "server/auth/jwt.hpp"
#include "server/auth/jwt_keys.hpp"
#include "server/auth/login_delays.hpp"
#include "server/observe/log.hpp"

namespace millrace::server {

namespace {

using Json = nlohmann::json;

// What an answer depends on. The password comes last, since it alone may have zero bytes in it.
std::string key_of(const HttpHook::Question& question) {
  std::string all;
  for (const std::string* part : {&question.user, &question.client_id, &question.address,
                                  &question.listener, &question.password}) {
    all.append(*part).append(1, '\0');
  }
  return digest(Digest::sha256, all);
}

// Nothing: there are bytes in it that are no text, which JSON has no room for.
std::optional<std::string> body_of(const HttpHook::Question& question, bool with_password) {
  Json body = {{"client_id", question.client_id},
               {"user", question.user},
               {"address", question.address},
               {"listener", question.listener}};
  if (with_password) body["password"] = question.password;
  try {
    return body.dump();
  } catch (const Json::type_error&) {
    return std::nullopt;
  }
}

bool refuses(const HookPost::Reply& reply) {
  return reply.status == 401 || reply.status == 403;
}

std::string fault_of(const HookPost::Reply& reply) {
  return reply.status == 0 ? reply.body : "it answered " + std::to_string(reply.status);
}

}  // namespace

struct HttpHook::Job {
  Question question;
  Then then;
  std::string key;    // of what is remembered
  std::string group;  // of addresses, by which it is counted
  Clock::time_point deadline;
  std::optional<boost::asio::steady_timer> timer;
  std::shared_ptr<HookPost> post;
  bool is_over = false;
};

HttpHook::HttpHook(const HttpHookConfig& config) : config_(config) {
  std::string ignored;  // the configuration was checked
  authenticate_url_ = parse_http_url(config.authenticate_url, ignored);
  authorize_url_ = parse_http_url(config.authorize_url, ignored);
  thread_ = std::thread([this] { context_.run(); });
}

void HttpHook::stop() {
  context_.stop();
  if (thread_.joinable()) thread_.join();
  // A job and its request hold each other.
  for (const JobRef& job : running_) job->post = nullptr;
  running_.clear();
  queue_.clear();
}

bool HttpHook::ask(Question question, Then then) {
  auto job = std::make_shared<Job>();
  job->group = address_group(question.address);
  {
    const std::lock_guard lock(mutex_);
    const auto found = waiting_of_.find(job->group);
    const std::size_t of_address = found == waiting_of_.end() ? 0 : found->second;
    const std::size_t of_address_max = std::max<std::size_t>(1, config_.waiting_max / 4);
    if (waiting_ >= config_.waiting_max || of_address >= of_address_max) {
      refused_.add();
      return false;
    }
    ++waiting_;
    ++waiting_of_[job->group];
  }
  job->question = std::move(question);
  job->then = std::move(then);
  job->deadline = Clock::now() + std::chrono::milliseconds(config_.timeout_ms);
  boost::asio::post(context_, [this, job] { take(job); });
  return true;
}

void HttpHook::forget() {
  boost::asio::post(context_, [this] {
    known_.clear();
    order_.clear();
  });
}

void HttpHook::set_tls(std::shared_ptr<boost::asio::ssl::context> tls) {
  boost::asio::post(context_, [this, tls = std::move(tls)] { tls_ = tls; });
}

void HttpHook::take(const JobRef& job) {
  job->key = key_of(job->question);
  if (const auto found = known_.find(job->key); found != known_.end()) {
    if (found->second.until > Clock::now()) {
      remembered_.add();
      return finish(job, found->second.answer);
    }
    order_.erase(found->second.place);
    known_.erase(found);
  }
  job->timer.emplace(context_, job->deadline);
  job->timer->async_wait([this, job](const boost::system::error_code& error) {
    if (!error) fail(job, "it took too long");
  });
  queue_.push_back(job);
  pump();
}

void HttpHook::pump() {
  while (running_.size() < config_.connections_max && !queue_.empty()) {
    const JobRef job = std::move(queue_.front());
    queue_.pop_front();
    if (job->is_over) continue;
    running_.insert(job);
    authenticate(job);
  }
}

void HttpHook::post(const JobRef& job, const HttpUrl& url, std::string body, HookPost::Then then) {
  job->post = std::make_shared<HookPost>(context_, url, tls_, std::move(body), std::move(then));
  job->post->start();
}

void HttpHook::authenticate(const JobRef& job) {
  auto body = body_of(job->question, true);
  if (!body) return finish(job, {});
  post(job, *authenticate_url_, std::move(*body), [this, job](const HookPost::Reply& reply) {
    if (refuses(reply)) return finish(job, {});
    if (reply.status != 200) return fail(job, fault_of(reply));
    const auto said = parse_json_object(reply.body);
    const auto allow = said ? said->find("allow") : Json::const_iterator();
    if (!said || allow == said->end() || !allow->is_boolean()) {
      return fail(job, "its answer has no \"allow\": true or false");
    }
    if (!allow->get<bool>()) return finish(job, {});
    if (authorize_url_) return authorize(job);
    finish(job, {true, false, {}, nullptr});
  });
}

void HttpHook::authorize(const JobRef& job) {
  auto body = body_of(job->question, false);
  if (!body) return finish(job, {});
  post(job, *authorize_url_, std::move(*body), [this, job](const HookPost::Reply& reply) {
    if (refuses(reply)) return finish(job, {});
    if (reply.status != 200) return fail(job, fault_of(reply));
    auto carried = parse_carried_rules(reply.body);
    if (!carried) return fail(job, "its answer to authorize_url is no rules");
    // As it is kept with the session: without what is no rule, however much white space there is.
    finish(job, {true, false, parse_json_object(reply.body)->dump(), std::move(carried)});
  });
}

void HttpHook::fail(const JobRef& job, const std::string& why) {
  if (job->is_over) return;
  const auto verdict = peer_log_limiter().ask("access.http " + why);
  if (verdict.log) {
    log_warn("access.http.failed", {{"reason", why}, {"suppressed", verdict.suppressed}});
  }
  finish(job, {config_.on_failure == AccessEffect::allow, true, {}, nullptr});
}

void HttpHook::finish(const JobRef& job, Answer answer) {
  if (std::exchange(job->is_over, true)) return;
  if (job->timer) job->timer->cancel();
  if (job->post) job->post->abandon();
  job->post = nullptr;  // its handlers, and this job in them, go with it
  running_.erase(job);
  (answer.failed ? failed_ : answer.allowed ? allowed_ : denied_).add();
  if (!answer.failed) remember(job->key, answer);
  {
    const std::lock_guard lock(mutex_);
    --waiting_;
    const auto found = waiting_of_.find(job->group);
    if (--found->second == 0) waiting_of_.erase(found);
  }
  const Then then = std::exchange(job->then, nullptr);
  then(std::move(answer));
  // Not from within: each that is over would begin another one deeper in the stack.
  boost::asio::post(context_, [this] { pump(); });
}

void HttpHook::remember(const std::string& key, const Answer& answer) {
  if (config_.cache_seconds == 0 || config_.cache_max == 0 || known_.contains(key)) return;
  if (known_.size() >= config_.cache_max) {
    known_.erase(order_.front());
    order_.pop_front();
  }
  const auto place = order_.insert(order_.end(), key);
  known_.emplace(key,
                 Known{answer, Clock::now() + std::chrono::seconds(config_.cache_seconds), place});
}

std::vector<MetricRow> HttpHook::metric_rows(const HttpHook* hook) {
  return {
      {"millrace_access_http_answers_total",
       MetricType::counter,
       {"result"},
       "What access.http said of clients; `failed`: it said nothing in time, or nothing that is "
       "understood. What was remembered counts under its result, too.",
       [hook](MetricWriter& writer) {
         if (hook == nullptr) return;
         writer.sample(static_cast<double>(hook->allowed_.value()), {"allowed"});
         writer.sample(static_cast<double>(hook->denied_.value()), {"denied"});
         writer.sample(static_cast<double>(hook->failed_.value()), {"failed"});
         writer.sample(static_cast<double>(hook->remembered_.value()), {"remembered"});
       }},
      {"millrace_access_http_refused_total",
       MetricType::counter,
       {},
       "Clients told `server busy` because of access.http.waiting_max.",
       [hook](MetricWriter& writer) {
         if (hook != nullptr) writer.sample(static_cast<double>(hook->refused_.value()));
       }},
      {"millrace_access_http_waiting",
       MetricType::gauge,
       {},
       "Clients of whom access.http is being asked, or waits to be.",
       [hook](MetricWriter& writer) {
         if (hook == nullptr) return;
         const std::lock_guard lock(hook->mutex_);
         writer.sample(static_cast<double>(hook->waiting_));
       }}};
}

}  // namespace millrace::server
