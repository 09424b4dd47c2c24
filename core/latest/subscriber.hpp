// A subscriber: one reader of a topic, which remembers the version that it has seen last.
//
// Thread contract: one thread (or strand) at a time; different subscribers are independent.
// Invariants: a subscriber never gets a value twice or an older one after a newer one; values that
// it did not get are counted in `skipped_total`; it holds a reference to its topic. It must not be
// moved while a coroutine waits on it; if it is destroyed then, that wait ends with `closed`.
#pragma once

#include <atomic>
#include <cassert>
#include <chrono>
#include <concepts>
#include <coroutine>
#include <cstdint>
#include <optional>
#include <utility>

#include "core/base/clock.hpp"
#include "core/latest/topic.hpp"
#include "core/latest/wait_options.hpp"

namespace millrace::latest {

enum class News : std::uint8_t {
  fresh,    // a newer value
  nothing,  // none yet
  closed,   // no more values will come
};

/// The result of polling a topic. Unless it is `fresh`, value() and version() throw
/// base::BadResult, with Error::nothing_new or Error::closed.
template <typename T>
class [[nodiscard]] Poll {
 public:
  using Loaded = typename Slot<T>::Loaded;

  Poll(News news = News::nothing) noexcept : news_(news) {  // NOLINT(google-explicit-constructor)
    assert(news != News::fresh);
  }
  Poll(Versioned<Loaded>&& value, std::uint64_t skipped) noexcept
      : value_(std::move(value)), skipped_(skipped), news_(News::fresh) {}

  [[nodiscard]] News news() const noexcept { return news_; }
  explicit operator bool() const noexcept { return news_ == News::fresh; }

  [[nodiscard]] Loaded& value() & {
    require_fresh();
    return value_->value;
  }
  [[nodiscard]] const Loaded& value() const& {
    require_fresh();
    return value_->value;
  }
  [[nodiscard]] Loaded value() && {
    require_fresh();
    return std::move(value_->value);
  }
  [[nodiscard]] Version version() const {
    require_fresh();
    return value_->version;
  }
  /// How many values were replaced between the previous value that this subscriber got and this
  /// one.
  [[nodiscard]] std::uint64_t skipped() const noexcept { return skipped_; }

 private:
  void require_fresh() const {
    if (news_ == News::fresh) [[likely]]
      return;
    throw base::BadResult(news_ == News::closed ? Error::closed : Error::nothing_new);
  }

  std::optional<Versioned<Loaded>> value_;
  std::uint64_t skipped_ = 0;
  News news_;
};

/// Resumes a coroutine directly on the publisher's thread: for coroutines that do little when they
/// are resumed.
struct ResumeInline {
  void operator()(std::coroutine_handle<> coroutine) const { coroutine.resume(); }
};

template <typename T, typename Resume>
class NextValue;
template <typename T>
class ValueWaiter;

template <typename T>
class Subscriber {
 public:
  explicit Subscriber(Ref<Topic<T>> topic) noexcept
      : topic_(std::move(topic)), seen_(seen_before_newest(*topic_)), spin_(topic_->spin_max_ns_) {}
  ~Subscriber();
  Subscriber(Subscriber&&) noexcept = default;  // not while a coroutine waits on either
  Subscriber& operator=(Subscriber&&) noexcept = default;

  /// The newest value if it has not been returned yet.
  [[nodiscard]] Poll<T> try_get() noexcept {
    // A topic is closed after its last value: so check the version again after closed() was seen.
    if (topic_->version() <= seen_) {
      if (!topic_->closed()) return News::nothing;
      if (topic_->version() <= seen_) return News::closed;
    }
    return take();
  }

  /// For how long wait() spins before its thread sleeps; the topic's waiting, which is its bus's.
  [[nodiscard]] std::uint32_t spin_max_ns() const noexcept { return spin_.spin_max_ns(); }

  /// Blocks until there is a newer value or the topic is closed.
  [[nodiscard]] Poll<T> wait() { return wait_until(WaitClock::time_point::max()); }
  /// The same, for at most `duration`; then `nothing`.
  template <typename Rep, typename Period>
  [[nodiscard]] Poll<T> wait_for(std::chrono::duration<Rep, Period> duration) {
    return wait_until(base::deadline_after(duration));
  }
  [[nodiscard]] Poll<T> wait_until(WaitClock::time_point deadline);

