// Listener: one listening socket. It accepts on one I/O thread and hands the connections out to all
// of them in turn.
//
// When the process runs out of descriptors or memory it stops accepting for a moment instead of
// trying again at once: the connections that wait are not lost, and the processor is not burnt.
//
// Threads: constructed at start-up; start(), stop() and set_tls() post to its I/O thread, any
// thread.
#pragma once

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <memory>
#include <vector>

#include "server/config.hpp"
#include "server/io_thread.hpp"

namespace millrace::server {

class Listener {
 public:
  // Binds and listens. Throws std::runtime_error that names the address and what is wrong; the
  // certificate and key of a TLS listener included. `threads` and `home` outlive it.
  Listener(const ListenerConfig& config, std::vector<IoThread*> threads, IoThread& home);

  void start();
  void stop();
  // For connections accepted from now on; those that are there keep what they began with.
  void set_tls(std::shared_ptr<boost::asio::ssl::context> tls);

  std::uint16_t port() const { return port_; }
  const ListenerConfig& config() const { return config_; }

 private:
  using Acceptor = boost::asio::basic_socket_acceptor<boost::asio::ip::tcp,
                                                      boost::asio::io_context::executor_type>;

  void open();
  void wait();
  void accept_some();
  void pause(int error);
  void hand_out(int fd);
  // Under connection.count_max; over it, and there to be told so; over that as well.
  enum class Room : std::uint8_t { for_one, to_be_told, none };
  Room room() const;

  const ListenerConfig config_;  // its connections refer to it
  std::vector<IoThread*> threads_;
  IoThread& home_;
  Acceptor acceptor_;
  boost::asio::steady_timer pause_;
  std::uint16_t port_ = 0;
  boost::asio::ip::tcp protocol_ = boost::asio::ip::tcp::v4();
  std::size_t next_thread_ = 0;
  bool paused_before_ = false;  // said so in the log already
  bool limited_before_ = false;
  std::shared_ptr<boost::asio::ssl::context> tls_;  // null: plain
};

}  // namespace millrace::server
