#include "core/shm/wire.hpp"

#include <cstring>
#include <type_traits>
#include <utility>

namespace millrace::shm {
namespace {

constexpr std::size_t head_bytes = 8;
constexpr std::uint8_t bell_byte = 0x01;

enum class Type : std::uint8_t {
  attach = 0x02,
  mapped = 0x03,
  lane = 0x04,
  table = 0x05,
  value = 0x06,
  attached = 0x82,
  refused = 0x83,
  evicted = 0x84,
  neighbour_came = 0x85,
  neighbour_gone = 0x86,
  lane_opened = 0x87,
  table_opened = 0x88,
  value_reply = 0x89,
};

class Packer {
 public:
  template <class T>
  requires std::is_integral_v<T> Packer& number(T value) {
    char bytes[sizeof value];
    std::memcpy(bytes, &value, sizeof value);
    out_.append(bytes, sizeof value);
    return *this;
  }
  Packer& text(std::string_view text) {
    number(static_cast<std::uint16_t>(text.size()));
    out_.append(text);
    return *this;
  }
  Packer& rest(std::string_view text) {
    out_.append(text);
    return *this;
  }
  std::string finish(Type type, std::uint16_t extra) && {
    Packer head;
    head.number(static_cast<std::uint8_t>(type))
        .number(static_cast<std::uint8_t>(layout_version))
        .number(extra)
        .number(static_cast<std::uint32_t>(out_.size()));
    return head.out_ + out_;
  }

 private:
  std::string out_;
};

// Reads what is there; once something was missing, all is zero and ok() is false.
class Unpacker {
 public:
  explicit Unpacker(std::string_view in) : in_(in) {}
  template <class T>
  T number() {
    T value{};
    if (in_.size() < sizeof value) return fail(), T{};
    std::memcpy(&value, in_.data(), sizeof value);
    in_.remove_prefix(sizeof value);
    return value;
  }
  std::string text(std::size_t bytes_max = UINT16_MAX) {
    const auto bytes = number<std::uint16_t>();
    if (bytes > bytes_max || in_.size() < bytes) return fail(), std::string();
    std::string text(in_.substr(0, bytes));
    in_.remove_prefix(bytes);
    return text;
  }
  // An enumeration that ends at `last`.
  template <class E>
  E choice(E last) {
    const auto value = number<std::underlying_type_t<E>>();
    if (value > static_cast<std::underlying_type_t<E>>(last)) fail();
    return static_cast<E>(value);
  }
  std::string rest() { return std::string(std::exchange(in_, {})); }
  void fail() {
    ok_ = false;
    in_ = {};
  }
  // All was there, and nothing more.
  bool done() const { return ok_ && in_.empty(); }

