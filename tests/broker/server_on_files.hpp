// ServerOnFiles: a World whose store is a log in a folder in memory.
#pragma once

#include "core/store/log.hpp"
#include "tests/broker/world.hpp"
#include "tests/store/faulty_files.hpp"
#include "tests/store/life.hpp"

namespace millrace::broker {

class ServerOnFiles {
 public:
  // Small segments, soon compacted.
  explicit ServerOnFiles(store::FaultyFiles& files, store::LogOptions log = {700, 2500},
                         const Journal::Options& options = {})
      : log_(files, log), commits_(log_) {
    recovery_ = log_.open([&](const store::Record& record) { store::take_in(found_, record); });
    world_.start_with(found_, commits_, recovery_.last_number, options);
  }

  World& world() { return world_; }
  const store::Recovery& recovery() const { return recovery_; }
  // What the store had at the start.
  const store::State& found() const { return found_; }
  // False: a flush has failed, after which nothing is acknowledged any more.
  bool commit() {
    world_.end_batch();
    if (log_.write()) return true;  // it is tried again
    if (log_.flush()) return false;
    world_.tell_committed(log_.last_number());
    if (log_.wants_compaction()) compact();
    return true;
  }
  void compact() {
    log_.seal();
    if (!log_.compact()) ++compactions_;
  }
  int compactions() const { return compactions_; }

 private:
  class Commits final : public store::CommitLog {
   public:
    explicit Commits(store::Log& log) : log_(log) {}
    std::uint64_t append(store::Batch& batch, bool) override {
      const std::uint64_t number = log_.append(batch.count(), batch.bytes());
      batch.clear();
      return number;
    }
    void expect() override {}
    bool acknowledgements_wait() const override { return true; }
    bool failed() const override { return false; }

   private:
    store::Log& log_;
  };

  store::Log log_;
  Commits commits_;
  store::State found_;
  store::Recovery recovery_;
  World world_;  // last: its end may append
  int compactions_ = 0;
};

}  // namespace millrace::broker
