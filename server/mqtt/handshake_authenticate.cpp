// The parts of the handshake that take time: a password that the worker checks, an exchange of AUTH
// packets, before CONNACK and whenever the client wants to authenticate again.
#include <utility>

#include "protocol/encode.hpp"
#include "server/mqtt/handshake_parts.hpp"

namespace millrace::server {

using protocol::ReasonCode;
using Step = Handshake::Step;

Handshake::Handshake(IoThread& thread, HandshakeUser& user, bool turned_away)
    : thread_(thread), user_(user), turned_away_(turned_away) {}

Handshake::~Handshake() {
  if (!check_) return;
  check_->owner = nullptr;
  if (check_->ticket) thread_.worker().cancel(check_->ticket);
}

// --- Passwords -----------------------------------------------------------------------------------

Step Handshake::check_password(protocol::Connect& connect) {
  auto check = std::make_shared<PasswordCheck>();
  check->access = thread_.settings().access;
  check->connect = std::move(connect);
  check->address = address_;
  check->listener = user_.listener_number();
  Login login{address_,
              check->access->name_to_prove(check->connect.user_name, check->connect.password)};
  return wait_in_line(std::move(check), std::move(login), [](PasswordCheck& done) {
    done.answer = done.access->authenticate(done.connect.user_name, done.connect.password,
                                            {done.connect.client_id, done.address, done.listener});
    return done.answer.has_value();
  });
}

Step Handshake::wait_in_line(std::shared_ptr<PasswordCheck> check, Login login,
                             bool (*is_right)(PasswordCheck&)) {
  check->owner = this;
  const auto task = [check, is_right, &thread = thread_] {
    const bool right = is_right(*check);
    thread.post([check] {
      if (check->owner != nullptr) check->owner->user_.on_password_checked();
    });
    return right;
  };
  const auto refused = [check, &thread = thread_] {
    check->refused = true;
    thread.post([check] {
      if (check->owner != nullptr) check->owner->user_.on_password_checked();
    });
  };
  check->ticket = thread_.worker().post(thread_.config().access.password_checks_max,
                                        std::move(login), task, refused);
  if (!check->ticket) {
    thread_.counters().password_checks_refused.add();
    return refuse(ReasonCode::server_busy);
  }
  check_ = std::move(check);
  return {Step::Kind::checking, {}, {}, false, {}};
}

Step Handshake::password_checked() {
  const std::shared_ptr<PasswordCheck> check = std::exchange(check_, nullptr);
  if (check->refused) {
    thread_.counters().password_checks_refused.add();
    return refuse(ReasonCode::server_busy);
  }
  if (check->said) return conclude_hook(*check);
  if (check->exchange) return conclude_with(std::move(check->last_data));
  if (check->token) return conclude_token(std::move(check->answer));
  return admit(check->connect, std::move(check->answer));
}

// --- The hook ------------------------------------------------------------------------------------

// Whose address or name has failed before has to come again later: the hook has no line to wait in.
Step Handshake::ask_hook(protocol::Connect& connect) {
  const Login login{address_, *connect.user_name};
  const auto refuse_busy = [&] {
    thread_.counters().password_checks_refused.add();
    return refuse(ReasonCode::server_busy);
  };
  if (thread_.worker().must_wait(login)) return refuse_busy();
  const std::uint16_t listener = user_.listener_number();
  const auto& listeners = thread_.config().listeners;
  HttpHook::Question question{connect.client_id, *connect.user_name, connect.password.value_or(""),
                              address_,
                              listener < listeners.size() ? listeners[listener].name : ""};
  auto check = std::make_shared<PasswordCheck>();
  check->owner = this;
  check->connect = std::move(connect);
  const bool asked = thread_.hook()->ask(
      std::move(question), [check, login, &thread = thread_](HttpHook::Answer answer) {
        if (!answer.failed) thread.worker().note(login, answer.allowed);
        check->said = std::move(answer);
        thread.post([check] {
          if (check->owner != nullptr) check->owner->user_.on_password_checked();
        });
      });
  if (!asked) return refuse_busy();
  check_ = std::move(check);
  return {Step::Kind::checking, {}, {}, false, {}};
}

Step Handshake::conclude_hook(PasswordCheck& check) {
  if (!check.said->allowed) {
    // The service did not answer, which is no fault of the client: it may try again.
    if (check.said->failed) return refuse(ReasonCode::server_unavailable);
    return admit(check.connect, ReasonCode::bad_user_name_or_password);
  }
  return admit(check.connect,
               thread_.settings().access->grants_of_hook(
                   *check.connect.user_name, check.said->rules, check.said->carried, arrival()));
}

// --- Enhanced authentication ---------------------------------------------------------------------

Step Handshake::begin_authentication(protocol::Connect& connect) {
  const Access& access = *thread_.settings().access;
  std::string_view method;
  if (connect.properties.authentication_method == scram_method && access.scram() != nullptr) {
    method = scram_method;
  }
  if (connect.properties.authentication_method == jwt_method && access.takes_tokens()) {
    method = jwt_method;
  }
  if (method.empty()) return refuse(ReasonCode::bad_authentication_method);  // [MQTT-4.12.0-1]
  authentication_ = std::make_unique<Authentication>();
  authentication_->method = method;
  authentication_->connect = std::move(connect);
  std::string data = authentication_->connect->properties.authentication_data.value_or("");
  return method == jwt_method ? check_token(std::move(data)) : challenge(data);
}

// AUTH goes on with the exchange, or begins another.
Step Handshake::authenticate(const protocol::Auth& packet) {
  if (!authentication_) return fault(ReasonCode::protocol_error);  // [MQTT-4.12.0-7]
  // [MQTT-4.12.0-5], [MQTT-4.12.1-1]
  if (packet.properties.authentication_method != authentication_->method) {
    return fault(ReasonCode::protocol_error);
  }
  const bool begins = packet.reason == ReasonCode::re_authenticate;
  const bool in_exchange = authentication_->exchange.has_value();
  if (begins == in_exchange || (begins && !greeted_)) return fault(ReasonCode::protocol_error);
  const std::string data = packet.properties.authentication_data.value_or("");
  if (authentication_->method == jwt_method) return check_token(data);
  return begins ? challenge(data) : conclude(data);
}

// --- Tokens --------------------------------------------------------------------------------------

// A token is one packet, and its answer the next. That of a client that is connected is looked at
// here: a signature takes a tenth of a millisecond, and nobody has reason to renew often.
Step Handshake::check_token(std::string token) {
  const auto& access = thread_.settings().access;
  if (!authentication_->connect) {
    RateBucket& renewals = authentication_->renewals;
    if (!renewals.has_some(RateBucket::Clock::now())) {
      return refuse(ReasonCode::message_rate_too_high);
    }
    renewals.take(1);
    auto grants = access->authenticate_token(token, arrival());
    thread_.worker().note({address_, ""}, grants.has_value());
    return conclude_token(std::move(grants));
  }
  auto check = std::make_shared<PasswordCheck>();
  check->access = access;
  check->address = address_;
  check->listener = user_.listener_number();
  check->client_id = client_id_;
  check->token = std::move(token);
  return wait_in_line(std::move(check), {address_, ""}, [](PasswordCheck& done) {
    done.answer =
        done.access->authenticate_token(*done.token, {done.client_id, done.address, done.listener});
    return done.answer.has_value();
  });
}

// Who renews its token stays the same user, with the same rules of its own: the session is that
// user's, and its subscriptions were granted by them.
Step Handshake::conclude_token(protocol::Result<std::shared_ptr<const Grants>> grants) {
  if (!grants) return fail_authentication();
  if (authentication_->connect) {
    protocol::Connect connect = std::move(*authentication_->connect);
    authentication_->connect.reset();
    return admit(connect, std::move(grants));
  }
  const auto same = [](const auto& one, const auto& other) {
    return one == other || *one == *other;
  };
  const auto& before = grants_->rights()->carried;
  const auto& now = (*grants)->rights()->carried;
  const bool same_rules = before == now || (before && now && same(before->publish, now->publish) &&
                                            same(before->subscribe, now->subscribe));
  if (!same_rules || (*grants)->user() != grants_->user()) return fail_authentication();
  grants_ = std::move(*grants);
  return auth_step(Step::Kind::confirmed, ReasonCode::success, "");
}

// --- SCRAM ---------------------------------------------------------------------------------------

// Who begins again stays the same user: session and will are that user's.
Step Handshake::challenge(const std::string& data) {
  const ScramFile* scram = thread_.settings().access->scram();
  auto first = parse_scram_first(data);
  if (scram == nullptr || !first || (grants_ && first->user != grants_->user())) {
    return fail_authentication();
  }
  ScramKeys keys = scram->keys_of(first->user);
  authentication_->exchange.emplace(std::move(*first), std::move(keys), scram_nonce());
  return auth_step(Step::Kind::exchanging, ReasonCode::continue_authentication,
                   authentication_->exchange->challenge());
}

// The proof costs next to nothing, so it waits in line only after failures.
Step Handshake::conclude(const std::string& data) {
  const Login login{address_, authentication_->exchange->user()};
  if (authentication_->connect && thread_.worker().must_wait(login)) {
    auto check = std::make_shared<PasswordCheck>();
    check->exchange = authentication_->exchange;
    check->proof = data;
    return wait_in_line(std::move(check), login, [](PasswordCheck& done) {
      done.last_data = done.exchange->finish(done.proof);
      return done.last_data.has_value();
    });
  }
  auto last_data = authentication_->exchange->finish(data);
  thread_.worker().note(login, last_data.has_value());
  return conclude_with(std::move(last_data));
}

Step Handshake::conclude_with(protocol::Result<std::string> last_data) {
  if (!last_data) return fail_authentication();
  const ScramExchange exchange = *std::exchange(authentication_->exchange, std::nullopt);
  auto grants =
      thread_.settings().access->grants_of_scram(exchange.user(), exchange.keys(), arrival());
  if (!authentication_->connect) {
    if (!grants) return fail_authentication();
    grants_ = std::move(*grants);  // by the rules of now
    return auth_step(Step::Kind::confirmed, ReasonCode::success, std::move(*last_data));
  }
  authentication_->last_data = std::move(*last_data);
  protocol::Connect connect = std::move(*authentication_->connect);
  authentication_->connect.reset();
  return admit(connect, std::move(grants));
}

// CONNACK or, for a client that was admitted before, DISCONNECT. [MQTT-4.12.0-4], [MQTT-4.12.1-2]
Step Handshake::fail_authentication() {
  count_failure();
  if (authentication_->exchange) claimed_user_ = authentication_->exchange->user();
  return refuse(ReasonCode::not_authorized);
}

Step Handshake::auth_step(Step::Kind kind, ReasonCode reason, std::string data) {
  protocol::Auth auth;
  auth.reason = reason;
  auth.properties.authentication_method = authentication_->method;
  if (authentication_->method == scram_method) {
    auth.properties.authentication_data = std::move(data);
  }
  Step step{kind, {}, {}, false, {}};
  protocol::encode(protocol::Packet(std::move(auth)), version_, step.auth);
  // Without it the exchange cannot go on. [MQTT-3.1.2-24]
  if (packet_bytes_max_ != 0 && step.auth.size() > packet_bytes_max_) {
    return refuse(ReasonCode::packet_too_large);
  }
  return step;
}

}  // namespace millrace::server
