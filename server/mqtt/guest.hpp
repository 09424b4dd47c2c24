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

  // It published so much, which then counts, unless it is to be dropped.
  enum class Rate : std::uint8_t { within, exceeded, drop };  // exceeded: what follows waits
  Rate take(std::size_t bytes, bool is_qos0) {
    if (is_qos0 && drops_any()) {
      const Room room = room_now();
      if ((!room.own && drops_qos0_) || (!room.of_listener && listener_drops())) return Rate::drop;
    }
    messages_.take(1);
    bytes_.take(static_cast<double>(bytes));
    if (listener_rate_ != nullptr) listener_rate_->take(1, static_cast<double>(bytes));
    if (is_qos0) return must_wait() ? Rate::exceeded : Rate::within;
    const Room room = room_now();
    waits_ = !room.own || !room.of_listener;
    return waits_ ? Rate::exceeded : Rate::within;
  }
  // Whether it is not read. Where QoS 0 is dropped, only QoS 1 and 2 make a client wait.
  bool must_wait() {
    if (!waits_ && drops_qos0_ && (listener_rate_ == nullptr || listener_drops())) return false;
    const Room room = room_now();
    if (room.own && room.of_listener) waits_ = false;
    return waits_ || (!room.own && !drops_qos0_) || (!room.of_listener && !listener_drops());
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
  bool drops_any() const { return drops_qos0_ || listener_drops(); }

  Guests& guests_;
  const std::uint16_t listener_;
  ListenerRate* const listener_rate_;  // null: not limited
  const bool drops_qos0_;
  bool waits_ = false;  // since a message of QoS 1 or 2 found or left a rate exceeded
  RateBucket messages_;
  RateBucket bytes_;
  std::optional<std::string> address_;  // as it is counted
  std::optional<std::string> user_;
  std::string client_id_;
  std::optional<protocol::ReasonCode> refusal_;
  bool telling_ = false;
};

}  // namespace millrace::server
