// May this HTTP client manage the server? The users, passwords and rules are those of MQTT
// (server/http/access.hpp):
//
//   read     whoever may subscribe to $SYS/#; who gave no password only from this machine
//   publish  a user who gave his password and may publish to that topic
//   manage   a user who gave his password and is one of access.administrators; a token that lists
//            what it allows does not allow this
//
// A token of access.http_tokens needs the scope of that name for each, and with `manage` may what an
// administrator may.
//
// What is published or managed is refused to pages of other origins, whatever password their browser adds
// by itself: such a request names its origin, which is not this server's.
//
// Threads: the HTTP thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "server/auth/access.hpp"
#include "server/http/access.hpp"
#include "server/http/server.hpp"

namespace millrace::server {

class ApiRights {
 public:
  explicit ApiRights(HttpAccess& access) : access_(access) {}

  // Calls `then` if it may; else the exchange is answered.
  using Then = std::function<void(const std::shared_ptr<const Grants>&)>;
  void read(const HttpExchange::Ptr& exchange, Then then);
  // As read(), for the values of the topics that `filter` matches.
  void read_topics(const HttpExchange::Ptr& exchange, std::string filter,
                   std::function<void(HttpAccess::Verdict)> then);
  void publish(const HttpExchange::Ptr& exchange, std::string topic, broker::PublishedHow how,
               Then then);
  void manage(const HttpExchange::Ptr& exchange, Then then);

 private:
  // `needed`: the scope, of a token.
  void change(const HttpExchange::Ptr& exchange, HttpScope needed,
              std::function<void(HttpAccess::Verdict)> then);

  HttpAccess& access_;
};

// A browser says that a page of another origin made this request.
bool is_cross_origin(const HttpRequest& request);

}  // namespace millrace::server
