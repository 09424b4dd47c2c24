#include "server/app/store_host.hpp"

#include <chrono>
#include <thread>
#include <utility>

#include "core/base/clock.hpp"
#include "server/observe/log.hpp"

namespace millrace::server {

namespace {

store::StoreOptions options_of(const StoreConfig& config) {
  store::StoreOptions options;
  options.durability = config.durability;
  options.interval = std::chrono::milliseconds(config.interval_ms);
  options.waiting_bytes_max = config.waiting_bytes_max;
  return options;
}

}  // namespace

StoreHost::StoreHost(const StoreConfig& config, broker::Processor& processor,
                     std::shared_ptr<const broker::Authority> authority)
    : path_(config.path),
      durability_(config.durability),
      newest_values_(config.newest_values),
      on_failure_(config.on_failure),
      waiting_bytes_max_(config.waiting_bytes_max),
      processor_(processor),
      files_(config.path),
      store_(files_, options_of(config)) {
  try {
    restore(config.durability, std::move(authority));
  } catch (const store::StoreError& error) {
    throw store::StoreError("store.path " + path_ + ": " + error.what());
  }
}

void StoreHost::restore(Durability durability, std::shared_ptr<const broker::Authority> authority) {
  const auto started = std::chrono::steady_clock::now();
  processor_.begin_restore(std::move(authority), broker::Inbox::now_ns(), base::time_of_day_ns());
  recovery_ = store_.open([this](const store::Record& record) { processor_.restore(record); });
  broker::Journal::Options options;
  options.newest_values = newest_values_;
  options.waiting_bytes_max = waiting_bytes_max_;
  options.refuses = on_failure_ == OnStoreFailure::refuse;
  restored_ = durability_ == Durability::off
                  ? processor_.finish_restore()
                  : processor_.finish_restore(store_, recovery_.last_number, options);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
  recovery_seconds_ = took.count();
  log_damage();
  if (restored_.orphans > 0) {
    log_warn("store.incomplete", {{"path", path_}, {"records", restored_.orphans}});
  }
  log_info("store.opened", {{"path", path_},
                            {"durability", to_string(durability)},
                            {"sessions", restored_.sessions},
                            {"subscriptions", restored_.subscriptions},
                            {"messages", restored_.messages},
                            {"retained", restored_.retained},
                            {"newest", restored_.newest},
                            {"revoked", restored_.revoked},
                            {"seconds", recovery_seconds_}});
}

void StoreHost::log_damage() const {
  if (recovery_.torn_bytes > 0) {
    log_warn("store.torn", {{"path", path_},
                            {"bytes", recovery_.torn_bytes},
                            {"note", "a write that was interrupted is cut off"}});
  }
  if (recovery_.damaged_places == 0) return;
  const auto& kept = recovery_.damaged_files;
  log_error("store.damaged", {{"path", path_},
                              {"places", recovery_.damaged_places},
                              {"bytes", recovery_.damaged_bytes},
                              {"missing_batches", recovery_.missing_batches},
                              {"kept", kept.empty() ? "" : kept.front()}});
}

void StoreHost::start(broker::Inbox& inbox) {
  if (durability_ == Durability::off) return;
  inbox_ = &inbox;
  store_.start(
      {[this](std::uint64_t number) { submit(number); },
       [this](const std::string& event, const std::string& detail) { report(event, detail); }});
}

// A later commit stands for an earlier one, but there may be no later one.
void StoreHost::submit(std::uint64_t number) {
  std::lock_guard lock(submit_mutex_);
  broker::Command command{nullptr, broker::command::Committed{number}};
  while (!closed_.load(std::memory_order_relaxed) && inbox_->submit({&command, 1}) == 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

void StoreHost::report(std::string_view event, const std::string& detail) const {
  if (event == "store.works_again") {
    log_info(event, {});
  } else if (event == "store.compaction_failed") {
    log_error(event, {{"error", detail}});
  } else {
    log_error(event, {{"error", detail}, {"on_failure", to_string(on_failure_)}});
  }
}

void StoreHost::end_reports() {
  closed_.store(true, std::memory_order_relaxed);
  const std::lock_guard lock(submit_mutex_);  // whoever submits has ended
}

void StoreHost::stop() {
  if (durability_ == Durability::off) return write_all();
  processor_.close_journal();
  store_.stop();
}

void StoreHost::write_all() {
  const auto started = std::chrono::steady_clock::now();
  std::uint64_t records = 0;
  const auto show = [&](const store::Log::Visit& visit) {
    const auto count = [&](const store::Record& record) {
      ++records;
      visit(record);
    };
    processor_.write_state(broker::Inbox::now_ns(), base::time_of_day_ns(), newest_values_, count);
    return std::error_code();
  };
  if (const auto error = store_.replace(show)) {
    log_error("store.failed", {{"path", path_},
                               {"error", error.message()},
                               {"note", "the store has what the end before this one left"}});
    return;
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
  log_info("store.written", {{"path", path_}, {"records", records}, {"seconds", took.count()}});
}

std::string StoreHost::fault() const {
  switch (store_.state()) {
    case store::Store::State::good:
      return "";
    case store::Store::State::failing:
      return "the store cannot write: nothing is acknowledged";
    default:
      return "the store has failed: nothing is acknowledged until a restart";
  }
}

}  // namespace millrace::server
