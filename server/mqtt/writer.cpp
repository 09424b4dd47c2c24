#include "server/mqtt/writer.hpp"

#include <algorithm>
#include <boost/container/small_vector.hpp>
#include <cassert>
#include <utility>

#include "core/broker/inbox.hpp"
#include "protocol/publish.hpp"

namespace millrace::server {

namespace {

// Up to here a copy is cheaper than an address of its own in the list of the write call.
constexpr std::size_t copied_bytes_max = 512;

using Iovecs = boost::container::small_vector<iovec, 16>;

Iovecs first_bytes(std::span<const iovec> from, std::size_t count) {
  Iovecs first;
  for (auto at = from.begin(); count > 0; ++at) {
    first.push_back({at->iov_base, std::min(at->iov_len, count)});
    count -= first.back().iov_len;
  }
  return first;
}

}  // namespace

void Writer::set_peer(protocol::Version version, std::uint16_t aliases_max) {
  version_ = version;
  if (aliases_max > 0) aliases_ = std::make_unique<OutboundAliases>(aliases_max);
}

void Writer::add(std::unique_ptr<broker::Handover> handover, broker::Outbox& outbox) {
  handover->connected.reset();
  handover->close.reset();
  deliveries_added_ += static_cast<std::uint32_t>(handover->deliveries.size());
  if (!handover_) {
    handover_ = std::move(handover);
    next_ = 0;
    return;
  }
  handover_->append(std::move(*handover));
  outbox.recycle(std::move(handover));
}

void Writer::add_control(std::span<const std::uint8_t> packets) {
  // Control bytes of a hand-over stand behind those in control_.
  if (handover_ && !handover_->control.empty()) {
    handover_->control.add_uncounted(packets);
  } else {
    auto& own = control_.write();
    own.insert(own.end(), packets.begin(), packets.end());
  }
}

Writer::Status Writer::write(Stream& stream, WriterPiece& piece, IoCounters& counters,
                             broker::Outbox* outbox) {
  Status status = Status::written;
  for (;;) {
    fill(piece);
    if (piece.empty()) break;
    const std::size_t asked = bytes_at_once(piece);
    const IoResult result = asked == piece.bytes()
                                ? stream.write(piece.iovecs())
                                : stream.write(first_bytes(piece.iovecs(), asked));
    if (result.status == IoStatus::failed) return Status::failed;
    const std::size_t sent = result.status == IoStatus::ok ? result.bytes : 0;
    counters.writes.add();
    counters.bytes_sent.add(sent);
    settle(piece, sent, counters);
    if (sent < asked) {
      status = Status::blocked;
      break;
    }
  }
  if (handover_ && next_ == handover_->deliveries.size() && handover_->control.empty()) {
    if (outbox != nullptr) outbox->recycle(std::move(handover_));
    handover_.reset();
    next_ = 0;
  }
  return status;
}

// Small messages are cut where the writes end, so that all writes are of one size: by the size of what
// comes Linux reckons how much of a buffer it may advertise (see late_window.hpp).
std::size_t Writer::bytes_at_once(WriterPiece& piece) const {
  if (late_ == nullptr || piece.bytes() <= late_->write_bytes_max) return piece.bytes();
  const auto& ends = piece.ends();
  const std::size_t first = ends.empty() ? piece.bytes() : ends.front().bytes;
  return first > late_->write_bytes_max ? piece.bytes() : late_->write_bytes_max;
}

// --- Filling a piece -----------------------------------------------------------------------------

void Writer::fill(WriterPiece& piece) {
  piece.clear();
  piece_control_ = 0;
  piece_aliases_ = alias_count();
  std::size_t next = next_;
  if (rest_) {
    if (rest_->head.size() > 0) piece.append(rest_->head.data(), rest_->head.size());
    if (!rest_->tail.empty()) piece.append(rest_->tail.data(), rest_->tail.size());
    ++next;
  }
  if (!fill_control(piece, control_.read())) return;
  if (!handover_ || !fill_control(piece, handover_->control.bytes())) return;
  const auto& deliveries = handover_->deliveries;
  const std::size_t bytes_max = late_ == nullptr ? SIZE_MAX : late_->write_bytes_max;
  while (next < deliveries.size() && !piece.full() && piece.bytes() < bytes_max) {
    if (!fill_item(piece, deliveries[next])) break;
    piece.ends().push_back({piece.bytes(), alias_count()});
    ++next;
  }
}

bool Writer::fill_control(WriterPiece& piece, std::span<const std::uint8_t> bytes) {
  const std::size_t taken = std::min(bytes.size(), piece.scratch_room());
  piece.copy(bytes.first(taken));
  piece_control_ += static_cast<std::uint32_t>(taken);
  return taken == bytes.size();
}

// False: there is no room left for it.
bool Writer::fill_item(WriterPiece& piece, const broker::HandoverItem& item) {
  if (const auto* run = boost::variant2::get_if<broker::PacketRun>(&item)) {
    return fill_run(piece, *run);
  }
  return fill_encoded(piece, boost::variant2::unsafe_get<0>(item));
}

bool Writer::fill_run(WriterPiece& piece, const broker::PacketRun& run) {
  const auto packets = run.packets();
  if (packets.size() > copied_bytes_max) {
    piece.append(packets.data(), packets.size());
    return true;
  }
  if (piece.scratch_room() < packets.size()) return false;
  piece.copy(packets);
  return true;
}

bool Writer::fill_encoded(WriterPiece& piece, const broker::Delivery& delivery) {
  const broker::Message& message = delivery.message;
  protocol::PublishHeader header;
  header.version = version_;
  header.qos = static_cast<protocol::QoS>(delivery.qos);
  header.retain = delivery.retain;
  header.dup = delivery.duplicate;
  header.packet_id = delivery.packet_id;
  header.topic = message.topic();
  header.payload_bytes = message.payload_bytes();
  if (version_ == protocol::Version::v5) {
    header.properties = message.properties();
    if (message.expires_at_s != 0) {
      // What the message still has to live. The processor let go of those that have nothing left,
      // but for one at QoS 2 that was sent before: that is sent again [MQTT-4.3.3-7], with the
      // shortest interval that is not zero.
      const auto now_s = broker::clock_seconds(broker::Inbox::now_ns());
      header.message_expiry_interval =
          message.expires_at_s > now_s ? message.expires_at_s - now_s : 1;  // [MQTT-3.3.2-6]
    }
    if (delivery.identifiers) header.subscription_identifiers = delivery.identifiers->values;
  }
  if (editor_ != nullptr) editor_->edit(header, message);
  const std::uint32_t aliases_before = alias_count();
  if (aliases_) {
    const OutboundAliases::Use use = aliases_->use(header.topic);
    header.topic_alias = use.alias;
    if (use.alias != 0 && !use.fresh) header.topic = {};
  }

  // What an editor changed stands elsewhere, and only until the next header.
  if (header.properties.bytes.size() > copied_bytes_max &&
      header.properties.bytes.data() == message.properties().bytes.data()) [[unlikely]] {
    if (fill_in_parts(piece, header, message)) return true;
    if (aliases_) aliases_->take_back(aliases_before);
    return false;
  }
  const std::size_t header_bytes = protocol::publish_header_bytes(header);
  const auto payload = message.payload();
  const std::size_t copied = payload.size() <= copied_bytes_max ? payload.size() : 0;
  if (piece.scratch_unused()) piece.reserve(header_bytes + copied);
  if (piece.scratch_room() < header_bytes + copied) {
    if (aliases_) aliases_->take_back(aliases_before);
    return false;
  }
  protocol::encode_publish_header(header, piece.append_scratch(header_bytes));
  if (copied == payload.size()) {
    piece.copy(payload);
  } else {
    piece.append(payload.data(), payload.size());
  }
  return true;
}

// Long properties are not copied: they and the payload behind them are sent from where they stand.
bool Writer::fill_in_parts(WriterPiece& piece, const protocol::PublishHeader& header,
                           const broker::Message& message) {
  const std::size_t head_bytes = protocol::publish_head_bytes(header);
  if (piece.scratch_unused()) piece.reserve(head_bytes);
  if (piece.scratch_room() < head_bytes) return false;
  protocol::encode_publish_head(header, piece.append_scratch(head_bytes));
  const std::uint8_t* const from =
      header.properties.bytes.data() + protocol::unchanged_from(header);
  const std::uint8_t* const end = message.packet() + message.packet_bytes;
  piece.append(from, static_cast<std::size_t>(end - from));
  return true;
}

// --- Settling what was sent ----------------------------------------------------------------------

void Writer::settle(WriterPiece& piece, std::size_t sent, IoCounters& counters) {
  const std::int64_t now_ns = broker::Inbox::now_ns();
  const auto& ends = piece.ends();
  // Rest and control stand in front of the deliveries, and are settled in that order.
  const std::size_t in_front = (rest_ ? rest_->bytes() : 0) + piece_control_;
  std::size_t left = settle_rest(sent, counters, now_ns);
  left = settle_control(left);
  if (ends.empty()) return;

  std::size_t done = ends.size();
  if (sent < piece.bytes()) {
    const auto cut = std::upper_bound(
        ends.begin(), ends.end(), sent,
        [](std::size_t bytes, const WriterPiece::End& end) { return bytes < end.bytes; });
    done = static_cast<std::size_t>(cut - ends.begin());
  }
  for (std::size_t i = 0; i < done; ++i) {
    finish(handover_->deliveries[next_ + i], counters, now_ns);
  }
  next_ += static_cast<std::uint32_t>(done);
  deliveries_written_ += static_cast<std::uint32_t>(done);
  if (done == ends.size()) return;

  const std::size_t begin = done == 0 ? in_front : ends[done - 1].bytes;
  const bool begun = sent > begin;
  if (begun) keep_rest(piece, sent, ends[done].bytes);
  if (aliases_) {
    // The client knows the aliases of what was sent, the begun packet included, and no others.
    if (begun) {
      aliases_->take_back(ends[done].alias_count);
    } else {
      aliases_->take_back(done == 0 ? piece_aliases_ : ends[done - 1].alias_count);
    }
  }
}

// Returns how many of the sent bytes came after the rest.
std::size_t Writer::settle_rest(std::size_t sent, IoCounters& counters, std::int64_t now_ns) {
  if (!rest_) return sent;
  const std::size_t of_head = std::min(sent, rest_->head.size());
  const std::size_t of_tail = std::min(sent - of_head, rest_->tail.size());
  rest_->tail = rest_->tail.subspan(of_tail);
  rest_->head.erase(rest_->head.begin(),
                    rest_->head.begin() + static_cast<std::ptrdiff_t>(of_head));
  if (rest_->bytes() == 0) {
    rest_.reset();
    finish(handover_->deliveries[next_], counters, now_ns);
    ++next_;
    ++deliveries_written_;
  }
  return sent - of_head - of_tail;
}

// Of the control bytes in the piece, `sent` at most were sent. Returns what came after them. What
// is left of both lanes is afterwards in control_.
std::size_t Writer::settle_control(std::size_t sent) {
  if (piece_control_ == 0) return sent;
  const std::size_t gone = std::min<std::size_t>(sent, piece_control_);
  const std::size_t of_own = std::min(gone, control_.read().size());
  if (of_own > 0) {
    auto& own = control_.write();
    own.erase(own.begin(), own.begin() + static_cast<std::ptrdiff_t>(of_own));
  }
  if (handover_) {
    const auto rest = std::span(handover_->control.bytes()).subspan(gone - of_own);
    if (!rest.empty()) {
      auto& own = control_.write();
      own.insert(own.end(), rest.begin(), rest.end());
    }
    handover_->control.clear(SIZE_MAX);
  }
  if (control_.read().empty()) control_.reset();  // an idle connection holds nothing
  return sent - gone;
}

// Keeps the bytes [from, to) of the piece: the rest of delivery next_, which was begun.
void Writer::keep_rest(WriterPiece& piece, std::size_t from, std::size_t to) {
  assert(!rest_);
  rest_ = std::make_unique<Rest>();
  std::size_t at = 0;
  for (const iovec& part : piece.iovecs()) {
    const std::size_t begin = std::max(at, from);
    const std::size_t end = std::min(at + part.iov_len, to);
    if (begin < end) {
      const auto* bytes = static_cast<const std::uint8_t*>(part.iov_base) + (begin - at);
      if (piece.in_scratch(bytes)) {
        rest_->head.insert(rest_->head.end(), bytes, bytes + (end - begin));
      } else {
        rest_->tail = {bytes, end - begin};
      }
    }
    at += part.iov_len;
    if (at >= to) break;
  }
}

void Writer::finish(const broker::HandoverItem& item, IoCounters& counters, std::int64_t now_ns) {
  unreported_bytes_ += broker::charge_bytes(item);
  const auto count = [&](std::size_t qos, std::uint32_t packets, std::uint64_t payload_bytes,
                         std::int64_t received_ns) {
    messages_sent_ += packets;
    counters.messages_sent[qos].add(packets);
    counters.message_bytes_sent[qos].add(payload_bytes);
    counters.packets_sent[static_cast<std::size_t>(protocol::PacketType::publish)].add(packets);
    if (received_ns == 0) return;
    const std::int64_t age_ns = std::max<std::int64_t>(0, now_ns - received_ns);
    counters.publish_to_write.observe(static_cast<std::uint64_t>(age_ns), packets);
    if (late_ != nullptr) {
      counters.age.observe(static_cast<std::uint64_t>(age_ns + late_->wait_ns), packets);
    }
  };
  if (const auto* run = boost::variant2::get_if<broker::PacketRun>(&item)) {
    return count(0, run->count, run->payload_bytes, run->buffer->received_ns);
  }
  const auto& delivery = boost::variant2::unsafe_get<0>(item);
  const broker::Message& message = delivery.message;
  count(delivery.qos, 1, message.payload_bytes(),
        delivery.replayed ? 0 : message.buffer->received_ns);
}

}  // namespace millrace::server
