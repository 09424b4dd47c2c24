// HttpHook: asks a service of the operator's who a client is and what it may do (access.http). One
// POST of JSON says whether name and password are right; a second one, if it is configured, which
// topics the client may publish and subscribe to. Both are asked once in the life of a connection,
// and never for a message, so a slow service delays nobody who is connected.
//
// What waits is bounded in number, a quarter of it from one address, and in time: whoever has no
// answer after access.http.timeout_ms, waiting included, has none. What is answered is remembered
// for access.http.cache_seconds, by a digest in which the password is.
//
// Threads: ask(), forget(), set_tls() and the metrics any; `then` is called on the hook's own thread.
// After stop() nothing is called any more.
#pragma once

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/context.hpp>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "core/broker/rights.hpp"
#include "server/config/config.hpp"
#include "server/config/http_url.hpp"
#include "server/net/hook_post.hpp"
#include "server/observe/counters.hpp"
#include "server/observe/metrics.hpp"

namespace millrace::server {

class HttpHook {
 public:
  struct Question {
    std::string client_id, user, password;
    std::string address, listener;
  };
  struct Answer {
    bool allowed = false;
    bool failed = false;  // there was no answer; `allowed` is what access.http.on_failure says
    std::string rules;    // as text; empty: none
    std::shared_ptr<const broker::CarriedRules> carried;  // the same; null: none
  };
  using Then = std::function<void(Answer)>;

  explicit HttpHook(const HttpHookConfig& config);
  ~HttpHook() { stop(); }
  HttpHook(const HttpHook&) = delete;
  HttpHook& operator=(const HttpHook&) = delete;

  // False: too many wait, or too many of that address; `then` is not called.
  bool ask(Question question, Then then);
  // What is remembered.
  void forget();
  // For https; for what is asked from now on.
  void set_tls(std::shared_ptr<boost::asio::ssl::context> tls);
  void stop();

  // Of `hook`; null: there is none, for the table of metrics.
  static std::vector<MetricRow> metric_rows(const HttpHook* hook);

 private:
  using Clock = std::chrono::steady_clock;
  struct Job;
  using JobRef = std::shared_ptr<Job>;
  struct Known {
    Answer answer;
    Clock::time_point until;
    std::list<std::string>::iterator place;
  };

  // --- On its thread ---
  void take(const JobRef& job);
  void pump();
  void authenticate(const JobRef& job);
  void authorize(const JobRef& job);
  void fail(const JobRef& job, const std::string& why);
  void finish(const JobRef& job, Answer answer);
  void remember(const std::string& key, const Answer& answer);
  void post(const JobRef& job, const HttpUrl& url, std::string body, HookPost::Then then);

  const HttpHookConfig config_;
  std::optional<HttpUrl> authenticate_url_, authorize_url_;
  boost::asio::io_context context_{1};  // outlives the jobs, which have timers
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{
      context_.get_executor()};

  mutable std::mutex mutex_;
  std::size_t waiting_ = 0;                                  // under mutex_, as the next
  std::unordered_map<std::string, std::size_t> waiting_of_;  // by address
  Counter refused_;                                          // written under mutex_

  // Its thread's.
  std::shared_ptr<boost::asio::ssl::context> tls_;
  std::deque<JobRef> queue_;
  std::unordered_set<JobRef> running_;
  std::unordered_map<std::string, Known> known_;  // by digest
  std::list<std::string> order_;                  // its keys, the oldest first
  Counter allowed_, denied_, failed_, remembered_;
  std::thread thread_;
};

}  // namespace millrace::server
