// NatsOrder: holds back what a stream is to acknowledge until it has acknowledged what left before on
// the same subject. A stream without a leader loses what it is given, and each message is sent again
// for itself: of two that were on their way the second could stand in the stream first.
//
// Always: of each subject one message at QoS 1 is on its way. What came behind one that is held back
// leaves behind it, at QoS 0 too. No subject waits for another.
//
// It has no limit of its own: what is held back stays charged to the link's session, and has packet
// identifiers of it.
//
// Threads: one.
#pragma once

#include <list>
#include <map>
#include <string>
#include <vector>

#include "server/upstream/nats_client.hpp"

namespace millrace::server {

class NatsOrder {
 public:
  using Outgoing = NatsClient::Outgoing;

  // True: it may leave. Else it was taken, and comes back from next() or take_all().
  bool admit(Outgoing& message);
  // The one at QoS 1 of this subject that was on its way has its answer. What leaves now: the next at
  // QoS 1, which is on its way with this, and what came behind it at QoS 0.
  std::vector<Outgoing> next(const std::string& subject);
  // All that is held back, of each subject in order. Nothing is on its way any more.
  std::vector<Outgoing> take_all();

 private:
  // By subject of which one is on its way. The front is at QoS 1.
  std::map<std::string, std::list<Outgoing>> held_;
};

}  // namespace millrace::server
