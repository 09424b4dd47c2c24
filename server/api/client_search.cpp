#include "server/api/client_search.hpp"

#include "server/config/session_name.hpp"

namespace millrace::server {

std::string_view user_of(const broker::Session& session) {
  const std::string_view owner = session.owner();
  return owner.empty() ? parse_session_name(session.client_id).user : owner;
}

std::optional<ClientChoice> parse_client_choice(const HttpRequest& request, std::string& fault) {
  const bool deletes = request.method == "DELETE";
  ClientChoice choice;
  choice.id = request.rest;
  for (const auto& [name, value] : request.query) {
    if (name == "user") {
      choice.user = value;
    } else if (name == "link" && (value == "true" || value == "false")) {
      choice.link = value == "true";
    } else if (name == "link") {
      fault = "link: true or false";
    } else if (name == "session" && deletes) {
      if (value != "keep" && value != "end") fault = "?session=keep or ?session=end";
      choice.ends_session = value == "end";
    } else {
      fault =
          "unknown parameter: " + name + " (there are user, link" + (deletes ? ", session)" : ")");
    }
  }
  if (choice.link && choice.user) fault = "link or user: a link is no user's";
  if (!fault.empty()) return std::nullopt;
  return choice;
}

std::string text_of_several(const std::string& id, const std::vector<std::string>& users) {
  std::string text = "several users have a client \"" + id + "\":";
  for (std::size_t i = 0; i < users.size() && i < ClientSearch::users_max; ++i) {
    text += i == 0 ? " " : ", ";
    text += users[i].empty() ? "the anonymous" : "\"" + users[i] + "\"";
  }
  if (users.size() > ClientSearch::users_max) text += " and more";
  return text + "; say whose: ?user=NAME (?user= for the anonymous), or --of-user with a command";
}

bool ClientSearch::step(const Scope& scope, std::uint32_t budget) {
  if (asker_.expired()) return true;
  if (choice_.user || choice_.link || scope_ == SessionScope::server) {
    done_(look_up(scope.sessions));
    return true;
  }
  scope.sessions.walk(cursor_, budget, [&](const broker::Session& session) {
    if (cursor_.begun != begun_) {
      found_.clear();
      found_link_ = false;
    }
    begun_ = cursor_.begun;
    consider(session);
  });
  if (!cursor_.done) return false;
  done_(result());
  return true;
}

FoundClient ClientSearch::look_up(const broker::Sessions& sessions) const {
  const auto& [id, user, link, ends_session] = choice_;
  if (user && !user->empty()) {
    std::string name = name_of_session(*user, id);
    if (sessions.find(name) != nullptr) return {std::move(name), *user, {}};
  }
  // Of a session that was stored under another session.scope, too, the name is the identifier alone.
  const broker::Session* const session = link ? nullptr : sessions.find(id);
  if (session != nullptr && (!user || user_of(*session) == *user)) {
    return {id, std::string(user_of(*session)), {}};
  }
  const bool may_be_link = !user || user->empty();
  if (may_be_link && sessions.find(name_of_link(id)) != nullptr) return {name_of_link(id), "", {}};
  return {};
}

void ClientSearch::consider(const broker::Session& session) {
  const std::string_view name = session.client_id;
  if (name.size() < choice_.id.size()) return;
  const SessionName parts = parse_session_name(name);
  if (parts.id != choice_.id) return;
  if (parts.is_link) {
    found_link_ = true;
  } else if (found_.size() <= users_max) {  // one more shows that there are more
    found_.emplace(name, user_of(session));
  }
}

// A link gives way to a client that has its name: ?link=true means the link.
FoundClient ClientSearch::result() const {
  if (found_.size() == 1) return {found_.begin()->first, found_.begin()->second, {}};
  if (found_.empty())
    return found_link_ ? FoundClient{name_of_link(choice_.id), "", {}} : FoundClient();
  FoundClient several;
  for (const auto& [name, user] : found_) several.users.push_back(user);
  return several;
}

}  // namespace millrace::server
