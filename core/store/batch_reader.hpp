// BatchReader: the batches of one file, one after the other, past whatever is damaged.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <string>

#include "core/store/files.hpp"

namespace millrace::store {

class BatchReader {
 public:
  // Begins behind the file's head, which need not be whole.
  BatchReader(Files& files, std::string name) : files_(files), name_(std::move(name)) {}

  enum class Step : std::uint8_t {
    batch,    // head() and payload(), until the next call
    damaged,  // from offset() on, so many bytes: damaged_bytes(). A valid batch follows
    torn,     // the same, up to the end of the file
    end,
    failed  // error()
  };
  Step next();

  const BatchHead& head() const { return head_; }
  BytesView payload() const { return payload_; }
  // Where the batch, or the damage, begins.
  std::uint64_t offset() const { return offset_; }
  std::uint64_t damaged_bytes() const { return at_ - offset_; }
  std::error_code error() const { return error_; }

 private:
  // Makes so many bytes from at_ on available, or as many as there are. False: an error.
  bool load(std::size_t bytes);
  BytesView window() const { return BytesView(window_).subspan(at_ - window_begin_); }
  bool batch_here();
  bool head_here() const;
  void rewind();
  Step skip_damage();

  Files& files_;
  const std::string name_;
  Bytes window_;
  std::uint64_t window_begin_ = FileHead::size;
  std::uint64_t at_ = FileHead::size;
  std::uint64_t offset_ = 0;
  bool at_file_end_ = false;  // the window reaches it
  BatchHead head_;
  BytesView payload_;
  std::error_code error_;
};

}  // namespace millrace::store
