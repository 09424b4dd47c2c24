// A change filter on one message: the field of a JSON payload, found by json_field() and by the SAX
// parser of nlohmann's JSON (docs/decisions/0014-json-field.md), and the whole comparison.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/broker/change_filter.hpp"
#include "core/broker/json_field.hpp"

namespace millrace::broker {
namespace {

using Json = nlohmann::json;

const std::string payload = R"({"battery":91,"humidity":48.1,"temperature":21.53,"voltage":2995})";

// The member of that name of the outermost object; the parser is stopped there.
struct FieldReader : nlohmann::json_sax<Json> {
  explicit FieldReader(std::string_view name) : wanted(name) {}
  bool scalar(double value) {
    number = value;
    return !is_next;
  }
  bool null() override { return scalar(0); }
  bool boolean(bool value) override { return scalar(value ? 1 : 0); }
  bool number_integer(number_integer_t value) override {
    return scalar(static_cast<double>(value));
  }
  bool number_unsigned(number_unsigned_t value) override {
    return scalar(static_cast<double>(value));
  }
  bool number_float(number_float_t value, const string_t&) override { return scalar(value); }
  bool string(string_t&) override { return !is_next; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override { return ++depth > 0; }
  bool end_object() override { return --depth >= 0; }
  bool start_array(std::size_t) override { return ++depth > 0; }
  bool end_array() override { return --depth >= 0; }
  bool key(string_t& name) override {
    is_next = depth == 1 && name == wanted;
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override {
    return false;
  }

  std::string_view wanted;
  int depth = 0;
  bool is_next = false;
  double number = 0;
};

void find_field(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(json_field(payload, "/temperature"));
}
BENCHMARK(find_field)->Name("change filter: json_field()");

void find_field_by_library(benchmark::State& state) {
  for (auto _ : state) {
    FieldReader reader("temperature");
    Json::sax_parse(payload, &reader);
    benchmark::DoNotOptimize(reader.number);
  }
}
BENCHMARK(find_field_by_library)->Name("change filter: nlohmann SAX");

void compare_message(benchmark::State& state) {
  ShapeFields shape;
  shape.changes = Changes::by;
  shape.delta = 0.5;
  shape.field = "/temperature";
  const std::span<const std::uint8_t> bytes(reinterpret_cast<const std::uint8_t*>(payload.data()),
                                            payload.size());
  SentValues sent;
  const ConflationKey key{1, 2};
  sent.note(key, {compared_value(shape, bytes), 1}, 10);
  for (auto _ : state) {
    benchmark::DoNotOptimize(is_change(shape, sent.find(key)->value, compared_value(shape, bytes)));
  }
}
BENCHMARK(compare_message)->Name("change filter: a message that is skipped");

}  // namespace
}  // namespace millrace::broker
