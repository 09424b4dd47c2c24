#include "core/store/log.hpp"

#include <algorithm>
#include <cassert>
#include <charconv>
#include <optional>
#include <unordered_set>
#include <utility>

#include "core/store/batch_reader.hpp"

namespace millrace::store {

namespace {

// So much of a snapshot is one batch.
constexpr std::size_t snapshot_batch_bytes = 64 * 1024;

std::string name_of(std::string_view kind, std::uint64_t number) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string name(kind);
  for (int shift = 60; shift >= 0; shift -= 4) name += digits[(number >> shift) & 15];
  return name;
}

// Nothing: the name is of another kind.
std::optional<std::uint64_t> number_of(std::string_view kind, std::string_view name) {
  if (!name.starts_with(kind) || name.size() != kind.size() + 16) return std::nullopt;
  std::uint64_t number = 0;
  const char* const end = name.data() + name.size();
  const auto parsed = std::from_chars(name.data() + kind.size(), end, number, 16);
  if (parsed.ec != std::errc() || parsed.ptr != end) return std::nullopt;
  return number;
}

void must(std::error_code error, const std::string& what) {
  if (error) throw StoreError(what + ": " + error.message());
}

// Writes records, in the order of keys, into batches of a snapshot.
class SnapshotWriter {
 public:
  SnapshotWriter(OutputFile& file, std::uint64_t number) : file_(file), number_(number) {
    append_file_head(bytes_, {FileKind::snapshot, format_version, number});
  }

  std::error_code add(const Record& record) {
    batch_.put(record.key, record.value, record.body);
    return batch_.bytes().size() < snapshot_batch_bytes ? std::error_code() : write(false);
  }
  std::error_code finish() {
    if (const auto error = write(true)) return error;
    return file_.flush();
  }
  std::uint64_t written_bytes() const { return written_bytes_; }

 private:
  std::error_code write(bool last) {
    BatchHead head;
    head.number = number_;
    head.records = batch_.count();
    head.last = last;
    append_batch(bytes_, head, batch_.bytes());
    written_bytes_ += bytes_.size();
    const std::error_code error = file_.append(bytes_);
    bytes_.clear();
    batch_.clear();
    return error;
  }

  OutputFile& file_;
  const std::uint64_t number_;
  Batch batch_;
  Bytes bytes_;
  std::uint64_t written_bytes_ = 0;
};

}  // namespace

// --- Opening -------------------------------------------------------------------------------------

Recovery Log::open(const Visit& visit, Mode mode) {
  if (const auto error = files_.lock()) {
    if (error == std::errc::operation_would_block) {
      throw StoreError("another process uses this store");
    }
    must(error, "cannot lock the store");
  }
  Recovery recovery;
  find_files(mode);
  if (!snapshot_.empty() && !has_head(snapshot_)) {
    set_aside(snapshot_, {0, FileHead::size}, mode, recovery);
  }
  Tail tail;
  read_segments(tail, mode, recovery);
  tail.sort();
  const auto count = [&](const Record& record) {
    ++recovery.records;
    visit(record);
  };
  const auto damaged = [&](const Damage& damage) { set_aside(snapshot_, damage, mode, recovery); };
  must(merge(files_, snapshot_, tail, count, damaged, stops_), "cannot read " + snapshot_);
  recovery.last_number = last_number();
  recovery.snapshot_bytes = snapshot_bytes();
  recovery.log_bytes = log_bytes();
  if (mode == Mode::use) must(open_segment(), "cannot write to the store");
  return recovery;
}

void Log::find_files(Mode mode) {
  std::vector<std::string> names;
  must(files_.list(names), "cannot read the store's folder");
  for (const std::string& name : names) {
    if (const auto number = number_of("snapshot-", name)) {
      if (snapshot_.empty() || *number > snapshot_number_) {
        snapshot_ = name;
        snapshot_number_ = *number;
      }
    } else if (const auto first = number_of("log-", name)) {
      segments_.push_back({name, *first, 0});
    } else if (name.starts_with("new-") && mode == Mode::use) {
      must(files_.remove(name), "cannot remove " + name);
    }
  }
  std::sort(segments_.begin(), segments_.end(),
            [](const Segment& left, const Segment& right) { return left.first < right.first; });
  // What a compaction that was interrupted left behind.
  for (const std::string& name : names) {
    const auto number = number_of("snapshot-", name);
    if (number && *number < snapshot_number_ && mode == Mode::use) {
      must(files_.remove(name), "cannot remove " + name);
    }
  }
  while (segments_.size() > 1 && segments_[1].first <= snapshot_number_ + 1) {
    if (mode == Mode::use) must(files_.remove(segments_[0].name), "cannot remove a segment");
    segments_.erase(segments_.begin());
  }
  std::uint64_t bytes = 0;
  if (!snapshot_.empty()) must(files_.size(snapshot_, bytes), "cannot read " + snapshot_);
  snapshot_bytes_ = bytes;
  for (Segment& segment : segments_) {
    must(files_.size(segment.name, segment.bytes), "cannot read " + segment.name);
    log_bytes_ += segment.bytes;
  }
}

