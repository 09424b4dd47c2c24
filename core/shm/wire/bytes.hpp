// The parts of the control socket's wire format: heads, numbers and strings as bytes. Used only by
// request.cpp and reply.cpp.
//
// Thread contract: any thread; each object belongs to one thread at a time.
// Invariants: an Unpacker never reads past its input.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "core/shm/ring/layout.hpp"

namespace millrace::shm::wire {

inline constexpr std::size_t head_bytes = 8;
inline constexpr std::uint8_t wake_up_byte = 0x01;

enum class Type : std::uint8_t {
  attach = 0x02,
  mapped = 0x03,
  publisher_ring = 0x04,
  table = 0x05,
  value = 0x06,
  attached = 0x82,
  refused = 0x83,
  evicted = 0x84,
  neighbour_came = 0x85,
  neighbour_gone = 0x86,
  publisher_ring_opened = 0x87,
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

// Once its input is too short or invalid, it returns zeros and done() is false.
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
  // A value of an enumeration whose last one is `last`.
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
  // Whether the input was valid and read to its end.
  bool done() const { return ok_ && in_.empty(); }

 private:
  std::string_view in_;
  bool ok_ = true;
};

struct Head {
  Type type;
  std::uint8_t version;
  std::uint16_t extra;
  std::uint32_t body_bytes;
};

inline Head read_head(std::string_view bytes) {
  Unpacker in(bytes.substr(0, head_bytes));
  Head head{};
  head.type = static_cast<Type>(in.number<std::uint8_t>());
  head.version = in.number<std::uint8_t>();
  head.extra = in.number<std::uint16_t>();
  head.body_bytes = in.number<std::uint32_t>();
  return head;
}

inline void append_to(std::string& pending, std::span<const std::byte> bytes) {
  pending.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

}  // namespace millrace::shm::wire
