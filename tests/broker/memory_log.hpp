// MemoryLog: a store in memory whose disk is as quick as the test says, and that a crash leaves with
// what was committed.
#pragma once

#include <algorithm>
#include <cassert>
#include <vector>

#include "core/store/commit_log.hpp"
#include "tests/store/life.hpp"

namespace millrace::broker {

class MemoryLog final : public store::CommitLog {
 public:
  std::uint64_t append(store::Batch& batch, bool awaited) override {
    assert(!batch.empty());
    is_awaited = awaited || (is_awaited && committed < appended_);
    if (!frozen) batches_.push_back(batch.bytes());
    records += batch.count();
    batch.clear();
    return ++appended_;
  }
  void expect() override { is_awaited = true; }
  bool acknowledgements_wait() const override { return waits; }
  bool is_behind() const override { return behind; }
  bool failed() const override { return has_failed; }
  store::Trouble trouble() const override {
    return has_failed ? store::Trouble::broken : has_trouble;
  }

  std::uint64_t appended() const { return appended_; }
  store::BytesView batch(std::uint64_t number) const { return batches_.at(number - 1); }
  // What a process finds that starts now, if the disk has the batches up to that one.
  store::State state(std::uint64_t number) const {
    store::State state;
    for (std::size_t i = 0; i < std::min<std::size_t>(number, batches_.size()); ++i) {
      store::take_in(state, store::BytesView(batches_[i]));
    }
    return state;
  }
  // It starts.
  void go_on_after(std::uint64_t number) {
    batches_.resize(number);
    appended_ = number;
    frozen = false;
  }

  bool is_awaited = false;  // an answer waits for what was appended
  bool waits = true;
  bool has_failed = false;
  store::Trouble has_trouble = store::Trouble::none;
  bool behind = false;
  bool frozen = false;  // what comes now is not recorded: the process is dead
  std::uint64_t committed = 0;
  std::uint64_t records = 0;

 private:
  std::vector<store::Bytes> batches_;
  std::uint64_t appended_ = 0;
};

}  // namespace millrace::broker
