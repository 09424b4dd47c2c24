#include "core/broker/local_side.hpp"

#include <algorithm>
#include <cassert>
#include <ctime>
#include <utility>

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

std::uint64_t real_time_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec);
}

// Newest values of before a moment: what is published later is in the feed already.
class StoredValues final : public shm::NewestWalk {
 public:
  StoredValues(TopicTable& topics, const std::string& filter, std::uint64_t since,
               const std::int64_t& now_ns)
      : topics_(topics), filter_(filter), walk_{filter_}, since_(since), now_ns_(now_ns) {}

  Step step(shm::NewestValue& value) override {
    Topic* topic = nullptr;
    const TopicWalk::Step step = walk_.step(topics_, topic);
    if (step == TopicWalk::Step::end) return Step::end;
    if (step == TopicWalk::Step::other || topic->sequence > since_) return Step::other;
    if (topic->newest() == nullptr) return Step::other;
    message_ = message_of(BufferRef(topic->newest()));
    if (message_.payload_bytes() == 0) return Step::other;
    if (message_.expires_at_s != 0 && message_.expires_at_s <= clock_seconds(now_ns_)) {
      return Step::other;
    }
    const std::int64_t age_ns = now_ns_ - message_.buffer->received_ns;
    value = {message_.topic(), payload_of(message_), flags_of(message_),
             real_time_ns() - static_cast<std::uint64_t>(std::max<std::int64_t>(age_ns, 0))};
    return Step::value;
  }

 private:
  TopicTable& topics_;
  const std::string filter_;
  TopicWalk walk_;
  const std::uint64_t since_;
  const std::int64_t& now_ns_;
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
  held_.push_back(std::move(request));
}

std::uint64_t LocalSide::batch_time_ns() {
  if (batch_time_ns_ == 0) batch_time_ns_ = real_time_ns();
  return batch_time_ns_;
}

void LocalSide::append(std::span<shm::Feed* const> feeds, const Message& message) {
  figures_are_old_ = true;
  for (shm::Feed* feed : feeds) {
    if (feed->ring) {
      core_.append(*feed, message.topic(), payload_of(message), flags_of(message), batch_time_ns());
    }
  }
}

void LocalSide::store(std::span<shm::Feed* const> feeds, const Message& newest) {
  for (shm::Feed* feed : feeds) {
    if (!feed->table) continue;
    if (newest.payload_bytes() == 0) {
      feed->table->clear(newest.topic(), batch_time_ns());
    } else {
      feed->table->store(newest.topic(), payload_of(newest), flags_of(newest), batch_time_ns());
    }
  }
}

bool LocalSide::finish(std::int64_t now_ns, std::uint64_t sequence) {
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
  batch_time_ns_ = 0;
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
  auto subscription = Subscription::make(feed.filter, feed.filter);
  subscription->extras.write().feed = &feed;
  index_.add(subscription->filter(), subscription.get());
  subscriptions_.emplace(&feed, std::move(subscription));
}

void LocalSide::feed_ends(shm::Feed& feed) {
  const auto found = subscriptions_.find(&feed);
  assert(found != subscriptions_.end());
  index_.remove(found->second->filter(), found->second.get());
  subscriptions_.erase(found);
}

std::unique_ptr<shm::NewestWalk> LocalSide::walk_newest(const std::string& filter) {
  return std::make_unique<StoredValues>(topics_, filter, sequence_, now_ns_);
}

bool LocalSide::newest(std::string_view filter, std::string_view name, std::string& payload,
                       std::uint8_t& flags) {
  const Topic* topic = topics_.find(protocol::topic_hash(name), name);
  if (topic == nullptr || topic->newest() == nullptr) return false;
  if (!protocol::matches(filter, name)) return false;
  const Message message = message_of(BufferRef(topic->newest()));
  if (message.payload_bytes() == 0) return false;
  payload.assign(reinterpret_cast<const char*>(message.payload().data()), message.payload().size());
  flags = flags_of(message);
  return true;
}

}  // namespace millrace::broker
