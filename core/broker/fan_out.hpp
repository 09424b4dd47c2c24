// [7] fan out: a message goes to all that its topic's route names: to each session, whose connection
// gets it or whose backlog keeps it; to one member of each shared group; to the rings of local
// readers; and to its topic, as its newest value.
//
// Calls Deliverer [8] for each session in the route, Router [6] for the member of a group whose turn
// it is, and Values for the topic's newest value.
// The rings get the message here; the topic's slot and the tables of local readers get the newest
// value at the end of the batch (Values::store_noted).
//
// What always holds: a message has its number and its route before it is sent to any subscriber;
// each subscriber is sent the messages of one topic in the order of their numbers.
//
// Threads: the processor's holder alone.
#pragma once

#include <cstddef>

#include "core/broker/deliverer.hpp"
#include "core/broker/local_side.hpp"
#include "core/broker/publish_context.hpp"
#include "core/broker/router.hpp"
#include "core/broker/values.hpp"

namespace millrace::broker {

class FanOut {
 public:
  FanOut(Batch& batch, Values& values, Router& router, Deliverer& deliverer)
      : batch_(batch), values_(values), router_(router), deliverer_(deliverer) {}
  // Local readers are served from now on.
  void set_local(LocalSide* local) { local_ = local; }

  // `topic` and `route` are the message's. The message may be moved from. Returns how many sessions,
  // groups and local rings or tables it was for.
  std::size_t publish(Topic& topic, const Route& route, PublishContext& context);
  // Delivers the message to one member of a group. False: no member can take it.
  bool to_group(const RouteGroup& group, PublishContext& context);

 private:
  Batch& batch_;
  Values& values_;
  Router& router_;
  Deliverer& deliverer_;
  LocalSide* local_ = nullptr;
};

}  // namespace millrace::broker
