// A client's messages at the control socket, encoded and decoded.
#include <utility>

#include "core/shm/wire/bytes.hpp"
#include "core/shm/wire/wire.hpp"

namespace millrace::shm {

using wire::head_bytes;
using wire::Packer;
using wire::Type;
using wire::Unpacker;
using wire::wake_up_byte;

namespace {

std::vector<std::string> texts(Unpacker& in, std::size_t count_max, std::size_t bytes_max) {
  std::vector<std::string> all;
  const auto count = in.number<std::uint16_t>();
  if (count > count_max) in.fail();
  for (std::size_t i = 0; i < count && i < count_max; ++i) all.push_back(in.text(bytes_max));
  return all;
}

void append_texts(Packer& out, const std::vector<std::string>& all) {
  out.number(static_cast<std::uint16_t>(all.size()));
  for (const std::string& text : all) out.text(text);
}

std::optional<Request> decode_request(Type type, std::string_view body) {
  Unpacker in(body);
  Request request;
  switch (type) {
    case Type::attach: {
      AttachRequest attach;
      attach.policy = in.choice(Policy::lossless);
      attach.start = in.choice(StartAt::latest);
      attach.wants_wake_pipe = in.number<std::uint8_t>() != 0;
      attach.filters = texts(in, filters_max, UINT16_MAX);
      if (attach.filters.empty()) in.fail();
      attach.name = in.text(name_bytes_max);
      attach.after = texts(in, neighbours_max, name_bytes_max);
      request = std::move(attach);
      break;
    }
    case Type::mapped:
      request = MappedNotice{};
      break;
    case Type::publisher_ring:
      request = PublisherRingRequest{in.text(name_bytes_max)};
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

struct EncodeRequest {
  std::string operator()(const WakeUp&) const { return std::string(1, wake_up_byte); }
  std::string operator()(const AttachRequest& attach) const {
    Packer out;
    out.number(static_cast<std::uint8_t>(attach.policy))
        .number(static_cast<std::uint8_t>(attach.start))
        .number(static_cast<std::uint8_t>(attach.wants_wake_pipe));
    append_texts(out, attach.filters);
    out.text(attach.name);
    append_texts(out, attach.after);
    return std::move(out).finish(Type::attach, 0);
  }
  std::string operator()(const MappedNotice&) const { return Packer().finish(Type::mapped, 0); }
  std::string operator()(const PublisherRingRequest& publisher_ring) const {
    return std::move(Packer().text(publisher_ring.name)).finish(Type::publisher_ring, 0);
  }
  std::string operator()(const TableRequest& table) const {
    return std::move(Packer().text(table.filter)).finish(Type::table, 0);
  }
  std::string operator()(const ValueRequest& value) const {
    return std::move(Packer().text(value.topic)).finish(Type::value, 0);
  }
};

}  // namespace

std::string encode(const Request& request) {
  return std::visit(EncodeRequest{}, request);
}

void RequestParser::feed(std::span<const std::byte> bytes) {
  if (!fault_) wire::append_to(pending_, bytes);
}

std::optional<Request> RequestParser::fail(Refusal refusal) {
  fault_ = refusal;
  pending_.clear();
  return std::nullopt;
}

std::optional<Request> RequestParser::next() {
  if (fault_ || pending_.empty()) return std::nullopt;
  if (pending_.front() == static_cast<char>(wake_up_byte)) {
    // Several wake-ups mean the same as one.
    const std::size_t wake_ups = pending_.find_first_not_of(static_cast<char>(wake_up_byte));
    pending_.erase(0, wake_ups == std::string::npos ? pending_.size() : wake_ups);
    return WakeUp{};
  }
  if (pending_.size() < head_bytes) return std::nullopt;
  const wire::Head head = wire::read_head(pending_);
  if (head.version != layout_version) return fail(Refusal::other_version);
  if (head.extra != 0 || head.body_bytes > request_bytes_max) return fail(Refusal::malformed);
  if (pending_.size() < head_bytes + head.body_bytes) return std::nullopt;
  auto request =
      decode_request(head.type, std::string_view(pending_).substr(head_bytes, head.body_bytes));
  if (!request) return fail(Refusal::malformed);
  pending_.erase(0, head_bytes + head.body_bytes);
  return request;
}

}  // namespace millrace::shm
