// TopicLists: the lists that are being made. However many are asked for, the HTTP thread makes one
// slice of one of them (a millisecond) and then looks at everything else that it has to do, so a
// health check waits for a slice, never for a list. A few take turns; the others wait in line and
// hold nothing but their request. The line is bounded, and who has left does not stand in it.
//
// Threads: the HTTP thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <cstddef>
#include <deque>
#include <memory>

#include "server/http/topic_list.hpp"

namespace millrace::server {

class TopicLists {
 public:
  explicit TopicLists(boost::asio::io_context& context) : context_(context) {}
  TopicLists(const TopicLists&) = delete;
  TopicLists& operator=(const TopicLists&) = delete;

  static constexpr std::size_t active_max = 4;
  static constexpr std::size_t waiting_max = 256;

  // False: too many wait already, and this one is not made.
  [[nodiscard]] bool add(std::shared_ptr<TopicList> list);
  std::size_t waiting() const { return waiting_.size(); }

 private:
  void post_slice();
  void slice();

  boost::asio::io_context& context_;
  std::deque<std::shared_ptr<TopicList>> active_;   // the first is next
  std::deque<std::shared_ptr<TopicList>> waiting_;  // for a place among them
};

}  // namespace millrace::server