// False: its head is damaged.
bool Log::has_head(const std::string& name) {
  Bytes bytes;
  must(files_.read(name, 0, FileHead::size, bytes), "cannot read " + name);
  const auto head = read_file_head(bytes);
  if (head && head->version > format_version) {
    throw StoreError(name + " has format " + std::to_string(head->version) +
                     ", and this program reads up to " + std::to_string(format_version) +
                     ": it was written by a newer one");
  }
  return head.has_value();
}

void Log::read_segments(Tail& tail, Mode mode, Recovery& recovery) {
  next_number_ = snapshot_number_ + 1;
  // A segment is begun when all before it is on the disk: what is not there was damaged.
  const auto begin = [&](const Segment& segment) {
    if (segment.first <= next_number_) return false;
    recovery.missing_batches += segment.first - next_number_;
    next_number_ = segment.first;
    return true;
  };
  for (std::size_t i = 0; i < segments_.size(); ++i) {
    if (begin(segments_[i])) ++recovery.damaged_places;  // a file is gone
    const bool is_last = i + 1 == segments_.size();
    const std::uint64_t before = recovery.batches;
    const bool has_head = this->has_head(segments_[i].name);
    const Damage torn = read_segment(i, tail, mode, recovery);
    // A segment of which no batch reached the disk may have no head either.
    if (!has_head && recovery.batches > before) {
      set_aside(segments_[i].name, {0, FileHead::size}, mode, recovery);
    }
    // A write that failed is in the next segment once more, and here it was not flushed.
    const bool unflushed = is_last || segments_[i + 1].first < next_number_;
    if (torn.bytes > 0 && is_last) {
      recovery.torn_bytes += torn.bytes;
    } else if (torn.bytes > 0 && begin(segments_[i + 1])) {
      set_aside(segments_[i].name, torn, mode, recovery);
    }
    // What is not shown now must not come back by the next compaction.
    if ((unflushed || torn.bytes > 0) && mode == Mode::use) {
      rewrite(segments_[i].name, torn.bytes == 0 ? segments_[i].bytes : torn.offset);
    }
  }
  written_number_ = flushed_number_ = last_number();
}

// Up to where everything had been flushed when this segment, or the next one, was written last.
std::uint64_t Log::flushed_by(std::size_t segment) {
  std::uint64_t flushed = 0;
  // A segment is begun when all before it is flushed; after a write that failed, with that once more.
  if (segment + 1 < segments_.size()) flushed = segments_[segment + 1].first - 1;
  BatchReader reader(files_, segments_[segment].name);
  for (auto step = reader.next(); step != BatchReader::Step::end; step = reader.next()) {
    if (step == BatchReader::Step::failed) {
      must(reader.error(), "cannot read " + segments_[segment].name);
    }
    if (step == BatchReader::Step::batch) flushed = std::max(flushed, reader.head().flushed);
  }
  return flushed;
}

