// A subscriber: one reader's place in a topic, that is, which version it has seen last.
//
// Who may call it: one thread (or strand) at a time; any number of subscribers beside each other.
// Always holds: a subscriber never gets a value twice or an older one after a newer; what it did
// not get is counted in `skipped_total`; it holds its topic.
#pragma once

#include <atomic>
#include <chrono>
#include <concepts>
#include <coroutine>
#include <cstdint>
#include <optional>
#include <utility>

#include "core/base/pause.hpp"
#include "core/latest/topic.hpp"

namespace millrace::latest {

enum class News : std::uint8_t {
  fresh,    // a newer value
  nothing,  // none yet
  closed,   // none will come any more
};

/// The answer of a look into a topic.
template <typename T>
class Poll {
 public:
  using Loaded = typename Slot<T>::Loaded;

  Poll(News news) noexcept : news_(news) {}  // NOLINT(google-explicit-constructor)
  Poll(Versioned<Loaded>&& value, std::uint64_t skipped) noexcept
      : value_(std::move(value)), skipped_(skipped), news_(News::fresh) {}

  [[nodiscard]] News news() const noexcept { return news_; }
  explicit operator bool() const noexcept { return news_ == News::fresh; }

  // Only of fresh news:
  [[nodiscard]] Loaded& value() noexcept { return value_->value; }
  [[nodiscard]] const Loaded& value() const noexcept { return value_->value; }
  [[nodiscard]] Version version() const noexcept { return value_->version; }
  /// How many values came and went between the one before and this one.
  [[nodiscard]] std::uint64_t skipped() const noexcept { return skipped_; }

 private:
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

/// A coroutine that waits. Whoever cancels says so before it takes it out of the list.
class AsyncWaiter : public Waiter {
 public:
  void cancel() noexcept { cancelled_.store(true, std::memory_order_relaxed); }

 protected:
  ~AsyncWaiter() = default;
  /// Asked under the list's lock, which a canceller takes afterwards.
  [[nodiscard]] bool cancelled() const noexcept {
    return cancelled_.load(std::memory_order_relaxed);
  }

 private:
  std::atomic<bool> cancelled_{false};
};

template <typename T>
class Subscriber {
 public:
  /// `spins`: how often `wait` looks before it lets the thread sleep.
  explicit Subscriber(Ref<Topic<T>> topic, unsigned spins = 0) noexcept
      : topic_(std::move(topic)), seen_(seen_before_newest(*topic_)), spins_(spins) {}
  Subscriber(Subscriber&&) noexcept = default;  // not while somebody waits on it
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
    const auto now = WaitClock::now();
    const auto longest = WaitClock::time_point::max() - now;
    return duration >= longest ? wait()
                               : wait_until(now + std::chrono::ceil<WaitClock::duration>(duration));
  }
  [[nodiscard]] Poll<T> wait_until(WaitClock::time_point deadline);

  /// `co_await subscriber.async_wait(resume)`: the same without a thread. `resume(coroutine)` is
  /// called on the publisher's thread and has to see that the coroutine is resumed where it
  /// belongs, say `[executor](auto coroutine) { asio::post(executor, coroutine); }`.
  /// One wait at a time; the subscriber stays where it is meanwhile.
  template <std::invocable<std::coroutine_handle<>> Resume = ResumeInline>
  [[nodiscard]] NextValue<T, Resume> async_wait(Resume resume = {}) {
    return NextValue<T, Resume>(*this, std::move(resume));
  }
  /// Ends such a wait with `nothing`; false if there is none, or news are on their way to it
  /// already. To be called where the waiting coroutine runs.
  bool cancel() noexcept {
    AsyncWaiter* const waiter = std::exchange(waiting_, nullptr);
    if (waiter == nullptr) return false;
    waiter->cancel();
    return topic_->waiters_.cancel(*waiter);
  }

