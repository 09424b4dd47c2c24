#include "server/cli/ask_secret.hpp"

#include <termios.h>
#include <unistd.h>

#include <iostream>

#include "server/cli/cli.hpp"

namespace millrace::server {

namespace {

// The terminal does not show what is typed while this lives.
class SilentTerminal {
 public:
  SilentTerminal() {
    is_terminal_ = tcgetattr(STDIN_FILENO, &before_) == 0;
    termios silent = before_;
    silent.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    if (is_terminal_) tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
  }
  ~SilentTerminal() {
    if (is_terminal_) tcsetattr(STDIN_FILENO, TCSAFLUSH, &before_);
  }
  SilentTerminal(const SilentTerminal&) = delete;
  SilentTerminal& operator=(const SilentTerminal&) = delete;

 private:
  termios before_{};
  bool is_terminal_ = false;
};

}  // namespace

std::string ask_secret(const char* prompt) {
  const bool is_terminal = isatty(STDIN_FILENO) == 1;
  std::string answer;
  const SilentTerminal silent;
  if (is_terminal) std::cerr << prompt << std::flush;
  if (!std::getline(std::cin, answer)) throw UsageError("no password was given");
  if (is_terminal) std::cerr << "\n";
  return answer;
}

}  // namespace millrace::server
