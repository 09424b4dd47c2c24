#include "server/mqtt/listener.hpp"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>

#include "server/mqtt/connection.hpp"
#include "server/net/make_stream.hpp"
#include "server/net/tcp_options.hpp"
#include "server/net/unix_socket.hpp"
#include "server/observe/log.hpp"

namespace millrace::server {

namespace asio = boost::asio;

namespace {

constexpr int accepted_in_a_row_max = 64;
constexpr std::uint32_t pause_ticks = 1;

struct Accepted {
  const ListenerConfig& listener;
  std::shared_ptr<asio::ssl::context> tls;
  int fd;
  bool turned_away;
};

// On the connection's own I/O thread from here on.
void adopt(IoThread& thread, const Accepted& accepted) {
  auto stream = make_stream(accepted.listener, accepted.tls.get(), thread.poller(), accepted.fd);
  boost::intrusive_ptr<Connection> connection(
      new Connection(thread, accepted.listener, std::move(stream), accepted.turned_away));
  connection->start();
}

}  // namespace

Listener::Listener(const ListenerConfig& config, std::vector<IoThread*> threads, IoThread& home,
                   std::shared_ptr<asio::ssl::context> tls)
    : config_(config),
      threads_(std::move(threads)),
      home_(home),
      pause_(*this),
      tls_(std::move(tls)) {
  if (config.uses_unix()) {
    open_unix();
    return;
  }
  try {
    open();
  } catch (const boost::system::system_error& error) {
    throw std::runtime_error("cannot listen on " + config.host + ':' + std::to_string(config.port) +
                             " (" + config.name + "): " + error.code().message());
  }
}

void Listener::open() {
  asio::io_context context;
  asio::ip::tcp::resolver resolver(context);
  const auto found = resolver.resolve(config_.host, std::to_string(config_.port),
                                      asio::ip::tcp::resolver::passive);
  const asio::ip::tcp::endpoint endpoint = *found.begin();
  asio::ip::tcp::acceptor acceptor(context, endpoint.protocol());
  acceptor.set_option(asio::socket_base::reuse_address(true));
  set_socket_options(acceptor.native_handle(), endpoint.address().is_v6());
  acceptor.non_blocking(true);
  acceptor.bind(endpoint);
  acceptor.listen(asio::socket_base::max_listen_connections);
  port_ = acceptor.local_endpoint().port();
  socket_.emplace(*this, acceptor.release());
}

void Listener::open_unix() {
  std::string error;
  const auto mode = static_cast<unsigned>(std::stoul(config_.socket_mode, nullptr, 8));
  shm::UniqueFd socket = listen_at(config_.socket, mode, SOMAXCONN, error);
  if (!socket) throw std::runtime_error("cannot listen (" + config_.name + "): " + error);
  socket_.emplace(*this, socket.release());
}

// What is accepted inherits all of them.
void Listener::set_socket_options(int fd, bool is_ipv6) const {
  bool is_set = set_tcp_options(fd, home_.config().connection);
  if (is_set && is_ipv6) {
    const int only_ipv6 = !takes_ipv4_too(home_.config(), config_.host, config_.port);
    is_set = ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only_ipv6, sizeof only_ipv6) == 0;
  }
  if (!is_set) throw boost::system::system_error(errno, boost::system::system_category());
}

void Listener::start(const std::string& clients) {
  log_info("listening", {{"transport", to_string(config_.transport)},
                         {"address", config_.uses_unix() ? config_.socket : config_.host},
                         {"port", port_},
                         {"listener", config_.name},
                         {"tls", config_.uses_tls() ? to_string(config_.tls.version_min) : "off"},
                         {"clients", clients}});
  home_.post([this] { socket_->wait(); });
}

void Listener::stop() {
  home_.post([this] {
    socket_.reset();
    if (pause_.is_linked()) pause_.unlink();
  });
}

void Listener::set_tls(std::shared_ptr<asio::ssl::context> tls) {
  home_.post([this, tls = std::move(tls)] { tls_ = tls; });
}

Listener::Socket::~Socket() {
  const int socket = fd();
  unwatch();
  ::close(socket);
  if (listener_.config_.uses_unix()) ::unlink(listener_.config_.socket.c_str());
}

int Listener::Socket::accept() {
  const int accepted = ::accept4(fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (accepted < 0 && errno == EAGAIN) found_nothing();
  return accepted;
}

void Listener::accept_some() {
  for (int i = 0; i < accepted_in_a_row_max; ++i) {
    const int fd = socket_->accept();
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
        return socket_->wait();  // none waits; or a network error of that connection
    }
  }
  socket_->wait();
}

void Listener::pause(int error) {
  home_.counters().accept_pauses.add();
  if (!paused_before_) {
    paused_before_ = true;
    log_error("listener.paused", {{"listener", config_.name}, {"error", std::strerror(error)}});
  }
  TimerWheel& wheel = home_.wheel();
  wheel.schedule(pause_, wheel.tick() + pause_ticks);
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
    // First counted, then closed: whoever sees the end of the connection finds it counted.
    home_.counters().closed_by_cause[static_cast<std::size_t>(CloseCause::limit)].add();
    ::close(fd);
    return;
  }
  const Accepted accepted{config_, tls_, fd, room == Room::to_be_told};
  IoThread& thread = *threads_[next_thread_];
  next_thread_ = (next_thread_ + 1) % threads_.size();
  if (&thread == &home_) {
    adopt(thread, accepted);
  } else {
    thread.post([&thread, accepted] { adopt(thread, accepted); });
  }
}

}  // namespace millrace::server
