// The records of a store as lines of JSON, for `millrace store export` and `import`:
//
//     {"millrace_store_export":1}
//     {"kind":"retained message","topic":"a/b","space":3,"group":0,"key":"YS9i","value":"AA..."}
//     {"records":1}
//
// `key` and `value` are base64; `kind`, `topic` and `client_id` are for readers alone. The last line
// says that it is whole.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>

#include "core/store/log.hpp"

namespace millrace::server {

// What a record is, for people: one; more have an `s` at the end.
const char* kind_of(const store::Record& record);

class StoreExport {
 public:
  explicit StoreExport(std::ostream& out);
  void add(const store::Record& record);
  // After the last one.
  void finish();

 private:
  std::ostream& out_;
  std::uint64_t records_ = 0;
};

// Shows the records that were exported, and returns how many. Throws store::StoreError, with the
// number of the line, if it is no export, or a part of one.
std::uint64_t read_export(std::istream& in, const store::Log::Visit& visit);

}  // namespace millrace::server
