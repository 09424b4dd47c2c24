// Publishes the lines of standard input to one topic: publisher SOCKET TOPIC.
#include <iostream>
#include <millrace/local.hpp>

int main(int, char** argv) {
  namespace local = millrace::local;
  local::PublisherOptions options;
  options.socket = argv[1];
  local::Publisher publisher(options);
  for (std::string line; std::getline(std::cin, line);) {
    while (publisher.publish(argv[2], line) == local::Published::full) {
      publisher.drain();  // the ring is full: wait until the server has emptied it
    }
  }
  return publisher.drain() && publisher.refused() == 0 ? 0 : 1;
}
