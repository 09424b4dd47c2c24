// Topics over HTTP: the newest value of each, read beside the processor.
//
//     GET /topics/a/b            the payload as it was published; 404 if there is no value
//       If-None-Match: "..."     304 while it is still the one of that ETag
//       Prefer: wait=30          waits for an answer other than that: 200 as soon as a newer value
//                                is stored, else 304 when the time is up; without If-None-Match,
//                                waits for a topic's first value
//     GET /topics?filter=a/%23   what there is, as JSON (topic_list.hpp)
//
// Who may read what follows the rules for subscriptions (access.hpp). An ETag names a value of
// one run of the server: versions begin anew with the next.
//
// A wait is an entry in the topic table's wait room and a timer, both gone as soon as it is
// answered or its client has gone. The processor's part in it is to post one task to the HTTP
// thread for each who waits for a topic of its batch.
//
// Threads: constructed before http.start(); set_access() and the numbers any thread; everything
// else the HTTP thread. The processor and the worker are stopped, and then the HttpServer, before this
// is destroyed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/broker/topic_table.hpp"
#include "server/http/access.hpp"
#include "server/http/server.hpp"
#include "server/http/topic_lists.hpp"
#include "server/observe/metrics.hpp"

namespace millrace::server {

// What the HTTP thread counts. Written by that thread alone.
struct TopicCounters {
  Counter long_polls;               // that wait now
  Counter long_polls_refused;       // over http.long_polls_max
  Counter password_checks_refused;  // too many waited
  Counter lists_refused;            // the same
};
std::vector<MetricRow> topic_metric_rows(const TopicCounters& counters);

class TopicRoutes {
 public:
  // Adds its routes to `http`.
  TopicRoutes(HttpServer& http, const broker::TopicTable& topics, const HttpConfig& limits,
              Worker& worker, std::shared_ptr<const Access> access, Guests* guests = nullptr);
  TopicRoutes(const TopicRoutes&) = delete;
  TopicRoutes& operator=(const TopicRoutes&) = delete;

  // What is asked, and what is answered after a wait, is judged by these rules from now on.
  void set_access(std::shared_ptr<const Access> access) { access_.set(std::move(access)); }

  const TopicCounters& counters() const { return counters_; }
  // For the other routes that ask the same rules, on the HTTP thread.
  HttpAccess& access() { return access_; }
  // Whose pages may read from another host: see cross_origin.hpp.
  const std::vector<std::string>& origins() const { return origins_; }
  // Names this run of the server: no two have the same.
  const std::string& run() const { return run_; }

 private:
  void get_topic(HttpExchange::Ptr exchange);
  void answer_topic(HttpExchange::Ptr exchange, HttpAccess::Verdict verdict);
  void answer_late(const HttpExchange::Ptr& exchange, const HttpAccess::Verdict& verdict,
                   HttpResponse response);
  void get_list(HttpExchange::Ptr exchange);

  HttpServer& http_;
  const broker::TopicTable& topics_;
  const std::uint32_t long_polls_max_;
  const std::uint32_t wait_seconds_max_;
  const std::vector<std::string> origins_;  // whose pages may read; see cross_origin.hpp
  const std::string run_;                   // in every ETag: no two runs have the same
  TopicCounters counters_;
  HttpAccess access_;
  TopicLists lists_;
};

}  // namespace millrace::server
