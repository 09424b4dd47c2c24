// What this machine can do between two processes with nothing but a cache line, a futex, or a ring
// of fixed frames: the floors below the figures of shm_bench, measured in the same run.
//
// They matter because the cores of a virtual machine move about on the host: between two runs, or
// in mid-run, a line may need four times as long from one core to the other.
#pragma once

#include <cstdint>

#include "bench/processes.hpp"

namespace millrace::bench {

/// A word on a line of its own, there and back; both sides spin.
RoundTrip bare_lines();

/// The same with both sides asleep on a futex.
RoundTrip bare_futex();

/// Millions of frames per second through a ring of 64-byte frames without topic, header, policy or
/// further readers; the cursor is published once for `batch` frames.
double bare_frames_per_second(std::uint64_t count, std::uint64_t batch);

}  // namespace millrace::bench
