#include "bench/store/sessions.hpp"

#include <malloc.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <system_error>

#include "bench/store/engine.hpp"
#include "core/broker/journal_records.hpp"
#include "core/broker/processor.hpp"
#include "core/store/log.hpp"

namespace millrace::bench {

namespace records = broker::records;

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::uint64_t long_ago_ns = 1'700'000'000'000'000'000;

std::string retained_packet(const std::string& topic) {
  const std::string payload(100, 'v');
  std::string packet(1, '\x31');  // PUBLISH at QoS 0, RETAIN
  std::size_t rest = 2 + topic.size() + payload.size();
  for (; rest >= 0x80; rest >>= 7) packet += static_cast<char>((rest & 0x7F) | 0x80);
  packet += static_cast<char>(rest);
  packet += static_cast<char>(topic.size() >> 8);
  packet += static_cast<char>(topic.size());
  return packet + topic + payload;
}

std::string name_of(std::uint64_t number) {
  std::string digits = std::to_string(number);
  return "devices/" + std::string(8 - digits.size(), '0') + digits;  // in the order of keys
}

void show_session(std::uint64_t number, const store::Log::Visit& visit) {
  const std::string name = name_of(number);
  const auto put = [&](std::string_view rest, const std::string& value) {
    visit({store::RecordKind::put, {records::session_space, number, rest}, value, 0});
  };
  records::SessionState session;
  session.client_id = name;
  session.is_v5 = true;
  session.expiry_s = broker::never_expires;
  put(records::rest_of(records::Part::session), encode(session));
  std::uint32_t subscription = 0;
  for (const char* what : {"/ota/#", "/set"}) {
    records::SubscriptionState state;
    state.number = static_cast<std::uint32_t>(2 * number + ++subscription);
    state.filter_bytes = static_cast<std::uint32_t>((name + what).size());
    state.qos = 1;
    state.mode = broker::Mode::every;
    put(records::rest_of(records::Part::subscription, name + what), encode(state));
  }
}

void show_retained(std::uint64_t number, const store::Log::Visit& visit) {
  const std::string topic = name_of(number) + "/state";
  const std::string packet = retained_packet(topic);
  records::Retained retained;
  retained.packet = {false, 0, long_ago_ns, packet};
  visit({store::RecordKind::put, {records::retained_space, 0, topic}, encode(retained), 0});
}

broker::ProcessorLimits limits_for_millions() {
  broker::ProcessorLimits limits;
  limits.sessions_max = limits.slots.count_max = 100'000'000;
  limits.slots.bytes_max = limits.slots.user_bytes_max = UINT64_MAX / 2;
  return limits;
}

}  // namespace

void make_sessions(const std::string& folder, std::uint64_t count) {
  store::PosixFiles files(folder);
  store::Log log(files, {});
  log.open([](const store::Record&) {});
  const std::error_code error = log.replace([&](const store::Log::Visit& visit) {
    for (std::uint64_t number = 1; number <= count; ++number) show_session(number, visit);
    for (std::uint64_t number = 1; number <= count; ++number) show_retained(number, visit);
    return std::error_code();
  });
  if (error) throw store::StoreError(error.message());
}

void recover_sessions(const std::string& folder) {
  const double before = memory_bytes();
  const auto started = Clock::now();
  broker::Processor processor(limits_for_millions());
  store::PosixFiles files(folder);
  store::Log log(files, {});
  constexpr std::int64_t now_ns = 1'000'000'000;
  processor.begin_restore(nullptr, now_ns, long_ago_ns);
  log.open([&](const store::Record& record) { processor.restore(record); });
  const broker::RestoreFigures found = processor.finish_restore();
  const double took = seconds_since(started);
  const double peak = memory_bytes(true) - before;
  ::malloc_trim(0);
  const double running = memory_bytes() - before;
  std::printf("recovery: %.2f s; %llu sessions, %llu subscriptions, %llu retained, %llu unknown\n",
              took, static_cast<unsigned long long>(found.sessions),
              static_cast<unsigned long long>(found.subscriptions),
              static_cast<unsigned long long>(found.retained),
              static_cast<unsigned long long>(found.orphans));
  std::printf("memory: %.0f MB at most, %.0f MB when running: %.2f times\n", peak / 1e6,
              running / 1e6, peak / running);
  const auto ended = Clock::now();
  const std::error_code error = log.replace([&](const store::Log::Visit& visit) {
    processor.write_state(now_ns, long_ago_ns, false, visit);
    return std::error_code();
  });
  if (error) throw store::StoreError(error.message());
  std::printf("shutdown with durability off: %.2f s, %.0f MB\n", seconds_since(ended),
              folder_bytes(folder) / 1e6);
}

}  // namespace millrace::bench