// Returns what is torn at its end: what was written by the last write before a crash.
Damage Log::read_segment(std::size_t index, Tail& tail, Mode mode, Recovery& recovery) {
  const Segment& segment = segments_[index];
  BatchReader reader(files_, segment.name);
  std::vector<Damage> damaged;  // since the last batch
  std::optional<std::uint64_t> flushed;
  const auto skip_to = [&](std::uint64_t number) {
    // What is gone leaves no bytes to keep.
    if (damaged.empty() && number > next_number_) ++recovery.damaged_places;
    for (const Damage& damage : damaged) set_aside(segment.name, damage, mode, recovery);
    damaged.clear();
    recovery.missing_batches += number - next_number_;
    next_number_ = number;
  };
  for (auto step = reader.next(); step != BatchReader::Step::end; step = reader.next()) {
    if (step == BatchReader::Step::failed) must(reader.error(), "cannot read " + segment.name);
    if (step != BatchReader::Step::batch) {
      damaged.push_back({reader.offset(), reader.damaged_bytes()});
      if (step == BatchReader::Step::torn) break;
      continue;
    }
    const BatchHead& head = reader.head();
    if (head.number < next_number_) continue;  // in the snapshot, or written twice
    if (head.number > next_number_ && head.flushed + 1 < head.number) {
      // Written together with what is not there. Were both on the disk, what came later says so.
      if (!flushed) flushed = flushed_by(index);
      if (*flushed >= next_number_) skip_to(std::min(*flushed + 1, head.number));
      if (head.number > next_number_) {
        if (damaged.empty()) damaged.push_back({reader.offset(), 0});
        break;
      }
    }
    skip_to(head.number);
    next_number_ = head.number + 1;
    ++recovery.batches;
    if (!tail.add(reader.payload())) {
      set_aside(segment.name, {reader.offset(), BatchHead::size + head.payload_bytes}, mode,
                recovery);
    }
  }
  if (damaged.empty()) return {};
  return {damaged.front().offset, segment.bytes - damaged.front().offset};
}

// A segment, without what is torn. The last process may have ended before it flushed it, or
// after a flush that failed: then the bytes are in the memory of the system alone, which does not
// know any more that they are to be written. So they are written as a new file.
void Log::rewrite(const std::string& name, std::uint64_t bytes) {
  const std::string copy = "new-" + name;
  Bytes content;
  std::unique_ptr<OutputFile> file;
  must(files_.read(name, 0, bytes, content), "cannot read " + name);
  must(files_.create(copy, file), "cannot write " + copy);
  must(file->append(content), "cannot write " + copy);
  must(file->flush(), "cannot write " + copy);
  must(files_.rename(copy, name), "cannot rename " + copy);
  must(files_.flush_names(), "cannot write the names of the store's files");
}

void Log::set_aside(const std::string& name, const Damage& damage, Mode mode, Recovery& recovery) {
  ++recovery.damaged_places;
  recovery.damaged_bytes += damage.bytes;
  const std::string kept = "damaged-" + name + "-" + std::to_string(damage.offset);
  recovery.damaged_files.push_back(kept);
  if (mode == Mode::inspect) return;
  Bytes content;
  std::unique_ptr<OutputFile> file;
  must(files_.read(name, damage.offset, damage.bytes, content), "cannot read " + name);
  must(files_.create(kept, file), "cannot write " + kept);
  must(file->append(content), "cannot write " + kept);
  must(file->flush(), "cannot write " + kept);  // the next compaction removes the original
}

// --- Writing -------------------------------------------------------------------------------------

std::uint64_t Log::append(std::uint32_t records, BytesView payload) {
  BatchHead head;
  head.number = next_number_;
  head.flushed = flushed_number_;
  head.records = records;
  append_batch(appended_, head, payload);
  return next_number_++;
}

std::error_code Log::open_segment() {
  current_.reset();
  Segment segment{name_of("log-", written_number_ + 1), written_number_ + 1, FileHead::size};
  std::unique_ptr<OutputFile> file;
  if (const auto error = files_.create(segment.name, file)) return error;
  Bytes head;
  append_file_head(head, {FileKind::log, format_version, segment.first});
  if (const auto error = file->append(head)) return error;
  std::lock_guard lock(segments_mutex_);
  // One of that name has no batch in it that was written as a whole.
  std::erase_if(segments_, [&](const Segment& one) { return one.name == segment.name; });
  segments_.push_back(std::move(segment));
  current_ = std::move(file);
  current_bytes_ = head.size();
  names_to_flush_ = true;
  log_bytes_ += head.size();
  return {};
}

std::error_code Log::write() {
  if (appended_.empty()) return {};
  if (!current_ || current_bytes_ >= options_.segment_bytes) {
    if (const auto error = open_segment()) return error;
  }
  if (const auto error = current_->append(appended_)) {
    current_.reset();  // what is torn now ends there
    return error;
  }
  current_bytes_ += appended_.size();
  {
    std::lock_guard lock(segments_mutex_);
    segments_.back().bytes = current_bytes_;
  }
  log_bytes_ += appended_.size();
  written_number_ = last_number();
  appended_.clear();
  if (appended_.capacity() > (4u << 20)) appended_.shrink_to_fit();
  return {};
}

