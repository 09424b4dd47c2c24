// Refusals and evictions in words, for people and for metrics.
#include "core/shm/wire/wire.hpp"

namespace millrace::shm {

const char* describe(Refusal refusal) {
  switch (refusal) {
    case Refusal::malformed:
      return "the request is malformed";
    case Refusal::other_version:
      return "the other side speaks another layout version";
    case Refusal::not_allowed:
      return "not allowed by the access rules";
    case Refusal::limit_reached:
      return "a limit of the server is reached";
    case Refusal::bad_filter:
      return "this is no topic filter";
    case Refusal::unknown_consumer:
      return "no such consumer to stand after";
    case Refusal::name_in_use:
      return "another consumer of this ring has that name";
    case Refusal::no_memory:
      return "the system refuses the memory";
    case Refusal::shutting_down:
      return "the server is shutting down";
  }
  return "refused";
}

const char* describe(Eviction eviction) {
  switch (eviction) {
    case Eviction::none:
      return "attached";
    case Eviction::lease_ended:
      return "evicted: it held the gate for longer than its lease";
    case Eviction::overflow_full:
      return "evicted: it held the gate until the overflow was full";
    case Eviction::bad_position:
      return "evicted: its position page says nonsense";
    case Eviction::ring_closed:
      return "the server gave the ring up";
  }
  return "evicted";
}

const char* name_of(Eviction eviction) {
  switch (eviction) {
    case Eviction::none:
      break;
    case Eviction::lease_ended:
      return "lease_ended";
    case Eviction::overflow_full:
      return "overflow_full";
    case Eviction::bad_position:
      return "bad_position";
    case Eviction::ring_closed:
      return "ring_closed";
  }
  return "none";
}

}  // namespace millrace::shm
