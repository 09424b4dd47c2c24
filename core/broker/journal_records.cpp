#include "core/broker/journal_records.hpp"

#include <bit>
#include <cmath>
#include <utility>

namespace millrace::broker::records {

namespace {

// The largest Subscription Identifier [MQTT-3.8.2.1.2].
constexpr std::uint32_t identifier_max = 268'435'455;

class Writer {
 public:
  template <class Value>
  Writer& number(Value value) {
    const auto wide = static_cast<std::uint64_t>(value);
    for (std::size_t i = 0; i < sizeof value; ++i) bytes_ += static_cast<char>(wide >> (8 * i));
    return *this;
  }
  Writer& text(std::string_view value) {
    number(static_cast<std::uint32_t>(value.size()));
    bytes_ += value;
    return *this;
  }
  // All that is left of the value.
  Writer& rest(std::string_view value) {
    bytes_ += value;
    return *this;
  }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  template <class Value>
  Reader& number(Value& value) {
    if (bytes_.size() < sizeof value) return fail();
    std::uint64_t wide = 0;
    for (std::size_t i = 0; i < sizeof value; ++i) {
      wide |= std::uint64_t{static_cast<std::uint8_t>(bytes_[i])} << (8 * i);
    }
    value = static_cast<Value>(wide);
    bytes_.remove_prefix(sizeof value);
    return *this;
  }
  template <class Text>
  Reader& text(Text& value) {
    std::uint32_t size = 0;
    number(size);
    if (bytes_.size() < size) return fail();
    value = Text(bytes_.substr(0, size));
    bytes_.remove_prefix(size);
    return *this;
  }
  bool at_end() const { return bytes_.empty(); }
  std::string_view rest() { return std::exchange(bytes_, {}); }

  // What came later and is not known here is passed over.
  template <class Value>
  std::optional<Value> result(Value value) const {
    return failed_ ? std::nullopt : std::optional<Value>(std::move(value));
  }
  bool failed() const { return failed_; }

 private:
  Reader& fail() {
    failed_ = true;
    bytes_ = {};
    return *this;
  }