  /// `co_await subscriber.async_wait(resume)`: the same without blocking a thread.
  /// `resume(coroutine)` is called on the publisher's thread and must have the coroutine resumed on
  /// its own executor, for instance `[executor](auto coroutine) { asio::post(executor, coroutine);
  /// }`. One wait at a time. In an asio::awaitable: core/latest/asio/async_wait.hpp.
  template <std::invocable<std::coroutine_handle<>> Resume = ResumeInline>
  [[nodiscard]] NextValue<T, Resume> async_wait(Resume resume = {}) {
    return NextValue<T, Resume>(*this, std::move(resume));
  }
  /// Ends such a wait with `nothing`; false if there is none, or if it is being resumed already. To
  /// be called on the thread or strand of the waiting coroutine.
  bool cancel() noexcept;

  /// How many values this subscriber did not get because newer ones replaced them.
  [[nodiscard]] std::uint64_t skipped_total() const noexcept { return skipped_total_; }
  [[nodiscard]] Version seen() const noexcept { return seen_; }
  [[nodiscard]] const Ref<Topic<T>>& topic() const noexcept { return topic_; }

 private:
  friend class ValueWaiter<T>;

  static Version seen_before_newest(const Topic<T>& topic) noexcept {
    const Version newest = topic.version();
    return newest == 0 ? 0 : newest - 1;
  }
  [[nodiscard]] Poll<T> sleep_until_news(WaitClock::time_point deadline);
  [[nodiscard]] Poll<T> take() noexcept {
    auto loaded = topic_->load();  // there is one: a topic's slot is never emptied
    assert(loaded && loaded->version > seen_);
    const std::uint64_t skipped = loaded->version - seen_ - 1;
    seen_ = loaded->version;
    skipped_total_ += skipped;
    return Poll<T>(std::move(*loaded), skipped);
  }

  Ref<Topic<T>> topic_;
  Version seen_;
  std::uint64_t skipped_total_ = 0;
  ValueWaiter<T>* waiting_ = nullptr;
  AdaptiveSpin spin_;
};

template <typename T>
Subscriber<T> Topic<T>::subscribe() {
  return Subscriber<T>(Ref<Topic>(this, true));
}

template <typename T>
Poll<T> Subscriber<T>::wait_until(WaitClock::time_point deadline) {
  Poll<T> poll = try_get();
  if (poll.news() != News::nothing) return poll;
  const auto start = WaitClock::now();
  const auto has_news = [&] { return topic_->version() > seen_ || topic_->closed(); };
  poll = spin_.spin(start, deadline, has_news) ? try_get() : sleep_until_news(deadline);
  spin_.learn(WaitClock::now() - start, poll.news() != News::nothing);
  return poll;
}

template <typename T>
Poll<T> Subscriber<T>::sleep_until_news(WaitClock::time_point deadline) {
  for (;;) {
    Poll<T> poll = try_get();
    if (poll.news() != News::nothing) return poll;
    ThreadWaiter waiter;
    if (!topic_->waiters_.wait(waiter, [&] { return topic_->has_news_since(seen_); })) continue;
    if (waiter.sleep_until(deadline)) continue;
    if (topic_->waiters_.leave(waiter)) return try_get();
    // It is being notified at this moment: `waiter` must not be destroyed before the notifier is
    // done.
    waiter.sleep();
  }
}

/// Waits for a subscriber's next value without blocking a thread: the base of awaiters and
/// adapters.
///
/// start() and finish() are called on the thread or strand of the waiting coroutine (or handler);
/// resume() is called once, on the publisher's thread, and has finish() called on the former.
/// Between start() and finish(), other threads do not access the subscriber.
template <typename T>
class ValueWaiter : private Waiter {
 protected:
  explicit ValueWaiter(Subscriber<T>& subscriber)
      : subscriber_(&subscriber), topic_(subscriber.topic_), seen_(subscriber.seen_) {}
  ~ValueWaiter() { abandon(); }

