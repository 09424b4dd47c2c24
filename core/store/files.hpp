// Files: what the store asks of a file system, as an interface, so that the tests can forget what was
// not flushed, tear writes and fail them; and PosixFiles, a real folder.
//
// Threads: one at a time, and beside it that of a compaction, which reads files that are no longer
// written to, and makes and removes others.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "core/base/unique_fd.hpp"
#include "core/store/format.hpp"

namespace millrace::store {

// A file that is being written, from its first byte on.
class OutputFile {
 public:
  virtual ~OutputFile() = default;
  // Everything, or an error after any part of it.
  virtual std::error_code append(BytesView bytes) = 0;
  // What was appended survives a loss of power, if there is no error. After one, nobody knows.
  virtual std::error_code flush() = 0;
};

class Files {
 public:
  virtual ~Files() = default;

  // One process at a time. Held until the end of this object.
  virtual std::error_code lock() = 0;
  virtual std::error_code list(std::vector<std::string>& names) = 0;
  // A file of that name that is there already is emptied.
  virtual std::error_code create(const std::string& name, std::unique_ptr<OutputFile>& file) = 0;
  virtual std::error_code size(const std::string& name, std::uint64_t& bytes) = 0;
  // Fewer bytes than asked for only at the end of the file.
  virtual std::error_code read(const std::string& name, std::uint64_t offset, std::size_t bytes,
                               Bytes& into) = 0;
  virtual std::error_code rename(const std::string& from, const std::string& to) = 0;
  virtual std::error_code remove(const std::string& name) = 0;
  // The names, as they are now, survive a loss of power.
  virtual std::error_code flush_names() = 0;
};

// Makes the folder, for its owner alone, if it is not there.
class PosixFiles final : public Files {
 public:
  explicit PosixFiles(std::string folder) : folder_(std::move(folder)) {}

  std::error_code lock() override;
  std::error_code list(std::vector<std::string>& names) override;
  std::error_code create(const std::string& name, std::unique_ptr<OutputFile>& file) override;
  std::error_code size(const std::string& name, std::uint64_t& bytes) override;
  std::error_code read(const std::string& name, std::uint64_t offset, std::size_t bytes,
                       Bytes& into) override;
  std::error_code rename(const std::string& from, const std::string& to) override;
  std::error_code remove(const std::string& name) override;
  std::error_code flush_names() override;

 private:
  std::string path(const std::string& name) const { return folder_ + "/" + name; }

  const std::string folder_;
  base::UniqueFd lock_;
};

}  // namespace millrace::store
