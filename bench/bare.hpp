// Lower bounds for the results of shm_bench, measured in the same run: what two processes on this
// machine achieve with just a cache line, a futex, or a ring of fixed frames.
//
// They are needed because a virtual machine's cores may be moved on the host: between two runs, or
// during a run, the transfer of a cache line between two cores may come to take four times as long.
// Called from one thread.
#pragma once

#include <cstdint>

#include "bench/processes.hpp"

namespace millrace::bench {

/// A word on its own cache line, there and back; both sides spin.
RoundTrip bare_lines();

/// The same with both sides asleep on a futex.
RoundTrip bare_futex();

/// Millions of frames per second through a ring of 64-byte frames without topic, header or policy,
/// with one reader; the cursor is published once for `batch` frames.
double bare_frames_per_second(std::uint64_t count, std::uint64_t batch);

}  // namespace millrace::bench
