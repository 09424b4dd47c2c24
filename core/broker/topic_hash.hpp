// The hash of topic names, and of any other name that a client chooses.
//
// A well-mixed 64-bit hash: 16 bytes at a time through a 64x64 -> 128 bit multiplication whose
// halves are folded together. The process may give it a key of its own, so that a client cannot
// choose names that collide and fill one chain of a table with them.
//
// Threads: topic_hash() any; the key is set before a second thread is started.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace millrace::broker {

[[nodiscard]] std::uint64_t topic_hash(std::string_view name) noexcept;

// To be called before the first hash is taken. A process that does not call it has the same hashes
// in each run.
void set_topic_hash_key(std::uint64_t key) noexcept;

// For standard containers.
struct TopicHash {
  std::size_t operator()(std::string_view name) const noexcept { return topic_hash(name); }
};

}  // namespace millrace::broker
