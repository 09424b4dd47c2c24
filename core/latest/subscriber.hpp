// A subscriber: one reader's place in a topic, that is, which version it has seen last.
//
// Who may call it: one thread (or strand) at a time; any number of subscribers beside each other.
// Always holds: a subscriber never gets a value twice or an older one after a newer; what it did
// not get is counted in `skipped_total`; it holds its topic. While a coroutine waits on it, it is
// not moved; if it is destroyed, that wait ends with `closed`.
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
  closed,   // none will come any more
};

/// The answer of a look into a topic. value() and version() of anything but fresh news throw
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
  /// How many values came and went between the one before and this one.
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

/// Resumes a coroutine where it stands, on the publisher's thread: for coroutines that only take
/// note.
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
  Subscriber(Subscriber&&) noexcept = default;  // not while somebody waits on either
  Subscriber& operator=(Subscriber&&) noexcept = default;

  /// The newest value if it has not been returned yet.
  [[nodiscard]] Poll<T> try_get() noexcept {
    // Closing comes after the last value, so only who looks again after it may say `closed`.
    if (topic_->version() <= seen_) {
      if (!topic_->closed()) return News::nothing;
      if (topic_->version() <= seen_) return News::closed;
    }
    return take();
  }

  /// Blocks until there is a newer value, or none will come.
  [[nodiscard]] Poll<T> wait() { return wait_until(WaitClock::time_point::max()); }
  /// The same for at most so long; then `nothing`.
  template <typename Rep, typename Period>
  [[nodiscard]] Poll<T> wait_for(std::chrono::duration<Rep, Period> duration) {
    return wait_until(base::deadline_after(duration));
  }
  [[nodiscard]] Poll<T> wait_until(WaitClock::time_point deadline);

  /// `co_await subscriber.async_wait(resume)`: the same without a thread. `resume(coroutine)` is
  /// called on the publisher's thread and has to see that the coroutine is resumed where it
  /// belongs, say `[executor](auto coroutine) { asio::post(executor, coroutine); }`.
  /// One wait at a time. In an asio::awaitable: core/latest/asio/async_wait.hpp.
  template <std::invocable<std::coroutine_handle<>> Resume = ResumeInline>
  [[nodiscard]] NextValue<T, Resume> async_wait(Resume resume = {}) {
    return NextValue<T, Resume>(*this, std::move(resume));
  }
  /// Ends such a wait with `nothing`; false if there is none, or news are on their way to it
  /// already. To be called where the waiting coroutine runs.
  bool cancel() noexcept;

  /// How many values this subscriber has not got because a newer one replaced them.
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
    waiter.sleep();  // just being notified: the notifier must be done with it before it goes
  }
}

/// Waits for a subscriber's next value without a thread: what awaiters and adapters derive from.
///
/// start() and finish() are called where the waiting coroutine (or handler) runs; resume() is called
/// once, on the publisher's thread, and sees that finish() is called there. Between the two nothing
/// of the subscriber is touched by another thread.
template <typename T>
class ValueWaiter : private Waiter {
 protected:
  explicit ValueWaiter(Subscriber<T>& subscriber)
      : subscriber_(&subscriber), topic_(subscriber.topic_), seen_(subscriber.seen_) {}
  ~ValueWaiter() { abandon(); }

  /// False: there is news already, and resume() is not called. After true it may have been called,
  /// and this object be gone.
  [[nodiscard]] bool start() noexcept {
    assert(subscriber_->waiting_ == nullptr && "one wait at a time");
    subscriber_->waiting_ = this;
    Topic<T>& topic = *topic_;
    return topic.waiters_.wait(*this,
                               [&topic, seen = seen_] { return topic.has_news_since(seen); });
  }
  /// The outcome: `nothing` if the wait was cancelled, `closed` if the subscriber is gone.
  [[nodiscard]] Poll<T> finish() noexcept {
    if (subscriber_ == nullptr) return News::closed;
    subscriber_->waiting_ = nullptr;
    return subscriber_->try_get();
  }
  /// Ends the wait with `nothing`, where the waiting coroutine runs.
  void stop() noexcept {
    if (subscriber_ != nullptr && subscriber_->waiting_ == this) subscriber_->cancel();
  }
  /// Takes it out of its topic's list and lets go of the subscriber. False: it was out already, and
  /// resume() has been, or is just being, called, if ever start() returned true.
  bool abandon() noexcept {
    if (subscriber_ != nullptr && subscriber_->waiting_ == this) subscriber_->waiting_ = nullptr;
    subscriber_ = nullptr;
    // The canceller's protocol, in this order: a publisher that has taken this waiter out and still
    // finds no news asks for the mark, under the list's lock, before it puts the waiter back.
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
    // A publisher may have found somebody waiting who had its value before it came to notify: then
    // this one, which waits for the next, goes on waiting. Nothing is touched after.
    Topic<T>& topic = *topic_;
    const auto over = [&] {
      return cancelled_.load(std::memory_order_relaxed) || topic.has_news_since(seen_);
    };
    if (!topic.waiters_.wait(*this, over)) resume();
  }

  Subscriber<T>* subscriber_;  // null once it is gone, or nobody wants its value any more
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
    return this->start();  // after which nothing is touched
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

/// What async_wait() returns, to be awaited at once. A coroutine that is suspended on it may be
/// destroyed, unless its resumption is on its way already: cancel first.
template <typename T, typename Resume>
class [[nodiscard]] NextValue {
 public:
  NextValue(Subscriber<T>& subscriber, Resume resume)
      : subscriber_(subscriber), resume_(std::move(resume)) {}

  NextValueAwaiter<T, Resume> operator co_await() && {
    return NextValueAwaiter<T, Resume>(subscriber_, std::move(resume_));
  }

  /// Makes it an operation for Asio's completion tokens, and so for `co_await` in an
  /// asio::awaitable, once core/latest/asio/async_wait.hpp is included.
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
