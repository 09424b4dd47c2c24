// MemoryWatch: compares the ledger with the memory that the process really has.
//
// What malloc keeps of freed memory is given back to the system when it has become much. What the
// process has beyond the ledger after that (the program itself, what libraries allocate, holes
// between what is used) is told to the ledger as `other`, so that the limit holds for the process.
// And the log says when memory becomes scarce, or is so no more.
//
// Threads: one, every quarter of a second or so.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <utility>

#include "core/broker/ledger.hpp"

namespace millrace::server {

class MemoryWatch {
 public:
  using Clock = std::chrono::steady_clock;
  // How the process's memory is measured, and how the free part of it is given back.
  struct System {
    std::function<std::uint64_t()> private_bytes;  // resident, and no file's or shared memory
    std::function<void()> give_back;
  };
  static System this_process();

  explicit MemoryWatch(broker::Ledger& ledger, System system = this_process())
      : ledger_(ledger), system_(std::move(system)) {}

  void look(Clock::time_point now = Clock::now());

 private:
  // To give back takes milliseconds a gigabyte, in which others wait for malloc.
  static constexpr std::chrono::seconds rest{10};
  static constexpr std::chrono::seconds rest_if_scarce{2};
  static constexpr std::uint64_t spare_bytes_max = 32u << 20;  // may stay

  void log_level();

  broker::Ledger& ledger_;
  const System system_;
  Clock::time_point gave_back_at_{};
  bool was_scarce_ = false;
};

}  // namespace millrace::server
