// The registry's consumers: attaching, predecessors and followers, leaving.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "core/shm/control/registry.hpp"

namespace millrace::shm {
namespace {

UniqueFd duplicate(int fd) {
  return UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
}

}  // namespace

std::optional<Refusal> Registry::find_predecessors(const AttachRequest& request, const Feed& feed,
                                                   std::vector<std::uint64_t>& found) const {
  for (const std::string& name : request.after) {
    // Only who gave itself a name may be followed: it alone expects that others have its page, see
    // RingReader::shared_sleep_max.
    if (name.empty()) return Refusal::unknown_consumer;
    const auto before = std::find_if(consumers_.begin(), consumers_.end(), [&](const auto& entry) {
      const Consumer& one = entry.second;
      return one.feed == &feed && one.name == name && one.is_mapped;
    });
    if (before == consumers_.end()) return Refusal::unknown_consumer;
    if (std::count(found.begin(), found.end(), before->first) == 0) found.push_back(before->first);
  }
  for (const auto& [id, other] : consumers_) {
    if (!request.name.empty() && other.feed == &feed && other.name == request.name) {
      return Refusal::name_in_use;
    }
  }
  return std::nullopt;
}

void Registry::attach(ClientId client, const AttachRequest& request, std::uint64_t now_ns) {
  if (consumer_of_.contains(client)) return refuse(client, Refusal::malformed);
  if (consumers_.size() >= options_.consumers_max) {
    return refuse(client, limit_reached("local.consumers_max", options_.consumers_max));
  }
  Refused refusal;
  const Kind kind = request.policy == Policy::lossless ? Kind::lossless_ring : Kind::lossy_ring;
  Feed* feed = feed_for(kind, request.filters, now_ns, refusal);
  if (!feed) return refuse(client, refusal);
  Consumer consumer{client, last_consumer_id_ + 1, request.name, feed, {}, {}};
  if (const auto fault = find_predecessors(request, *feed, consumer.after)) {
    return refuse(client, *fault);
  }
  errno = 0;
  // Messages published from here on are in the ring; the snapshot holds the values from before.
  consumer.start = feed->ring->add_reader(consumer.id, request.start == StartAt::oldest, now_ns,
                                          request.wants_wake_pipe, !consumer.after.empty());
  if (!consumer.start.consumer_page) return refuse(client, no_memory(errno));
  const std::uint64_t id = ++last_consumer_id_;
  join(*feed);
  consumer_of_[client] = id;
  Consumer& joined = consumers_.emplace(id, std::move(consumer)).first->second;
  if (request.start != StartAt::latest) return answer_attach(joined, nullptr, now_ns);
  filling_ = {client, id, nullptr, watcher_.walk_newest(feed->filters),
              Snapshot(options_.snapshot_bytes_max)};
}

void Registry::answer_attach(Consumer& consumer, Snapshot* snapshot, std::uint64_t now_ns) {
  const Attachment& start = consumer.start;
  // If a predecessor left while the snapshot was made, the consumer got that one's predecessors
  // instead, and now there may be too many.
  if (consumer.after.size() > neighbours_max) {
    const std::string text = "more than " + std::to_string(neighbours_max) + " predecessors";
    return detach(consumer, {Refusal::limit_reached, text}, now_ns);
  }
  const std::size_t snapshot_bytes = snapshot ? snapshot->bytes() : 0;
  errno = 0;
  std::vector<UniqueFd> descriptors;
  descriptors.push_back(duplicate(consumer.feed->ring->fd()));
  descriptors.push_back(duplicate(start.consumer_page->fd()));
  const int wake_pipe = start.consumer_page->wake_pipe_fd();
  if (wake_pipe >= 0) descriptors.push_back(duplicate(wake_pipe));
  if (snapshot_bytes > 0) descriptors.push_back(snapshot->take_memory());
  for (const std::uint64_t before : consumer.after) {
    descriptors.push_back(duplicate(consumers_.at(before).start.consumer_page->fd()));
  }
  const bool all_valid = std::all_of(descriptors.begin(), descriptors.end(),
                                     [](const UniqueFd& fd) { return static_cast<bool>(fd); });
  if (!all_valid) return detach(consumer, no_memory(errno), now_ns);
  consumer.is_answered = true;
  send(consumer.client,
       Attached{options_.epoch, consumer.id, start.position, start.sequence, snapshot_bytes,
                wake_pipe >= 0, consumer.after},
       std::move(descriptors));
  outgoing_.back().consumer_page = start.consumer_page;
}

// The page can be sealed now and sent to its predecessors, which wake it when they move on.
void Registry::mapped(Consumer& consumer, std::uint64_t now_ns) {
  if (consumer.is_mapped || !consumer.is_answered) return;
  if (!consumer.start.consumer_page->seal_for_neighbours()) {
    return detach(consumer, {Refusal::malformed, "the position page cannot be sealed"}, now_ns);
  }
  consumer.is_mapped = true;
  for (const std::uint64_t id : consumer.after) {
    send_page(consumer, consumers_.at(id), false);
  }
}

// Sends one consumer's page to another. It is skipped if the process has no descriptor left: then a
// follower wakes up by its own time-out, and a reader does not wait for that predecessor.
void Registry::send_page(const Consumer& page_of, const Consumer& to, bool is_predecessor) {
  if (!to.is_answered) return;  // its answer will contain the page
  std::vector<UniqueFd> page;
  page.push_back(duplicate(page_of.start.consumer_page->fd()));
  if (page.front()) send(to.client, NeighbourCame{page_of.id, is_predecessor}, std::move(page));
}

// A wake-up from a reader: it has moved on while frames wait in the overflow.
void Registry::woken(Consumer& consumer, std::uint64_t now_ns) {
  Feed& feed = *consumer.feed;
  feed.ring->release(now_ns);
  end_evicted(feed, now_ns);
}

void Registry::detach(Consumer& consumer, const Refused& refusal, std::uint64_t now_ns) {
  const ClientId client = consumer.client;
  consumer.feed->ring->remove_reader(consumer.id);
  remove_consumer(consumer.id, now_ns);
  refuse(client, refusal);
}

void Registry::gone(ClientId client, std::uint64_t now_ns) {
  std::erase_if(waiting_, [&](const auto& waiting) { return waiting.first == client; });
  if (filling_ && filling_->client == client) filling_->client = 0;
  if (const auto table = table_of_.find(client); table != table_of_.end()) {
    leave(*table->second, now_ns);
    table_of_.erase(table);
  }
  const auto found = consumer_of_.find(client);
  if (found == consumer_of_.end()) return;
  const std::uint64_t id = found->second;
  Consumer& consumer = consumers_.at(id);
  Feed& feed = *consumer.feed;
  consumer.start.consumer_page->lift();
  feed.ring->remove_reader(id);
  remove_consumer(id, now_ns);
  feed.ring->release(now_ns);  // frames in the overflow may have waited for it
}

void Registry::remove_consumer(std::uint64_t id, std::uint64_t now_ns) {
  const auto found = consumers_.find(id);
  if (found == consumers_.end()) return;
  if (filling_ && filling_->consumer_id == id) filling_.reset();
  const Consumer gone = std::move(found->second);
  consumers_.erase(found);
  consumer_of_.erase(gone.client);
  replace_predecessor(gone);
  leave(*gone.feed, now_ns);
}

// Makes the predecessors of `gone` those of its followers. The followers are told of the new
// predecessors first, so that they never read ahead of them.
void Registry::replace_predecessor(const Consumer& gone) {
  for (auto& [id, consumer] : consumers_) {
    const auto place = std::find(consumer.after.begin(), consumer.after.end(), gone.id);
    if (place == consumer.after.end()) continue;
    consumer.after.erase(place);
    for (const std::uint64_t before_id : gone.after) {
      const Consumer& before = consumers_.at(before_id);
      if (std::count(consumer.after.begin(), consumer.after.end(), before_id) > 0) continue;
      consumer.after.push_back(before_id);
      send_page(before, consumer, true);
      if (consumer.is_mapped) send_page(consumer, before, false);
    }
    if (consumer.is_answered) send(consumer.client, NeighbourGone{gone.id});
  }
  for (const std::uint64_t before_id : gone.after) {
    send(consumers_.at(before_id).client, NeighbourGone{gone.id});
  }
}

void Registry::end_evicted(Feed& feed, std::uint64_t now_ns) {
  for (const Evicted& evicted : feed.ring->take_evicted()) {
    const auto found = consumers_.find(evicted.consumer_id);
    if (found == consumers_.end()) continue;
    ++evictions_[static_cast<std::size_t>(evicted.reason)];
    send(found->second.client, EvictedNotice{evicted.reason}, {}, true);
    remove_consumer(evicted.consumer_id, now_ns);
  }
}

}  // namespace millrace::shm
