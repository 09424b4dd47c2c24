#include "core/shm/control/registry.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace millrace::shm {

Refused limit_reached(std::string_view key, std::uint64_t limit) {
  return {Refusal::limit_reached,
          "the limit " + std::string(key) + " = " + std::to_string(limit) + " is reached"};
}

Refused no_memory(int error) {
  std::string text = describe(Refusal::no_memory);
  if (error != 0) text.append(": ").append(std::strerror(error));
  return {Refusal::no_memory, std::move(text)};
}

Registry::Registry(const RegistryOptions& options, Watcher& watcher)
    : options_(options), watcher_(watcher) {}

Registry::~Registry() {
  for (auto& [key, feed] : feeds_) watcher_.feed_ends(*feed);
}

void Registry::send(ClientId to, const Reply& reply, std::vector<UniqueFd> descriptors,
                    bool closes) {
  Outgoing out;
  out.to = to;
  out.bytes = encode(reply, descriptors.size());
  out.descriptors = std::move(descriptors);
  out.closes = closes;
  outgoing_.push_back(std::move(out));
}

void Registry::refuse(ClientId to, const Refused& refusal) {
  send(to, refusal, {}, true);
}

void Registry::handle(ClientId client, Request request, std::uint64_t now_ns) {
  const auto* attach_request = std::get_if<AttachRequest>(&request);
  const bool is_table = std::holds_alternative<TableRequest>(request);
  if (is_table || (attach_request && attach_request->start == StartAt::latest)) {
    const auto is_it = [&](const auto& waiting) { return waiting.first == client; };
    if (std::any_of(waiting_.begin(), waiting_.end(), is_it)) {
      return refuse(client, Refusal::malformed);  // its previous request has not been answered yet
    }
    waiting_.emplace_back(client, std::move(request));
  } else if (attach_request) {
    attach(client, *attach_request, now_ns);
  } else if (const auto* value = std::get_if<ValueRequest>(&request)) {
    answer_value(client, *value);
  } else if (const auto found = consumer_of_.find(client); found != consumer_of_.end()) {
    Consumer& consumer = consumers_.at(found->second);
    if (std::holds_alternative<MappedNotice>(request)) mapped(consumer, now_ns);
    if (std::holds_alternative<WakeUp>(request)) woken(consumer, now_ns);
  }
}

// --- feeds ---------------------------------------------------------------------------------------

bool Registry::is_full(Kind kind) const {
  const auto is_table = [](const auto& entry) { return entry.first.first == Kind::table; };
  const auto tables =
      static_cast<std::size_t>(std::count_if(feeds_.begin(), feeds_.end(), is_table));
  return kind == Kind::table ? tables >= options_.tables_max
                             : feeds_.size() - tables >= options_.rings_max;
}

Feed* Registry::feed_for(Kind kind, std::vector<std::string> filters, std::uint64_t now_ns,
                         Refused& refusal) {
  std::sort(filters.begin(), filters.end());
  filters.erase(std::unique(filters.begin(), filters.end()), filters.end());
  const auto key = std::make_pair(kind, std::move(filters));
  if (const auto found = feeds_.find(key); found != feeds_.end()) return found->second.get();
  if (is_full(kind)) free_unused(now_ns, 0);  // instead of after linger_ns
  if (is_full(kind)) {
    refusal = kind == Kind::table ? limit_reached("local.tables_max", options_.tables_max)
                                  : limit_reached("local.rings_max", options_.rings_max);
    return nullptr;
  }
  errno = 0;
  std::unique_ptr<Feed> feed = make_feed(kind, key.second);
  if (!feed) {
    refusal = no_memory(errno);
    return nullptr;
  }
  feed->unused_since_ns = now_ns;
  ++unused_feeds_;
  Feed& made = *feed;
  feeds_.emplace(key, std::move(feed));
  watcher_.feed_made(made);
  return &made;
}

