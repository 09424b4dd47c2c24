#include "server/app/file_watch.hpp"

#include <sys/stat.h>

#include <utility>

namespace millrace::server {

void FileWatch::set_files(const std::vector<std::string>& files) {
  Stamps stamps;
  for (const std::string& file : files) {
    const auto known = read_.find(file);
    stamps.emplace(file, known != read_.end() ? known->second : look_at(file));
  }
  read_ = std::move(stamps);
  seen_ = read_;
}

void FileWatch::note_read() {
  read_ = seen_ = look();
}

bool FileWatch::have_changed() {
  Stamps now = look();
  const bool at_rest = now == seen_;
  seen_ = std::move(now);
  if (!at_rest || seen_ == read_) return false;
  read_ = seen_;
  return true;
}

FileWatch::Stamp FileWatch::look_at(const std::string& file) {
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0) return {};
  constexpr std::int64_t second_ns = 1'000'000'000;
  // Of the inode, which nobody can set back: a copy may keep the time of what it was made of.
  return {static_cast<std::uint64_t>(status.st_dev), static_cast<std::uint64_t>(status.st_ino),
          static_cast<std::uint64_t>(status.st_size),
          static_cast<std::int64_t>(status.st_ctim.tv_sec) * second_ns + status.st_ctim.tv_nsec,
          true};
}

FileWatch::Stamps FileWatch::look() const {
  Stamps stamps;
  for (const auto& [file, stamp] : read_) stamps.emplace(file, look_at(file));
  return stamps;
}

}  // namespace millrace::server
