// Prints the newest value of a topic below md/, without a subscription: lookup SOCKET TOPIC.
#include <iostream>
#include <millrace/local.hpp>

int main(int, char** argv) {
  millrace::local::Latest latest("md/#", argv[1]);
  millrace::local::Value value;
  if (!latest.get(argv[2], value)) return 1;
  std::cout << value.payload << '\n';
}