  std::string_view bytes_;
  bool failed_ = false;
};

// The fields of each value, in the order of their bytes, for a Writer and for a Reader.

template <class Coder, class AnyPacket>
void packet_fields(Coder& coder, AnyPacket& packet) {
  coder.number(packet.is_v5).number(packet.origin).number(packet.received_ns);
}

template <class Coder, class AnyRetained>
void retained_fields(Coder& coder, AnyRetained& retained) {
  coder.number(retained.has_user).text(retained.user);
}

template <class Coder, class AnyState>
void session_fields(Coder& coder, AnyState& state) {
  coder.text(state.client_id)
      .number(state.has_rights)
      .text(state.owner)
      .text(state.credential)
      .text(state.address)
      .number(state.listener)
      .number(state.is_v5)
      .number(state.connected)
      .number(state.expiry_s)
      .number(state.expires_at_ns)
      .number(state.will_at_ns)
      .number(state.will_delay_s)
      .text(state.will);
}

template <class Coder, class AnyState>
void subscription_fields(Coder& coder, AnyState& state) {
  coder.number(state.number)
      .number(state.filter_bytes)
      .number(state.identifier)
      .number(state.shape.interval_ms)
      .number(state.qos)
      .number(state.mode)
      .number(state.no_local)
      .number(state.retain_as_published)
      .text(state.share_group);
}

template <class Coder, class AnyEntry>
void entry_fields(Coder& coder, AnyEntry& entry) {
  coder.number(entry.subscription)
      .number(entry.interval_ms)
      .number(entry.epoch)
      .number(entry.qos)
      .number(entry.retain)
      .number(entry.waits)
      .number(entry.packet_id)
      .number(entry.state);
}

template <class Coder, class AnyBound>
void bound_fields(Coder& coder, AnyBound& bound) {
  coder.number(bound.packet_id).number(bound.order).number(bound.state);
}

}  // namespace

Kind kind_of(const store::Key& key) {
  switch (key.space) {
    case store::body_space:
      return Kind::body;
    case retained_space:
      return Kind::retained;
    case newest_space:
      return Kind::newest;
    case session_space:
      break;
    default:
      return Kind::count;
  }
  if (key.rest.empty()) return Kind::count;
  switch (static_cast<Part>(key.rest.front())) {
    case Part::session:
      return Kind::session;
    case Part::subscription:
      return Kind::subscription;
    case Part::received:
      return Kind::received;
    case Part::bound:
      return Kind::bound;
    case Part::entry:
      return Kind::entry;
  }
  return Kind::count;
}

std::string encode(const Packet& packet) {
  Writer writer;
  packet_fields(writer, packet);
  return writer.rest(packet.bytes).take();
}
std::optional<Packet> decode_packet(std::string_view value) {
  Packet packet;
  Reader reader(value);
  packet_fields(reader, packet);
  packet.bytes = reader.rest();
  return reader.result(packet);
}

std::string encode(const Retained& retained) {
  Writer writer;
  retained_fields(writer, retained);
  return writer.rest(encode(retained.packet)).take();
}
std::optional<Retained> decode_retained(std::string_view value) {
  Retained retained;
  Reader reader(value);
  retained_fields(reader, retained);
  const auto packet = decode_packet(reader.rest());
  if (!packet) return std::nullopt;
  retained.packet = *packet;
  return reader.result(retained);
}

std::string encode(const SessionState& state) {
  Writer writer;
  session_fields(writer, state);
  return writer.take();
}
std::optional<SessionState> decode_session(std::string_view value) {
  SessionState state;
  Reader reader(value);
  session_fields(reader, state);
  if (state.client_id.empty() || state.expiry_s == 0) return std::nullopt;
  return reader.result(std::move(state));
}

std::string encode(const SubscriptionState& state) {
  Writer writer;
  subscription_fields(writer, state);
  return writer.number(state.shape.budget_bytes_per_s)
      .number(state.shape.changes)
      .number(state.shape.heartbeat_s)
      .number(std::bit_cast<std::uint64_t>(state.shape.delta))
      .text(state.shape.field)
      .number(state.shape.tick_ms)
      .number(state.shape.weight)
      .take();
}
std::optional<SubscriptionState> decode_subscription(std::string_view value) {
  SubscriptionState state;
  Reader reader(value);
  subscription_fields(reader, state);
  // Stores of a server before this have no more.
  if (!reader.at_end()) {
    std::uint64_t delta = 0;
    reader.number(state.shape.budget_bytes_per_s)
        .number(state.shape.changes)
        .number(state.shape.heartbeat_s)
        .number(delta)
        .text(state.shape.field)
        .number(state.shape.tick_ms);
    if (!reader.at_end()) reader.number(state.shape.weight);
    if (state.shape.weight > weight_max) return std::nullopt;
    state.shape.delta = std::bit_cast<double>(delta);
    if (state.shape.changes > Changes::by_percent) return std::nullopt;
    if (!std::isfinite(state.shape.delta)) return std::nullopt;
  }
  if (state.number == 0 || state.qos > 2 || state.mode > Mode::every) return std::nullopt;
  if (state.identifier > identifier_max) return std::nullopt;
  return reader.result(std::move(state));
}

std::string encode(const Entry& entry) {
  Writer writer;
  entry_fields(writer, entry);
  for (const std::uint32_t identifier : entry.identifiers) writer.number(identifier);
  return writer.take();
}
std::optional<Entry> decode_entry(std::string_view value) {
  Entry entry;
  Reader reader(value);
  entry_fields(reader, entry);
  if (reader.failed()) return std::nullopt;
  if (entry.qos == 0 || entry.qos > 2 || entry.waits > Waits::fixed) return std::nullopt;
  Reader identifiers(reader.rest());
  for (std::uint32_t identifier = 0; !identifiers.number(identifier).failed();) {
    if (identifier == 0 || identifier > identifier_max) return std::nullopt;
    entry.identifiers.push_back(identifier);
  }
  return entry;
}

std::string encode(const Bound& bound) {
  Writer writer;
  bound_fields(writer, bound);
  return writer.take();
}
std::optional<Bound> decode_bound(std::string_view value) {
  Bound bound;
  Reader reader(value);
  bound_fields(reader, bound);
  if (bound.packet_id == 0) return std::nullopt;
  return reader.result(bound);
}

std::string rest_of(Part part) {
  return std::string(1, static_cast<char>(part));
}

std::string rest_of(Part part, std::uint32_t number) {
  std::string rest = rest_of(part);
  for (int shift = 24; shift >= 0; shift -= 8) rest += static_cast<char>(number >> shift);
  return rest;
}

std::string rest_of(Part part, std::string_view name) {
  return rest_of(part).append(name);
}

std::optional<std::uint32_t> number_of(std::string_view rest) {
  if (rest.size() != 5) return std::nullopt;
  std::uint32_t number = 0;
  for (const char byte : rest.substr(1)) number = number << 8 | static_cast<std::uint8_t>(byte);
  return number;
}

}  // namespace millrace::broker::records
