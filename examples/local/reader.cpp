// Reads topics below md/ from shared memory: the newest value of each, then every new message.
#include <iostream>
#include <millrace/local.hpp>

int main(int, char** argv) {
  namespace local = millrace::local;
  local::ReaderOptions options;
  options.socket = argv[1];
  options.policy = local::Policy::lossless;
  options.start = local::Start::latest;
  local::Reader reader("md/#", options);
  for (local::Message message;;) {
    if (reader.next(message) != local::Status::message) continue;
    std::cout << message.topic << ' ' << message.payload << std::endl;
  }
}