  /// How many values this subscriber has not got because a newer one replaced them.
  [[nodiscard]] std::uint64_t skipped_total() const noexcept { return skipped_total_; }
  [[nodiscard]] Version seen() const noexcept { return seen_; }
  [[nodiscard]] const Ref<Topic<T>>& topic() const noexcept { return topic_; }

 private:
  template <typename, typename>
  friend class NextValue;

  static Version seen_before_newest(const Topic<T>& topic) noexcept {
    const Version newest = topic.version();
    return newest == 0 ? 0 : newest - 1;
  }
  [[nodiscard]] Poll<T> take() noexcept {
    auto loaded = topic_->load();  // there is one: a topic's slot is never emptied
    const std::uint64_t skipped = loaded->version - seen_ - 1;
    seen_ = loaded->version;
    skipped_total_ += skipped;
    return Poll<T>(std::move(*loaded), skipped);
  }

  Ref<Topic<T>> topic_;
  Version seen_;
  std::uint64_t skipped_total_ = 0;
  AsyncWaiter* waiting_ = nullptr;
  unsigned spins_;
};

template <typename T>
Subscriber<T> Topic<T>::subscribe() {
  return Subscriber<T>(Ref<Topic>(this, true));
}

template <typename T>
Poll<T> Subscriber<T>::wait_until(WaitClock::time_point deadline) {
  for (;;) {
    Poll<T> poll = try_get();
    for (unsigned i = 0; i < spins_ && poll.news() == News::nothing; ++i) {
      base::pause();
      poll = try_get();
    }
    if (poll.news() != News::nothing) return poll;
    ThreadWaiter waiter;
    if (!topic_->waiters_.wait(waiter, [&] { return topic_->has_news_since(seen_); })) continue;
    if (waiter.sleep_until(deadline)) continue;
    if (topic_->waiters_.leave(waiter)) return try_get();
    waiter.sleep();  // just being notified: the notifier must be done with it before it goes
  }
}

/// What async_wait() returns. A coroutine that is suspended here may be destroyed, unless its
/// resumption is on its way already: cancel first.
template <typename T, typename Resume>
class NextValue final : private AsyncWaiter {
 public:
  NextValue(Subscriber<T>& subscriber, Resume resume)
      : subscriber_(subscriber), resume_(std::move(resume)) {}
  ~NextValue() {
    if (subscriber_.waiting_ == this) subscriber_.topic_->waiters_.leave(*this);
  }

  [[nodiscard]] bool await_ready() noexcept {
    poll_ = subscriber_.try_get();
    return poll_.news() != News::nothing;
  }
  [[nodiscard]] bool await_suspend(std::coroutine_handle<> coroutine) {
    coroutine_ = coroutine;
    subscriber_.waiting_ = this;
    Topic<T>& topic = *subscriber_.topic_;
    const Version seen = subscriber_.seen_;
    // Once it waits it may be resumed, and this object be gone: nothing is touched after.
    return topic.waiters_.wait(*this, [&] { return topic.has_news_since(seen); });
  }
  [[nodiscard]] Poll<T> await_resume() noexcept {
    subscriber_.waiting_ = nullptr;
    return poll_.news() == News::nothing ? subscriber_.try_get() : std::move(poll_);
  }

 private:
  void notify() noexcept override {
    // A publisher may have found somebody waiting who had its value before it came to notify: then
    // this one, which waits for the next, goes on waiting. Nothing is touched after.
    Topic<T>& topic = *subscriber_.topic_;
    const Version seen = subscriber_.seen_;
    const auto over = [&] { return cancelled() || topic.has_news_since(seen); };
    if (topic.waiters_.wait(*this, over)) return;
    Resume resume = std::move(resume_);
    resume(coroutine_);
  }

  Subscriber<T>& subscriber_;
  Resume resume_;
  std::coroutine_handle<> coroutine_;
  Poll<T> poll_ = News::nothing;
};

}  // namespace millrace::latest
