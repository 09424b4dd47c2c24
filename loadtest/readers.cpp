#include "loadtest/readers.hpp"

namespace millrace::loadtest {

void Readers::report(Result& result, std::uint64_t wanted) const {
  const SequenceTally sum = tally();
  std::uint64_t foreign = 0;
  std::uint64_t wrong_topic = 0;
  for (const auto& r : readers_) {
    foreign += r->foreign();
    wrong_topic += r->wrong_topic();
  }
  const std::uint64_t lost = wanted - sum.received;
  result.add("lost", lost);
  result.add("duplicates", sum.duplicates);
  result.add("reordered", sum.reordered);
  result.add("gaps", sum.gaps);
  result.add("foreign", foreign);
  result.add("wrong_topic", wrong_topic);
  if (lost + sum.duplicates + sum.reordered + foreign + wrong_topic > 0) result.has_faults = true;
}

void note_never_sent(Result& result, std::uint64_t count) {
  result.add("never_sent", count);
  if (count == 0) return;
  result.warnings.push_back("the rate was not reached: " + std::to_string(count) +
                            " due messages were never sent; latency counts them up to the end");
}

void note_connection_faults(Result& result, const Fleet& fleet) {
  if (fleet.broken() > 0) {
    result.has_faults = true;
    result.warnings.push_back(std::to_string(fleet.broken()) +
                              " connection(s) ended early, the last: " + fleet.broken_why());
  }
  if (fleet.protocol_errors() > 0) {
    result.has_faults = true;
    result.warnings.push_back(std::to_string(fleet.protocol_errors()) +
                              " packet(s) from the server were malformed or unexpected");
  }
}

}  // namespace millrace::loadtest
