// Who sleeps on a futex word, moved to another one.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

namespace millrace::test {

// Moves up to `most` sleepers from one word to the other, and returns how many it moved. That needs no
// more than to map the page of `from` for reading.
inline long move_sleepers(const std::atomic<std::uint32_t>& from,
                          const std::atomic<std::uint32_t>& to, int most) {
  return ::syscall(SYS_futex, &from, FUTEX_REQUEUE, 0, most, &to, 0);
}

}  // namespace millrace::test
