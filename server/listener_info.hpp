// ListenerInfo: what every connection of one listener shares. Constant once connections are there;
// it outlives them.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <memory>

#include "server/config.hpp"

namespace millrace::server {

struct ListenerInfo {
  ListenerConfig config;
  std::shared_ptr<boost::asio::ssl::context> tls;  // null: plain
};

}  // namespace millrace::server
