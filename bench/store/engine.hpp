// What the benchmark asks of a store, so that the same records go into core/store and into RocksDB:
// keys in an order, values, atomic batches, and everything read once at the start.
//
// Threads: one.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "core/store/format.hpp"

namespace millrace::bench {

class Engine {
 public:
  virtual ~Engine() = default;
  virtual void put(const store::Key& key, std::string_view value, std::uint64_t body = 0) = 0;
  virtual void erase(const store::Key& key) = 0;
  // A body that nothing names any more; a store may find out for itself.
  virtual void erase_body(std::uint64_t body) = 0;
  // Everything since the last commit, as one batch; back when it is on the disk.
  virtual void commit() = 0;
  // Records that were there when it was opened, each of which was read.
  virtual std::uint64_t found() const = 0;
};

std::unique_ptr<Engine> open_log(const std::string& folder);
// Null: this program was built without RocksDB.
std::unique_ptr<Engine> open_rocksdb(const std::string& folder);

// --- What a process has used ---

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}
double cpu_seconds();
// To the disk, on behalf of this process; 0 where the system does not tell (tmpfs).
double written_bytes();
double memory_bytes(bool peak = false);
double folder_bytes(const std::string& folder);

}  // namespace millrace::bench
