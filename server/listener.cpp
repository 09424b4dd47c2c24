#include "server/listener.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/ip/tcp.hpp>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <string>

#include "server/connection.hpp"
#include "server/log.hpp"
#include "server/tls_context.hpp"
#include "server/transport_make.hpp"

namespace millrace::server {

namespace asio = boost::asio;

namespace {

constexpr int accepted_in_a_row_max = 64;
constexpr std::chrono::milliseconds pause_time{200};

struct Accepted {
  const ListenerConfig& listener;
  std::shared_ptr<asio::ssl::context> tls;
  int fd;
  asio::ip::tcp protocol;
  bool turned_away;
};

// On the connection's own I/O thread from here on.
void adopt(IoThread& thread, const Accepted& accepted) {
  const int on = 1;
  ::setsockopt(accepted.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  TcpSocket socket(thread.context());
  boost::system::error_code error;
  socket.assign(accepted.protocol, accepted.fd, error);
  if (error) {
    ::close(accepted.fd);
    return;
  }
  auto stream = make_stream(accepted.listener, accepted.tls.get(), std::move(socket));
  boost::intrusive_ptr<Connection> connection(
      new Connection(thread, accepted.listener, std::move(stream), accepted.turned_away));
  connection->start();
}

}  // namespace

Listener::Listener(const ListenerConfig& config, std::vector<IoThread*> threads, IoThread& home)
    : config_(config),
      threads_(std::move(threads)),
      home_(home),
      acceptor_(home.context()),
      pause_(home.context()),
      tls_(make_tls_context(config)) {
  try {
    open();
  } catch (const boost::system::system_error& error) {
    throw std::runtime_error("cannot listen on " + config.host + ':' + std::to_string(config.port) +
                             " (" + config.name + "): " + error.code().message());
  }
}

void Listener::open() {
  asio::ip::tcp::resolver resolver(home_.context());
  const auto found = resolver.resolve(config_.host, std::to_string(config_.port),
                                      asio::ip::tcp::resolver::passive);
  const asio::ip::tcp::endpoint endpoint = *found.begin();
  protocol_ = endpoint.protocol();
  acceptor_.open(protocol_);
  acceptor_.set_option(asio::socket_base::reuse_address(true));
  acceptor_.non_blocking(true);
  acceptor_.bind(endpoint);
  acceptor_.listen(asio::socket_base::max_listen_connections);
  port_ = acceptor_.local_endpoint().port();
}

void Listener::start() {
  log_info("listening", {{"transport", to_string(config_.transport)},
                         {"address", config_.host},
                         {"port", port_},
                         {"listener", config_.name}});
  home_.post([this] { wait(); });
}

void Listener::stop() {
  home_.post([this] {
    boost::system::error_code ignored;
    acceptor_.close(ignored);
    pause_.cancel();
  });
}

void Listener::set_tls(std::shared_ptr<asio::ssl::context> tls) {
  home_.post([this, tls = std::move(tls)] { tls_ = tls; });
}

void Listener::wait() {
  acceptor_.async_wait(Acceptor::wait_read, [this](const boost::system::error_code& error) {
    if (error || !acceptor_.is_open()) return;
    home_.awake();
    accept_some();
  });
}

void Listener::accept_some() {
  for (int i = 0; i < accepted_in_a_row_max; ++i) {
    const int fd =
        ::accept4(acceptor_.native_handle(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      paused_before_ = false;
      hand_out(fd);
      continue;
    }
    switch (errno) {
      case EMFILE:
      case ENFILE:
      case ENOBUFS:
      case ENOMEM:
        return pause(errno);
      case EINTR:
      case ECONNABORTED:
        continue;
      default:
        return wait();  // nobody waits; or a network error of that one connection
    }
  }
  wait();
}

void Listener::pause(int error) {
  home_.counters().accept_pauses.add();
  if (!paused_before_) {
    paused_before_ = true;
    log_error("listener.paused", {{"listener", config_.name}, {"error", std::strerror(error)}});
  }
  pause_.expires_after(pause_time);
  pause_.async_wait([this](const boost::system::error_code& cancelled) {
    if (!cancelled && acceptor_.is_open()) wait();
  });
}

Listener::Room Listener::room() const {
  std::size_t all = 0, turned_away = 0;
  for (const IoThread* thread : threads_) {
    all += thread->resident_count();
    turned_away += thread->turned_away_count();
  }
  const ConnectionConfig& limits = home_.config().connection;
  if (all < limits.count_max + turned_away) return Room::for_one;
  return turned_away < limits.turned_away_max ? Room::to_be_told : Room::none;
}

void Listener::hand_out(int fd) {
  const Room room = this->room();
  if (room != Room::for_one && !limited_before_) {
    log_warn("listener.limit",
             {{"listener", config_.name}, {"connections", home_.config().connection.count_max}});
  }
  limited_before_ = room != Room::for_one;
  if (room == Room::none) {
    ::close(fd);
    home_.counters().closed_by_cause[static_cast<std::size_t>(CloseCause::limit)].add();
    return;
  }
  const Accepted accepted{config_, tls_, fd, protocol_, room == Room::to_be_told};
  IoThread& thread = *threads_[next_thread_];
  next_thread_ = (next_thread_ + 1) % threads_.size();
  if (&thread == &home_) {
    adopt(thread, accepted);
  } else {
    thread.post([&thread, accepted] { adopt(thread, accepted); });
  }
}

}  // namespace millrace::server
