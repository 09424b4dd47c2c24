// SplitTable<Key, Value, Hash>: a hash table that grows and shrinks a bucket at a time, so that no
// call takes long however much is in it. (std::unordered_map now and then moves all elements at
// once; where fifty clients wait for the same topics, their tables did so with the same message.)
//
// Linear hashing (W. Litwin, 1980): with n buckets, an element stands in the bucket that the lowest
// bits of its hash name, as many bits as the number of buckets has; where there is no such bucket
// yet, in the one without the highest of these bits, from which the new one will be split.
//
// What always holds: there is a bucket for each element, and about two at most. An empty table has
// no memory.
//
// Threads: those of its owner.
#pragma once

#include <bit>
#include <boost/container/deque.hpp>
#include <cstddef>
#include <memory>
#include <utility>

namespace millrace::broker {

template <class Key, class Value, class Hash>
class SplitTable {
 public:
  SplitTable() = default;
  SplitTable(SplitTable&& other) noexcept { swap(other); }
  SplitTable& operator=(SplitTable&& other) noexcept {
    swap(other);
    return *this;
  }
  SplitTable(const SplitTable&) = delete;
  SplitTable& operator=(const SplitTable&) = delete;
  ~SplitTable() { clear(); }

  bool empty() const { return size_ == 0; }
  std::size_t size() const { return size_; }
  std::size_t bucket_count() const { return buckets_.size(); }

  // Null: there is none. Valid until the next change.
  const Value* find(const Key& key) const {
    if (size_ == 0) return nullptr;
    for (const Node* node = buckets_[place_of(key)].get(); node != nullptr;
         node = node->next.get()) {
      if (node->key == key) return &node->value;
    }
    return nullptr;
  }

  // In the place of what the key had before.
  void put(const Key& key, Value value) {
    if (const Value* before = find(key)) {
      const_cast<Value&>(*before) = std::move(value);
      return;
    }
    if (size_ == buckets_.size()) add_bucket();
    push(buckets_[place_of(key)], std::make_unique<Node>(key, std::move(value)));
    ++size_;
  }

  // False: there is none.
  bool erase(const Key& key) {
    if (size_ == 0) return false;
    Bucket* link = &buckets_[place_of(key)];
    while (*link && !((*link)->key == key)) link = &(*link)->next;
    if (!*link) return false;
    *link = std::move((*link)->next);
    --size_;
    if (size_ == 0) buckets_ = Buckets();
    for (int i = 0; i < 2 && size_ < buckets_.size() / 2; ++i) drop_bucket();
    return true;
  }

  void clear() {
    // One by one: a long list would be destroyed by as deep a recursion.
    for (Bucket& bucket : buckets_) {
      while (bucket) bucket = std::move(bucket->next);
    }
    buckets_ = Buckets();
    size_ = 0;
  }

 private:
  struct Node;
  using Bucket = std::unique_ptr<Node>;
  struct Node {
    Node(const Key& of, Value what) : key(of), value(std::move(what)) {}
    Bucket next;
    Key key;
    Value value;
  };
  // Grows without moving what is in it, and holds no memory while it is empty.
  using Buckets = boost::container::deque<Bucket>;

  std::size_t place_of(const Key& key) const {
    const std::size_t count = buckets_.size();
    const std::size_t of_all = std::bit_ceil(count);
    const std::size_t place = Hash()(key) & (of_all - 1);
    return place < count ? place : place - of_all / 2;
  }
  static std::size_t split_from(std::size_t place) { return place - std::bit_floor(place); }
  static void push(Bucket& to, Bucket node) {
    node->next = std::move(to);
    to = std::move(node);
  }

  void add_bucket() {
    const std::size_t place = buckets_.size();
    buckets_.emplace_back();
    if (place == 0) return;
    Bucket before = std::move(buckets_[split_from(place)]);
    while (before) {
      Bucket node = std::move(before);
      before = std::move(node->next);
      const std::size_t now = place_of(node->key);
      push(buckets_[now], std::move(node));
    }
  }

  void drop_bucket() {
    const std::size_t place = buckets_.size() - 1;
    Bucket rest = std::move(buckets_.back());
    buckets_.pop_back();
    while (rest) {
      Bucket node = std::move(rest);
      rest = std::move(node->next);
      push(buckets_[split_from(place)], std::move(node));
    }
  }

  void swap(SplitTable& other) noexcept {
    buckets_.swap(other.buckets_);
    std::swap(size_, other.size_);
  }

  Buckets buckets_;
  std::size_t size_ = 0;
};

}  // namespace millrace::broker
