#include "core/broker/awaited_acks.hpp"

#include "core/broker/check.hpp"
#include "core/broker/session.hpp"
#include "protocol/reason_code.hpp"

namespace millrace::broker {

using protocol::ReasonCode;

AwaitedAcks::Number AwaitedAcks::add(const Session& receiver) {
  MILLRACE_CHECK(!receiver.ended && !receiver.stored);
  if (!routing_) routing_ = std::make_shared<Publish>();
  ++routing_->copies;
  do {
    ++last_number_;
  } while (last_number_ == 0 || copies_.contains(last_number_));
  copies_.emplace(last_number_, Copy{routing_, &receiver});
  return last_number_;
}

AwaitedAcks::PublishRef AwaitedAcks::take_routed() {
  if (routing_) routing_->routed = true;
  return std::exchange(routing_, nullptr);
}

void AwaitedAcks::settle_copy(Number number, ReasonCode result) {
  const auto found = copies_.find(number);
  MILLRACE_CHECK(found != copies_.end());
  PublishRef publish = std::move(found->second.publish);
  copies_.erase(found);
  settle_one(std::move(publish), result);
}

void AwaitedAcks::settle_one(PublishRef publish, ReasonCode result) {
  MILLRACE_CHECK(publish->copies > 0);
  --publish->copies;
  if (protocol::is_failure(result)) publish->result = result;
  if (publish->done()) done_.push_back(std::move(publish));
}

void AwaitedAcks::settle_all(const Session& receiver, ReasonCode result) {
  for (auto one = copies_.begin(); one != copies_.end();) {
    if (one->second.receiver != &receiver) {
      ++one;
      continue;
    }
    PublishRef publish = std::move(one->second.publish);
    one = copies_.erase(one);
    settle_one(std::move(publish), result);
  }
}

void AwaitedAcks::remember(const PublishRef& publish) {
  by_identifier_[{publish->session, publish->packet_id}] = publish;
}

AwaitedAcks::PublishRef AwaitedAcks::find(const Session& publisher, std::uint16_t packet_id) const {
  const auto found = by_identifier_.find({publisher.number, packet_id});
  return found == by_identifier_.end() ? nullptr : found->second;
}

void AwaitedAcks::forget(const Session& publisher, std::uint16_t packet_id) {
  if (!by_identifier_.empty()) by_identifier_.erase({publisher.number, packet_id});
}

void AwaitedAcks::forget(const PublishRef& publish) {
  const auto found = by_identifier_.find({publish->session, publish->packet_id});
  if (found != by_identifier_.end() && found->second == publish) by_identifier_.erase(found);
}

}  // namespace millrace::broker
