// Refusals and evictions as text, for users and for metrics.
#include "core/shm/wire/wire.hpp"

namespace millrace::shm {

const char* describe(Refusal refusal) {
  switch (refusal) {
    case Refusal::malformed:
      return "the request is malformed";
    case Refusal::other_version:
      return "server and client library use different layout versions: update the older one";
    case Refusal::not_allowed:
      return "not allowed by the access rules";
    case Refusal::limit_reached:
      return "a limit of the server is reached";
    case Refusal::bad_filter:
      return "not a valid topic filter";
    case Refusal::unknown_consumer:
      return "no reader of this ring has the name given as `after`";
    case Refusal::name_in_use:
      return "another reader of this ring has that name";
    case Refusal::no_memory:
      return "the server cannot get the memory or a descriptor for it";
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
      return "evicted: too slow for a lossless ring (no progress for local.lease_ms)";
    case Eviction::overflow_full:
      return "evicted: too slow for a lossless ring (local.overflow_bytes were waiting for it)";
    case Eviction::bad_position:
      return "evicted: its position page is invalid";
    case Eviction::ring_closed:
      return "the server closed the ring";
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
