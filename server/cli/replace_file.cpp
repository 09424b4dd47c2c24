#include "server/cli/replace_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string_view>

#include "core/base/unique_fd.hpp"

namespace millrace::server {

namespace {

namespace fs = std::filesystem;

std::runtime_error file_error(const std::string& file, const char* what, int error = errno) {
  return std::runtime_error(std::string("cannot ") + what + " " + file + ": " +
                            std::strerror(error));
}

void write_all(int descriptor, std::string_view text, const std::string& file) {
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw file_error(file, "write");
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

// The file itself, through all symbolic links; one that points nowhere yet included.
std::string target_of(std::string file) {
  constexpr int links_max = 40;  // as the kernel's
  for (int i = 0; i < links_max; ++i) {
    std::error_code error;
    if (!fs::is_symlink(fs::symlink_status(file, error))) return file;
    const fs::path target = fs::read_symlink(file, error);
    if (error) throw file_error(file, "follow", error.value());
    file = (fs::path(file).parent_path() / target).string();
  }
  throw file_error(file, "follow", ELOOP);
}

bool give_owner_and_mode(int descriptor, const struct stat& old) {
  const bool is_mine = old.st_uid == geteuid() && old.st_gid == getegid();
  if (!is_mine && fchown(descriptor, old.st_uid, old.st_gid) != 0) return false;
  return fchmod(descriptor, old.st_mode & 07777) == 0;
}

// False: not possible here, and nothing has changed. `old`: null if there is no file yet.
bool replace_as_one_step(const std::string& file, const std::string& text, const struct stat* old) {
  std::string temporary = file + ".XXXXXX";
  const base::UniqueFd descriptor(mkstemp(temporary.data()));
  if (!descriptor) {
    if (old == nullptr) throw file_error(file, "create");
    return false;
  }
  try {
    bool done = old == nullptr || give_owner_and_mode(descriptor.get(), *old);
    if (done) {
      write_all(descriptor.get(), text, temporary);
      if (fsync(descriptor.get()) != 0) throw file_error(temporary, "write");
      done = ::rename(temporary.c_str(), file.c_str()) == 0;
    }
    if (done) return true;
    if (old == nullptr) throw file_error(file, "create");
    ::unlink(temporary.c_str());
    return false;
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
}

void rewrite_in_place(const std::string& file, const std::string& text) {
  const base::UniqueFd descriptor(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
  if (!descriptor) throw file_error(file, "write");
  write_all(descriptor.get(), text, file);
  if (ftruncate(descriptor.get(), static_cast<off_t>(text.size())) != 0 ||
      fsync(descriptor.get()) != 0) {
    throw file_error(file, "write");
  }
}

}  // namespace

std::string read_file_text(const std::string& file) {
  std::error_code ignored;
  if (!fs::exists(file, ignored)) return "";
  std::ifstream stream(file, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  if (!stream.is_open() || stream.bad()) throw file_error(file, "read");
  return text.str();
}

Rewritten replace_file(const std::string& file, const std::string& text) {
  const std::string target = target_of(file);
  struct stat old {};
  const bool exists = ::stat(target.c_str(), &old) == 0;
  if (exists && !S_ISREG(old.st_mode)) throw file_error(file, "replace", EINVAL);
  // A file with several names (hard links) would be one of its own after a rename.
  const bool shares_names = exists && old.st_nlink > 1;
  if (!shares_names && replace_as_one_step(target, text, exists ? &old : nullptr)) {
    return Rewritten::as_one_step;
  }
  rewrite_in_place(target, text);
  return Rewritten::in_place;
}

}  // namespace millrace::server
