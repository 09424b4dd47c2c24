// A latest-only slot for trivially copyable values: no allocation, no reference counts.
//
// Thread contract: `store` one writer at a time, `load` and `version` any thread.
// Invariants:
//   - `store` takes a fixed number of steps and reads nothing that readers write.
//   - `load` writes nothing, so readers cost the writer only the transfer of shared cache lines.
//   - a value is returned complete, with the version under which it was stored.
//   - a thread's loads never go back: what it loads next is the same version or a newer one.
//
// How: a sequence lock (Lamport 1977; H. Boehm, "Can seqlocks get along with programming language
// memory models?", 2012), but with several cells that the writer fills in turn. With one cell a
// writer that never pauses starves readers: the cell is nearly always being written. Here a reader
// copies the cell that was finished last while the writer fills the next ones; it has to read again
// only if the writer reached the same cell again, after kCells - 1 complete stores during one copy.
//
// The bytes that may race are copied as atomic words. Their release (writer) and acquire (reader)
// replace the fences of the textbook form: a reader that copied one word of a newer value sees that
// value's odd sequence when it reads the sequence again.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <type_traits>

#include "core/latest/versioned.hpp"

namespace millrace::latest {

template <typename T>
requires std::is_trivially_copyable_v<T>
class CellSlot {
 public:
  using Loaded = T;

  /// Versions count from `start`.
  explicit CellSlot(Version start = 0) noexcept : version_(start) {}
  CellSlot(const CellSlot&) = delete;
  CellSlot& operator=(const CellSlot&) = delete;

  /// Stores `value` as the newest and returns its version. Writer only.
  Version store(const T& value) noexcept {
    const Version version = version_.load(std::memory_order_relaxed) + 1;  // the writer's own
    Cell& cell = cells_[version % kCells];
    cell.sequence.store(2 * version - 1, std::memory_order_relaxed);  // odd: being written
    write(cell, value);
    cell.sequence.store(2 * version, std::memory_order_release);  // pairs with read()
    version_.store(version, std::memory_order_release);           // pairs with load()
    return version;
  }

  /// The newest value with its version; nullopt before the first store. Any thread.
  [[nodiscard]] std::optional<Versioned<T>> load() const noexcept {
    for (;;) {
      prefetch();
      const Version version = version_.load(std::memory_order_acquire);
      const Cell& cell = cells_[version % kCells];
      const std::uint64_t sequence = cell.sequence.load(std::memory_order_acquire);
      if (sequence == 0) return std::nullopt;
      // The writer has reached this cell again. Even if it is complete, its value is not returned:
      // the counter may not have reached it yet, and then the next load would return an older one.
      if (sequence != 2 * version) continue;
      const Bytes bytes = read(cell);
      // Relaxed: the acquires in read() keep it below them.
      if (cell.sequence.load(std::memory_order_relaxed) == sequence) {
        return Versioned<T>{std::bit_cast<T>(bytes), version};
      }
    }
  }

  /// The newest version; before the first store, the constructor's `start`. Any thread.
  [[nodiscard]] Version version() const noexcept {
    return version_.load(std::memory_order_acquire);
  }

 private:
  using Word = std::uint64_t;
  using Bytes = std::array<std::byte, sizeof(T)>;
  static constexpr std::size_t kCells = 4;
  static constexpr std::size_t kWords = (sizeof(T) + sizeof(Word) - 1) / sizeof(Word);

  static constexpr std::size_t kLine = 64;
  // Large cells do not share cache lines, so that readers of one do not slow down the writing of
  // the next.
  static constexpr bool kPadded = sizeof(T) > kLine / 2;

  struct alignas(kPadded ? kLine : alignof(Word)) Cell {
    // 0: never written; odd: being written; else 2 * version.
    std::atomic<std::uint64_t> sequence{0};
    std::array<std::atomic<Word>, kWords> words{};
  };

  static constexpr std::size_t length_at(std::size_t word) noexcept {
    return word + 1 < kWords ? sizeof(Word) : sizeof(T) - word * sizeof(Word);
  }

  static void write(Cell& cell, const T& value) noexcept {
    const auto* bytes = reinterpret_cast<const std::byte*>(&value);
    for (std::size_t i = 0; i < kWords; ++i) {
      Word word = 0;
      std::memcpy(&word, bytes + i * sizeof(Word), length_at(i));
      // Release pairs with read(): a reader that sees this word also sees the odd sequence.
      cell.words[i].store(word, std::memory_order_release);
    }
  }

  /// Prefetches the beginnings of all cells in parallel with the version, instead of one of them
  /// after it: while a writer is active, each of those cache lines comes from another core.
  void prefetch() const noexcept {
    if constexpr (kPadded) {
      for (const Cell& cell : cells_) {
        __builtin_prefetch(&cell);
        __builtin_prefetch(reinterpret_cast<const std::byte*>(&cell) + kLine);
      }
    }
  }

  static Bytes read(const Cell& cell) noexcept {
    Bytes bytes;
    for (std::size_t i = 0; i < kWords; ++i) {
      const Word word = cell.words[i].load(std::memory_order_acquire);  // pairs with write()
      std::memcpy(bytes.data() + i * sizeof(Word), &word, length_at(i));
    }
    return bytes;
  }

  std::atomic<Version> version_;
  std::array<Cell, kCells> cells_{};
};

}  // namespace millrace::latest
