#include "core/store/batch_reader.hpp"

#include <algorithm>

namespace millrace::store {

namespace {
constexpr std::size_t read_bytes = 1 << 20;
}

bool BatchReader::load(std::size_t bytes) {
  if (window().size() >= bytes || at_file_end_) return true;
  window_.erase(window_.begin(),
                window_.begin() + static_cast<std::ptrdiff_t>(at_ - window_begin_));
  window_begin_ = at_;
  const std::size_t wanted = std::max(bytes - window_.size(), read_bytes);
  Bytes more;
  error_ = files_.read(name_, window_begin_ + window_.size(), wanted, more);
  if (error_) return false;
  at_file_end_ = more.size() < wanted;
  window_.insert(window_.end(), more.begin(), more.end());
  return true;
}

// Whether a whole and valid batch begins at at_.
bool BatchReader::batch_here() {
  if (!load(BatchHead::size) || window().size() < BatchHead::size) return false;
  const auto head = read_batch_head(window());
  if (!head) return false;
  const std::size_t bytes = BatchHead::size + head->payload_bytes;
  if (!load(bytes) || window().size() < bytes) return false;
  payload_ = window().subspan(BatchHead::size, head->payload_bytes);
  if (checksum(payload_) != head->payload_checksum) return false;
  head_ = *head;
  return true;
}

bool BatchReader::head_here() const {
  return window().size() >= BatchHead::size && read_batch_head(window());
}

// at_ may have gone back.
void BatchReader::rewind() {
  if (at_ >= window_begin_) return;
  window_.clear();
  window_begin_ = at_;
  at_file_end_ = false;
}

BatchReader::Step BatchReader::next() {
  offset_ = at_;
  if (!load(BatchHead::size)) return Step::failed;
  if (window().empty()) return Step::end;
  if (batch_here()) {
    at_ += BatchHead::size + head_.payload_bytes;
    return Step::batch;
  }
  return error_ ? Step::failed : skip_damage();
}

// A head that is whole says where the next batch begins: a payload is not searched without need, as
// clients wrote what is in it. Without one, the next batch is searched for.
BatchReader::Step BatchReader::skip_damage() {
  const auto head = window().size() < BatchHead::size ? std::nullopt : read_batch_head(window());
  if (head) {
    const std::uint64_t damaged = at_;
    at_ += BatchHead::size +
           std::min<std::uint64_t>(head->payload_bytes, window().size() - BatchHead::size);
    if (!load(BatchHead::size)) return Step::failed;
    if (window().empty()) return Step::torn;
    if (batch_here()) return Step::damaged;
    if (error_) return Step::failed;
    if (head_here()) return Step::damaged;  // and so is the next one
    at_ = damaged;
    rewind();
  }
  for (;;) {
    ++at_;
    if (!load(BatchHead::size)) return Step::failed;
    const BytesView rest = window();
    const auto found =
        std::search(rest.begin(), rest.end(), std::begin(batch_mark), std::end(batch_mark));
    at_ += static_cast<std::uint64_t>(found - rest.begin());
    if (found == rest.end()) {
      if (at_file_end_) return Step::torn;
      at_ -= std::size(batch_mark);  // the mark may begin in what was read and end beyond it
      continue;
    }
    if (batch_here()) return Step::damaged;
    if (error_) return Step::failed;
  }
}

}  // namespace millrace::store
