#include "core/broker/topic_walk.hpp"

#include <cassert>

#include "core/broker/topic_hash.hpp"
#include "core/broker/topic_table.hpp"
#include "protocol/topic.hpp"

namespace millrace::broker {

TopicWalk::Step TopicWalk::step(TopicTable& topics, Topic*& topic) {
  assert(!filter.empty());
  const std::size_t wildcard = filter.find_first_of("+#");
  if (wildcard == std::string::npos) {
    topic = started ? nullptr : topics.find(topic_hash(filter), filter);
    started = true;
    return topic == nullptr ? Step::end : Step::match;
  }
  // All names that match begin with what stands before the first wildcard; "a/#" also matches "a".
  std::string_view prefix = filter.substr(0, wildcard);
  if (filter[wildcard] == '#' && !prefix.empty()) prefix.remove_suffix(1);
  topic =
      started ? topics.next(after, /*inclusive=*/false) : topics.next(prefix, /*inclusive=*/true);
  if (topic == nullptr || !topic->name().starts_with(prefix)) return Step::end;
  started = true;
  assert(after.empty() || after < topic->name());
  after = topic->name();
  return protocol::matches(filter, topic->name()) ? Step::match : Step::other;
}

}  // namespace millrace::broker
