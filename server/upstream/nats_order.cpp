#include "server/upstream/nats_order.hpp"

#include <iterator>
#include <utility>

namespace millrace::server {

bool NatsOrder::admit(Outgoing& message) {
  if (message.delivery.qos > 0) {
    const auto [place, is_first] = held_.try_emplace(message.subject);
    if (!is_first) place->second.push_back(std::move(message));
    return is_first;
  }
  const auto found = held_.find(message.subject);
  if (found == held_.end() || found->second.empty()) return true;
  found->second.push_back(std::move(message));
  return false;
}

std::vector<NatsOrder::Outgoing> NatsOrder::next(const std::string& subject) {
  std::vector<Outgoing> leaving;
  const auto found = held_.find(subject);
  if (found == held_.end()) return leaving;
  std::list<Outgoing>& waiting = found->second;
  if (waiting.empty()) {
    held_.erase(found);
    return leaving;
  }
  do {
    leaving.push_back(std::move(waiting.front()));
    waiting.pop_front();
  } while (!waiting.empty() && waiting.front().delivery.qos == 0);
  return leaving;
}

std::vector<NatsOrder::Outgoing> NatsOrder::take_all() {
  std::vector<Outgoing> all;
  for (auto& [subject, waiting] : std::exchange(held_, {})) {
    all.insert(all.end(), std::move_iterator(waiting.begin()), std::move_iterator(waiting.end()));
  }
  return all;
}

}  // namespace millrace::server
