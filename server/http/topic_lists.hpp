// TopicLists: the lists that are being made. However many are asked for, the HTTP thread makes one
// slice of one of them (a millisecond) and then looks at everything else that it has to do, so a
// health check waits for a slice, never for a list. A few take turns; the others wait in line and
// hold nothing but their request.
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

  void add(std::shared_ptr<TopicList> list);

 private:
  static constexpr std::size_t active_max = 4;

  void post_slice();
  void slice();

  boost::asio::io_context& context_;
  std::deque<std::shared_ptr<TopicList>> active_;   // the first is next
  std::deque<std::shared_ptr<TopicList>> waiting_;  // for a place among them
};

}  // namespace millrace::server
