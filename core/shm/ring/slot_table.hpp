// The newest value of each topic in shared memory: one look, no ring to walk.
//
// A topic lives in one of `window` neighbouring cells, the first of which its hash names. A cell is
// of fixed size; a value that does not fit is marked `elsewhere`, and the control socket has it. When all
// cells of a window are taken, the one published least recently is given away (counted): its
// generation changes.
//
// Thread contract: TableWriter belongs to one thread (the processor's role). Any number of readers
// in any process. What holds: a reader never sees a torn value, never waits for the writer and
// never stops it. Each cell has a version, odd while it is written; what may race is copied word by
// word as relaxed atomics, and the version is looked at on both sides. Source: Boehm, "Can seqlocks
// get along with programming language memory models?" (2012).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "core/shm/ring/layout.hpp"
#include "core/shm/ring/memory.hpp"

namespace millrace::shm {

struct TableOptions {
  std::uint64_t table_id = 1;
  std::uint64_t epoch = 1;
  std::uint32_t cell_count = 4'096;  // a power of two
  std::uint32_t cell_bytes = 512;    // a multiple of 128
  std::uint32_t window = 8;
};

class TableWriter {
 public:
  static std::unique_ptr<TableWriter> make(const TableOptions& options);

  void store(std::string_view topic, std::span<const std::byte> payload, std::uint8_t flags,
             std::uint64_t time_ns);
  // The topic has no value any more.
  void clear(std::string_view topic, std::uint64_t time_ns);

  int fd() const { return fd_.get(); }
  std::uint64_t displaced() const { return displaced_; }
  std::size_t bytes() const { return mapping_.size(); }

 private:
  TableWriter(const TableOptions& options, UniqueFd fd, Mapping mapping);
  std::uint64_t* cell(std::uint64_t index) const;
  std::uint64_t* find(std::string_view topic, std::uint64_t hash, bool make_room);
  void write(std::uint64_t* cell, CellHeader header, std::string_view topic,
             std::span<const std::byte> payload);

  const TableOptions options_;
  UniqueFd fd_;
  Mapping mapping_;
  std::uint64_t sequence_ = 0;
  std::uint64_t generation_ = 0;
  std::uint64_t displaced_ = 0;
  std::vector<std::uint64_t> words_;  // a cell as it will be
};

class TableReader {
 public:
  enum class Found : std::uint8_t {
    no,         // no value of this topic is known
    yes,        //
    elsewhere,  // too large for a cell: ask the control socket
    busy,       // the writer stopped in the middle (it died): try another time
  };
  struct Value {
    std::vector<std::byte> payload;
    std::uint64_t sequence = 0;  // of the table: goes up with each store
    std::uint64_t generation = 0;
    std::uint64_t time_ns = 0;
    std::uint8_t flags = 0;
  };

  const char* open(int fd);
  Found read(std::string_view topic, Value& value);

 private:
  enum class Snapshot : std::uint8_t { taken, other, busy };
  Snapshot snapshot(const std::uint64_t* cell, std::uint64_t hash);

  Mapping mapping_;
  std::uint64_t cell_mask_ = 0;
  std::uint32_t cell_bytes_ = 0;
  std::uint32_t window_ = 0;
  std::vector<std::uint64_t> words_;
};

}  // namespace millrace::shm
