#include "core/store/merge.hpp"

#include "core/store/batch_reader.hpp"

namespace millrace::store {

namespace {

class Merger {
 public:
  Merger(const Tail& tail, const std::function<void(const Record&)>& visit)
      : tail_(tail), next_(tail.entries().begin()), visit_(visit) {}

  void add(const Record& of_snapshot) {
    const auto end = tail_.entries().end();
    for (; next_ != end && next_->key < of_snapshot.key; ++next_) show(*next_);
    if (next_ != end && next_->key == of_snapshot.key) return;  // it comes with the next one
    if (!tail_.group_erased(of_snapshot.key)) visit_(of_snapshot);
  }
  void finish() {
    for (; next_ != tail_.entries().end(); ++next_) show(*next_);
  }

 private:
  void show(const Tail::Entry& entry) {
    if (!entry.erased) visit_({RecordKind::put, entry.key, entry.value, entry.body});
  }

  const Tail& tail_;
  std::vector<Tail::Entry>::const_iterator next_;
  const std::function<void(const Record&)>& visit_;
};

}  // namespace

std::error_code merge(Files& files, const std::string& snapshot, const Tail& tail,
                      const std::function<void(const Record&)>& visit,
                      const std::function<void(const Damage&)>& damaged,
                      const std::atomic<bool>& stops) {
  Merger merger(tail, visit);
  bool whole = snapshot.empty();
  if (!snapshot.empty()) {
    BatchReader reader(files, snapshot);
    for (auto step = reader.next(); step != BatchReader::Step::end; step = reader.next()) {
      if (step == BatchReader::Step::failed) return reader.error();
      if (stops.load(std::memory_order_relaxed)) {
        return std::make_error_code(std::errc::operation_canceled);
      }
      if (step != BatchReader::Step::batch) {
        damaged({reader.offset(), reader.damaged_bytes()});
        if (step == BatchReader::Step::torn) whole = true;  // told already
        continue;
      }
      whole = whole || reader.head().last;
      RecordReader records(reader.payload());
      Record record;
      while (records.next(record)) merger.add(record);
      if (records.malformed())
        damaged({reader.offset(), BatchHead::size + reader.payload().size()});
    }
    if (!whole) damaged({reader.offset(), 0});
  }
  merger.finish();
  return {};
}

}  // namespace millrace::store
