// Epoch-based memory reclamation: readers walk a structure that one writer changes, and the writer
// never waits for them.
//
// Thread contract: `enter` any thread; everything else the writer only.
// Invariant: a retired object is freed only after every reader has left that was inside when it was
// unlinked. A reader inside delays freeing, never the writer.
//
// How (after K. Fraser, Practical lock-freedom, 2004). A reader takes one of kPlaces padded places
// by a read-modify-write and stores the current era there; leaving is a plain store. The writer
// unlinks an object, begins a new era, and frees the object once no place holds an older era. With
// more than kPlaces readers inside at once, further readers wait until a place is free.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>

namespace millrace::latest {

class ReaderRegistry {
  struct Place;

 public:
  /// A reader is inside while its Guard exists. Keep that short: nothing that is retired during it
  /// is freed.
  class Guard {
   public:
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;
    // Release pairs with the load in oldest_era(): this reader's reads end before the writer frees.
    ~Guard() { place_.era.store(kIdle, std::memory_order_release); }

   private:
    friend class ReaderRegistry;
    explicit Guard(Place& place) noexcept : place_(place) {}
    Place& place_;
  };

  ReaderRegistry() = default;
  ReaderRegistry(const ReaderRegistry&) = delete;
  ReaderRegistry& operator=(const ReaderRegistry&) = delete;
  /// No reader may be inside. Frees everything that was retired.
  ~ReaderRegistry();

  [[nodiscard]] Guard enter() const noexcept { return Guard(take_place()); }

  /// Calls `unlink()`, after which new readers can no longer reach the object, and takes it over,
  /// to free it by `free(object)` later. Throws std::bad_alloc before it calls `unlink()`.
  template <typename Unlink>
  void retire(void* object, void (*free)(void*), Unlink&& unlink) {
    Retired& retired = retired_.emplace_back();
    unlink();
    // The object was unlinked in the era that ends here.
    retired = {era_.fetch_add(1, std::memory_order_seq_cst), object, free};
  }

  /// Frees at most `objects_max` of the retired objects that no reader can access any more.
  void reclaim(std::size_t objects_max);

  /// How many retired objects are not freed yet.
  [[nodiscard]] std::size_t retired_count() const noexcept { return retired_.size(); }

 private:
  using Era = std::uint64_t;
  static constexpr std::size_t kPlaces = 64;
  static constexpr Era kIdle = 0;
  static constexpr Era kEntering = 1;  // older than every era: nothing is freed meanwhile

  struct alignas(64) Place {
    std::atomic<Era> era{kIdle};
  };
  struct Retired {
    Era era = 0;
    void* object = nullptr;
    void (*free)(void*) = nullptr;
  };

  [[nodiscard]] Place& take_place() const noexcept;
  [[nodiscard]] Era oldest_era() const noexcept;

  mutable std::array<Place, kPlaces> places_{};
  alignas(64) std::atomic<Era> era_{kEntering + 1};
  std::deque<Retired> retired_;  // used by the writer only; eras ascend
};

}  // namespace millrace::latest
