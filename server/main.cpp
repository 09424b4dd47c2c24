// main: hands the arguments on, and turns whatever start-up throws into one clear line.
#include <exception>
#include <iostream>

#include "server/cli/cli.hpp"

int main(int count, char** arguments) {
  try {
    return millrace::server::run_cli({arguments + 1, arguments + count});
  } catch (const millrace::server::UsageError& error) {
    std::cerr << "millrace: " << error.what() << " (see millrace --help)\n";
    return 2;
  } catch (const std::exception& error) {
    std::cerr << "millrace: " << error.what() << "\n";
    return 1;
  }
}