std::error_code Log::flush() {
  if (!current_) return {};
  if (const auto error = current_->flush()) return error;
  if (names_to_flush_) {
    if (const auto error = files_.flush_names()) return error;
    names_to_flush_ = false;
  }
  flushed_number_ = written_number_;
  return {};
}

// --- Compaction ----------------------------------------------------------------------------------

bool Log::wants_compaction() const {
  return log_bytes() > std::max(options_.compact_bytes, snapshot_bytes() / 2);
}

void Log::seal() {
  std::lock_guard lock(segments_mutex_);
  assert(appended_.empty());
  sealed_number_ = written_number_;
  sealed_ = segments_;
  const bool is_new = current_ && segments_.back().first > written_number_;  // has no batch yet
  if (is_new) {
    sealed_.pop_back();
  } else {
    current_.reset();
  }
}

std::error_code Log::compact() {
  Tail tail;
  for (const Segment& segment : sealed_) {
    BatchReader reader(files_, segment.name);
    for (auto step = reader.next(); step != BatchReader::Step::end; step = reader.next()) {
      if (step == BatchReader::Step::failed) return reader.error();
      // Read through the cache of the system, this is what was written; damage was set aside before.
      if (step == BatchReader::Step::batch && reader.head().number > snapshot_number_) {
        tail.add(reader.payload());
      }
    }
  }
  tail.sort();
  const auto ignore_damage = [](const Damage&) {};
  std::unordered_set<std::uint64_t> bodies;
  const auto note_body = [&](const Record& record) {
    if (record.body != 0) bodies.insert(record.body);
  };
  if (const auto error = merge(files_, snapshot_, tail, note_body, ignore_damage, stops_))
    return error;

  const std::uint64_t number = sealed_number_;
  std::uint64_t bytes = 0;
  const auto show = [&](const Visit& visit) {
    const auto live = [&](const Record& record) {
      if (record.key.space != body_space || bodies.contains(record.key.group)) visit(record);
    };
    return merge(files_, snapshot_, tail, live, ignore_damage, stops_);
  };
  if (const auto error = write_snapshot(number, show, bytes)) return error;
  std::lock_guard lock(segments_mutex_);
  take_over(number, bytes);
  for (const Segment& segment : sealed_) {
    files_.remove(segment.name);
    std::erase_if(segments_, [&](const Segment& one) { return one.name == segment.name; });
    log_bytes_ -= std::min(log_bytes(), segment.bytes);
  }
  compactions_.fetch_add(1, std::memory_order_relaxed);
  return {};
}

std::error_code Log::replace(const Show& show) {
  assert(appended_.empty());
  const std::uint64_t number = next_number_;  // it takes the place of all batches before
  std::uint64_t bytes = 0;
  if (const auto error = write_snapshot(number, show, bytes)) return error;
  current_.reset();
  std::lock_guard lock(segments_mutex_);
  take_over(number, bytes);
  for (const Segment& segment : segments_) files_.remove(segment.name);
  segments_.clear();
  log_bytes_ = 0;
  written_number_ = flushed_number_ = next_number_++;
  return {};
}

// All or nothing: it has its name when all of it is on the disk.
std::error_code Log::write_snapshot(std::uint64_t number, const Show& show, std::uint64_t& bytes) {
  const std::string unfinished = name_of("new-", number);
  std::unique_ptr<OutputFile> file;
  std::error_code failed = files_.create(unfinished, file);
  if (failed) return failed;
  SnapshotWriter writer(*file, number);
  const auto write = [&](const Record& record) {
    if (!failed) failed = writer.add(record);
  };
  const auto error = show(write);
  if (!failed) failed = error;
  if (!failed) failed = writer.finish();
  if (!failed) failed = files_.rename(unfinished, name_of("snapshot-", number));
  if (!failed) failed = files_.flush_names();
  if (failed) files_.remove(unfinished);
  bytes = writer.written_bytes();
  return failed;
}

// The snapshot of that number is the newest one. An error here leaves a file that the next start
// removes.
void Log::take_over(std::uint64_t number, std::uint64_t bytes) {
  const std::string before = std::exchange(snapshot_, name_of("snapshot-", number));
  if (!before.empty() && before != snapshot_) files_.remove(before);
  snapshot_number_ = number;
  snapshot_bytes_ = bytes;
}

}  // namespace millrace::store
