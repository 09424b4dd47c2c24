// Publishes the lines of standard input at one topic: publisher SOCKET TOPIC.
#include <iostream>
#include <millrace/local.hpp>

int main(int, char** argv) {
  namespace local = millrace::local;
  local::PublisherOptions options;
  options.socket = argv[1];
  local::Publisher publisher(options);
  for (std::string line; std::getline(std::cin, line);) {
    while (publisher.publish(argv[2], line) == local::Published::full) {
      publisher.drain();  // the server is behind: wait until it has taken what there is
    }
  }
  return publisher.drain() && publisher.refused() == 0 ? 0 : 1;
}
