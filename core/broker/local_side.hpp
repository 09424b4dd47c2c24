// LocalSide: the processor's side of local consumers (core/shm): which rings and tables there are,
// and what goes into them. A feed is either of the two.
//
// A ring or a table is in the subscription index as subscriptions without a session, so that
// the cached route of a topic names its feeds, and one that comes or goes invalidates only the
// routes that it touches. Requests from the control socket are applied at the end of the batch,
// after its values are stored: so a reader that starts at `latest` finds every value in its
// snapshot or in the ring.
//
// Threads: the processor's holder alone; figures() any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/broker/command.hpp"
#include "core/broker/session.hpp"
#include "core/broker/subscription_index.hpp"
#include "core/broker/topic_table.hpp"
#include "core/shm/control/registry.hpp"

namespace millrace::broker {

class LocalSide final : public shm::Registry::Watcher {
 public:
  // `deliver` passes replies to the control socket's thread; called at most once a batch.
  using Deliver = std::function<void(std::vector<shm::Outgoing>)>;

  LocalSide(const shm::RegistryOptions& options, SubscriptionIndex& index, TopicTable& topics,
            Deliver deliver);
  ~LocalSide() override;

  // Before the first batch; false: the system refuses the memory.
  bool declare(const std::string& filter, shm::Policy policy) {
    return core_.declare(filter, policy);
  }

  // The beginning of the batch, and the time of day (CLOCK_REALTIME) that its frames carry.
  void begin(std::uint64_t time_of_day_ns) { time_of_day_ns_ = time_of_day_ns; }
  // Until the end of the batch.
  void hold(std::unique_ptr<LocalRequest> request);

  // Each message, to the rings that match it.
  void append(std::span<shm::Feed* const> feeds, const Message& message);
  // Each topic's newest value of the batch, to the tables that match it.
  void store(std::span<shm::Feed* const> feeds, const Message& newest);
  // The end of the batch, after its values are stored; `sequence` is that of the last publish.
  // True: there is more to do and no command has to come for it.
  bool finish(std::int64_t now_ns, std::uint64_t sequence);
  // When a batch is needed even if no command comes; INT64_MAX: never.
  std::int64_t next_deadline_ns() const;

  shm::Registry::Figures figures() const;

  // --- Registry::Watcher ---
  void feed_made(shm::Feed& feed) override;
  void feed_ends(shm::Feed& feed) override;
  std::unique_ptr<shm::NewestWalk> walk_newest(const std::vector<std::string>& filters) override;
  bool newest(std::string_view filter, std::string_view topic, std::string& payload,
              std::uint8_t& flags) override;

 private:
  void apply(LocalRequest& request);

  SubscriptionIndex& index_;
  TopicTable& topics_;
  const Deliver deliver_;
  std::unordered_map<shm::Feed*, std::vector<std::unique_ptr<Subscription>>> subscriptions_;
  std::vector<std::unique_ptr<LocalRequest>> held_;
  std::int64_t now_ns_ = 0;     // of the batch, from finish() on
  std::uint64_t sequence_ = 0;  // the same
  std::uint64_t appends_ = 0;   // calls of append(): tells which rings have the message already
  std::int64_t ticked_at_ns_ = 0;
  std::uint64_t time_of_day_ns_ = 0;  // of the batch
  shm::Registry core_;                // last: it tells us of its feeds' end
  mutable std::mutex figures_mutex_;
  shm::Registry::Figures figures_;  // under figures_mutex_; the two below are the holder's alone
  bool figures_are_old_ = true;
  std::int64_t figures_at_ns_ = 0;
};

}  // namespace millrace::broker
