// Guest: what one connection counts for in Guests, until it ends, and how fast it may publish. There is
// one only where something of the kind is limited.
//
// Threads: the connection's I/O thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "protocol/reason_code.hpp"
#include "server/net/guests.hpp"

namespace millrace::server {

class Guest {
 public:
  using Clock = Guests::Clock;
  using Verdict = Guests::Verdict;

  Guest(Guests& guests, std::uint16_t listener, const ConnectionConfig& limits)
      : guests_(guests),
        listener_(listener),
        listener_rate_(guests.rate_of(listener)),
        drops_qos0_(limits.drop_qos0_over_rate),
        messages_(limits.messages_per_second, Clock::now()),
        bytes_(static_cast<double>(limits.bytes_per_second), Clock::now()) {}
  ~Guest() {
    if (address_) guests_.leave(*address_, listener_);
    if (user_) guests_.leave_user(*user_, client_id_);
    if (telling_) guests_.end_telling();
  }
  Guest(const Guest&) = delete;
  Guest& operator=(const Guest&) = delete;

  // enter() was called.
  bool has_come() const { return address_ || refusal_; }
  // Once. Anything but `welcome`: it is not let in, and refusal() is what its CONNECT is told.
  Verdict enter(std::string address) {
    const Verdict verdict = guests_.enter(address, listener_, Clock::now());
    if (verdict == Verdict::welcome) {
      address_ = std::move(address);
    } else {
      refusal_ = verdict == Verdict::too_fast ? protocol::ReasonCode::connection_rate_exceeded
                                              : protocol::ReasonCode::quota_exceeded;
    }
    return verdict;
  }
  const std::optional<protocol::ReasonCode>& refusal() const { return refusal_; }
  // Once, if it is not let in: whether it may stay until its CONNECT was answered. See Guests.
  bool begin_telling(std::uint32_t max) { return telling_ = guests_.begin_telling(max); }
  // Once. False: that user has too many clients.
  bool enter_user(const std::string& user, std::string_view client_id) {
    if (!guests_.limit_users()) return true;
    client_id_ = client_id;
    if (!guests_.enter_user(user, client_id_)) return false;
    user_ = user;
    return true;
  }

  // What becomes of a message of so many bytes. Only one that is taken counts: one that finds a rate
  // exceeded waits, with what follows it, or is dropped. So who publishes nothing never waits for
  // what others of its listener published.
  enum class Rate : std::uint8_t { taken, waits, drop };
  Rate take(std::size_t bytes, bool is_qos0) {
    const Room room = room_now();
    const bool drops = (!room.own && drops_qos0_) || (!room.of_listener && listener_drops());
    if (is_qos0 && drops) return Rate::drop;
    waits_ = !room.own || !room.of_listener;
    if (waits_) return Rate::waits;
    messages_.take(1);
    bytes_.take(static_cast<double>(bytes));
    if (listener_rate_ != nullptr) listener_rate_->take(1, static_cast<double>(bytes));
    return Rate::taken;
  }
  // Whether its message still waits: it is not read meanwhile.
  bool must_wait() {
    if (!waits_) return false;
    const Room room = room_now();
    waits_ = !room.own || !room.of_listener;
    return waits_;
  }
  bool limits_rate() const {
    return messages_.limits() || bytes_.limits() || listener_rate_ != nullptr;
  }

 private:
  struct Room {
    bool own, of_listener;
  };
  Room room_now() {
    const auto now = Clock::now();
    const bool messages = messages_.has_some(now), bytes = bytes_.has_some(now);
    return {messages && bytes, listener_rate_ == nullptr || listener_rate_->has_some(now)};
  }
  bool listener_drops() const { return listener_rate_ != nullptr && listener_rate_->drops_qos0(); }

  Guests& guests_;
  const std::uint16_t listener_;
  ListenerRate* const listener_rate_;  // null: not limited
  const bool drops_qos0_;
  bool waits_ = false;  // since a message of its own found a rate exceeded
  RateBucket messages_;
  RateBucket bytes_;
  std::optional<std::string> address_;  // as it is counted
  std::optional<std::string> user_;
  std::string client_id_;
  std::optional<protocol::ReasonCode> refusal_;
  bool telling_ = false;
};

}  // namespace millrace::server
