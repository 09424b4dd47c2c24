// Raw memory for a fixed number of slots. The owner constructs and destroys the objects in them.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace millrace::queue {

template <class T>
struct FreeRawSlots {
  void operator()(T* slots) const {
    ::operator delete (static_cast<void*>(slots), std::align_val_t{alignof(T)});
  }
};

/// Frees the memory; destroys nothing.
template <class T>
using RawSlots = std::unique_ptr<T[], FreeRawSlots<T>>;

/// Null when memory is out.
template <class T>
RawSlots<T> make_raw_slots(std::size_t count) {
  return RawSlots<T>(static_cast<T*>(
      ::operator new (count * sizeof(T), std::align_val_t{alignof(T)}, std::nothrow)));
}

}  // namespace millrace::queue
