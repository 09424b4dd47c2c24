#include "tests/store/faulty_files.hpp"

#include <algorithm>

namespace millrace::store {

namespace {
std::error_code missing() {
  return std::make_error_code(std::errc::no_such_file_or_directory);
}
}  // namespace

class FaultyOutput final : public OutputFile {
 public:
  FaultyOutput(FaultyFiles& files, std::shared_ptr<FaultyFiles::Node> node)
      : files_(files), node_(std::move(node)) {}

  std::error_code append(BytesView bytes) override {
    std::lock_guard lock(files_.mutex_);
    const std::error_code error = files_.change();
    if (error) bytes = bytes.first(bytes.size() / 2);
    node_->content.insert(node_->content.end(), bytes.begin(), bytes.end());
    return error;
  }
  // After an error the system forgets that there is something to flush, and the bytes never come.
  std::error_code flush() override {
    std::lock_guard lock(files_.mutex_);
    const std::error_code error = files_.change();
    if (error) {
      node_->flushed.resize(node_->content.size());
    } else {
      const auto from = node_->content.begin() + static_cast<std::ptrdiff_t>(node_->flushed.size());
      node_->flushed.insert(node_->flushed.end(), from, node_->content.end());
    }
    return error;
  }

 private:
  FaultyFiles& files_;
  const std::shared_ptr<FaultyFiles::Node> node_;
};

std::error_code FaultyFiles::list(std::vector<std::string>& names) {
  std::lock_guard lock(mutex_);
  names.clear();
  for (const auto& [name, node] : names_) names.push_back(name);
  return {};
}

std::error_code FaultyFiles::create(const std::string& name, std::unique_ptr<OutputFile>& file) {
  std::lock_guard lock(mutex_);
  if (const auto error = change()) return error;
  auto& node = names_[name];
  node = std::make_shared<Node>();
  file = std::make_unique<FaultyOutput>(*this, node);
  return {};
}

std::error_code FaultyFiles::size(const std::string& name, std::uint64_t& bytes) {
  std::lock_guard lock(mutex_);
  const auto found = names_.find(name);
  if (found == names_.end()) return missing();
  bytes = found->second->content.size();
  return {};
}

std::error_code FaultyFiles::read(const std::string& name, std::uint64_t offset, std::size_t bytes,
                                  Bytes& into) {
  std::lock_guard lock(mutex_);
  into.clear();
  const auto found = names_.find(name);
  if (found == names_.end()) return missing();
  const Bytes& content = found->second->content;
  if (offset >= content.size()) return {};
  const std::size_t got = std::min<std::size_t>(bytes, content.size() - offset);
  const auto from = content.begin() + static_cast<std::ptrdiff_t>(offset);
  into.assign(from, from + static_cast<std::ptrdiff_t>(got));
  return {};
}

std::error_code FaultyFiles::rename(const std::string& from, const std::string& to) {
  std::lock_guard lock(mutex_);
  if (const auto error = change()) return error;
  const auto found = names_.find(from);
  if (found == names_.end()) return missing();
  names_[to] = found->second;
  if (from != to) names_.erase(from);
  return {};
}

std::error_code FaultyFiles::remove(const std::string& name) {
  std::lock_guard lock(mutex_);
  if (const auto error = change()) return error;
  return names_.erase(name) == 1 ? std::error_code() : missing();
}

std::error_code FaultyFiles::flush_names() {
  std::lock_guard lock(mutex_);
  if (const auto error = change()) return error;
  flushed_names_ = names_;
  return {};
}

std::unique_ptr<FaultyFiles> FaultyFiles::after_crash(Unflushed unflushed,
                                                      std::mt19937_64& random) const {
  std::lock_guard lock(mutex_);
  auto after = std::make_unique<FaultyFiles>();
  Names names = unflushed == Unflushed::kept ? names_ : flushed_names_;
  if (unflushed == Unflushed::torn || unflushed == Unflushed::in_part) {
    // Each name that was changed since: as it was, or as it is.
    for (const auto& [name, node] : names_) {
      if (random() % 2 == 0) names[name] = node;
    }
    for (const auto& [name, node] : flushed_names_) {
      if (!names_.contains(name) && random() % 2 == 0) names.erase(name);
    }
  }
  for (const auto& [name, node] : names) {
    Bytes bytes = node->flushed;
    const std::size_t flushed = bytes.size();
    if (unflushed != Unflushed::lost) {
      bytes.insert(bytes.end(), node->content.begin() + static_cast<std::ptrdiff_t>(flushed),
                   node->content.end());
    }
    if (unflushed == Unflushed::torn && bytes.size() > flushed) {
      bytes.resize(flushed + random() % (bytes.size() - flushed));
    }
    // Sectors reach the disk in any order.
    constexpr std::size_t sector = 64;
    for (std::size_t at = flushed; unflushed == Unflushed::in_part && at < bytes.size();
         at += sector) {
      if (random() % 2 == 0) continue;
      const std::size_t end = std::min(at + sector, bytes.size());
      std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                bytes.begin() + static_cast<std::ptrdiff_t>(end), std::uint8_t{0});
    }
    after->set_content(name, std::move(bytes));
  }
  return after;
}

std::map<std::string, Bytes> FaultyFiles::contents() const {
  std::lock_guard lock(mutex_);
  std::map<std::string, Bytes> contents;
  for (const auto& [name, node] : names_) contents[name] = node->content;
  return contents;
}

void FaultyFiles::set_content(const std::string& name, Bytes content) {
  std::lock_guard lock(mutex_);
  auto node = std::make_shared<Node>();
  node->content = node->flushed = std::move(content);
  names_[name] = flushed_names_[name] = node;
}

}  // namespace millrace::store
