// What an upstream and its link are to each other, whatever is spoken on the link.
//
// Threads: the upstream's I/O thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "server/upstream/greeting.hpp"

namespace millrace::server {

// How a link ended, or why it never was up.
struct LinkEnd {
  enum class Why : std::uint8_t {
    lost,           // the connection, or it never was
    refused,        // by CONNACK, or a certificate
    wrong_version,  // another dialect may do
    fault,          // the upstream broke a rule, or said nothing in time
    told,           // by a DISCONNECT of the upstream
    processor,      // this server's processor ended it
    wanted,         // this server ends, or the upstream is not configured any more
  };
  Why why = Why::lost;
  std::string text;  // for the log
};

class LinkOwner {
 public:
  virtual ~LinkOwner() = default;
  // The upstream, and the processor, have accepted it.
  virtual void on_link_up(const LinkTerms& terms) = 0;
  // The upstream has answered every SUBSCRIBE.
  virtual void on_link_subscribed() = 0;
  virtual void on_link_closed(LinkEnd end) = 0;
  // A rule that this upstream does not serve.
  virtual void on_rule_refused(std::string_view filter, std::string_view why) = 0;
};

class UpstreamLink {
 public:
  // May be over before this returns.
  virtual void start() = 0;
  // Of what follows the demand it asks for what is wanted now, and for the rest no more.
  virtual void set_demand(std::vector<bool> wanted) = 0;
  // Writes what was handed over, says goodbye, and leaves.
  virtual void leave_politely(std::string why) = 0;

 protected:
  ~UpstreamLink() = default;
};

}  // namespace millrace::server