  /// False: there is news already, and resume() is not called. After true, resume() may have been
  /// called already, and this object may have been destroyed.
  [[nodiscard]] bool start() noexcept {
    assert(subscriber_->waiting_ == nullptr && "one wait at a time");
    subscriber_->waiting_ = this;
    Topic<T>& topic = *topic_;
    return topic.waiters_.wait(*this,
                               [&topic, seen = seen_] { return topic.has_news_since(seen); });
  }
  /// The outcome: `nothing` if the wait was cancelled, `closed` if the subscriber was destroyed.
  [[nodiscard]] Poll<T> finish() noexcept {
    if (subscriber_ == nullptr) return News::closed;
    subscriber_->waiting_ = nullptr;
    return subscriber_->try_get();
  }
  /// Ends the wait with `nothing`. On the thread or strand of the waiting coroutine.
  void stop() noexcept {
    if (subscriber_ != nullptr && subscriber_->waiting_ == this) subscriber_->cancel();
  }
  /// Removes this waiter from its topic's list and detaches it from the subscriber. False: it was
  /// not in the list; if start() has returned true, resume() has been called or is being called.
  bool abandon() noexcept {
    if (subscriber_ != nullptr && subscriber_->waiting_ == this) subscriber_->waiting_ = nullptr;
    subscriber_ = nullptr;
    // The order matters: first `cancelled_`, then the list. A publisher that has removed this
    // waiter and finds no news checks `cancelled_` under the list's lock before it adds the waiter
    // again.
    cancelled_.store(true, std::memory_order_relaxed);
    return topic_->waiters_.leave(*this);
  }

 private:
  friend class Subscriber<T>;

  virtual void resume() noexcept = 0;

  bool cancel() noexcept {
    cancelled_.store(true, std::memory_order_relaxed);  // before the list's lock, as in abandon()
    return topic_->waiters_.cancel(*this);
  }
  void notify() noexcept final {
    // By the time a publisher notifies, its value may have been taken already, and this waiter
    // waits for the next one: then it is added to the list again. After that, nothing of it is
    // accessed.
    Topic<T>& topic = *topic_;
    const auto over = [&] {
      return cancelled_.load(std::memory_order_relaxed) || topic.has_news_since(seen_);
    };
    if (!topic.waiters_.wait(*this, over)) resume();
  }

  Subscriber<T>* subscriber_;  // null once it was destroyed, or the wait was abandoned
  const Ref<Topic<T>> topic_;
  const Version seen_;
  std::atomic<bool> cancelled_{false};
};

template <typename T>
bool Subscriber<T>::cancel() noexcept {
  ValueWaiter<T>* const waiter = std::exchange(waiting_, nullptr);
  return waiter != nullptr && waiter->cancel();
}

template <typename T>
Subscriber<T>::~Subscriber() {
  if (waiting_ == nullptr) return;
  waiting_->subscriber_ = nullptr;
  waiting_->cancel();
}

/// The awaiter of a NextValue.
template <typename T, typename Resume>
class NextValueAwaiter final : private ValueWaiter<T> {
 public:
  NextValueAwaiter(Subscriber<T>& subscriber, Resume resume)
      : ValueWaiter<T>(subscriber), poll_(subscriber.try_get()), resume_(std::move(resume)) {}

  [[nodiscard]] bool await_ready() const noexcept { return poll_.news() != News::nothing; }
  [[nodiscard]] bool await_suspend(std::coroutine_handle<> coroutine) {
    coroutine_ = coroutine;
    return this->start();  // this awaiter may be destroyed by now: no access after it
  }
  [[nodiscard]] Poll<T> await_resume() noexcept {
    return await_ready() ? std::move(poll_) : this->finish();
  }

 private:
  void resume() noexcept override {
    Resume resume = std::move(resume_);
    resume(coroutine_);
  }

  Poll<T> poll_;
  Resume resume_;
  std::coroutine_handle<> coroutine_;
};

/// Returned by async_wait(), to be awaited at once. A coroutine that is suspended on it may be
/// destroyed if its resumption has not begun and cannot begin meanwhile on another thread: by the
/// only thread that publishes, also while that resumes other coroutines, or when none publishes.
/// Otherwise call cancel(): whether it returns true or false, the coroutine is resumed and may end.
template <typename T, typename Resume>
class [[nodiscard]] NextValue {
 public:
  NextValue(Subscriber<T>& subscriber, Resume resume)
      : subscriber_(subscriber), resume_(std::move(resume)) {}

  NextValueAwaiter<T, Resume> operator co_await() && {
    return NextValueAwaiter<T, Resume>(subscriber_, std::move(resume_));
  }

  /// Makes this an operation for Asio's completion tokens, and so for `co_await` in an
  /// asio::awaitable, if core/latest/asio/async_wait.hpp is included.
  template <typename Token>
  auto operator()(Token&& token) && -> decltype(initiate_async_wait(std::declval<Subscriber<T>&>(),
                                                                    std::forward<Token>(token))) {
    return initiate_async_wait(subscriber_, std::forward<Token>(token));
  }

 private:
  Subscriber<T>& subscriber_;
  Resume resume_;
};

}  // namespace millrace::latest
