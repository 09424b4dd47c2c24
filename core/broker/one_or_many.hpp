// OneOrMany<T>: a list of pointers, in the space of one pointer while it holds no more than one.
//
// The word is null, the one pointer, or the address of a vector of them, marked by its lowest bit,
// which is clear in a pointer to a T.
//
// Threads: those of its owner.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace millrace::broker {

template <class T>
class OneOrMany {
 public:
  OneOrMany() = default;
  ~OneOrMany() { delete many(); }
  OneOrMany(OneOrMany&& other) noexcept : word_(std::exchange(other.word_, nullptr)) {}
  OneOrMany& operator=(OneOrMany&& other) noexcept {
    std::swap(word_, other.word_);
    return *this;
  }

  bool empty() const { return word_ == nullptr; }
  // Until the next change, and as long as the list stays where it is.
  std::span<T* const> all() const {
    if (const Many* list = many()) return *list;
    return {&word_, empty() ? std::size_t{0} : std::size_t{1}};
  }

  void push_back(T* item) {
    static_assert(alignof(T) > mark, "the lowest bit must be free");
    assert(item != nullptr);  // null says that the list is empty
    if (Many* list = many()) {
      list->push_back(item);
    } else if (empty()) {
      word_ = item;
    } else {
      const auto made = reinterpret_cast<std::uintptr_t>(new Many{word_, item});
      word_ = reinterpret_cast<T*>(made | mark);
    }
  }

  // The last one takes the place of what stood `at`.
  void erase(std::size_t at) {
    assert(at < all().size());
    Many* list = many();
    if (list == nullptr) {
      word_ = nullptr;
      return;
    }
    (*list)[at] = list->back();
    list->pop_back();
    if (list->size() > 1) return;
    word_ = list->front();
    delete list;
  }

 private:
  using Many = std::vector<T*>;
  static constexpr std::uintptr_t mark = 1;

  Many* many() const {
    const auto bits = reinterpret_cast<std::uintptr_t>(word_);
    return (bits & mark) != 0 ? reinterpret_cast<Many*>(bits - mark) : nullptr;
  }

  T* word_ = nullptr;
};

}  // namespace millrace::broker
