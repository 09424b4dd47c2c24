// From mosquitto.conf to a configuration of this server: what `millrace import` prints.
//
// Each line becomes a key, or is noted with the reason why it has none, or why the key is not quite
// the same. Lines without effect here and there (comments, what is always so) are not noted. The files
// that the lines name (acl_file, password_file, include_dir) are read where they can be found.
//
// Threads: none of its own; reads files.
#pragma once

#include <cstddef>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace millrace::server {

struct ImportNote {
  std::string file;
  std::size_t line = 0;  // 0: the whole
  std::string said;      // the line, without what may be secret
  std::string why;

  std::string to_string() const;
};

struct Imported {
  nlohmann::ordered_json config;
  std::vector<ImportNote> notes;
};

// `root`: the folder that is / to the file's paths, such as a copy of a container's; may be empty.
// Throws std::runtime_error if the file cannot be read.
Imported import_mosquitto(const std::string& file, const std::string& root);

// A line of mosquitto.conf.
struct Directive {
  std::string file;
  std::size_t line = 0;
  std::string name;
  std::string value;
};
// Notes why the line has no key, or why that is not quite the same.
using Note = std::function<void(const Directive& line, std::string why)>;

}  // namespace millrace::server
