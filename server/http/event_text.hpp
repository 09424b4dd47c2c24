// Deliveries as Server-Sent Events (HTML Living Standard, section 9.2): one JSON object each, in the
// form that docs/http.md describes. Pure; any thread.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "core/broker/outbox.hpp"

namespace millrace::server {

// "<run>-<sequence>": a reader that has this has everything up to that publish of that run.
std::string event_id(std::string_view run, std::uint64_t sequence);
// The sequence; nothing if it is not an id of this run.
std::optional<std::uint64_t> parse_event_id(std::string_view id, std::string_view run);

// A value as a JSON object. `none`: without its payload; `text`: base64 where it is no text.
enum class PayloadForm : std::uint8_t { none, text, base64 };
struct ValueForm {
  PayloadForm payload = PayloadForm::text;
  std::uint32_t payload_bytes_max = UINT32_MAX;  // a longer one is cut, and the object says so
};
nlohmann::ordered_json value_json(const broker::Message& message, bool retained,
                                  std::int64_t now_ns, const ValueForm& form);

// One event, or one for each packet of a run, which must be of MQTT 5. `payload_bytes_max`: a longer
// payload is cut, and the event says so.
void append_events(std::string& text, const broker::HandoverItem& item, std::int64_t now_ns,
                   std::uint32_t payload_bytes_max);

}  // namespace millrace::server
