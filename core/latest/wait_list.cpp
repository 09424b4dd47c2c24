#include "core/latest/wait_list.hpp"

#include "core/base/futex.hpp"

namespace millrace::latest {

bool WaitList::leave(Waiter& waiter) noexcept {
  const std::lock_guard guard(lock_);
  if (waiter.link_ == nullptr) return false;
  unlink(waiter);
  return true;
}

bool WaitList::cancel(Waiter& waiter) noexcept {
  if (!leave(waiter)) return false;
  waiter.notify();
  return true;
}

void WaitList::link(Waiter& waiter, const void* key) noexcept {
  waiter.key_ = key;
  put_first(first_, waiter);
}

void WaitList::put_first(Waiter*& first, Waiter& waiter) noexcept {
  waiter.next_ = first;
  waiter.link_ = &first;
  if (first != nullptr) first->link_ = &waiter.next_;
  first = &waiter;
}

void WaitList::take_out(Waiter& waiter) noexcept {
  *waiter.link_ = waiter.next_;
  if (waiter.next_ != nullptr) waiter.next_->link_ = waiter.link_;
  waiter.link_ = nullptr;
}

void WaitList::unlink(Waiter& waiter) noexcept {
  take_out(waiter);
  waiting_.fetch_sub(1, std::memory_order_relaxed);
}

std::uint32_t WaitList::notify(const void* key, bool all) noexcept {
  // In a list of their own, so that one which waits again is not notified again. It is guarded by
  // the lock too: until its turn comes, each of them may still leave(), and be destroyed.
  Waiter* chosen = nullptr;
  {
    const std::lock_guard guard(lock_);
    for (Waiter* waiter = first_; waiter != nullptr;) {
      Waiter* next = waiter->next_;
      if (all || waiter->key_ == key) {
        take_out(*waiter);
        put_first(chosen, *waiter);
      }
      waiter = next;
    }
  }
  for (std::uint32_t count = 0;; ++count) {
    Waiter* waiter = nullptr;
    {
      const std::lock_guard guard(lock_);
      if (chosen == nullptr) return count;
      waiter = chosen;
      unlink(*waiter);
    }
    waiter->notify();
  }
}

bool ThreadWaiter::sleep_until(WaitClock::time_point deadline) noexcept {
  // Acquire pairs with notify().
  while (notified_.load(std::memory_order_acquire) == 0) {
    if (deadline != WaitClock::time_point::max() && WaitClock::now() >= deadline) return false;
    base::futex_wait(notified_, 0, deadline, base::Scope::process);
  }
  return true;
}

void ThreadWaiter::notify() noexcept {
  std::atomic<std::uint32_t>& word = notified_;
  word.store(1, std::memory_order_release);
  // From here on this object may have been destroyed. FUTEX_WAKE uses only the address: at worst it
  // wakes a thread that sleeps on another word there, which checks that word and sleeps again.
  base::futex_wake(word, base::Scope::process, 1);
}

}  // namespace millrace::latest
