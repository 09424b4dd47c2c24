// RocksDB with its defaults, but that nothing is compressed: the log does not compress either.
#include "bench/store/engine.hpp"

#ifdef MILLRACE_HAS_ROCKSDB

#include <rocksdb/db.h>
#include <rocksdb/options.h>
#include <rocksdb/write_batch.h>

#include <cstdio>
#include <cstdlib>

namespace millrace::bench {

namespace {

void check(const rocksdb::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "rocksdb: %s\n", status.ToString().c_str());
  std::exit(1);
}

// So that their order is that of the numbers.
void append_number(std::string& out, std::uint64_t number) {
  for (int shift = 56; shift >= 0; shift -= 8) out += static_cast<char>(number >> shift);
}

std::string bytes_of(const store::Key& key) {
  std::string bytes(1, static_cast<char>(key.space));
  append_number(bytes, key.group);
  bytes += key.rest;
  return bytes;
}

class RocksEngine final : public Engine {
 public:
  explicit RocksEngine(const std::string& folder) {
    rocksdb::Options options;
    options.create_if_missing = true;
    options.compression = rocksdb::kNoCompression;
    rocksdb::DB* opened = nullptr;
    check(rocksdb::DB::Open(options, folder, &opened));
    db_.reset(opened);
    rocksdb::ReadOptions once;
    once.fill_cache = false;
    const std::unique_ptr<rocksdb::Iterator> one(db_->NewIterator(once));
    for (one->SeekToFirst(); one->Valid(); one->Next()) ++found_;
    check(one->status());
  }

  void put(const store::Key& key, std::string_view value, std::uint64_t body) override {
    std::string bytes;
    append_number(bytes, body);
    bytes += value;
    batch_.Put(bytes_of(key), bytes);
  }
  void erase(const store::Key& key) override { batch_.Delete(bytes_of(key)); }
  void erase_body(std::uint64_t body) override { erase({store::body_space, body, {}}); }
  void commit() override {
    rocksdb::WriteOptions durable;
    durable.sync = true;
    check(db_->Write(durable, &batch_));
    batch_.Clear();
  }
  std::uint64_t found() const override { return found_; }

 private:
  std::uint64_t found_ = 0;
  std::unique_ptr<rocksdb::DB> db_;
  rocksdb::WriteBatch batch_;
};

}  // namespace

std::unique_ptr<Engine> open_rocksdb(const std::string& folder) {
  return std::make_unique<RocksEngine>(folder);
}

}  // namespace millrace::bench

#else

namespace millrace::bench {

std::unique_ptr<Engine> open_rocksdb(const std::string&) {
  return nullptr;
}

}  // namespace millrace::bench

#endif
