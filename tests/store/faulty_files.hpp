// FaultyFiles: a folder in memory that a crash treats as a disk would: what was not flushed may be
// lost, torn, or there in part; so may names that were changed and not flushed. Calls can fail.
//
// Threads: any; before_change is set while no other uses it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>

#include "core/store/files.hpp"

namespace millrace::store {

class FaultyFiles final : public Files {
 public:
  std::error_code lock() override { return {}; }
  std::error_code list(std::vector<std::string>& names) override;
  std::error_code create(const std::string& name, std::unique_ptr<OutputFile>& file) override;
  std::error_code size(const std::string& name, std::uint64_t& bytes) override;
  std::error_code read(const std::string& name, std::uint64_t offset, std::size_t bytes,
                       Bytes& into) override;
  std::error_code rename(const std::string& from, const std::string& to) override;
  std::error_code remove(const std::string& name) override;
  std::error_code flush_names() override;

  // Called before each change. What it returns is what the call fails with; an append has written
  // half of its bytes then.
  std::function<std::error_code()> before_change;

  // What is left of it after a loss of power.
  enum class Unflushed { lost, kept, torn, in_part };
  std::unique_ptr<FaultyFiles> after_crash(Unflushed unflushed, std::mt19937_64& random) const;

  std::map<std::string, Bytes> contents() const;
  void set_content(const std::string& name, Bytes content);
  bool has(const std::string& name) const {
    std::lock_guard lock(mutex_);
    return names_.contains(name);
  }

 private:
  struct Node {
    Bytes content;
    Bytes flushed;
  };
  using Names = std::map<std::string, std::shared_ptr<Node>>;
  friend class FaultyOutput;

  std::error_code change() { return before_change ? before_change() : std::error_code(); }

  mutable std::recursive_mutex mutex_;
  Names names_;
  Names flushed_names_;
};

}  // namespace millrace::store
