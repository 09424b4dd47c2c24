// Ledger: the memory that the server holds for its clients, by kind, against the one limit for all
// of it (memory.bytes_max).
//
// Each part of the broker charges what it keeps. What many hold together, a message above all, is
// charged once; what only the front-ends know (their connections), and what nobody charges but the
// process has nevertheless (measured from outside), are charged by them.
//
// The level says how much is left. From `scarce` on (80 % of the limit) nothing new is taken in that
// stays: sessions, subscriptions, retained messages; and MemoryGuard gives up what can be given up.
// At `exhausted` (the limit) nothing that waits grows any more.
//
// What always holds: a kind is never charged less than nothing; the level is that of the last
// update().
//
// ConnectionCharge: what a front-end has charged, for as long as the object lives.
//
// Threads: charge(), release(), set() and update() by the processor's holder; all else by any.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "core/base/counter.hpp"
#include "core/broker/buffer_bytes.hpp"
#include "core/broker/check.hpp"

namespace millrace::broker {

enum class Holding : std::uint8_t {
  messages,       // all Buffers: received, queued, waiting, inflight, stored
  queues,         // the entries of what waits for clients, besides the messages
  inflight,       // the same of what was sent and is not acknowledged
  sessions,       // sessions, their identifiers, and what their publishers have not released
  subscriptions,  // subscriptions and the index of their filters
  topics,         // the entries of topics, besides the values
  routes,         // cached routes
  connections,    // what connections keep besides messages: the front-ends'
  other,          // what the process has beyond all this, as it was measured last
  count
};
constexpr std::size_t holding_count = static_cast<std::size_t>(Holding::count);
constexpr std::array<std::string_view, holding_count> holding_names = {
    "messages", "queues", "inflight",    "sessions", "subscriptions",
    "topics",   "routes", "connections", "other"};

enum class MemoryLevel : std::uint8_t { plenty, scarce, exhausted };

class Ledger {
 public:
  explicit Ledger(std::uint64_t bytes_max) { set_limit(bytes_max); }

  // --- The processor ---

  void charge(Holding kind, std::uint64_t bytes) { of(kind).add(bytes); }
  void release(Holding kind, std::uint64_t bytes) {
    MILLRACE_CHECK(of(kind).value() >= bytes);
    of(kind).subtract(bytes);
  }
  void set(Holding kind, std::uint64_t bytes) { of(kind).set(bytes); }
  void set_limit(std::uint64_t bytes_max) {
    bytes_max_.store(bytes_max, std::memory_order_relaxed);
  }
  // Brings the level up to date. Once it is scarce it stays so until a little more is free.
  void update() {
    const std::uint64_t bytes = total();
    const bool was_scarce = level() != MemoryLevel::plenty;
    auto now = MemoryLevel::plenty;
    if (bytes >= (was_scarce ? relief_bytes() : scarce_bytes())) now = MemoryLevel::scarce;
    if (bytes >= bytes_max()) now = MemoryLevel::exhausted;
    level_.store(now, std::memory_order_relaxed);
  }

  // --- Any thread ---

  void charge_connection(std::uint64_t bytes) {
    connections_.fetch_add(bytes, std::memory_order_relaxed);
  }
  void release_connection(std::uint64_t bytes) {
    connections_.fetch_sub(bytes, std::memory_order_relaxed);
  }
  void set_other(std::uint64_t bytes) { other_.store(bytes, std::memory_order_relaxed); }

  MemoryLevel level() const { return level_.load(std::memory_order_relaxed); }
  bool is_scarce() const { return level() != MemoryLevel::plenty; }
  // As of now, whatever the level says.
  bool is_scarce_now() const { return total() >= scarce_bytes(); }
  // The same, for whoever is about to take much without asking the processor.
  bool has_room_for(std::uint64_t bytes) const { return total() + bytes < bytes_max(); }

  std::uint64_t bytes(Holding kind) const {
    if (kind == Holding::messages) return BufferBytes::total();
    if (kind == Holding::connections) return connections_.load(std::memory_order_relaxed);
    if (kind == Holding::other) return other_.load(std::memory_order_relaxed);
    return charged_[static_cast<std::size_t>(kind)].value();
  }
  std::uint64_t total() const {
    std::uint64_t sum = 0;
    for (std::size_t kind = 0; kind < holding_count; ++kind) {
      sum += bytes(static_cast<Holding>(kind));
    }
    return sum;
  }

  std::uint64_t bytes_max() const { return bytes_max_.load(std::memory_order_relaxed); }
  std::uint64_t scarce_bytes() const { return bytes_max() / 100 * 80; }
  // As far as MemoryGuard brings it down.
  std::uint64_t relief_bytes() const { return bytes_max() / 100 * 75; }

 private:
  base::Counter& of(Holding kind) { return charged_[static_cast<std::size_t>(kind)]; }

  std::array<base::Counter, holding_count> charged_;
  std::atomic<std::uint64_t> connections_{0};
  std::atomic<std::uint64_t> other_{0};
  std::atomic<std::uint64_t> bytes_max_{0};
  std::atomic<MemoryLevel> level_{MemoryLevel::plenty};
};

class ConnectionCharge {
 public:
  ConnectionCharge() = default;
  ConnectionCharge(Ledger& ledger, std::uint64_t bytes) : ledger_(&ledger), bytes_(bytes) {
    ledger.charge_connection(bytes);
  }
  ConnectionCharge(ConnectionCharge&& other) noexcept
      : ledger_(std::exchange(other.ledger_, nullptr)), bytes_(other.bytes_) {}
  ConnectionCharge& operator=(ConnectionCharge&& other) noexcept {
    std::swap(ledger_, other.ledger_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~ConnectionCharge() {
    if (ledger_ != nullptr) ledger_->release_connection(bytes_);
  }

 private:
  Ledger* ledger_ = nullptr;
  std::uint64_t bytes_ = 0;
};

}  // namespace millrace::broker
