// The fuzz target of what readers ask for and publishers send: server/mqtt/delivery_options.hpp,
// core/broker/json_field.hpp and change_filter.hpp.
//
// An input is lines: options of a prefix, then two payloads. What must hold, beside the absence of
// crashes: options are taken, and then what SUBACK says of them can be asked for again and means the
// same, or there is a sentence that says what is wrong; a field is a part of its payload; a payload is
// no change from itself.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>

#include "core/broker/change_filter.hpp"
#include "core/broker/json_field.hpp"
#include "protocol/topic.hpp"
#include "protocol/utf8.hpp"
#include "server/mqtt/delivery_mode.hpp"

namespace broker = millrace::broker;
namespace server = millrace::server;

namespace {

void check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

server::DeliveryChoice choice_of(const server::DeliveryWish& wish) {
  millrace::protocol::ParsedFilter filter;
  filter.filter = "a";
  filter.latest = true;
  return server::choose_delivery(filter, 0, wish, {}, "user", "listener");
}

void check_options(std::string_view text) {
  const server::ParsedWish parsed = server::parse_prefix_options(text, {});
  if (!parsed.fault.empty()) {
    check(!millrace::protocol::valid_utf8(text) || millrace::protocol::valid_utf8(parsed.fault),
          "what is wrong can be said in SUBACK");
    return;
  }
  const server::DeliveryChoice choice = choice_of(parsed.wish);
  const auto shape = broker::make_shape(choice.shape);
  const std::string granted = server::granted_text(choice.mode, shape.get(), choice.history);
  check(millrace::protocol::valid_topic_name(granted), "what is granted fits into a prefix");
  const std::size_t end = std::min(granted.find(';'), granted.size() - 1);
  const server::ParsedWish again = server::parse_prefix_options(granted.substr(end + 1), {});
  check(again.fault.empty(), "what is granted can be asked for");
  const server::DeliveryChoice same = choice_of(again.wish);
  check(same.shape == choice.shape && same.history == choice.history, "and means the same");
}

void check_payloads(const broker::ShapeFields& shape, std::string_view one,
                    std::string_view other) {
  const auto bytes = [](std::string_view text) {
    return std::span(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
  };
  for (const std::string_view payload : {one, other}) {
    const auto field = broker::json_field(payload, shape.field);
    if (!field) continue;
    check(field->data() >= payload.data() &&
              field->data() + field->size() <= payload.data() + payload.size(),
          "a field is a part of its payload");
  }
  const auto left = broker::compared_value(shape, bytes(one));
  const auto right = broker::compared_value(shape, bytes(other));
  check(!broker::is_change(shape, left, left), "a payload is no change from itself");
  if (one == other) check(!broker::is_change(shape, left, right), "nor from its like");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t count) {
  std::string_view text(reinterpret_cast<const char*>(data), count);
  const auto line = [&text] {
    const std::string_view one = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(one.size() + 1, text.size()));
    return one;
  };
  const std::string_view options = line();
  check_options(options);
  const server::ParsedWish parsed = server::parse_prefix_options(options, {});
  const broker::ShapeFields shape = choice_of(parsed.wish).shape;
  const std::string_view one = line();
  check_payloads(shape, one, text);
  return 0;
}
