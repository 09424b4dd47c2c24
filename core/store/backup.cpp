#include "core/store/backup.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>
#include <vector>

#include "core/base/unique_fd.hpp"

namespace millrace::store {

namespace {

constexpr int attempts_max = 20;
constexpr std::size_t copied_bytes = 1 << 20;
// In front of a copy's name until all of them are whole: a part of a store must not pass for one. As
// in a store (log.cpp).
const std::string unfinished = "new-";

[[noreturn]] void fail(const std::string& what, std::error_code error) {
  throw StoreError(what + ": " + error.message());
}
std::error_code last_error() {
  return {errno, std::generic_category()};
}

struct Source {
  std::string name;
  base::UniqueFd file;
};

// The files of a store: what is being written as a whole has another name.
std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  if (const auto error = PosixFiles(folder).list(names)) fail("cannot read " + folder, error);
  std::erase_if(names, [](const std::string& name) {
    return !name.starts_with("snapshot-") && !name.starts_with("log-");
  });
  std::sort(names.begin(), names.end());
  return names;
}

// What is open stays readable when a compaction removes its name.
std::vector<Source> open_all(const std::string& folder) {
  for (int attempt = 0; attempt < attempts_max; ++attempt) {
    std::vector<Source> sources;
    const std::vector<std::string> names = names_in(folder);
    for (const std::string& name : names) {
      const std::string path = folder + "/" + name;
      sources.push_back({name, base::UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC))});
      if (sources.back().file) continue;
      if (errno != ENOENT) fail("cannot read " + name, last_error());
      break;
    }
    if (!sources.empty() && !sources.back().file) continue;
    // Segments go only when a newer snapshot is there. If none came, these belong together; what was
    // begun meanwhile comes after all of it.
    const std::vector<std::string> now = names_in(folder);
    if (std::includes(now.begin(), now.end(), names.begin(), names.end())) return sources;
  }
  throw StoreError("the store in " + folder + " changes too quickly to be copied");
}

std::uint64_t copy(const Source& from, Files& to) {
  std::unique_ptr<OutputFile> file;
  if (const auto error = to.create(unfinished + from.name, file)) {
    fail("cannot write " + from.name, error);
  }
  Bytes bytes(copied_bytes);
  std::uint64_t copied = 0;
  for (;;) {
    const ssize_t got = ::read(from.file.get(), bytes.data(), bytes.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("cannot read " + from.name, last_error());
    if (got == 0) break;
    const BytesView part = BytesView(bytes).first(static_cast<std::size_t>(got));
    if (const auto error = file->append(part)) fail("cannot write " + from.name, error);
    copied += part.size();
  }
  if (const auto error = file->flush()) fail("cannot write " + from.name, error);
  return copied;
}

BackUp copy_all(const std::vector<Source>& sources, Files& to) {
  BackUp made;
  for (const Source& source : sources) {
    made.bytes += copy(source, to);
    ++made.files;
  }
  for (const Source& source : sources) {
    if (const auto error = to.rename(unfinished + source.name, source.name)) {
      fail("cannot write " + source.name, error);
    }
  }
  if (const auto error = to.flush_names()) fail("cannot write the folder", error);
  return made;
}

void remove_all(const std::vector<Source>& sources, Files& from) {
  for (const Source& source : sources) {
    static_cast<void>(from.remove(unfinished + source.name));  // there is one of the two, or none
    static_cast<void>(from.remove(source.name));
  }
}

}  // namespace

BackUp back_up(const std::string& from, const std::string& to) {
  const std::vector<Source> sources = open_all(from);
  if (sources.empty()) throw StoreError("there is no store in " + from);
  PosixFiles target(to);
  if (const auto error = target.lock()) fail("cannot use " + to, error);
  std::vector<std::string> there;
  if (const auto error = target.list(there)) fail("cannot read " + to, error);
  if (!there.empty()) throw StoreError(to + " is not empty");
  try {
    return copy_all(sources, target);
  } catch (...) {
    remove_all(sources, target);
    throw;
  }
}

}  // namespace millrace::store
