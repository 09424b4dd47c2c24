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

#include "core/broker/topic_rules.hpp"
#include "protocol/reason_code.hpp"

namespace millrace::broker {

struct Rights : boost::intrusive_ref_counter<Rights, boost::thread_safe_counter> {
  std::string owner;           // the user; empty: the anonymous, who are one owner
  std::string credential;      // by which the owner was verified; the authority's affair
  std::uint64_t revision = 0;  // of the authority that gave them
  std::shared_ptr<const TopicRules> publish;    // null: may publish everything
  std::shared_ptr<const TopicRules> subscribe;  // null: may read everything

  // Why it may not be published; nothing: it may.
  std::optional<protocol::ReasonCode> publish_refusal(std::string_view topic) const {
    if (!publish) return std::nullopt;
    return publish->refusal(topic);
  }
  bool may_read(std::string_view topic) const { return !subscribe || subscribe->permit(topic); }

  // The rules that what reads by this filter has to ask about each topic; null: none, it may read
  // all that the filter matches; an error: why it may read nothing. `filter` is the inner one:
  // without a $share or $latest prefix.
  protocol::Result<std::shared_ptr<const TopicRules>> subscription(std::string_view filter) const {
    if (!subscribe) return std::shared_ptr<const TopicRules>();
    const auto extent = subscribe->extent(filter);
    if (!extent) return extent.error();
    return *extent == TopicRules::Extent::part ? subscribe : nullptr;
  }
};
using RightsRef = boost::intrusive_ptr<const Rights>;

class Authority {
 public:
  virtual ~Authority() = default;

  // Rises from one to the next.
  virtual std::uint64_t revision() const = 0;
  // What the owner of those rights may do now; null: there is no such user any more.
  virtual RightsRef renew(const Rights& rights) const = 0;
};

}  // namespace millrace::broker