 private:
  std::string_view in_;
  bool ok_ = true;
};

std::optional<Request> decode_request(Type type, std::string_view body) {
  Unpacker in(body);
  Request request;
  switch (type) {
    case Type::attach: {
      AttachRequest attach;
      attach.policy = in.choice(Policy::lossless);
      attach.start = in.choice(StartAt::latest);
      attach.filter = in.text();
      attach.name = in.text(name_bytes_max);
      const auto count = in.number<std::uint16_t>();
      if (count > neighbours_max) in.fail();
      for (std::size_t i = 0; i < count && i < neighbours_max; ++i) {
        attach.after.push_back(in.text(name_bytes_max));
      }
      request = std::move(attach);
      break;
    }
    case Type::mapped:
      request = MappedNotice{};
      break;
    case Type::lane:
      request = LaneRequest{in.text(name_bytes_max)};
      break;
    case Type::table:
      request = TableRequest{in.text()};
      break;
    case Type::value:
      request = ValueRequest{in.text()};
      break;
    default:
      return std::nullopt;
  }
  if (!in.done()) return std::nullopt;
  return request;
}

Attached decode_attached(Unpacker& in) {
  Attached attached;
  attached.epoch = in.number<std::uint64_t>();
  attached.consumer_id = in.number<std::uint64_t>();
  attached.position = in.number<std::uint64_t>();
  attached.sequence = in.number<std::uint64_t>();
  attached.seed_bytes = in.number<std::uint64_t>();
  const auto count = in.number<std::uint16_t>();
  if (count > neighbours_max) in.fail();
  for (std::size_t i = 0; i < count && i < neighbours_max; ++i) {
    attached.predecessors.push_back(in.number<std::uint64_t>());
  }
  return attached;
}

ValueReply decode_value(Unpacker& in) {
  ValueReply value;
  value.found = in.number<std::uint8_t>() != 0;
  value.flags = in.number<std::uint8_t>();
  value.sequence = in.number<std::uint64_t>();
  value.time_ns = in.number<std::uint64_t>();
  value.payload = in.rest();
  return value;
}

std::optional<Reply> decode_reply(Type type, std::string_view body) {
  Unpacker in(body);
  Reply reply;
  switch (type) {
    case Type::attached:
      reply = decode_attached(in);
      break;
    case Type::refused: {
      Refused refused;
      refused.reason = static_cast<Refusal>(in.number<std::uint16_t>());
      refused.text = in.text();
      reply = std::move(refused);
      break;
    }
    case Type::evicted:
      reply = EvictedNotice{static_cast<Eviction>(in.number<std::uint32_t>())};
      break;
    case Type::neighbour_came: {
      NeighbourCame came;
      came.consumer_id = in.number<std::uint64_t>();
      came.stands_before_you = in.number<std::uint8_t>() != 0;
      reply = came;
      break;
    }
    case Type::neighbour_gone:
      reply = NeighbourGone{in.number<std::uint64_t>()};
      break;
    case Type::lane_opened:
      reply = LaneOpened{in.number<std::uint64_t>()};
      break;
    case Type::table_opened:
      reply = TableOpened{in.number<std::uint64_t>()};
      break;
    case Type::value_reply:
      reply = decode_value(in);
      break;
    default:
      return std::nullopt;
  }
  if (!in.done()) return std::nullopt;
  return reply;
}

struct EncodeRequest {
  std::string operator()(const Bell&) const { return std::string(1, bell_byte); }
  std::string operator()(const AttachRequest& attach) const {
    Packer out;
    out.number(static_cast<std::uint8_t>(attach.policy))
        .number(static_cast<std::uint8_t>(attach.start))
        .text(attach.filter)
        .text(attach.name)
        .number(static_cast<std::uint16_t>(attach.after.size()));
    for (const std::string& name : attach.after) out.text(name);
    return std::move(out).finish(Type::attach, 0);
  }
  std::string operator()(const MappedNotice&) const { return Packer().finish(Type::mapped, 0); }
  std::string operator()(const LaneRequest& lane) const {
    return std::move(Packer().text(lane.name)).finish(Type::lane, 0);
  }
  std::string operator()(const TableRequest& table) const {
    return std::move(Packer().text(table.filter)).finish(Type::table, 0);
  }
  std::string operator()(const ValueRequest& value) const {
    return std::move(Packer().text(value.topic)).finish(Type::value, 0);
  }
};

struct EncodeReply {
  std::uint16_t descriptors;
  std::string operator()(const Attached& attached) const {
    Packer out;
    out.number(attached.epoch)
        .number(attached.consumer_id)
        .number(attached.position)
        .number(attached.sequence)
        .number(attached.seed_bytes)
        .number(static_cast<std::uint16_t>(attached.predecessors.size()));
    for (const std::uint64_t id : attached.predecessors) out.number(id);
    return std::move(out).finish(Type::attached, descriptors);
  }
  std::string operator()(const Refused& refused) const {
    Packer out;
    out.number(static_cast<std::uint16_t>(refused.reason)).text(refused.text);
    return std::move(out).finish(Type::refused, descriptors);
  }
  std::string operator()(const EvictedNotice& evicted) const {
    Packer out;
    out.number(static_cast<std::uint32_t>(evicted.reason));
    return std::move(out).finish(Type::evicted, descriptors);
  }
  std::string operator()(const NeighbourCame& came) const {
    Packer out;
    out.number(came.consumer_id).number(static_cast<std::uint8_t>(came.stands_before_you));
    return std::move(out).finish(Type::neighbour_came, descriptors);
  }
  std::string operator()(const NeighbourGone& gone) const {
    return std::move(Packer().number(gone.consumer_id)).finish(Type::neighbour_gone, descriptors);
  }
  std::string operator()(const LaneOpened& opened) const {
    return std::move(Packer().number(opened.epoch)).finish(Type::lane_opened, descriptors);
  }
  std::string operator()(const TableOpened& opened) const {
    return std::move(Packer().number(opened.epoch)).finish(Type::table_opened, descriptors);
  }
  std::string operator()(const ValueReply& value) const {
    Packer out;
    out.number(static_cast<std::uint8_t>(value.found))
        .number(value.flags)
        .number(value.sequence)
        .number(value.time_ns)
        .rest(value.payload);
    return std::move(out).finish(Type::value_reply, descriptors);
  }
};

struct Head {
  Type type;
  std::uint8_t version;
  std::uint16_t extra;
  std::uint32_t body_bytes;
};

Head read_head(std::string_view bytes) {
  Unpacker in(bytes.substr(0, head_bytes));
  Head head{};
  head.type = static_cast<Type>(in.number<std::uint8_t>());
  head.version = in.number<std::uint8_t>();
  head.extra = in.number<std::uint16_t>();
  head.body_bytes = in.number<std::uint32_t>();
  return head;
}

void append_to(std::string& pending, std::span<const std::byte> bytes) {
  pending.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

}  // namespace

const char* describe(Refusal refusal) {
  switch (refusal) {
    case Refusal::malformed:
      return "the request is malformed";
    case Refusal::other_version:
      return "the other side speaks another layout version";
    case Refusal::not_allowed:
      return "not allowed by the access rules";
    case Refusal::limit_reached:
      return "a limit of the server is reached";
    case Refusal::bad_filter:
      return "this is no topic filter";
    case Refusal::unknown_consumer:
      return "no such consumer to stand after";
    case Refusal::name_in_use:
      return "another consumer of this ring has that name";
    case Refusal::no_memory:
      return "the system refuses the memory";
    case Refusal::shutting_down:
      return "the server is shutting down";
  }
  return "refused";
}

const char* describe(Eviction eviction) {
  switch (eviction) {
    case Eviction::none:
      return "attached";
    case Eviction::lease_ended:
      return "evicted: it held the gate for longer than its lease";
    case Eviction::overflow_full:
      return "evicted: it held the gate until the overflow was full";
    case Eviction::bad_position:
      return "evicted: its position page says nonsense";
    case Eviction::ring_closed:
      return "the server gave the ring up";
  }
  return "evicted";
}

const char* name_of(Eviction eviction) {
  switch (eviction) {
    case Eviction::none:
      break;
    case Eviction::lease_ended:
      return "lease_ended";
    case Eviction::overflow_full:
      return "overflow_full";
    case Eviction::bad_position:
      return "bad_position";
    case Eviction::ring_closed:
      return "ring_closed";
  }
  return "none";
}

std::string encode(const Request& request) {
  return std::visit(EncodeRequest{}, request);
}

std::string encode(const Reply& reply, std::size_t descriptor_count) {
  return std::visit(EncodeReply{static_cast<std::uint16_t>(descriptor_count)}, reply);
}

void RequestParser::feed(std::span<const std::byte> bytes) {
  if (!fault_) append_to(pending_, bytes);
}

std::optional<Request> RequestParser::fail(Refusal refusal) {
  fault_ = refusal;
  pending_.clear();
  return std::nullopt;
}

std::optional<Request> RequestParser::next() {
  if (fault_ || pending_.empty()) return std::nullopt;
  if (pending_.front() == static_cast<char>(bell_byte)) {
    // Ten bells say no more than one.
    const std::size_t bells = pending_.find_first_not_of(static_cast<char>(bell_byte));
    pending_.erase(0, bells == std::string::npos ? pending_.size() : bells);
    return Bell{};
  }
  if (pending_.size() < head_bytes) return std::nullopt;
  const Head head = read_head(pending_);
  if (head.version != layout_version) return fail(Refusal::other_version);
  if (head.extra != 0 || head.body_bytes > request_bytes_max) return fail(Refusal::malformed);
  if (pending_.size() < head_bytes + head.body_bytes) return std::nullopt;
  auto request =
      decode_request(head.type, std::string_view(pending_).substr(head_bytes, head.body_bytes));
  if (!request) return fail(Refusal::malformed);
  pending_.erase(0, head_bytes + head.body_bytes);
  return request;
}

void ReplyParser::feed(std::span<const std::byte> bytes) {
  if (!faulty_) append_to(pending_, bytes);
}

std::optional<ReplyParser::Item> ReplyParser::next() {
  if (faulty_ || pending_.size() < head_bytes) return std::nullopt;
  const Head head = read_head(pending_);
  // A refusal is understood in every version: it is how a version is refused.
  if (head.body_bytes > reply_bytes_max ||
      (head.version != layout_version && head.type != Type::refused)) {
    faulty_ = true;
    return std::nullopt;
  }
  if (pending_.size() < head_bytes + head.body_bytes) return std::nullopt;
  auto reply =
      decode_reply(head.type, std::string_view(pending_).substr(head_bytes, head.body_bytes));
  pending_.erase(0, head_bytes + head.body_bytes);
  if (!reply) {
    faulty_ = true;
    return std::nullopt;
  }
  return Item{std::move(*reply), head.extra};
}

}  // namespace millrace::shm
