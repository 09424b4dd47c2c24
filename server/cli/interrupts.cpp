#include "server/cli/interrupts.hpp"

#include <poll.h>

namespace millrace::server {

namespace {

volatile std::sig_atomic_t interrupted = 0;

}  // namespace

Interrupts::Interrupts() {
  interrupted = 0;
  struct sigaction note {};
  note.sa_handler = [](int) { interrupted = 1; };  // without SA_RESTART: waiting calls return
  // A second one ends the program at once: it may wait for whoever reads its output.
  note.sa_flags = SA_RESETHAND;
  sigaction(SIGINT, &note, &int_before_);
  sigaction(SIGTERM, &note, &term_before_);
}

Interrupts::~Interrupts() {
  sigaction(SIGINT, &int_before_, nullptr);
  sigaction(SIGTERM, &term_before_, nullptr);
}

bool Interrupts::came() const {
  return interrupted != 0;
}

bool Interrupts::sleep(int ms) const {
  if (!came()) ::poll(nullptr, 0, ms);
  return !came();
}

}  // namespace millrace::server
