#include "core/shm/door_core.hpp"

#include <algorithm>
#include <cstring>
#include <ctime>
#include <utility>

namespace millrace::shm {
namespace {

std::uint64_t real_time_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace

bool filter_matches(std::string_view filter, std::string_view topic) {
  if (!topic.empty() && topic.front() == '$' && !filter.empty() &&
      (filter.front() == '+' || filter.front() == '#')) {
    return false;  // [MQTT-4.7.2-1]
  }
  for (;;) {
    if (filter == "#") return true;
    const std::size_t filter_end = filter.find('/');
    const std::size_t topic_end = topic.find('/');
    const std::string_view level = filter.substr(0, filter_end);
    if (level != "+" && level != topic.substr(0, topic_end)) return false;
    if (topic_end == std::string_view::npos) {
      return filter_end == std::string_view::npos || filter.substr(filter_end) == "/#";
    }
    if (filter_end == std::string_view::npos) return false;
    filter.remove_prefix(filter_end + 1);
    topic.remove_prefix(topic_end + 1);
  }
}

bool Seeds::add(std::string_view topic, std::span<const std::byte> payload, std::uint8_t flags,
                std::uint64_t time_ns) {
  const std::size_t bytes = frame_bytes(topic.size(), payload.size());
  if (frames_.size() + bytes > bytes_max_) return false;
  const std::size_t at = frames_.size();
  frames_.resize(at + bytes);
  store_header(frames_.data() + at,
               {static_cast<std::uint32_t>(payload.size()),
                static_cast<std::uint16_t>(topic.size()), FrameKind::message, flags, 0, time_ns});
  std::byte* body = frames_.data() + at + sizeof(FrameHeader);
  if (!topic.empty()) std::memcpy(body, topic.data(), topic.size());
  if (!payload.empty()) std::memcpy(body + topic.size(), payload.data(), payload.size());
  return true;
}

UniqueFd Seeds::make_memory() const {
  UniqueFd fd = shm::make_memory("millrace-seeds", frames_.size());
  if (!fd) return {};
  {
    const Mapping mapping = Mapping::map(fd.get(), frames_.size(), Access::read_write);
    if (!mapping) return {};
    std::memcpy(mapping.data(), frames_.data(), frames_.size());
  }
  return seal_for_readers(fd.get()) ? std::move(fd) : UniqueFd{};
}

DoorCore::DoorCore(const DoorOptions& options, Watcher& watcher)
    : options_(options), watcher_(watcher) {}

DoorCore::~DoorCore() {
  for (auto& [key, feed] : feeds_) watcher_.feed_ends(*feed);
}

void DoorCore::send(ClientId to, const Reply& reply, std::vector<UniqueFd> descriptors,
                    bool closes) {
  Outgoing out;
  out.to = to;
  out.bytes = encode(reply, descriptors.size());
  out.descriptors = std::move(descriptors);
  out.closes = closes;
  outgoing_.push_back(std::move(out));
}

void DoorCore::refuse(ClientId to, Refusal refusal) {
  send(to, Refused{refusal, describe(refusal)}, {}, true);
}

void DoorCore::handle(ClientId client, const Request& request, std::uint64_t now_ns) {
  if (const auto* attach_request = std::get_if<AttachRequest>(&request)) {
    attach(client, *attach_request, now_ns);
  } else if (std::get_if<MappedNotice>(&request)) {
    const auto found = consumer_of_.find(client);
    if (found != consumer_of_.end()) mapped(consumers_.at(found->second));
  } else if (const auto* table = std::get_if<TableRequest>(&request)) {
    open_table(client, *table, now_ns);
  } else if (const auto* value = std::get_if<ValueRequest>(&request)) {
    answer_value(client, *value);
  } else if (std::get_if<Bell>(&request)) {
    // A reader moved on while frames wait for it.
    const auto found = consumer_of_.find(client);
    if (found == consumer_of_.end()) return;
    Feed& feed = *consumers_.at(found->second).feed;
    feed.ring->release(now_ns);
    end_evicted(feed, now_ns);
  } else {
    refuse(client, Refusal::malformed);
  }
}

// --- feeds
// ----------------------------------------------------------------------------------------

Feed* DoorCore::feed_for(Kind kind, const std::string& filter, std::uint64_t now_ns,
                         Refusal& refusal) {
  const auto key = std::make_pair(kind, filter);
  if (const auto found = feeds_.find(key); found != feeds_.end()) return found->second.get();
  const auto is_table = [](const auto& entry) { return entry.first.first == Kind::table; };
  const auto tables =
      static_cast<std::size_t>(std::count_if(feeds_.begin(), feeds_.end(), is_table));
  const bool full = kind == Kind::table ? tables >= options_.tables_max
                                        : feeds_.size() - tables >= options_.rings_max;
  if (full) {
    refusal = Refusal::limit_reached;
    return nullptr;
  }
  std::unique_ptr<Feed> feed = make_feed(kind, filter);
  if (!feed) {
    refusal = Refusal::no_memory;
    return nullptr;
  }
  feed->unused_since_ns = now_ns;
  Feed& made = *feed;
  feeds_.emplace(key, std::move(feed));
  watcher_.feed_made(made);
  return &made;
}

std::unique_ptr<Feed> DoorCore::make_feed(Kind kind, const std::string& filter) {
  auto feed = std::make_unique<Feed>();
  feed->filter = filter;
  const std::uint64_t id = ++last_feed_id_;
  if (kind == Kind::table) {
    feed->table = TableWriter::make({.table_id = id,
                                     .epoch = options_.epoch,
                                     .cell_count = options_.table_cells,
                                     .cell_bytes = options_.table_cell_bytes});
    return feed->table ? std::move(feed) : nullptr;
  }
  const bool lossless = kind == Kind::lossless_ring;
  feed->policy = lossless ? Policy::lossless : Policy::lossy;
  feed->ring = RingWriter::make({.ring_id = id,
                                 .epoch = options_.epoch,
                                 .data_bytes = options_.ring_bytes,
                                 .frame_bytes_max = options_.frame_bytes_max,
                                 .lossless = lossless,
                                 .overflow_bytes_max = options_.overflow_bytes_max,
                                 .lease_ns = options_.lease_ns});
  return feed->ring ? std::move(feed) : nullptr;
}

bool DoorCore::declare(const std::string& filter, Policy policy) {
  Refusal refusal{};
  const Kind kind = policy == Policy::lossless ? Kind::lossless_ring : Kind::lossy_ring;
  Feed* feed = feed_for(kind, filter, 0, refusal);
  if (feed) ++feed->users;  // one who never leaves
  return feed != nullptr;
}

void DoorCore::leave(Feed& feed, std::uint64_t now_ns) {
  if (--feed.users == 0) feed.unused_since_ns = now_ns;
}

void DoorCore::free_unused(std::uint64_t now_ns) {
  std::erase_if(feeds_, [&](auto& entry) {
    Feed& feed = *entry.second;
    if (feed.users > 0 || now_ns - feed.unused_since_ns < options_.linger_ns) return false;
    watcher_.feed_ends(feed);
    std::erase(dirty_, &feed);
    return true;
  });
}

// --- consumers
// ------------------------------------------------------------------------------------

bool DoorCore::find_predecessors(const AttachRequest& request, const Feed& feed,
                                 std::vector<Consumer*>& found) {
  for (const std::string& name : request.after) {
    Consumer* before = nullptr;
    for (auto& [id, consumer] : consumers_) {
      if (consumer.feed == &feed && consumer.name == name && consumer.is_mapped) before = &consumer;
    }
    if (!before) return false;
    found.push_back(before);
  }
  return true;
}

void DoorCore::attach(ClientId client, const AttachRequest& request, std::uint64_t now_ns) {
  if (consumer_of_.contains(client)) return refuse(client, Refusal::malformed);
  if (consumers_.size() >= options_.consumers_max) return refuse(client, Refusal::limit_reached);
  Refusal refusal{};
  const Kind kind = request.policy == Policy::lossless ? Kind::lossless_ring : Kind::lossy_ring;
  Feed* feed = feed_for(kind, request.filter, now_ns, refusal);
  if (!feed) return refuse(client, refusal);
  for (const auto& [id, other] : consumers_) {
    if (!request.name.empty() && other.feed == feed && other.name == request.name) {
      return refuse(client, Refusal::name_in_use);
    }
  }
  std::vector<Consumer*> before;
  if (!find_predecessors(request, *feed, before)) {
    return refuse(client, Refusal::unknown_consumer);
  }
  Seeds seeds(options_.seed_bytes_max);
  if (request.start == StartAt::latest &&
      !watcher_.each_newest(request.filter,
                            [&](std::string_view topic, auto payload, std::uint8_t flags) {
                              return seeds.add(topic, payload, flags, real_time_ns());
                            })) {
    return refuse(client, Refusal::limit_reached);
  }
  // The batch in hand is not in the seeds yet, or is: the ring starts behind what is released, so
  // a value may come twice, never not at all.
  const std::uint64_t id = ++last_consumer_id_;
  const Attachment start = feed->ring->add_reader(id, request.start == StartAt::oldest, now_ns);
  if (!start.seat) return refuse(client, Refusal::no_memory);

  Attached attached{options_.epoch, id, start.position, start.sequence, seeds.bytes(), {}};
  std::vector<UniqueFd> descriptors;
  descriptors.emplace_back(UniqueFd(::fcntl(feed->ring->fd(), F_DUPFD_CLOEXEC, 3)));
  descriptors.emplace_back(UniqueFd(::fcntl(start.seat->fd(), F_DUPFD_CLOEXEC, 3)));
  if (seeds.bytes() > 0) descriptors.push_back(seeds.make_memory());
  Consumer consumer{client, id, request.name, feed, start.seat, {}, false};
  for (const Consumer* one : before) {
    attached.predecessors.push_back(one->id);
    consumer.after.push_back(one->id);
    descriptors.emplace_back(UniqueFd(::fcntl(one->seat->fd(), F_DUPFD_CLOEXEC, 3)));
  }
  const bool all_there = std::all_of(descriptors.begin(), descriptors.end(),
                                     [](const UniqueFd& fd) { return static_cast<bool>(fd); });
  if (!all_there) {
    feed->ring->remove_reader(id);
    return refuse(client, Refusal::no_memory);
  }
  ++feed->users;
  consumers_.emplace(id, std::move(consumer));
  consumer_of_[client] = id;
  send(client, attached, std::move(descriptors));
  outgoing_.back().seat = start.seat;
}

// From now on neighbours may look at its page: those it stands after must wake it.
void DoorCore::mapped(Consumer& consumer) {
  if (consumer.is_mapped) return;
  if (!consumer.seat->seal_for_neighbours()) {
    const ClientId client = consumer.client;
    consumer.feed->ring->remove_reader(consumer.id);
    remove_consumer(consumer.id, 0);
    return refuse(client, Refusal::malformed);
  }
  consumer.is_mapped = true;
  for (const std::uint64_t id : consumer.after) {
    const auto before = consumers_.find(id);
    if (before == consumers_.end()) continue;
    std::vector<UniqueFd> page;
    page.emplace_back(UniqueFd(::fcntl(consumer.seat->fd(), F_DUPFD_CLOEXEC, 3)));
    if (!page.front()) continue;  // it then wakes by its own nap
    send(before->second.client, NeighbourCame{consumer.id, false}, std::move(page));
  }
}

void DoorCore::gone(ClientId client, std::uint64_t now_ns) {
  if (const auto table = table_of_.find(client); table != table_of_.end()) {
    leave(*table->second, now_ns);
    table_of_.erase(table);
  }
  const auto found = consumer_of_.find(client);
  if (found == consumer_of_.end()) return;
  const std::uint64_t id = found->second;
  Feed& feed = *consumers_.at(id).feed;
  consumers_.at(id).seat->lift();
  feed.ring->remove_reader(id);
  remove_consumer(id, now_ns);
  feed.ring->release(now_ns);  // the gate may be open now
}

void DoorCore::remove_consumer(std::uint64_t id, std::uint64_t now_ns) {
  const auto found = consumers_.find(id);
  if (found == consumers_.end()) return;
  const Consumer gone = std::move(found->second);
  consumers_.erase(found);
  consumer_of_.erase(gone.client);
  rewire_after(gone);
  leave(*gone.feed, now_ns);
}

// Those who stood after it now stand after what it stood after: told of the new first, so that at
// no moment they stand after nobody.
void DoorCore::rewire_after(const Consumer& gone) {
  for (auto& [id, consumer] : consumers_) {
    const auto place = std::find(consumer.after.begin(), consumer.after.end(), gone.id);
    if (place == consumer.after.end()) continue;
    consumer.after.erase(place);
    for (const std::uint64_t before_id : gone.after) {
      const auto before = consumers_.find(before_id);
      if (before == consumers_.end()) continue;
      if (std::count(consumer.after.begin(), consumer.after.end(), before_id) > 0) continue;
      std::vector<UniqueFd> page;
      page.emplace_back(UniqueFd(::fcntl(before->second.seat->fd(), F_DUPFD_CLOEXEC, 3)));
      if (!page.front()) continue;
      consumer.after.push_back(before_id);
      send(consumer.client, NeighbourCame{before_id, true}, std::move(page));
      if (!consumer.is_mapped) continue;
      std::vector<UniqueFd> own;
      own.emplace_back(UniqueFd(::fcntl(consumer.seat->fd(), F_DUPFD_CLOEXEC, 3)));
      if (own.front()) {
        send(before->second.client, NeighbourCame{consumer.id, false}, std::move(own));
      }
    }
    send(consumer.client, NeighbourGone{gone.id});
  }
  for (const std::uint64_t before_id : gone.after) {
    const auto before = consumers_.find(before_id);
    if (before != consumers_.end()) send(before->second.client, NeighbourGone{gone.id});
  }
}

void DoorCore::end_evicted(Feed& feed, std::uint64_t now_ns) {
  for (const Evicted& evicted : feed.ring->take_evicted()) {
    const auto found = consumers_.find(evicted.consumer_id);
    if (found == consumers_.end()) continue;
    send(found->second.client, EvictedNotice{evicted.reason}, {}, true);
    remove_consumer(evicted.consumer_id, now_ns);
  }
}

// --- tables
// ---------------------------------------------------------------------------------------

void DoorCore::open_table(ClientId client, const TableRequest& request, std::uint64_t now_ns) {
  if (table_of_.contains(client)) return refuse(client, Refusal::malformed);
  if (table_of_.size() >= options_.consumers_max) return refuse(client, Refusal::limit_reached);
  Refusal refusal{};
  const bool is_new = !feeds_.contains({Kind::table, request.filter});
  Feed* feed = feed_for(Kind::table, request.filter, now_ns, refusal);
  if (!feed) return refuse(client, refusal);
  if (is_new) {
    watcher_.each_newest(request.filter,
                         [&](std::string_view topic, auto payload, std::uint8_t flags) {
                           feed->table->store(topic, payload, flags, real_time_ns());
                           return true;
                         });
  }
  std::vector<UniqueFd> descriptors;
  descriptors.emplace_back(UniqueFd(::fcntl(feed->table->fd(), F_DUPFD_CLOEXEC, 3)));
  if (!descriptors.front()) return refuse(client, Refusal::no_memory);
  ++feed->users;
  table_of_[client] = feed;
  send(client, TableOpened{options_.epoch}, std::move(descriptors));
}

void DoorCore::answer_value(ClientId client, const ValueRequest& request) {
  const auto table = table_of_.find(client);
  if (table == table_of_.end()) return refuse(client, Refusal::malformed);
  ValueReply reply;
  reply.found = filter_matches(table->second->filter, request.topic) &&
                watcher_.newest(request.topic, reply.payload, reply.flags);
  send(client, reply);
}

// --- time
// -----------------------------------------------------------------------------------------

void DoorCore::release(std::uint64_t now_ns) {
  for (Feed* feed : std::exchange(dirty_, {})) {
    feed->dirty = false;
    feed->ring->release(now_ns);
    end_evicted(*feed, now_ns);
  }
}

void DoorCore::tick(std::uint64_t now_ns) {
  for (auto& [key, feed] : feeds_) {
    if (!feed->ring) continue;
    feed->ring->inspect(now_ns);
    feed->ring->release(now_ns);
    end_evicted(*feed, now_ns);
  }
  free_unused(now_ns);
}

void DoorCore::close() {
  for (auto& [key, feed] : feeds_) {
    if (!feed->ring) continue;
    feed->ring->close();
    end_evicted(*feed, 0);
  }
}

std::vector<DoorCore::RingFigures> DoorCore::figures() const {
  std::vector<RingFigures> all;
  for (const auto& [key, feed] : feeds_) {
    if (feed->ring) all.push_back({feed->filter, feed->policy, feed->ring->stats()});
  }
  return all;
}

}  // namespace millrace::shm
