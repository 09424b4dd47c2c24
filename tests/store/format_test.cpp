#include "core/store/format.hpp"

#include <gtest/gtest.h>

#include <string>

namespace millrace::store {
namespace {

TEST(Format, ReadsBackWhatABatchWasGiven) {
  Batch batch;
  batch.put({2, 300, "key"}, "value", 1u << 20);
  batch.put({3, 0, std::string(200, 't')}, "");
  batch.erase({2, UINT64_MAX, "key"});
  batch.erase_group(2, 7);
  EXPECT_EQ(batch.count(), 4u);
  RecordReader reader(batch.bytes());
  Record record;
  ASSERT_TRUE(reader.next(record));
  EXPECT_EQ(record.key, (Key{2, 300, "key"}));
  EXPECT_EQ(record.value, "value");
  EXPECT_EQ(record.body, 1u << 20);
  ASSERT_TRUE(reader.next(record));
  EXPECT_EQ(record.key.rest.size(), 200u);
  EXPECT_EQ(record.value, "");
  EXPECT_EQ(record.body, 0u);
  ASSERT_TRUE(reader.next(record));
  EXPECT_EQ(record.kind, RecordKind::erase);
  EXPECT_EQ(record.key, (Key{2, UINT64_MAX, "key"}));
  ASSERT_TRUE(reader.next(record));
  EXPECT_EQ(record.kind, RecordKind::erase_group);
  EXPECT_FALSE(reader.next(record));
  EXPECT_FALSE(reader.malformed());
}

TEST(Format, SaysWhichRecordsAreCutShort) {
  Batch batch;
  batch.put({2, 300, "key"}, "value", 5);
  for (std::size_t bytes = 1; bytes < batch.bytes().size(); ++bytes) {
    RecordReader reader(BytesView(batch.bytes()).first(bytes));
    Record record;
    EXPECT_FALSE(reader.next(record));
    EXPECT_TRUE(reader.malformed()) << bytes;
  }
}

TEST(Format, ChecksumIsCrc32c) {
  EXPECT_EQ(checksum(bytes_of("123456789")), 0xE3069283u);
}

TEST(Format, HeadsAreRefusedIfAnyBitIsAnother) {
  Bytes file;
  append_file_head(file, {FileKind::log, format_version, 77});
  BatchHead written;
  written.number = 77;
  written.flushed = 76;
  append_batch(file, written, bytes_of("records"));
  const Bytes head(file.begin(), file.begin() + FileHead::size);
  ASSERT_TRUE(read_file_head(head));
  EXPECT_EQ(read_file_head(head)->number, 77u);
  const Bytes batch(file.begin() + FileHead::size, file.end());
  ASSERT_TRUE(read_batch_head(batch));
  EXPECT_EQ(read_batch_head(batch)->number, 77u);
  EXPECT_EQ(read_batch_head(batch)->flushed, 76u);
  EXPECT_EQ(read_batch_head(batch)->payload_bytes, 7u);
  for (std::size_t bit = 0; bit < FileHead::size * 8; ++bit) {
    Bytes flipped = head;
    flipped[bit / 8] ^= static_cast<std::uint8_t>(1u << (bit % 8));
    EXPECT_FALSE(read_file_head(flipped)) << bit;
  }
  for (std::size_t bit = 0; bit < BatchHead::size * 8; ++bit) {
    Bytes flipped = batch;
    flipped[bit / 8] ^= static_cast<std::uint8_t>(1u << (bit % 8));
    EXPECT_FALSE(read_batch_head(flipped)) << bit;
  }
}

}  // namespace
}  // namespace millrace::store
