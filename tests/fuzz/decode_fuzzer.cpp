// The fuzz target of protocol/: bytes from a stranger, through everything that reads bytes.
//
// The first byte of an input says how to read the rest (version, sender, or topics instead of
// packets). What must hold, beside the absence of crashes and of undefined behaviour:
//   - what is decoded, encoded and decoded again is the same packet, and encodes to the same bytes;
//   - the quick decoders (decode_publish, decode_ack) agree with the thorough one;
//   - the header of a PUBLISH, written from its view, is the packet that it was read from;
//   - matches, covers and overlaps do not contradict each other.
#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "protocol/decode.hpp"
#include "protocol/encode.hpp"
#include "protocol/publish.hpp"
#include "protocol/topic.hpp"
#include "protocol/utf8.hpp"
#include "tests/fuzz/expect.hpp"

using namespace millrace::protocol;
using millrace::expect;

namespace {

using Bytes = std::vector<std::uint8_t>;
using Input = std::span<const std::uint8_t>;

Frame whole_frame(Input packet, Version version) {
  const auto found = frame(packet, packet_bytes_limit, version);
  expect(found.has_value() && found->has_value(), "what encode writes is framed");
  expect((*found)->packet_bytes == packet.size(), "what encode writes is one packet");
  return **found;
}

void check_round_trip(const Packet& packet, Version version, Sender sender) {
  Bytes once;
  encode(packet, version, once);
  const Frame found = whole_frame(once, version);
  expect(packet_type(packet) == found.type, "the type survives encoding");
  const auto again = decode(found, once, version, sender);
  expect(again.has_value(), "what encode writes is decoded");
  expect(*again == packet, "decode(encode(packet)) is the packet");
  Bytes twice;
  encode(*again, version, twice);
  expect(once == twice, "encode is a function of the packet alone");
}

// Writes the header of a view as it was received, with an alias and with all edits at once, and
// reads each of them back.
void check_publish_headers(const PublishView& view, Version version) {
  PublishHeader header;
  header.version = version;
  header.qos = view.qos;
  header.retain = view.retain;
  header.dup = view.dup;
  header.packet_id = view.packet_id;
  header.topic = view.topic;
  header.payload_bytes = view.payload.size();
  header.properties = view.properties;
  const std::uint32_t identifiers[] = {7, 70'000};
  for (int round = 0; round < 3; ++round) {
    if (round == 1) header.topic_alias = 1;
    if (round == 2) {
      header.message_expiry_interval = 1;
      header.subscription_identifiers = identifiers;
    }
    if (version == Version::v5 && header.topic.empty() && header.topic_alias == 0) continue;
    Bytes packet(publish_header_bytes(header));
    expect(encode_publish_header(header, packet.data()) == packet.data() + packet.size(),
           "publish_header_bytes is exact");
    packet.insert(packet.end(), view.payload.begin(), view.payload.end());
    const auto again =
        decode_publish(whole_frame(packet, version), packet, version, Sender::server);
    expect(again.has_value(), "what encode_publish_header writes is decoded");
    expect(again->topic == view.topic && std::ranges::equal(again->payload, view.payload) &&
               again->qos == view.qos && again->packet_id == view.packet_id &&
               again->retain == view.retain && again->dup == view.dup &&
               again->has_response_topic == view.has_response_topic &&
               again->has_correlation_data == view.has_correlation_data &&
               again->has_user_properties == view.has_user_properties &&
               again->payload_format_indicator == view.payload_format_indicator,
           "a header changes only what it says");
    if (version != Version::v5) continue;
    expect(again->topic_alias == header.topic_alias, "the alias is the writer's");
    expect(again->has_message_expiry == (view.has_message_expiry || round == 2),
           "an expiry is kept or added");
    expect(again->message_expiry_interval == (round == 2 ? 1 : view.message_expiry_interval),
           "an expiry is the writer's");
  }
}

void check_publish(const Frame& found, Input packet, Version version, Sender sender,
                   const Result<Packet>& thorough) {
  const auto view = decode_publish(found, packet, version, sender);
  expect(view.has_value() == thorough.has_value(), "both decoders of PUBLISH agree");
  if (view.has_error()) {
    expect(view.error() == thorough.error(), "both decoders of PUBLISH give one reason");
    return;
  }
  const auto& publish = std::get<Publish>(*thorough);
  expect(view->topic == publish.topic && view->payload.size() == publish.payload.size(),
         "both decoders of PUBLISH see the same");
  expect(view->topic.empty() || valid_topic_name(view->topic), "a topic is a valid name");
  check_publish_headers(*view, version);
}

void check_ack(const Frame& found, Input packet, Version version, Sender sender,
               const Result<Packet>& thorough) {
  const auto ack = decode_ack(found, packet, version, sender);
  expect(ack.has_value() == thorough.has_value(), "both decoders of an acknowledgement agree");
  if (ack.has_error()) {
    expect(ack.error() == thorough.error(), "both give one reason");
  }
}

// The packets one after another, until something is wrong with one or the bytes end.
void check_packets(Input stream, Version version, Sender sender) {
  while (!stream.empty()) {
    const auto found = frame(stream, 64 * 1024, version);
    if (found.has_error() || !found->has_value()) return;
    const Frame& header = **found;
    expect(header.packet_bytes <= stream.size(), "a frame lies within its bytes");
    const Input packet = stream.first(header.packet_bytes);
    const auto decoded = decode(header, packet, version, sender);
    (void)connect_version(header, packet);
    switch (header.type) {
      case PacketType::publish:
        check_publish(header, packet, version, sender, decoded);
        break;
      case PacketType::puback:
      case PacketType::pubrec:
      case PacketType::pubrel:
      case PacketType::pubcomp:
        check_ack(header, packet, version, sender, decoded);
        break;
      default:
        break;
    }
    if (decoded.has_value()) {
      check_round_trip(*decoded, version, sender);
      if (const auto* connect = std::get_if<Connect>(&*decoded)) version = connect->version;
    }
    stream = stream.subspan(header.packet_bytes);
  }
}

// Two filters and a topic, separated by line ends.
void check_topics(std::string_view text) {
  const std::size_t first = text.find('\n');
  if (first == std::string_view::npos) return;
  const std::size_t second = text.find('\n', first + 1);
  if (second == std::string_view::npos) return;
  const auto a = parse_filter(text.substr(0, first));
  const auto b = parse_filter(text.substr(first + 1, second - first - 1));
  const std::string_view topic = text.substr(second + 1);
  if (a.has_error() || b.has_error()) return;
  expect(covers(a->filter, a->filter), "a filter covers itself");
  expect(overlaps(a->filter, a->filter), "a filter overlaps itself");
  expect(overlaps(a->filter, b->filter) == overlaps(b->filter, a->filter), "overlaps is symmetric");
  const bool wide = covers(a->filter, b->filter);
  expect(!wide || overlaps(a->filter, b->filter), "what is covered overlaps");
  if (!valid_topic_name(topic)) return;
  const bool in_a = matches(a->filter, topic);
  const bool in_b = matches(b->filter, topic);
  expect(!(wide && in_b) || in_a, "what covers matches too");
  expect(!(in_a && in_b) || overlaps(a->filter, b->filter), "what both match is an overlap");
  expect(matches(topic, topic), "a name matches itself");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const Input rest = Input(data, size).subspan(1);
  const unsigned how = data[0] % 8;
  if (how >= 6) {
    check_topics({reinterpret_cast<const char*>(rest.data()), rest.size()});
  } else {
    constexpr Version versions[] = {Version::v5, Version::v3_1_1, Version::v3_1};
    check_packets(rest, versions[how % 3], how < 3 ? Sender::client : Sender::server);
  }
  return 0;
}
