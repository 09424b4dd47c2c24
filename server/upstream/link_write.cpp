// What a link sends: takes what was handed over, lets the Writer write it with the upstream's names,
// waits for writability, and reports what drained. As in a Connection
// (server/mqtt/connection_write.cpp).
#include <algorithm>
#include <utility>

#include "protocol/encode.hpp"
#include "server/mqtt/binding.hpp"
#include "server/upstream/crossing.hpp"
#include "server/upstream/hops.hpp"
#include "server/upstream/link.hpp"

namespace millrace::server {

namespace command = broker::command;
using broker::Outbox;
using protocol::PacketType;

void Link::on_outbox_ready() {
  const StreamUserRef keep(this);
  if (submission_.has_kept()) {
    submission_.submit();
    release_if_done();
  }
  if (state_ >= State::lingering) return;
  if (take_handover() || state_ == State::closing) write();
  if (reading_paused_) resume_reading();
}

// False: nothing was handed over since the last time.
bool Link::take_handover() {
  Outbox& outbox = *submission_.outbox();
  auto handover = outbox.take();
  if (!handover) return false;
  if (handover->connected && !ended()) owner_->on_link_up(terms_);
  IoCounters& counters = thread_.counters();
  for (const PacketType type :
       {PacketType::puback, PacketType::pubrec, PacketType::pubrel, PacketType::pubcomp}) {
    counters.packets_sent[static_cast<std::size_t>(type)].add(handover->control.count_of(type));
  }
  handover->control.forget_counts();
  remove_what_may_not_cross(*handover);
  for (const broker::HandoverItem& item : handover->deliveries) {
    stats_.messages_out.add(broker::packet_count(item));
    const auto* run = boost::variant2::get_if<broker::PacketRun>(&item);
    stats_.bytes_out.add(run != nullptr
                             ? run->payload_bytes
                             : boost::variant2::unsafe_get<0>(item).message.payload_bytes());
  }
  const auto end = handover->close;
  writer_.add(std::move(handover), outbox);
  if (outbox.binding() != binding_) apply_binding();
  if (end) close({Why::processor, std::string(protocol::to_string(*end))}, *end);
  return true;
}

// As if they had been sent, and refused there: they are not sent again.
void Link::remove_what_may_not_cross(broker::Handover& handover) {
  if (!edits_) return;
  std::uint32_t bytes = 0;
  std::erase_if(handover.deliveries, [&](const broker::HandoverItem& item) {
    const auto& delivery = boost::variant2::get<broker::Delivery>(item);
    const auto why = refusal_out(plan_, delivery.message, is_v5());
    if (!why) return false;
    stats_.refused[static_cast<std::size_t>(*why)].add();
    bytes += delivery.charge_bytes();
    constexpr auto refused = ReasonCode::implementation_specific_error;
    if (!ended() && delivery.qos == 1) {
      submission_.add(command::Puback{delivery.packet_id, refused});
    }
    if (!ended() && delivery.qos == 2) {
      submission_.add(command::Pubrec{delivery.packet_id, refused});
    }
    return true;
  });
  if (bytes == 0 || ended()) return;
  submission_.add(command::Drained{bytes, false});
  if (!in_read_) submission_.submit();
}

void Link::edit(protocol::PublishHeader& header, const broker::Message& message) {
  if (is_v5()) header.properties = with_one_more_hop(header.properties, edited_properties_);
  const TopicMap::Rule* rule = plan_.map.outbound(message.topic());
  if (!rule->config.retained || !terms_.takes_retained) header.retain = false;
  if (!rule->renames()) return;
  edited_topic_ = TopicMap::to_remote(*rule, message.topic());
  header.topic = edited_topic_;
}

// --- Writing -------------------------------------------------------------------------------------

void Link::send(const protocol::Packet& packet) {
  std::vector<std::uint8_t> bytes;
  protocol::encode(packet, version_, bytes);
  thread_.counters().packets_sent[bytes[0] >> 4].add();
  writer_.add_control(bytes);
}

void Link::on_writable() {
  thread_.awake();
  const StreamUserRef keep(this);
  write_blocked_ = false;
  if (state_ == State::closed) return;
  write();
  if (reading_paused_) resume_reading();
}

void Link::write() {
  if (write_blocked_ || state_ >= State::lingering || state_ == State::opening) return;
  const std::uint64_t sent_before = thread_.counters().bytes_sent.value();
  Writer::Status status =
      writer_.write(*stream_, thread_.piece(), thread_.counters(), submission_.outbox());
  const std::uint64_t sent = thread_.counters().bytes_sent.value() - sent_before;
  bytes_sent_ += sent;
  if (sent > 0) last_sent_tick_ = thread_.wheel().tick();
  if (status == Writer::Status::written) {
    const IoStatus flushed = stream_->flush();
    if (flushed == IoStatus::again) status = Writer::Status::blocked;
    if (flushed == IoStatus::failed) status = Writer::Status::failed;
  }
  switch (status) {
    case Writer::Status::failed:
      return lost();
    case Writer::Status::blocked:
      write_blocked_ = was_blocked_ = true;
      stream_->wait_writable();
      break;
    case Writer::Status::written:
      if (state_ == State::closing) return finish_closing();
      break;
  }
  report_drained();
}

void Link::report_drained() {
  if (ended() || !submission_.is_open()) return;
  if (submission_.outbox()->binding() != binding_) apply_binding();
  if (writer_.unreported_bytes() < report_bytes(binding_, config().outbox)) return;
  submission_.add(command::Drained{writer_.unreported_bytes(), was_blocked_});
  was_blocked_ = false;
  writer_.reported();
  if (!in_read_) submission_.submit();
}

void Link::apply_binding() {
  binding_ = submission_.outbox()->binding();
  limit_unsent_bytes(stream_->fd(), binding_, config().outbox);
}

}  // namespace millrace::server
