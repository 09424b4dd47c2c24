// What a reader returns next, as a text to compare.
#pragma once

#include <string>

#include "core/shm/include/millrace/local.hpp"

namespace millrace::local {

// The payload; "status N" if it is no message.
inline std::string next_payload(Reader& reader) {
  MessageCopy message;
  const Status status = reader.next_copy(message);
  return status == Status::message ? message.payload : "status " + std::to_string(int(status));
}

}  // namespace millrace::local
