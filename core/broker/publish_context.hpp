// PublishContext: what one publish carries from call to call while it is routed, queued and stored.
//
// Threads: the processor's holder alone, for the length of one publish.
#pragma once

#include "core/broker/change_filter.hpp"
#include "core/broker/check.hpp"
#include "core/broker/message.hpp"
#include "core/broker/rights.hpp"

namespace millrace::broker {

struct Session;

struct PublishContext {
  // `from` null: not a client's, but a will, a local publisher or the server itself.
  explicit PublishContext(Message& what, Session* publisher = nullptr)
      : message(what), from(publisher) {}

  Message& message;
  Session* const from;
  // Of one without a session, to whom its retained value is charged; null: to nobody.
  const RightsRef* owner = nullptr;
  bool can_withhold = false;      // a client's, and it is to be acknowledged
  bool is_awaited = false;        // a link's copy has a number: AwaitedAcks has the acknowledgement
  Session* withholder = nullptr;  // whose full queue withholds the acknowledgement
  Message kept;                   // see to_keep()

  // As a change filter compares it; looked for once for all readers that ask for the same.
  const ComparedValue& compared_by(const Shape& shape) {
    const bool by_text = shape.changes == Changes::unequal;
    const bool is_known = compared_for != nullptr && compared_for->field == shape.field &&
                          (compared_for->changes == Changes::unequal) == by_text;
    if (!is_known) compared = compared_value(shape, message.payload());
    compared_for = &shape;
    return compared;
  }
  const Shape* compared_for = nullptr;  // null: it was not compared yet
  ComparedValue compared;

  // The message as whatever stays may hold it: one copy out of the receive buffer, made when it is
  // first needed and shared by all queues and the slot.
  const Message& to_keep() {
    MILLRACE_CHECK(kept || message);  // not taken yet
    if (!kept) kept = message.is_slice() ? message.copy_to_keep() : message;
    return kept;
  }
};

}  // namespace millrace::broker
