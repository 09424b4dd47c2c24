// Which session a request means that names a client: /clients/ID, with ?user= or ?link=true.
//
// The processor knows sessions by names of its own (server/config/session_name.hpp). The API shows and
// takes what people know: the identifier, and whose it is. So without ?user= there may be several of
// that identifier, and to find them is a walk over all sessions, a slice a batch.
//
// Threads: a choice is parsed on the HTTP thread; the search is the processor's; the rest any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/broker/inquiry.hpp"
#include "core/broker/session.hpp"
#include "core/broker/sessions.hpp"
#include "server/config/config.hpp"
#include "server/http/server.hpp"

namespace millrace::server {

// Whose it is; empty: the anonymous', or a link's.
std::string_view user_of(const broker::Session& session);

struct ClientChoice {
  std::string id;
  std::optional<std::string> user;  // empty: the anonymous
  bool link = false;
  bool ends_session = false;  // of a DELETE: ?session=end
};
// If it makes no sense, `fault` says why.
std::optional<ClientChoice> parse_client_choice(const HttpRequest& request, std::string& fault);

struct FoundClient {
  std::string name;  // of the session; empty: there is none, or there are several
  std::string user;
  std::vector<std::string> users;  // of several: whose they are, the first of them
};
// Of several: what is to be said, and whose they are.
std::string text_of_several(const std::string& id, const std::vector<std::string>& users);

// Calls `done` on the processor's side; not once `asker` is gone, which ends the search.
class ClientSearch final : public broker::Inquiry {
 public:
  static constexpr std::size_t users_max = 10;  // that are named
  using Done = std::function<void(FoundClient)>;
  ClientSearch(ClientChoice choice, SessionScope scope, std::weak_ptr<void> asker, Done done)
      : choice_(std::move(choice)),
        scope_(scope),
        asker_(std::move(asker)),
        done_(std::move(done)) {}
  bool step(const Scope& scope, std::uint32_t budget) override;

 private:
  FoundClient look_up(const broker::Sessions& sessions) const;
  void consider(const broker::Session& session);
  FoundClient result() const;

  const ClientChoice choice_;
  const SessionScope scope_;
  const std::weak_ptr<void> asker_;
  const Done done_;
  broker::SessionCursor cursor_;
  std::uint32_t begun_ = 0;
  std::map<std::string, std::string> found_;  // the user of each name; no more than are named
  bool found_link_ = false;
};

}  // namespace millrace::server
