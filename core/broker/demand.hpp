// Demand: whether anybody here subscribes to something that a filter covers or that covers it, for
// who brings such messages from elsewhere only while they are wanted (a link to another broker).
//
// Subscriptions of clients, shared groups and local readers count; those of whoever asks do not. They
// are counted when they come and go. Those that were there before a watch began are counted by a
// walk over the index, a slice in each batch, which may end among the subscriptions of one place. Up to
// there the index is in the counts, and only subscriptions before it change them.
//
// What always holds: after its walk, a watch's counts are those of the subscriptions in the index;
// who watches is told nothing before that, and then whenever an answer changes, once a batch.
//
// Threads: the processor's holder alone.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/broker/subscription_index.hpp"

namespace millrace::broker {

struct WatchRequest;

class Demand final : private SubscriptionIndex::Observer {
 public:
  explicit Demand(SubscriptionIndex& index) : index_(index) {}
  ~Demand();
  Demand(const Demand&) = delete;
  Demand& operator=(const Demand&) = delete;

  // In the place of what the same origin watched before.
  void watch(WatchRequest request);

  // At the end of a batch: walks over so many more places and subscriptions of the index for each
  // watch, and tells what changed. True: something is left to walk over.
  bool step(std::uint32_t budget);
  // Nothing is watched, or all that is to be said is said.
  bool at_rest() const { return at_rest_; }

  // What the next subscription costs here, in units of work.
  std::uint64_t units() const { return filters_ / filters_per_unit; }

 private:
  static constexpr std::uint64_t filters_per_unit = 16;

  struct Watched {
    std::string filter;
    std::uint64_t subscriptions = 0;  // that overlap it
  };
  struct Watch {
    std::uint16_t origin = 0;
    std::vector<Watched> filters;
    std::function<void(std::vector<bool>)> tell;
    SubscriptionIndex::Place counted_to = 0;  // the places before it are counted
    std::uint32_t counted_in = 0;             // and so many of its subscriptions
    std::vector<bool> told;
    bool has_told = false;

    bool concerns(const Subscription& subscription) const;
    void count(const Subscription& subscription, std::uint64_t by);
    // False: something is left.
    bool count_some(const SubscriptionIndex& index, std::uint32_t budget);
    void remove_from_counted(std::span<Subscription* const> there, const Subscription& gone);
    void tell_changes();
  };

  void added(SubscriptionIndex::Place place, const Subscription& subscription) override;
  void removed(SubscriptionIndex::Place place, const Subscription& subscription) override;

  SubscriptionIndex& index_;
  std::vector<Watch> watches_;  // of links: few
  std::uint64_t filters_ = 0;   // of all watches
  bool at_rest_ = true;
};

}  // namespace millrace::broker
