#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>

#include "bench/store/engine.hpp"
#include "core/store/store.hpp"

namespace millrace::bench {

namespace {

class LogEngine final : public Engine {
 public:
  explicit LogEngine(const std::string& folder) : files_(folder), store_(files_, {}) {
    store_.open([this](const store::Record&) { ++found_; });
    const auto committed = [this](std::uint64_t number) {
      std::lock_guard lock(mutex_);
      committed_ = number;
      changed_.notify_one();
    };
    const auto report = [](const std::string& event, const std::string& detail) {
      std::fprintf(stderr, "%s: %s\n", event.c_str(), detail.c_str());
      std::exit(1);
    };
    store_.start({committed, report});
  }

  void put(const store::Key& key, std::string_view value, std::uint64_t body) override {
    batch_.put(key, value, body);
  }
  void erase(const store::Key& key) override { batch_.erase(key); }
  void erase_body(std::uint64_t) override {}
  void commit() override {
    const std::uint64_t number = store_.append(batch_, /*awaited=*/true);
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return committed_ >= number; });
  }
  std::uint64_t found() const override { return found_; }

 private:
  std::uint64_t found_ = 0;
  store::Batch batch_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t committed_ = 0;
  store::PosixFiles files_;
  store::Store store_;  // last: its thread uses what is above
};

}  // namespace

std::unique_ptr<Engine> open_log(const std::string& folder) {
  return std::make_unique<LogEngine>(folder);
}

}  // namespace millrace::bench
