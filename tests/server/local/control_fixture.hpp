// The fixture of tests with a control socket: a socket in a temporary directory, and short forms.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "core/shm/include/millrace/local.hpp"
#include "test_server.hpp"

namespace millrace::local {

using shm::Registry;
using test::ServerOptions;
using test::TempDirectory;
using test::TestServer;

class ControlSocket : public ::testing::Test {
 protected:
  ReaderOptions options() const {
    ReaderOptions options;
    options.socket = directory.socket();
    return options;
  }
  ReaderOptions lossless(std::string name = {}, std::vector<std::string> after = {}) const {
    ReaderOptions options = this->options();
    options.policy = Policy::lossless;
    options.name = std::move(name);
    options.after = std::move(after);
    return options;
  }
  static std::string next_payload(Reader& reader) {
    MessageCopy message;
    const Status status = reader.next_copy(message);
    return status == Status::message ? message.payload : "status " + std::to_string(int(status));
  }
  static std::string refusal(const std::string& filter, const ReaderOptions& options) {
    return refusal(std::vector<std::string>{filter}, options);
  }
  static std::string refusal(const std::vector<std::string>& filters,
                             const ReaderOptions& options) {
    try {
      Reader reader(filters, options);
    } catch (const Error& error) {
      return error.what();
    }
    return "attached";
  }

  TempDirectory directory;
};

}  // namespace millrace::local
