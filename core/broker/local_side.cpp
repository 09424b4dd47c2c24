#include "core/broker/local_side.hpp"

#include <cassert>
#include <ctime>
#include <utility>

#include "protocol/topic.hpp"

namespace millrace::broker {
namespace {

// What one attach may look at in one go: a filter that begins with a wildcard walks every topic.
constexpr std::size_t topics_looked_at_max = 200'000;
constexpr std::int64_t figures_interval_ns = 200'000'000;

std::uint8_t flags_of(const Message& message) {
  return static_cast<std::uint8_t>((message.retain ? shm::frame_retain : 0) | message.qos << 1);
}

std::span<const std::byte> payload_of(const Message& message) {
  return std::as_bytes(message.payload());
}

// The part of a filter that each matching topic begins with.
std::string_view literal_prefix(std::string_view filter) {
  const std::size_t wildcard = filter.find_first_of("+#");
  if (wildcard == std::string_view::npos) return filter;
  // "a/#" matches "a" as well.
  const bool parent_too = filter[wildcard] == '#' && wildcard > 0;
  return filter.substr(0, parent_too ? wildcard - 1 : wildcard);
}

}  // namespace

LocalSide::LocalSide(const shm::DoorOptions& options, SubscriptionIndex& index, TopicTable& topics,
                     Deliver deliver)
    : index_(index), topics_(topics), deliver_(std::move(deliver)), core_(options, *this) {}

LocalSide::~LocalSide() {
  core_.close();
}

void LocalSide::hold(std::unique_ptr<Request> request) {
  held_.push_back(std::move(request));
}

std::uint64_t LocalSide::batch_time_ns() {
  if (batch_time_ns_ == 0) {
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    batch_time_ns_ = static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
                     static_cast<std::uint64_t>(now.tv_nsec);
  }
  return batch_time_ns_;
}

void LocalSide::append(std::span<shm::Feed* const> feeds, const Message& message) {
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

void LocalSide::finish(std::int64_t now_ns) {
  now_ns_ = now_ns;
  core_.release(static_cast<std::uint64_t>(now_ns));
  for (const auto& request : std::exchange(held_, {})) {
    apply(static_cast<const LocalRequest&>(*request));
  }
  batch_time_ns_ = 0;
  auto outgoing = core_.take_outgoing();
  if (!outgoing.empty()) deliver_(std::move(outgoing));
  if (now_ns - figures_at_ns_ < figures_interval_ns) return;
  figures_at_ns_ = now_ns;
  std::lock_guard lock(figures_mutex_);
  figures_ = {core_.figures(), core_.consumer_count()};
}

void LocalSide::apply(const LocalRequest& request) {
  const auto now = static_cast<std::uint64_t>(now_ns_);
  switch (request.what) {
    case LocalRequest::What::ask:
      return core_.handle(request.client, request.request, now);
    case LocalRequest::What::gone:
      return core_.gone(request.client, now);
    case LocalRequest::What::tick:
      return core_.tick(now);
  }
}

LocalSide::Figures LocalSide::figures() const {
  std::lock_guard lock(figures_mutex_);
  return figures_;
}

void LocalSide::feed_made(shm::Feed& feed) {
  auto subscription = std::make_unique<Subscription>();
  subscription->feed = &feed;
  subscription->filter = feed.filter;
  index_.add(subscription->filter, subscription.get());
  subscriptions_.emplace(&feed, std::move(subscription));
}

void LocalSide::feed_ends(shm::Feed& feed) {
  const auto found = subscriptions_.find(&feed);
  assert(found != subscriptions_.end());
  index_.remove(found->second->filter, found->second.get());
  subscriptions_.erase(found);
}

bool LocalSide::each_newest(
    std::string_view filter,
    const std::function<bool(std::string_view, std::span<const std::byte>, std::uint8_t)>& visit) {
  const std::string_view prefix = literal_prefix(filter);
  std::size_t looked_at = 0;
  for (Topic* topic = topics_.next(prefix, true);
       topic != nullptr && topic->name().starts_with(prefix);
       topic = topics_.next(topic->name(), false)) {
    if (++looked_at > topics_looked_at_max) return false;
    if (!shm::filter_matches(filter, topic->name()) || topic->newest() == nullptr) continue;
    const Message message = message_of(BufferRef(topic->newest()));
    const bool expired =
        message.expires_at_s != 0 && message.expires_at_s <= clock_seconds(now_ns_);
    if (expired || message.payload_bytes() == 0) continue;
    if (!visit(message.topic(), payload_of(message), flags_of(message))) return false;
  }
  return true;
}

bool LocalSide::newest(std::string_view name, std::string& payload, std::uint8_t& flags) {
  const Topic* topic = topics_.find(protocol::topic_hash(name), name);
  if (topic == nullptr || topic->newest() == nullptr) return false;
  const Message message = message_of(BufferRef(topic->newest()));
  if (message.payload_bytes() == 0) return false;
  payload.assign(reinterpret_cast<const char*>(message.payload().data()), message.payload().size());
  flags = flags_of(message);
  return true;
}

}  // namespace millrace::broker
