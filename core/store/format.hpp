// The bytes of the store's files: records, the batches that hold them, and the head of each file.
//
//     file   = head, batch...          head: kind, format version, number of the first batch
//     batch  = head, record...         head: length, number, count, checksums of both parts
//     record = kind, key, value        put, erase, or erase a whole group
//
// All numbers are little-endian; checksums are CRC-32C. A batch is valid as a whole or not at all.
//
// Threads: plain values and functions; any.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace millrace::store {

// Raised by every change that an older program would misread. Files of older formats are read.
inline constexpr std::uint32_t format_version = 1;

using Bytes = std::vector<std::uint8_t>;
using BytesView = std::span<const std::uint8_t>;

inline std::string_view text_of(BytesView bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
inline BytesView bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

std::uint32_t checksum(BytesView bytes);

// Records are ordered by their keys: by space, then by group, then by what is left.
struct Key {
  std::uint8_t space = 0;
  std::uint64_t group = 0;
  std::string_view rest;

  friend auto operator<=>(const Key&, const Key&) = default;
};

// The space of bodies: values that others name by number (Record::body). The number is the group,
// and `rest` is empty. A body that no record names any more is dropped by the next compaction.
inline constexpr std::uint8_t body_space = 1;

enum class RecordKind : std::uint8_t { put = 1, erase = 2, erase_group = 3 };

struct Record {
  RecordKind kind = RecordKind::put;
  Key key;
  std::string_view value;
  std::uint64_t body = 0;  // 0: none
};

// The records of one batch, as they are written.
class Batch {
 public:
  void put(const Key& key, std::string_view value, std::uint64_t body = 0);
  void erase(const Key& key);
  // All that was put before under this space and group.
  void erase_group(std::uint8_t space, std::uint64_t group);

  bool empty() const { return count_ == 0; }
  std::uint32_t count() const { return count_; }
  const Bytes& bytes() const { return bytes_; }
  void clear() {
    bytes_.clear();
    count_ = 0;
  }

 private:
  void begin(std::uint8_t kind, std::uint8_t space, std::uint64_t group);

  Bytes bytes_;
  std::uint32_t count_ = 0;
};

class RecordReader {
 public:
  explicit RecordReader(BytesView bytes) : bytes_(bytes) {}

  // False at the end, or at something that is no record: then malformed().
  bool next(Record& record);
  bool malformed() const { return malformed_; }

 private:
  bool number(std::uint64_t& value);
  bool text(std::uint64_t bytes, std::string_view& value);

  BytesView bytes_;
  bool malformed_ = false;
};

// --- Batches in files ----------------------------------------------------------------------------

struct BatchHead {
  static constexpr std::size_t size = 40;

  std::uint32_t payload_bytes = 0;
  std::uint64_t number = 0;
  // When this one was written, the batches up to that one had been flushed. So a batch that is not
  // there was damaged if its number is not higher, and else was never on the disk for certain.
  std::uint64_t flushed = 0;
  std::uint32_t records = 0;
  std::uint32_t payload_checksum = 0;
  bool last = false;  // of a snapshot: it is whole
};

// What every batch begins with.
inline constexpr std::uint8_t batch_mark[4] = {'M', 'R', 'b', '1'};

// The payload's bytes and checksum are filled in.
void append_batch(Bytes& out, BatchHead head, BytesView payload);
// Nothing: no batch begins here. `bytes` are at least BatchHead::size.
std::optional<BatchHead> read_batch_head(BytesView bytes);

enum class FileKind : std::uint32_t { log = 1, snapshot = 2 };

struct FileHead {
  static constexpr std::size_t size = 32;

  FileKind kind = FileKind::log;
  std::uint32_t version = format_version;
  std::uint64_t number = 0;  // log: of the first batch; snapshot: of the last one that is in it
};

void append_file_head(Bytes& out, const FileHead& head);
std::optional<FileHead> read_file_head(BytesView bytes);

}  // namespace millrace::store
