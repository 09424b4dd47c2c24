// In a separate file, so that the compiler does not optimise new and delete away.
#include "tests/latest/allocation_count.hpp"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {
std::atomic<std::size_t> allocations{0};
constexpr int kUnlimited = -1;
thread_local int allocations_left = kUnlimited;

void count_one() {
  if (allocations_left == 0) throw std::bad_alloc();
  if (allocations_left != kUnlimited) --allocations_left;
  allocations.fetch_add(1, std::memory_order_relaxed);
}
}  // namespace

void* operator new(std::size_t bytes) {
  count_one();
  if (void* memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  count_one();
  const auto align = static_cast<std::size_t>(alignment);
  if (void* memory = std::aligned_alloc(align, (bytes + align - 1) / align * align)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

std::size_t millrace::latest::allocation_count() noexcept {
  return allocations.load();
}

millrace::latest::OutOfMemory::OutOfMemory(int left) noexcept {
  allocations_left = left;
}
millrace::latest::OutOfMemory::~OutOfMemory() {
  allocations_left = kUnlimited;
}
