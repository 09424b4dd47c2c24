// The measured window of a run: the messages in it, the CPU time and memory that the server and
// this thread used, and the live progress line.
//
// One thread. The window lasts from begin() to end(); tick() may be called at any time and rate.
#pragma once

#include <cstdint>
#include <string>

#include "loadtest/event_loop.hpp"
#include "loadtest/options.hpp"
#include "loadtest/procfs.hpp"
#include "loadtest/result.hpp"

namespace millrace::loadtest {

struct Traffic {
  std::uint64_t published = 0;
  std::uint64_t delivered = 0;
};

class Meter {
 public:
  // Reads the server's memory at the start, so construct it before any connection is made.
  Meter(const Options& options, const EventLoop& loop);
  ~Meter();

  void begin(Nanos now, Traffic so_far);
  void end(Nanos now, Traffic so_far);
  // Samples the server and, in a terminal, updates the live line. `what` names the phase.
  void tick(Nanos now, Traffic so_far, const char* what);

  ServerProbe& server() { return server_; }
  double seconds() const { return to_seconds(end_.at - begin_.at); }
  std::uint64_t delivered() const { return end_.traffic.delivered - begin_.traffic.delivered; }
  // Share of one core that this thread used in the window, without polls that found nothing.
  double generator_core() const;
  // Share of the window in which this thread waited for a core that others used.
  double generator_starved() const;

  void report_rates(Result& result) const;
  void report_cost(Result& result);

 private:
  struct Mark {
    Nanos at = 0;
    Traffic traffic;
    double server_cpu_s = 0;
    double own_cpu_s = 0;
    double own_starved_s = 0;
  };
  Mark mark(Nanos now, Traffic so_far);

  const Options& options_;
  const EventLoop& loop_;
  ServerProbe server_;
  const bool shows_progress_;
  Mark begin_;
  Mark end_;
  Mark shown_;
  Nanos started_ns_;
  bool line_is_open_ = false;
};

}  // namespace millrace::loadtest