std::unique_ptr<Feed> Registry::make_feed(Kind kind, std::vector<std::string> filters) {
  auto feed = std::make_unique<Feed>();
  feed->filters = std::move(filters);
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

bool Registry::declare(const std::string& filter, Policy policy) {
  Refused refusal;
  const Kind kind = policy == Policy::lossless ? Kind::lossless_ring : Kind::lossy_ring;
  Feed* feed = feed_for(kind, {filter}, 0, refusal);
  if (feed) join(*feed);  // counted as a user that never leaves
  return feed != nullptr;
}

void Registry::join(Feed& feed) {
  if (feed.users++ == 0) --unused_feeds_;
}

void Registry::leave(Feed& feed, std::uint64_t now_ns) {
  if (--feed.users > 0) return;
  feed.unused_since_ns = now_ns;
  ++unused_feeds_;
}

void Registry::end_feed(Feed& feed) {
  watcher_.feed_ends(feed);
  std::erase(dirty_, &feed);
  if (feed.ring) lapped_before_ += feed.ring->stats().lapped;
  --unused_feeds_;
}

void Registry::free_unused(std::uint64_t now_ns, std::uint64_t linger_ns) {
  std::erase_if(feeds_, [&](auto& entry) {
    Feed& feed = *entry.second;
    if (feed.users > 0 || now_ns - feed.unused_since_ns < linger_ns) return false;
    end_feed(feed);
    return true;
  });
}

// --- newest values -------------------------------------------------------------------------------

void Registry::open_table(ClientId client, const TableRequest& request, std::uint64_t now_ns) {
  if (table_of_.contains(client)) return refuse(client, Refusal::malformed);
  if (table_of_.size() >= options_.consumers_max) {
    return refuse(client, limit_reached("local.consumers_max", options_.consumers_max));
  }
  Refused refusal;
  Feed* feed = feed_for(Kind::table, {request.filter}, now_ns, refusal);
  if (!feed) return refuse(client, refusal);
  if (feed->is_filled) return answer_table(client, *feed);
  join(*feed);  // keeps the table while it is being filled, even if the client leaves
  filling_ = {client, 0, feed, watcher_.walk_newest(feed->filters), Snapshot(0)};
}

void Registry::answer_table(ClientId client, Feed& feed) {
  std::vector<UniqueFd> descriptors;
  descriptors.push_back(UniqueFd(::fcntl(feed.table->fd(), F_DUPFD_CLOEXEC, 3)));
  if (!descriptors.front()) return refuse(client, no_memory(errno));
  join(feed);
  table_of_[client] = &feed;
  send(client, TableOpened{options_.epoch}, std::move(descriptors));
}

void Registry::answer_value(ClientId client, const ValueRequest& request) {
  const auto table = table_of_.find(client);
  if (table == table_of_.end()) return refuse(client, Refusal::malformed);
  Feed& feed = *table->second;
  ValueReply reply;
  // Both increase with each change of the value, whether it is read in its cell or here.
  reply.found = feed.table->when_stored(request.topic, reply.sequence, reply.time_ns) &&
                watcher_.newest(feed.filters.front(), request.topic, reply.payload, reply.flags);
  send(client, reply);
}

void Registry::begin_filling(std::uint64_t now_ns) {
  const auto [client, request] = std::move(waiting_.front());
  waiting_.pop_front();
  if (const auto* table = std::get_if<TableRequest>(&request)) {
    open_table(client, *table, now_ns);
  } else {
    attach(client, std::get<AttachRequest>(request), now_ns);
  }
}

bool Registry::fill(NewestWalk::Step& last) {
  NewestValue value;
  std::size_t bytes = 0;
  for (std::size_t looked_at = 0;
       looked_at < options_.topics_per_batch && bytes < options_.walk_bytes_per_batch;
       ++looked_at) {
    last = filling_->walk->step(value);
    if (last == NewestWalk::Step::end) return true;
    if (last == NewestWalk::Step::other) continue;
    bytes += value.payload.size();
    if (filling_->table) {
      filling_->table->table->store(value.topic, value.payload, value.flags, value.time_ns);
    } else if (!filling_->snapshot.add(value.topic, value.payload, value.flags, value.time_ns)) {
      return false;
    }
  }
  return true;
}

void Registry::end_filling(bool complete, std::uint64_t now_ns) {
  Filling done = std::move(*filling_);
  filling_.reset();
  if (done.table) {
    done.table->is_filled = true;
    if (done.client != 0) answer_table(done.client, *done.table);
    return leave(*done.table, now_ns);
  }
  Consumer& consumer = consumers_.at(done.consumer_id);
  if (complete) {
    answer_attach(consumer, &done.snapshot, now_ns);
  } else {
    detach(consumer, limit_reached("local.snapshot_bytes_max", options_.snapshot_bytes_max),
           now_ns);
  }
}

bool Registry::work(std::uint64_t now_ns) {
  if (!filling_ && !waiting_.empty()) begin_filling(now_ns);
  if (filling_) {
    NewestWalk::Step last{};
    const bool fits = fill(last);
    if (!fits || last == NewestWalk::Step::end) end_filling(fits, now_ns);
  }
  return filling_ || !waiting_.empty();
}

// --- time ----------------------------------------------------------------------------------------

void Registry::release(std::uint64_t now_ns) {
  for (Feed* feed : std::exchange(dirty_, {})) {
    feed->dirty = false;
    feed->ring->release(now_ns);
    end_evicted(*feed, now_ns);
  }
}

void Registry::tick(std::uint64_t now_ns) {
  for (auto& [key, feed] : feeds_) {
    if (!feed->ring) continue;
    feed->ring->inspect(now_ns);
    feed->ring->release(now_ns);
    end_evicted(*feed, now_ns);
  }
  free_unused(now_ns, options_.linger_ns);
}

void Registry::close() {
  for (auto& [key, feed] : feeds_) {
    if (!feed->ring) continue;
    feed->ring->close();
    end_evicted(*feed, 0);
  }
}

Registry::Figures Registry::figures() const {
  Figures all;
  all.consumers = consumers_.size();
  all.evictions = evictions_;
  all.lapped = lapped_before_;
  for (const auto& [key, feed] : feeds_) {
    std::string filters = feed->filters.front();
    for (std::size_t i = 1; i < feed->filters.size(); ++i) filters += "," + feed->filters[i];
    if (feed->ring) {
      all.rings.push_back({std::move(filters), feed->policy, feed->ring->stats()});
      all.lapped += all.rings.back().stats.lapped;
    } else {
      all.tables.push_back({std::move(filters), feed->users, feed->table->displaced()});
    }
  }
  return all;
}

}  // namespace millrace::shm
