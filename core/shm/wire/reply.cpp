// The server's messages at the control socket, encoded and decoded.
#include <utility>

#include "core/shm/wire/bytes.hpp"
#include "core/shm/wire/wire.hpp"

namespace millrace::shm {

using wire::head_bytes;
using wire::Packer;
using wire::Type;
using wire::Unpacker;

namespace {

Attached decode_attached(Unpacker& in) {
  Attached attached;
  attached.epoch = in.number<std::uint64_t>();
  attached.consumer_id = in.number<std::uint64_t>();
  attached.position = in.number<std::uint64_t>();
  attached.sequence = in.number<std::uint64_t>();
  attached.snapshot_bytes = in.number<std::uint64_t>();
  attached.has_wake_pipe = in.number<std::uint8_t>() != 0;
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
      came.is_predecessor = in.number<std::uint8_t>() != 0;
      reply = came;
      break;
    }
    case Type::neighbour_gone:
      reply = NeighbourGone{in.number<std::uint64_t>()};
      break;
    case Type::publisher_ring_opened:
      reply = PublisherRingOpened{in.number<std::uint64_t>()};
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

struct EncodeReply {
  std::uint16_t descriptors;
  std::string operator()(const Attached& attached) const {
    Packer out;
    out.number(attached.epoch)
        .number(attached.consumer_id)
        .number(attached.position)
        .number(attached.sequence)
        .number(attached.snapshot_bytes)
        .number(static_cast<std::uint8_t>(attached.has_wake_pipe))
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
    out.number(came.consumer_id).number(static_cast<std::uint8_t>(came.is_predecessor));
    return std::move(out).finish(Type::neighbour_came, descriptors);
  }
  std::string operator()(const NeighbourGone& gone) const {
    return std::move(Packer().number(gone.consumer_id)).finish(Type::neighbour_gone, descriptors);
  }
  std::string operator()(const PublisherRingOpened& opened) const {
    return std::move(Packer().number(opened.epoch))
        .finish(Type::publisher_ring_opened, descriptors);
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

}  // namespace

std::string encode(const Reply& reply, std::size_t descriptor_count) {
  return std::visit(EncodeReply{static_cast<std::uint16_t>(descriptor_count)}, reply);
}

void ReplyParser::feed(std::span<const std::byte> bytes) {
  if (!faulty_) wire::append_to(pending_, bytes);
}

std::optional<ReplyParser::Item> ReplyParser::next() {
  if (faulty_ || pending_.size() < head_bytes) return std::nullopt;
  const wire::Head head = wire::read_head(pending_);
  // A refusal is read in every version, as it says that the version is refused.
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
