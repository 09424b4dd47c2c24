// Rare<T>: a T that most of its owners never use, in the space of one pointer.
//
// It is made when it is first written to; until then read() shows an empty one that all share.
//
// Threads: those of its owner.
#pragma once

#include <memory>

namespace millrace::broker {

template <class T>
class Rare {
 public:
  // It was written to.
  bool is_made() const { return value_ != nullptr; }
  const T& read() const { return value_ ? *value_ : nothing; }
  T& write() {
    if (!value_) value_ = std::make_unique<T>();
    return *value_;
  }
  // Forgets the value and its memory.
  void reset() { value_.reset(); }

 private:
  inline static const T nothing{};

  std::unique_ptr<T> value_;
};

}  // namespace millrace::broker
