// A reader that can be awaited in a coroutine of Boost.Asio, without blocking a thread.
//
//     millrace::local::AsioReader reader(executor, "md/#");
//     millrace::local::MessageCopy message;
//     while (co_await reader.next(message) == millrace::local::Status::message) use(message);
//
// Optional: needs C++20 and Boost.Asio; the library itself needs neither.
//
// Threads: one coroutine at a time calls next(), on the executor. Destroy the reader when no call
// is pending.
#pragma once

#include <unistd.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <millrace/local.hpp>

namespace millrace::local {

class AsioReader {
 public:
  AsioReader(const boost::asio::any_io_executor& executor, std::string filter,
             ReaderOptions options = {})
      : AsioReader(executor, std::vector<std::string>{std::move(filter)}, std::move(options)) {}
  AsioReader(const boost::asio::any_io_executor& executor, std::vector<std::string> filters,
             ReaderOptions options = {})
      : reader_(std::move(filters), pollable(std::move(options))),
        readable_(executor, ::dup(reader_.fd())) {}

  // The next message, or why there is none: any Status but `timeout`. Cancelling the operation
  // (boost::asio::cancellation_signal, or operators || and &&) or close() ends it with an
  // exception, boost::system::system_error of operation_aborted.
  boost::asio::awaitable<Status> next(MessageCopy& message) {
    // While there is always a message, let other handlers of the executor run from time to time.
    if (++in_a_row_ % 64 == 0) co_await boost::asio::post(boost::asio::use_awaitable);
    for (;;) {
      const Status status = reader_.next_copy(message, std::chrono::nanoseconds(0));
      if (status != Status::timeout) co_return status;
      in_a_row_ = 0;
      co_await readable_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                                    boost::asio::use_awaitable);
    }
  }

  void close() { readable_.close(); }
  Reader& reader() { return reader_; }

 private:
  static ReaderOptions pollable(ReaderOptions options) {
    options.pollable = true;
    return options;
  }

  Reader reader_;
  boost::asio::posix::stream_descriptor readable_;
  unsigned in_a_row_ = 0;
};

}  // namespace millrace::local
