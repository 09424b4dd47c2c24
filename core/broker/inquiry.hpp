// Inquiry: a question about sessions and subscriptions that somebody beside the processor has (the
// management API), answered by the processor itself, a slice in each batch, so that a walk over a
// hundred thousand sessions holds up no message.
//
// Inquiries are answered one after the other. A session that comes or goes meanwhile may be seen or
// not; one that is there throughout is seen at least once.
//
// Threads: made by a front-end, stepped by the processor's holder, destroyed there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>

namespace millrace::broker {

class Sessions;
class SubscriptionIndex;
struct ProcessorLimits;

class Inquiry {
 public:
  // What it may look at, as of the end of a batch.
  struct Scope {
    const Sessions& sessions;
    const SubscriptionIndex& index;
    const ProcessorLimits& limits;
    std::int64_t now_ns = 0;
  };

  virtual ~Inquiry() = default;
  // Looks at about `budget` sessions more. True: it has its answer, or nobody waits for it.
  virtual bool step(const Scope& scope, std::uint32_t budget) = 0;
};

// The place of a walk over all sessions: Sessions::walk().
struct SessionCursor {
  std::size_t bucket = 0;  // the next one
  std::size_t bucket_count = 0;
  std::uint32_t begun = 0;  // how often: what was seen before the last time is seen again
  bool done = false;
};

class Inquiries {
 public:
  void add(std::unique_ptr<Inquiry> inquiry) { waiting_.push_back(std::move(inquiry)); }
  bool empty() const { return waiting_.empty(); }
  // The first one's next slice.
  void step(const Inquiry::Scope& scope, std::uint32_t budget) {
    if (waiting_.front()->step(scope, budget)) waiting_.pop_front();
  }

 private:
  std::deque<std::unique_ptr<Inquiry>> waiting_;
};

}  // namespace millrace::broker
