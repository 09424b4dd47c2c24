// FileWatch: whether files have changed since they were read. It looks at them when it is asked, so it
// works on every file system, and through links that are exchanged (a mounted Secret of Kubernetes).
//
// A change counts once it is at rest: whoever replaces a certificate and its key does so in two
// steps, and one of them alone fits nothing.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace millrace::server {

class FileWatch {
 public:
  // Of these from now on. What is known of one that was among them before stays known.
  void set_files(const std::vector<std::string>& files);
  // They are about to be read: what they hold now, or later, will be known.
  void note_read();
  // Once for each change: whether they differ from what was read, and have not changed since this was
  // asked last.
  bool have_changed();

 private:
  struct Stamp {
    std::uint64_t device = 0, inode = 0, bytes = 0;
    std::int64_t changed_ns = 0;
    bool is_there = false;
    friend bool operator==(const Stamp&, const Stamp&) = default;
  };
  using Stamps = std::map<std::string, Stamp>;

  static Stamp look_at(const std::string& file);
  Stamps look() const;

  Stamps read_;  // when they were read; its keys are the files
  Stamps seen_;  // when have_changed() was asked last
};

}  // namespace millrace::server
