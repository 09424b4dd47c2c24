// A table of the newest value of each topic in shared memory: a lookup by topic.
//
// A topic is in one of `window` neighbouring cells, from the cell that its hash selects. Cells are
// of fixed size; a value that does not fit is marked `elsewhere` and requested at the control
// socket. When all cells of a window are in use, the one published least recently is reused
// (counted as displaced): its generation changes.
//
// Thread contract: TableWriter belongs to one thread (the processor's role). TableReader belongs to
// one thread; there may be any number of them in any process.
// Invariants: a reader never returns a torn value, never waits for the writer and never delays it.
// Each cell is a seqlock: its version is odd while it is written, its words are copied as relaxed
// atomics, and a reader compares the version before and after. Source: Boehm, "Can seqlocks get
// along with programming language memory models?" (2012).
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
  // The topic no longer has a value.
  void clear(std::string_view topic, std::uint64_t time_ns);
  // When the topic's value changed last: its place in the order of changes, and its time. False: it has
  // no cell (any more), so that a reader finds no value either.
  bool when_stored(std::string_view topic, std::uint64_t& sequence, std::uint64_t& time_ns);

  int fd() const { return fd_.get(); }
  std::uint64_t displaced() const { return displaced_; }
  std::size_t bytes() const { return mapping_.size(); }

 private:
  TableWriter(const TableOptions& options, UniqueFd fd, Mapping mapping);
  std::uint64_t* cell(std::uint64_t index) const;
  // In a cell, for the topic and the payload.
  std::size_t room() const { return options_.cell_bytes - 8 - sizeof(CellHeader); }
  bool is_of(const std::uint64_t* cell, std::string_view topic) const;
  std::uint64_t* find(std::string_view topic, std::uint64_t hash, bool make_room);
  void write(std::uint64_t* cell, CellHeader header, std::string_view topic,
             std::span<const std::byte> payload);

  const TableOptions options_;
  UniqueFd fd_;
  Mapping mapping_;
  std::uint64_t sequence_ = 0;
  std::uint64_t generation_ = 0;
  std::uint64_t displaced_ = 0;
  std::vector<std::uint64_t> words_;  // the new content of a cell
};

class TableReader {
 public:
  enum class Found : std::uint8_t {
    no,         // no value of this topic is known
    yes,        // copied into `value`
    elsewhere,  // too large for a cell: request it at the control socket
    busy,       // each attempt found it being written, or the writer died while writing it
  };
  struct Value {
    std::vector<std::byte> payload;
    std::uint64_t sequence = 0;  // of the table: increases with each store
    std::uint64_t generation = 0;
    std::uint64_t time_ns = 0;
    std::uint8_t flags = 0;
  };

  const char* open(int fd);
  Found read(std::string_view topic, Value& value);

 private:
  // taken: words_ holds the cell; other: the cell belongs to another topic or to none.
  enum class CellCopy : std::uint8_t { taken, other, busy };
  CellCopy copy_cell(const std::uint64_t* cell, std::uint64_t hash);

  Mapping mapping_;
  std::uint64_t cell_mask_ = 0;
  std::uint32_t cell_bytes_ = 0;
  std::uint32_t window_ = 0;
  std::vector<std::uint64_t> words_;
};

}  // namespace millrace::shm
