#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "core/store/files.hpp"

namespace millrace::store {

namespace {

std::error_code last_error() {
  return {errno, std::generic_category()};
}

// What names are in it.
std::error_code flush_folder(const std::string& path) {
  const base::UniqueFd folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder || ::fsync(folder.get()) != 0) return last_error();
  return {};
}

class PosixOutput final : public OutputFile {
 public:
  explicit PosixOutput(int descriptor) : descriptor_(descriptor) {}

  std::error_code append(BytesView bytes) override {
    while (!bytes.empty()) {
      const ssize_t written = ::write(descriptor_.get(), bytes.data(), bytes.size());
      if (written < 0) {
        if (errno == EINTR) continue;
        return last_error();
      }
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
    return {};
  }
  std::error_code flush() override {
    return ::fdatasync(descriptor_.get()) == 0 ? std::error_code() : last_error();
  }

 private:
  const base::UniqueFd descriptor_;
};

}  // namespace

std::error_code PosixFiles::lock() {
  if (::mkdir(folder_.c_str(), 0700) == 0) {
    const auto parent = std::filesystem::absolute(folder_ + "/").parent_path().parent_path();
    if (const auto error = flush_folder(parent.string())) return error;
  } else if (errno != EEXIST) {
    return last_error();
  }
  base::UniqueFd opened(::open(path("lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!opened || ::flock(opened.get(), LOCK_EX | LOCK_NB) != 0) return last_error();
  lock_ = std::move(opened);
  return {};
}

std::error_code PosixFiles::list(std::vector<std::string>& names) {
  names.clear();
  DIR* const folder = ::opendir(folder_.c_str());
  if (folder == nullptr) return last_error();
  std::error_code error;
  for (;;) {
    errno = 0;  // which says whether null is the end or an error
    const dirent* const entry = ::readdir(folder);
    if (entry == nullptr) {
      error = last_error();
      break;
    }
    const std::string name = entry->d_name;
    if (name != "." && name != ".." && name != "lock") names.push_back(name);
  }
  ::closedir(folder);
  return error;
}

std::error_code PosixFiles::create(const std::string& name, std::unique_ptr<OutputFile>& file) {
  const int opened = ::open(path(name).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (opened < 0) return last_error();
  file = std::make_unique<PosixOutput>(opened);
  return {};
}

std::error_code PosixFiles::size(const std::string& name, std::uint64_t& bytes) {
  struct stat status {};
  if (::stat(path(name).c_str(), &status) != 0) return last_error();
  bytes = static_cast<std::uint64_t>(status.st_size);
  return {};
}

std::error_code PosixFiles::read(const std::string& name, std::uint64_t offset, std::size_t bytes,
                                 Bytes& into) {
  const base::UniqueFd file(::open(path(name).c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status {};
  if (!file || ::fstat(file.get(), &status) != 0) return last_error();
  // Behind damage a head may be found that claims any length: no memory for what is not there.
  const auto file_bytes = static_cast<std::uint64_t>(status.st_size);
  bytes = std::min<std::uint64_t>(bytes, file_bytes - std::min(offset, file_bytes));
  into.resize(bytes);
  std::size_t got = 0;
  while (got < bytes) {
    const ssize_t part =
        ::pread(file.get(), into.data() + got, bytes - got, static_cast<off_t>(offset + got));
    if (part < 0 && errno == EINTR) continue;
    if (part < 0) return last_error();
    if (part == 0) break;
    got += static_cast<std::size_t>(part);
  }
  into.resize(got);
  return {};
}

std::error_code PosixFiles::rename(const std::string& from, const std::string& to) {
  return std::rename(path(from).c_str(), path(to).c_str()) == 0 ? std::error_code() : last_error();
}

std::error_code PosixFiles::remove(const std::string& name) {
  return ::unlink(path(name).c_str()) == 0 ? std::error_code() : last_error();
}

std::error_code PosixFiles::flush_names() {
  return flush_folder(folder_);
}

}  // namespace millrace::store
