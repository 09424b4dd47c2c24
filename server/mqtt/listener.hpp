// Listener: one listening socket, of TCP or of this machine. It accepts on one I/O thread and hands
// the connections out to all of them in turn.
//
// When the process runs out of descriptors or memory it stops accepting for a moment instead of
// trying again at once, which would use up a core. The connections that wait are not lost.
//
// Threads: constructed at start-up; start(), stop() and set_tls() post to its I/O thread, any
// thread.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/config/config.hpp"
#include "server/net/io_thread.hpp"
#include "server/net/poller.hpp"

namespace millrace::server {

class Listener {
 public:
  // Binds and listens. Throws std::runtime_error that names the address and what is wrong. `tls`:
  // null exactly if the listener uses none. `threads` and `home` outlive it.
  Listener(const ListenerConfig& config, std::vector<IoThread*> threads, IoThread& home,
           std::shared_ptr<boost::asio::ssl::context> tls);

  // `clients`: how it knows who they are, for the log.
  void start(const std::string& clients);
  void stop();
  // For connections accepted from now on; those that are there keep what they began with.
  void set_tls(std::shared_ptr<boost::asio::ssl::context> tls);

  std::uint16_t port() const { return port_; }
  const ListenerConfig& config() const { return config_; }

 private:
  // The listening socket.
  class Socket final : public Watch {
   public:
    Socket(Listener& listener, int fd) : Watch(listener.home_.poller(), fd), listener_(listener) {}
    ~Socket();
    void wait() { wait_to_read(); }
    int accept();  // as accept4(2)

   private:
    void on_ready(bool, bool) override { listener_.accept_some(); }
    Listener& listener_;
  };

  // In the wheel while nothing is accepted.
  class Pause final : public Resident {
   public:
    explicit Pause(Listener& listener) : listener_(listener) {}
    void on_due() override { listener_.socket_->wait(); }
    void apply_settings() override {}
    void stop_reading() override {}
    void end(Which) override {}
    void abandon() override {}

   private:
    Listener& listener_;
  };

  void open();
  void open_unix();
  void set_socket_options(int fd, bool is_ipv6) const;
  void accept_some();
  void pause(int error);
  void hand_out(int fd);
  // One more connection is: within connection.count_max; over it, but within turned_away_max, so
  // that its CONNECT can be answered; over both.
  enum class Room : std::uint8_t { for_one, to_be_told, none };
  Room room() const;

  const ListenerConfig config_;  // its connections refer to it
  std::vector<IoThread*> threads_;
  IoThread& home_;
  std::optional<Socket> socket_;  // until stop()
  Pause pause_;
  std::uint16_t port_ = 0;
  std::size_t next_thread_ = 0;
  bool paused_before_ = false;  // said so in the log already
  bool limited_before_ = false;
  std::shared_ptr<boost::asio::ssl::context> tls_;  // null: plain
};

}  // namespace millrace::server
