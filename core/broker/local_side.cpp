#include "core/broker/local_side.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

#include "core/broker/check.hpp"
#include "core/broker/topic_hash.hpp"
#include "protocol/topic.hpp"

namespace millrace::broker {
namespace {

constexpr std::int64_t figures_interval_ns = 200'000'000;
constexpr std::int64_t tick_interval_ns = 50'000'000;

std::uint8_t flags_of(const Message& message) {
  return static_cast<std::uint8_t>((message.retain ? shm::frame_retain : 0) | message.qos << 1);
}

std::span<const std::byte> payload_of(const Message& message) {
  return std::as_bytes(message.payload());
}

// The newest values published before a moment: what is published later is in the feed already. One
// filter after the other; a topic that an earlier one matches is left out. The times are those of
// the batch in which a step is done.
class StoredValues final : public shm::NewestWalk {
 public:
  StoredValues(TopicTable& topics, const std::vector<std::string>& filters, std::uint64_t since,
               const std::int64_t& now_ns, const std::uint64_t& time_of_day_ns)
      : topics_(topics),
        filters_(filters),
        walk_{filters_[0]},
        since_(since),
        now_ns_(now_ns),
        time_of_day_ns_(time_of_day_ns) {}

  Step step(shm::NewestValue& value) override {
    Topic* topic = nullptr;
    const TopicWalk::Step step = walk_.step(topics_, topic);
    if (step == TopicWalk::Step::end) {
      if (++filter_ == filters_.size()) return Step::end;
      walk_ = TopicWalk{filters_[filter_]};
      return Step::other;
    }
    if (step == TopicWalk::Step::other || topic->sequence > since_) return Step::other;
    if (topic->newest() == nullptr || was_seen(topic->name())) return Step::other;
    message_ = message_of(BufferRef(topic->newest()));
    if (message_.payload_bytes() == 0) return Step::other;
    if (message_.expires_at_s != 0 && message_.expires_at_s <= clock_seconds(now_ns_)) {
      return Step::other;
    }
    const std::int64_t age_ns = now_ns_ - message_.buffer->received_ns;
    value = {message_.topic(), payload_of(message_), flags_of(message_),
             time_of_day_ns_ - static_cast<std::uint64_t>(std::max<std::int64_t>(age_ns, 0))};
    return Step::value;
  }

 private:
  bool was_seen(std::string_view topic) const {
    return std::any_of(filters_.begin(), filters_.begin() + static_cast<std::ptrdiff_t>(filter_),
                       [&](const std::string& filter) { return protocol::matches(filter, topic); });
  }

  TopicTable& topics_;
  const std::vector<std::string> filters_;
  std::size_t filter_ = 0;
  TopicWalk walk_;
  const std::uint64_t since_;
  const std::int64_t& now_ns_;
  const std::uint64_t& time_of_day_ns_;
  Message message_;
};

}  // namespace

LocalSide::LocalSide(const shm::RegistryOptions& options, SubscriptionIndex& index,
                     TopicTable& topics, Deliver deliver)
    : index_(index), topics_(topics), deliver_(std::move(deliver)), core_(options, *this) {}

LocalSide::~LocalSide() {
  core_.close();
}

void LocalSide::hold(std::unique_ptr<LocalRequest> request) {
  assert(request != nullptr);
  held_.push_back(std::move(request));
}

void LocalSide::append(std::span<shm::Feed* const> feeds, const Message& message) {
  MILLRACE_CHECK(!feeds.empty() && message);
  figures_are_old_ = true;
  ++appends_;
  for (shm::Feed* feed : feeds) {
    // A ring stands here once for each of its filters that match.
    if (feed->ring && std::exchange(feed->last_append, appends_) != appends_) {
      core_.append(*feed, message.topic(), payload_of(message), flags_of(message), time_of_day_ns_);
    }
  }
}

void LocalSide::store(std::span<shm::Feed* const> feeds, const Message& newest) {
  for (shm::Feed* feed : feeds) {
    if (!feed->table) continue;
    if (newest.payload_bytes() == 0) {
      feed->table->clear(newest.topic(), time_of_day_ns_);
    } else {
      feed->table->store(newest.topic(), payload_of(newest), flags_of(newest), time_of_day_ns_);
    }
  }
}

bool LocalSide::finish(std::int64_t now_ns, std::uint64_t sequence) {
  assert(now_ns >= now_ns_ && sequence >= sequence_);
  now_ns_ = now_ns;
  sequence_ = sequence;
  const auto now = static_cast<std::uint64_t>(now_ns);
  core_.release(now);
  for (auto& request : std::exchange(held_, {})) apply(*request);
  const bool has_more = core_.work(now);
  if (core_.needs_ticks() && now_ns >= ticked_at_ns_ + tick_interval_ns) {
    ticked_at_ns_ = now_ns;
    core_.tick(now);
    figures_are_old_ = true;
  }
  auto outgoing = core_.take_outgoing();
  if (!outgoing.empty()) deliver_(std::move(outgoing));
  if (figures_are_old_ && now_ns >= figures_at_ns_ + figures_interval_ns) {
    figures_at_ns_ = now_ns;
    figures_are_old_ = false;
    std::lock_guard lock(figures_mutex_);
    figures_ = core_.figures();
  }
  return has_more;
}

std::int64_t LocalSide::next_deadline_ns() const {
  std::int64_t deadline = INT64_MAX;
  if (core_.needs_ticks()) deadline = ticked_at_ns_ + tick_interval_ns;
  if (figures_are_old_) deadline = std::min(deadline, figures_at_ns_ + figures_interval_ns);
  return deadline;
}

void LocalSide::apply(LocalRequest& request) {
  const auto now = static_cast<std::uint64_t>(now_ns_);
  figures_are_old_ = true;
  if (request.what == LocalRequest::What::gone) return core_.gone(request.client, now);
  core_.handle(request.client, std::move(request.request), now);
}

shm::Registry::Figures LocalSide::figures() const {
  std::lock_guard lock(figures_mutex_);
  return figures_;
}

void LocalSide::feed_made(shm::Feed& feed) {
  auto& subscriptions = subscriptions_[&feed];
  assert(subscriptions.empty() && !feed.filters.empty());
  for (const std::string& filter : feed.filters) {
    auto& subscription = subscriptions.emplace_back(Subscription::make(filter, filter));
    subscription->extras.write().feed = &feed;
    index_.add(subscription->filter(), subscription.get());
  }
}

void LocalSide::feed_ends(shm::Feed& feed) {
  const auto found = subscriptions_.find(&feed);
  assert(found != subscriptions_.end());
  for (const auto& subscription : found->second) {
    index_.remove(subscription->filter(), subscription.get());
  }
  subscriptions_.erase(found);
}

std::unique_ptr<shm::NewestWalk> LocalSide::walk_newest(const std::vector<std::string>& filters) {
  assert(!filters.empty());
  return std::make_unique<StoredValues>(topics_, filters, sequence_, now_ns_, time_of_day_ns_);
}

bool LocalSide::newest(std::string_view filter, std::string_view name, std::string& payload,
                       std::uint8_t& flags) {
  const Topic* topic = topics_.find(topic_hash(name), name);
  if (topic == nullptr || topic->newest() == nullptr) return false;
  if (!protocol::matches(filter, name)) return false;
  const Message message = message_of(BufferRef(topic->newest()));
  if (message.payload_bytes() == 0) return false;
  payload.assign(reinterpret_cast<const char*>(message.payload().data()), message.payload().size());
  flags = flags_of(message);
  return true;
}

}  // namespace millrace::broker
