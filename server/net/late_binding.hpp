// LateBinding: the credit of a connection whose values may be replaced until they are bound.
//
// The processor binds a value to a connection only while the bytes that were bound and not yet
// reported as written are below its credit. While values may be replaced, the credit is what its
// reader has room for, as far as TCP tells (late_window.hpp): so the newest value of a topic is
// bound when the reader can use it, and not earlier. Without outbox.unread_bytes there is none.
//
// The connection calls written() after each write, and report() with each report to the processor.
// While the processor has no credit left, this looks at the socket by itself, on its thread's fine
// timers, and calls the connection when there is more to report. A look is one system call;
// there is none while the processor has credit.
//
// Where the kernel does not tell (not a TCP socket, a kernel before 5.4), the configured credit
// applies, and a counter says so.
//
// Threads: the connection's: an I/O thread, or that of HTTP.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/broker/command.hpp"
#include "server/config/config.hpp"
#include "server/net/late_window.hpp"
#include "server/net/look_wheel.hpp"
#include "server/observe/counters.hpp"

namespace millrace::server {

// What a thread gives the connections on it that bind late.
class LateHome {
 public:
  virtual const OutboxConfig& outbox_config() const = 0;
  virtual void schedule_look(Look& look, std::int64_t at_ns, std::int64_t now_ns) = 0;
  virtual void cancel_look(Look& look) = 0;
  virtual Counter& unread_bytes() = 0;          // a gauge over all of them
  virtual Counter& late_binding_unknown() = 0;  // those of which the kernel does not tell

 protected:
  ~LateHome() = default;
};

// For what is written late: so many bytes a write call, or one delivery if that is larger than this;
// and how long it will wait for its reader.
struct LateTerms {
  std::size_t write_bytes_max = SIZE_MAX;
  std::int64_t wait_ns = 0;
};

class LateBinding final : private Look {
 public:
  class User {
   public:
    // The reader has taken more: written() may say now that there is something to report.
    virtual void on_reader_progress() = 0;

   protected:
    ~User() = default;
  };

  // `fd` stays open for as long as this lives.
  LateBinding(LateHome& home, User& user, int fd);
  ~LateBinding();
  LateBinding(const LateBinding&) = delete;
  LateBinding& operator=(const LateBinding&) = delete;

  // So many bytes are written since the last report. True: the processor should hear of the credit
  // that there is now. It should at the first call: what the one before this said may reach it only
  // now, when a connection ceases to bind late and begins again at once, and would hold for good.
  bool written(std::uint32_t unreported_bytes);
  // All that was written is being reported: adds the credit.
  void report(broker::command::Drained& drained);

  // As of the last look. Where the path's segments are large (loopback), writes are small: a receiver
  // that has been sent a large segment delays the acknowledgements of smaller ones until as much has
  // come again, and with them the news of what was read.
  const LateTerms& terms() const { return terms_; }

 private:
  void on_look(std::int64_t now_ns) override;
  void look(std::int64_t now_ns, bool on_time);
  void look_again_if_full();
  // What the processor may still bind, as it was told.
  std::int64_t told_room_bytes() const {
    return std::int64_t{told_credit_bytes_} - unreported_bytes_;
  }
  // The same by the last look, less what was written since.
  std::int64_t room_bytes() const { return room_at_look_bytes_ - written_since_look_bytes_; }
  std::size_t write_bytes_max() const;
  void count_unread(std::uint32_t bytes);

  LateHome& home_;
  User& user_;
  const int fd_;
  LateWindow window_;
  std::int64_t room_at_look_bytes_ = 0;
  std::int64_t written_since_look_bytes_ = 0;
  LateTerms terms_;
  std::uint32_t unreported_bytes_ = 0;
  std::uint32_t told_credit_bytes_;         // to the processor, with the last report
  std::uint32_t counted_unread_bytes_ = 0;  // in the gauge
  bool works_ = true;                       // the kernel tells what is needed
  bool is_told_ = false;                    // the processor, what this says; see written()
  bool was_full_ = false;                   // the reader, since the last report
  bool on_time_ = false;                    // the time of a look has come
  bool trickles_ = false;                   // one value may go out although the reader seems full
};

}  // namespace millrace::server
