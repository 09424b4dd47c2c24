#include "server/cli/store_export.hpp"

#include <istream>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>
#include <string_view>
#include <tuple>

#include "core/broker/journal_records.hpp"
#include "server/auth/crypto.hpp"

namespace millrace::server {

namespace records = broker::records;
using Json = nlohmann::ordered_json;

namespace {

constexpr const char* first_key = "millrace_store_export";
constexpr int export_version = 1;

bool is_session(const store::Record& record) {
  return record.key.space == records::session_space &&
         record.key.rest == records::rest_of(records::Part::session);
}

[[noreturn]] void refuse(std::uint64_t line, const std::string& why) {
  throw store::StoreError("line " + std::to_string(line) + ": " + why);
}

std::string decoded(const Json& line, const char* key, std::uint64_t number) {
  const auto text = from_base64(line.at(key).get_ref<const std::string&>());
  if (!text) refuse(number, std::string(key) + " is no base64");
  return *text;
}

}  // namespace

const char* kind_of(const store::Record& record) {
  using records::Kind;
  switch (records::kind_of(record.key)) {
    case Kind::body:
      return "queued packet";
    case Kind::session:
      return "session";
    case Kind::subscription:
      return "subscription";
    case Kind::received:
      return "unreleased QoS 2 message";
    case Kind::bound:
      return "packet identifier";
    case Kind::entry:
      return "queued or inflight message";
    case Kind::retained:
      return "retained message";
    case Kind::newest:
      return "newest value";
    case Kind::count:
      break;
  }
  return "other record";
}

StoreExport::StoreExport(std::ostream& out) : out_(out) {
  out_ << Json{{first_key, export_version}}.dump() << "\n";
}

void StoreExport::add(const store::Record& record) {
  Json line{{"kind", kind_of(record)}};
  const bool is_value =
      record.key.space == records::retained_space || record.key.space == records::newest_space;
  if (is_value) line["topic"] = record.key.rest;
  if (is_session(record)) {
    if (const auto state = records::decode_session(record.value)) {
      line["client_id"] = state->client_id;
    }
  }
  line["space"] = record.key.space;
  line["group"] = record.key.group;
  line["key"] = to_base64(record.key.rest);
  line["value"] = to_base64(record.value);
  if (record.body != 0) line["body"] = record.body;
  out_ << line.dump(-1, ' ', false, Json::error_handler_t::replace) << "\n";
  ++records_;
}

void StoreExport::finish() {
  out_ << Json{{"records", records_}}.dump() << "\n" << std::flush;
}

std::uint64_t read_export(std::istream& in, const store::Log::Visit& visit) {
  std::uint64_t number = 0;
  std::uint64_t count = 0;
  std::optional<std::tuple<std::uint8_t, std::uint64_t, std::string>> last;
  for (std::string text; std::getline(in, text);) {
    ++number;
    try {
      const Json line = Json::parse(text);
      if (number == 1) {
        if (line.at(first_key) != export_version) refuse(1, "an export of another version");
        continue;
      }
      if (line.contains("records")) {
        if (line.at("records") != count) refuse(number, "records are missing");
        return count;
      }
      std::tuple key(line.at("space").get<std::uint8_t>(), line.at("group").get<std::uint64_t>(),
                     decoded(line, "key", number));
      if (last && key <= *last) refuse(number, "the records are not in their order");
      const std::string value = decoded(line, "value", number);
      visit({store::RecordKind::put,
             {std::get<0>(key), std::get<1>(key), std::get<2>(key)},
             value,
             line.value("body", std::uint64_t{0})});
      last = std::move(key);
      ++count;
    } catch (const Json::exception& error) {
      refuse(number, number == 1 ? "this is no export of a store" : error.what());
    }
  }
  refuse(number + 1, number == 0 ? "this is no export of a store" : "the end is missing");
}

}  // namespace millrace::server
