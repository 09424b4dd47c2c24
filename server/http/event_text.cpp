#include "server/http/event_text.hpp"

#include <algorithm>
#include <cassert>
#include <nlohmann/json.hpp>

#include "protocol/frame.hpp"
#include "protocol/publish.hpp"
#include "protocol/utf8.hpp"
#include "server/auth/crypto.hpp"
#include "server/http/target.hpp"

namespace millrace::server {

namespace {

bool continues_character(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
}

// Up to `count` bytes, without the beginning of a character that does not fit.
std::string_view cut(std::string_view payload, std::size_t count) {
  if (payload.size() <= count) return payload;
  std::size_t end = count;
  while (end > 0 && count - end < 3 && continues_character(payload[end])) --end;
  return payload.substr(0, continues_character(payload[end]) ? count : end);  // no text at all
}

void append_event(std::string& text, const broker::Message& message, bool retained,
                  std::int64_t now_ns, std::uint32_t payload_bytes_max) {
  auto event = value_json(message, retained, now_ns, {PayloadForm::text, payload_bytes_max});
  // An empty retained message deletes the topic's value [MQTT-3.3.1-6].
  if (message.retain && message.payload_bytes() == 0) event["cleared"] = true;
  text += "data: ";
  text += event.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  text += "\n\n";
}

// The packet at `offset` in the run's buffer. It was framed and decoded once already.
broker::Message message_at(const broker::PacketRun& run, std::uint32_t offset) {
  constexpr auto version = protocol::Version::v5;
  const auto rest = run.packets().subspan(offset - run.offset);
  const auto frame = **protocol::frame(rest, protocol::packet_bytes_limit, version);
  const auto packet = rest.first(frame.packet_bytes);
  const auto view = *protocol::decode_publish(frame, packet, version, protocol::Sender::server);
  // Changes nothing in the bytes, which others read: what passes unchanged does not expire.
  assert(!view.has_message_expiry);
  return broker::make_message(run.buffer, offset, frame.packet_bytes, view, version);
}

}  // namespace

std::string event_id(std::string_view run, std::uint64_t sequence) {
  return std::string(run) + "-" + std::to_string(sequence);
}

std::optional<std::uint64_t> parse_event_id(std::string_view id, std::string_view run) {
  if (!id.starts_with(run)) return std::nullopt;
  id.remove_prefix(run.size());
  if (!id.starts_with('-')) return std::nullopt;
  id.remove_prefix(1);
  return parse_number<std::uint64_t>(id);
}

nlohmann::ordered_json value_json(const broker::Message& message, bool retained,
                                  std::int64_t now_ns, const ValueForm& form) {
  const auto bytes = message.payload();
  const std::string_view whole(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const std::string_view payload = cut(whole, form.payload_bytes_max);
  nlohmann::ordered_json value;
  value["topic"] = message.topic();
  if (form.payload != PayloadForm::none) {
    const bool is_text = form.payload == PayloadForm::text && protocol::valid_utf8_payload(payload);
    is_text ? value["payload"] = payload : value["payload_base64"] = to_base64(payload);
    if (payload.size() < whole.size()) value["truncated"] = true;
  }
  value["size"] = whole.size();
  value["age_ms"] = std::max<std::int64_t>(0, now_ns - message.buffer->received_ns) / 1'000'000;
  value["qos"] = message.qos;
  value["retained"] = retained;
  return value;
}

void append_events(std::string& text, const broker::HandoverItem& item, std::int64_t now_ns,
                   std::uint32_t payload_bytes_max) {
  const auto* const run = boost::variant2::get_if<broker::PacketRun>(&item);
  if (run == nullptr) {
    const auto& delivery = boost::variant2::unsafe_get<0>(item);
    return append_event(text, delivery.message, delivery.retain, now_ns, payload_bytes_max);
  }
  std::uint32_t offset = run->offset;
  for (std::uint32_t left = run->count; left > 0; --left) {
    const broker::Message message = message_at(*run, offset);
    append_event(text, message, message.retain, now_ns, payload_bytes_max);
    offset += message.packet_bytes;
  }
  assert(offset == run->offset + run->bytes);
}

}  // namespace millrace::server
