#include "server/app/memory_watch.hpp"

#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "server/observe/log.hpp"

namespace millrace::server {

using broker::Holding;

MemoryWatch::System MemoryWatch::this_process() {
  const auto private_bytes = []() -> std::uint64_t {
    std::ifstream file("/proc/self/statm");  // in pages: all, resident, shared, ...
    std::uint64_t all = 0, resident = 0, shared = 0;
    if (!(file >> all >> resident >> shared) || shared > resident) return 0;
    return (resident - shared) * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  };
  return {private_bytes, [] { malloc_trim(0); }};
}

void MemoryWatch::look(Clock::time_point now) {
  std::uint64_t measured = system_.private_bytes();
  const auto charged = [&] { return ledger_.total() - ledger_.bytes(Holding::other); };
  const auto beyond = [&] {
    const std::uint64_t known = charged();
    return measured > known ? measured - known : 0;
  };
  // As far as it is known, `other` does not change by itself: anything more is free, or new.
  const std::uint64_t spare = std::min(spare_bytes_max, ledger_.bytes_max() / 16);
  const bool much = beyond() > ledger_.bytes(Holding::other) + spare + charged() / 8;
  const auto patience = measured > ledger_.scarce_bytes() ? rest_if_scarce : rest;
  if (much && now - gave_back_at_ >= patience) {
    system_.give_back();
    gave_back_at_ = now;
    measured = system_.private_bytes();
    ledger_.set_other(beyond());
  } else if (beyond() < ledger_.bytes(Holding::other)) {
    ledger_.set_other(beyond());
  }
  log_level();
}

void MemoryWatch::log_level() {
  const bool scarce = ledger_.is_scarce();
  if (scarce == was_scarce_) return;
  was_scarce_ = scarce;
  if (scarce) {
    log_warn("memory.scarce",
             {{"bytes", ledger_.total()}, {"memory.bytes_max", ledger_.bytes_max()}});
  } else {
    log_info("memory.enough",
             {{"bytes", ledger_.total()}, {"memory.bytes_max", ledger_.bytes_max()}});
  }
}

}  // namespace millrace::server
