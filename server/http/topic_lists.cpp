#include "server/http/topic_lists.hpp"

#include <boost/asio/post.hpp>
#include <utility>

namespace millrace::server {

bool TopicLists::add(std::shared_ptr<TopicList> list) {
  if (active_.size() < active_max) {
    active_.push_back(std::move(list));
    if (active_.size() == 1) post_slice();
    return true;
  }
  if (waiting_.size() >= waiting_max) {
    std::erase_if(waiting_, [](const auto& one) { return one->is_gone(); });
    if (waiting_.size() >= waiting_max) return false;
  }
  waiting_.push_back(std::move(list));
  return true;
}

void TopicLists::post_slice() {
  boost::asio::post(context_, [this] { slice(); });
}

void TopicLists::slice() {
  const auto list = std::move(active_.front());
  active_.pop_front();
  if (!list->step()) {
    active_.push_back(list);
  } else if (!waiting_.empty()) {
    active_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
  if (!active_.empty()) post_slice();
}

}  // namespace millrace::server
