#include "core/store/format.hpp"

#include <algorithm>
#include <boost/crc.hpp>
#include <cassert>

namespace millrace::store {

namespace {

constexpr std::uint8_t file_mark[8] = {'M', 'I', 'L', 'L', 'R', 'A', 'C', 'E'};
constexpr std::uint8_t has_body = 0x80;  // beside the kind

template <class Number>
void append_fixed(Bytes& out, Number value) {
  for (std::size_t i = 0; i < sizeof value; ++i) {
    out.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
  }
}

template <class Number>
Number read_fixed(const std::uint8_t* from) {
  Number value = 0;
  for (std::size_t i = 0; i < sizeof value; ++i) value |= Number{from[i]} << (8 * i);
  return value;
}

// Seven bits a byte, the lowest first.
void append_number(Bytes& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<std::uint8_t>(value | 0x80));
  out.push_back(static_cast<std::uint8_t>(value));
}

}  // namespace

std::uint32_t checksum(BytesView bytes) {
  boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true> crc;
  crc.process_bytes(bytes.data(), bytes.size());
  return crc.checksum();
}

// --- Records -------------------------------------------------------------------------------------

void Batch::begin(std::uint8_t kind, std::uint8_t space, std::uint64_t group) {
  bytes_.push_back(kind);
  bytes_.push_back(space);
  append_number(bytes_, group);
  ++count_;
}

void Batch::put(const Key& key, std::string_view value, std::uint64_t body) {
  const auto kind = static_cast<std::uint8_t>(RecordKind::put);
  begin(body == 0 ? kind : kind | has_body, key.space, key.group);
  append_number(bytes_, key.rest.size());
  append_number(bytes_, value.size());
  if (body != 0) append_number(bytes_, body);
  bytes_.insert(bytes_.end(), key.rest.begin(), key.rest.end());
  bytes_.insert(bytes_.end(), value.begin(), value.end());
}

void Batch::erase(const Key& key) {
  begin(static_cast<std::uint8_t>(RecordKind::erase), key.space, key.group);
  append_number(bytes_, key.rest.size());
  bytes_.insert(bytes_.end(), key.rest.begin(), key.rest.end());
}

void Batch::erase_group(std::uint8_t space, std::uint64_t group) {
  begin(static_cast<std::uint8_t>(RecordKind::erase_group), space, group);
}

bool RecordReader::number(std::uint64_t& value) {
  value = 0;
  for (unsigned shift = 0; shift < 64 && !bytes_.empty(); shift += 7) {
    const std::uint8_t byte = bytes_.front();
    bytes_ = bytes_.subspan(1);
    value |= std::uint64_t{byte & 0x7Fu} << shift;
    if ((byte & 0x80) == 0) return true;
  }
  return false;
}

bool RecordReader::text(std::uint64_t bytes, std::string_view& value) {
  if (bytes > bytes_.size()) return false;
  value = text_of(bytes_.first(bytes));
  bytes_ = bytes_.subspan(bytes);
  return true;
}

bool RecordReader::next(Record& record) {
  if (bytes_.empty() || malformed_) return false;
  malformed_ = true;  // until all of it is read
  if (bytes_.size() < 2) return false;
  const std::uint8_t kind = bytes_[0];
  record = {};
  record.kind = static_cast<RecordKind>(kind & ~has_body);
  record.key.space = bytes_[1];
  bytes_ = bytes_.subspan(2);
  if (!number(record.key.group)) return false;
  std::uint64_t rest_bytes = 0;
  std::uint64_t value_bytes = 0;
  switch (record.kind) {
    case RecordKind::put:
      if (!number(rest_bytes) || !number(value_bytes)) return false;
      if ((kind & has_body) != 0 && !number(record.body)) return false;
      if (!text(rest_bytes, record.key.rest) || !text(value_bytes, record.value)) return false;
      break;
    case RecordKind::erase:
      if (!number(rest_bytes) || !text(rest_bytes, record.key.rest)) return false;
      break;
    case RecordKind::erase_group:
      break;
    default:
      return false;
  }
  malformed_ = false;
  return true;
}

// --- Heads ---------------------------------------------------------------------------------------

void append_batch(Bytes& out, BatchHead head, BytesView payload) {
  assert(payload.size() <= UINT32_MAX);
  const std::size_t at = out.size();
  out.insert(out.end(), std::begin(batch_mark), std::end(batch_mark));
  append_fixed(out, static_cast<std::uint32_t>(payload.size()));
  append_fixed(out, head.number);
  append_fixed(out, head.flushed);
  append_fixed(out, head.records);
  append_fixed(out, checksum(payload));
  append_fixed(out, std::uint32_t{head.last});
  append_fixed(out, checksum(BytesView(out).subspan(at)));
  assert(out.size() - at == BatchHead::size);
  out.insert(out.end(), payload.begin(), payload.end());
}

std::optional<BatchHead> read_batch_head(BytesView bytes) {
  assert(bytes.size() >= BatchHead::size);
  const std::uint8_t* from = bytes.data();
  if (!std::equal(std::begin(batch_mark), std::end(batch_mark), from)) return std::nullopt;
  if (read_fixed<std::uint32_t>(from + 36) != checksum(bytes.first(36))) return std::nullopt;
  BatchHead head;
  head.payload_bytes = read_fixed<std::uint32_t>(from + 4);
  head.number = read_fixed<std::uint64_t>(from + 8);
  head.flushed = read_fixed<std::uint64_t>(from + 16);
  head.records = read_fixed<std::uint32_t>(from + 24);
  head.payload_checksum = read_fixed<std::uint32_t>(from + 28);
  head.last = read_fixed<std::uint32_t>(from + 32) != 0;
  return head;
}

void append_file_head(Bytes& out, const FileHead& head) {
  const std::size_t at = out.size();
  out.insert(out.end(), std::begin(file_mark), std::end(file_mark));
  append_fixed(out, head.version);
  append_fixed(out, static_cast<std::uint32_t>(head.kind));
  append_fixed(out, head.number);
  append_fixed(out, std::uint32_t{0});
  append_fixed(out, checksum(BytesView(out).subspan(at)));
  assert(out.size() - at == FileHead::size);
}

std::optional<FileHead> read_file_head(BytesView bytes) {
  if (bytes.size() < FileHead::size) return std::nullopt;
  const std::uint8_t* from = bytes.data();
  if (!std::equal(std::begin(file_mark), std::end(file_mark), from)) return std::nullopt;
  if (read_fixed<std::uint32_t>(from + 28) != checksum(bytes.first(28))) return std::nullopt;
  FileHead head;
  head.version = read_fixed<std::uint32_t>(from + 8);
  head.kind = static_cast<FileKind>(read_fixed<std::uint32_t>(from + 12));
  head.number = read_fixed<std::uint64_t>(from + 16);
  return head;
}

}  // namespace millrace::store
