// Reads topics below md/ from shared memory in a coroutine of Boost.Asio.
#include <boost/asio.hpp>
#include <iostream>
#include <millrace/local_asio.hpp>

namespace asio = boost::asio;
namespace local = millrace::local;

asio::awaitable<void> read(std::string socket) {
  local::ReaderOptions options;
  options.socket = socket;
  options.policy = local::Policy::lossless;
  options.start = local::Start::latest;
  local::AsioReader reader(co_await asio::this_coro::executor, "md/#", options);
  for (local::MessageCopy message;;) {
    if (co_await reader.next(message) != local::Status::message) continue;
    std::cout << message.topic << ' ' << message.payload << std::endl;
  }
}

int main(int, char** argv) {
  asio::io_context context;
  asio::co_spawn(context, read(argv[1]), asio::detached);
  context.run();
}
