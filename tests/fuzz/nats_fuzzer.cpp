// The fuzz target of what is said in NATS's words: server/upstream/nats_subject.hpp and
// nats_headers.hpp.
//
// What must hold, beside the absence of crashes: a topic comes back from its subject as it was, and
// that subject is one literal to a NATS server; a subject of anybody becomes a valid topic or none;
// headers of anybody become valid properties or none, and those come back as they were.
#include <cstdint>
#include <string>
#include <string_view>

#include "protocol/topic.hpp"
#include "server/upstream/nats_headers.hpp"
#include "server/upstream/nats_subject.hpp"
#include "tests/fuzz/expect.hpp"

namespace protocol = millrace::protocol;
namespace server = millrace::server;
using millrace::expect;
using server::NatsName;

namespace {

void check_topic(std::string_view topic) {
  std::string subject, back;
  if (server::to_subject(topic, subject) != NatsName::mapped) return;
  expect(subject.size() <= server::subject_bytes_max, "a subject has its limit");
  expect(subject.front() != '.' && subject.back() != '.' && subject.front() != '$' &&
             subject.find("..") == std::string::npos,
         "no token is empty, and the first is not reserved");
  for (const char c : subject) {
    expect(static_cast<unsigned char>(c) > ' ' && c != '*' && c != '>' && c != 0x7F,
           "a subject has nothing that NATS reads as more than a name");
  }
  expect(server::to_topic(subject, back) == NatsName::mapped && back == topic,
         "a topic comes back as it was");
}

void check_subject(std::string_view subject) {
  std::string topic;
  if (server::to_topic(subject, topic) != NatsName::mapped) return;
  expect(protocol::valid_topic_name(topic) && topic.front() != '$', "it is a valid topic");
  check_topic(topic);
}

// The input is lines "N value": the header of that number.
void check_headers(std::string_view text) {
  server::NatsHeaders headers;
  while (text.size() > 2) {
    const auto end = text.find('\n');
    const auto name = static_cast<unsigned char>(text[0]) % server::nats_header_names.size();
    const std::string_view value = text.substr(0, end).size() > 2 ? text.substr(2, end - 2) : "";
    if (value.find('\0') != value.npos) return;  // a header ends there
    headers.emplace_back(server::nats_header_names[name], value);
    text = end == std::string_view::npos ? "" : text.substr(end + 1);
  }
  const auto said = server::from_nats_headers(headers);
  if (!said) return;
  std::optional<std::uint32_t> expiry_s;
  if (const auto at = said->raw().expiry_at; at != protocol::RawProperties::nowhere) {
    expiry_s = 0;
    for (std::size_t i = 1; i <= 4; ++i) expiry_s = *expiry_s << 8 | said->properties[at + i];
  }
  const auto again =
      server::from_nats_headers(server::to_nats_headers(said->properties, expiry_s, said->retain));
  expect(again && again->retain == said->retain && again->properties == said->properties,
         "properties come back as they were");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t count) {
  const std::string_view text(reinterpret_cast<const char*>(data), count);
  if (protocol::valid_topic_name(text)) check_topic(text);
  if (protocol::valid_topic_filter(text)) {
    for (const std::string& subject : server::subjects_of(text)) {
      expect(!subject.empty() && subject.size() <= server::subject_bytes_max, "as a subject");
    }
  }
  check_subject(text);
  check_headers(text);
  return 0;
}
