// Log: the store's folder. Batches are appended to segments; a compaction writes what they say
// together, and the snapshot before, as a new snapshot, and removes both.
//
//     log-NUMBER        batches from that number on
//     snapshot-NUMBER   what all batches up to that number say together, in the order of keys
//     new-NUMBER        a snapshot that is being written; removed at the next start
//     damaged-FILE-AT   bytes that were found to be damaged, for whoever wants to look at them
//     lock              held by the process that uses the folder
//
// What always holds: at any moment, whatever of the unflushed writes survives, the newest snapshot
// and the segments after it hold every batch that write() and flush() reported as written. Bytes
// that are dead are given back by compaction: see LogOptions::compact_bytes.
//
// Threads: one, but for compact(), which runs on another beside the rest: see there.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/store/files.hpp"
#include "core/store/merge.hpp"
#include "core/store/tail.hpp"

namespace millrace::store {

struct LogOptions {
  std::uint64_t segment_bytes = 16ull << 20;
  // The log since the last snapshot is compacted when it is larger than this and than half of that
  // snapshot: so the folder has at most 2.5 times the snapshot's bytes, or twice this beyond it.
  std::uint64_t compact_bytes = 32ull << 20;
};

// The store cannot be used; what() says why, and what to do.
struct StoreError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// What was found at the start.
struct Recovery {
  std::uint64_t records = 0;
  std::uint64_t batches = 0;      // of the log
  std::uint64_t last_number = 0;  // of the last batch
  std::uint64_t torn_bytes = 0;   // cut off: a write that a crash interrupted
  std::uint64_t damaged_bytes = 0;
  std::uint64_t damaged_places = 0;        // or places where a file is missing
  std::uint64_t missing_batches = 0;       // that must have been in damaged places
  std::vector<std::string> damaged_files;  // where their bytes are kept now
  std::uint64_t snapshot_bytes = 0, log_bytes = 0;
};

class Log {
 public:
  using Visit = std::function<void(const Record&)>;  // puts alone, in the order of keys

  // How open() treats the folder: `inspect` changes nothing in it but the lock.
  enum class Mode : std::uint8_t { use, inspect };

  Log(Files& files, LogOptions options) : files_(files), options_(options) {}

  // Locks the folder, cuts a torn end, sets damage aside, and shows every record that is alive. What
  // it shows is on the disk by then, though the last process may not have flushed it.
  // Throws StoreError: another process has it, a newer format, an error of the disk.
  Recovery open(const Visit& visit, Mode mode = Mode::use);

  // Appends one batch to what the next write() writes. Batches are numbered from 1 on, over all.
  std::uint64_t append(std::uint32_t records, BytesView payload);
  std::size_t appended_bytes() const { return appended_.size(); }
  // Writes what was appended. After an error it is all still there, and may be tried again: it goes
  // to a new segment then.
  std::error_code write();
  // After an error nothing that was written since the last success can be trusted, by this or a
  // later call: the caller must not acknowledge anything any more.
  std::error_code flush();

  std::uint64_t last_number() const { return next_number_ - 1; }

  // --- Compaction ---

  // Whether there is enough to gain. Then: seal(); compact() on any thread; meanwhile write().
  bool wants_compaction() const;
  // Ends the current segment: what was written up to here is what compact() takes in.
  void seal();
  // One at a time. An error leaves everything as it was.
  std::error_code compact();
  // Any thread: the compaction that is under way ends soon, with operation_canceled, and so does
  // each later one.
  void stop_compacting() { stops_.store(true, std::memory_order_relaxed); }
  // Shows records that are put, in the order of keys.
  using Show = std::function<std::error_code(const Visit&)>;
  // What `show` shows takes the place of all that is there: all or nothing. Beside nothing else.
  std::error_code replace(const Show& show);

  // Any thread.
  std::uint64_t snapshot_bytes() const { return snapshot_bytes_.load(std::memory_order_relaxed); }
  std::uint64_t log_bytes() const { return log_bytes_.load(std::memory_order_relaxed); }
  std::uint64_t compactions() const { return compactions_.load(std::memory_order_relaxed); }

 private:
  struct Segment {
    std::string name;
    std::uint64_t first = 0;  // number of its first batch
    std::uint64_t bytes = 0;
  };

  void find_files(Mode mode);
  bool has_head(const std::string& name);
  void read_segments(Tail& tail, Mode mode, Recovery& recovery);
  std::uint64_t flushed_by(std::size_t segment);
  Damage read_segment(std::size_t index, Tail& tail, Mode mode, Recovery& recovery);
  void set_aside(const std::string& name, const Damage& damage, Mode mode, Recovery& recovery);
  void rewrite(const std::string& name, std::uint64_t bytes);
  std::error_code open_segment();
  std::error_code write_snapshot(std::uint64_t number, const Show& show, std::uint64_t& bytes);
  void take_over(std::uint64_t number, std::uint64_t bytes);

  Files& files_;
  const LogOptions options_;

  std::string snapshot_;  // empty: none
  std::uint64_t snapshot_number_ = 0;
  std::vector<Segment> segments_;  // the last one is written to, if current_ is set
  std::unique_ptr<OutputFile> current_;
  bool names_to_flush_ = false;
  std::uint64_t current_bytes_ = 0;  // of the segment that is written to
  std::uint64_t next_number_ = 1;
  std::uint64_t written_number_ = 0;
  std::uint64_t flushed_number_ = 0;
  Bytes appended_;
  std::mutex segments_mutex_;    // of segments_, while a compaction runs
  std::vector<Segment> sealed_;  // compact() takes in those
  std::uint64_t sealed_number_ = 0;

  std::atomic<bool> stops_{false};
  std::atomic<std::uint64_t> snapshot_bytes_{0};
  std::atomic<std::uint64_t> log_bytes_{0};
  std::atomic<std::uint64_t> compactions_{0};
};

}  // namespace millrace::store
