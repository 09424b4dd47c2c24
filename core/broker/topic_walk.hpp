// TopicWalk: the topics that match a filter, in the order of their names, a few at a time. Its place
// is a name, so topics may come and go between two steps.
//
// Threads: the processor's holder alone.
#pragma once

#include <string>
#include <string_view>

namespace millrace::broker {

class Topic;
class TopicTable;

struct TopicWalk {
  std::string_view filter;  // outlives the walk
  std::string after = {};   // the last topic that was looked at
  bool started = false;

  // Of the topic that was looked at last, if there was one of that name.
  std::string_view name() const { return after.empty() ? filter : std::string_view(after); }

  enum class Step { match, other, end };
  // Looks at one topic; at a match, `topic` is it.
  Step step(TopicTable& topics, Topic*& topic);
};

}  // namespace millrace::broker
