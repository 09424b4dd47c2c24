// Rights: whose a session is, and what its owner may do. Authority: who says that anew.
//
// The processor knows no files of users and no configuration of rules. A front-end hands it the
// rights of each client with its CONNECT; after a reload it hands it a new Authority, which has the
// rights of every owner as of then, and the processor judges every session by them (review).
//
// Threads: Rights are constant once made, and shared; an Authority may be asked by any thread.
#pragma once

#include <boost/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/broker/topic_rules.hpp"
#include "protocol/reason_code.hpp"

namespace millrace::broker {

// How a client came. What it may do can depend on that, beside who it is.
struct Arrival {
  std::string_view client_id;           // as the session is named
  std::string_view address;             // without the port
  std::uint16_t listener = UINT16_MAX;  // the front-end's number for it
};

// What an owner brought along with its credential: its rights are within these as well.
struct CarriedRules {
  std::shared_ptr<const TopicRules> publish;    // null: they limit nothing
  std::shared_ptr<const TopicRules> subscribe;  // null: they limit nothing
};

struct Rights : boost::intrusive_ref_counter<Rights, boost::thread_safe_counter> {
  std::string owner;           // the user; empty: the anonymous, who are one owner
  std::string credential;      // by which the owner was verified; the authority's affair
  std::uint64_t revision = 0;  // of the authority that gave them
  std::shared_ptr<const TopicRules> publish;    // null: may publish everything
  std::shared_ptr<const TopicRules> subscribe;  // null: may subscribe to everything
  // Of what it subscribes to, it receives what these permit; null: all of it.
  std::shared_ptr<const TopicRules> receive;
  std::shared_ptr<const TopicRules> read;       // subscribe and receive; null: not both are there
  std::shared_ptr<const CarriedRules> carried;  // in publish and subscribe already; null: none

  // After subscribe and receive are set.
  void set_read() {
    if (!subscribe || !receive) return;
    read = std::make_shared<const TopicRules>(std::vector<TopicRule>{}, true,
                                              TopicRules::Others{subscribe, receive});
  }

  // Why it may not be published; nothing: it may.
  std::optional<protocol::ReasonCode> publish_refusal(std::string_view topic,
                                                      PublishedHow how) const {
    if (!publish) return std::nullopt;
    return publish->refusal(topic, how);
  }
  bool may_read(std::string_view topic) const {
    return (!subscribe || subscribe->permit(topic)) && (!receive || receive->permit(topic));
  }

  // The rules that what reads by this filter has to ask about each topic; null: none, it may read
  // all that the filter matches; an error: why it may read nothing. `filter` is the inner one:
  // without a $share or $latest prefix.
  protocol::Result<std::shared_ptr<const TopicRules>> subscription(std::string_view filter) const {
    bool asks_subscribe = false;
    if (subscribe) {
      const auto extent = subscribe->extent(filter);
      if (!extent) return extent.error();
      asks_subscribe = *extent == TopicRules::Extent::part;
    }
    bool asks_receive = false;
    if (receive) {
      const auto extent = receive->extent(filter);
      asks_receive = !extent || *extent == TopicRules::Extent::part;
    }
    if (asks_subscribe) return asks_receive ? read : subscribe;
    return asks_receive ? receive : nullptr;
  }
  // The highest QoS that such a subscription is granted.
  std::uint8_t subscription_qos_max(std::string_view filter) const {
    return subscribe ? subscribe->qos_max(filter) : 2;
  }
};
using RightsRef = boost::intrusive_ptr<const Rights>;

// Null: an owner without a name.
inline std::string_view owner_of(const RightsRef& rights) {
  return rights ? std::string_view(rights->owner) : "";
}

class Authority {
 public:
  virtual ~Authority() = default;

  // Rises from one to the next.
  virtual std::uint64_t revision() const = 0;
  // What the owner of those rights, having come so, may do now; null: there is no such user any
  // more.
  virtual RightsRef renew(const Rights& rights, const Arrival& arrival) const = 0;
};

}  // namespace millrace::broker
