#include "core/shm/ring/consumer_page.hpp"

#include <new>
#include <utility>

#include "core/base/futex.hpp"

namespace millrace::shm {

std::shared_ptr<ConsumerPage> ConsumerPage::make(std::uint64_t consumer_id, std::uint64_t epoch,
                                                 std::uint64_t position, bool has_wake_pipe,
                                                 bool is_follower) {
  UniqueFd fd = make_memory("millrace-page", page_bytes);
  if (!fd || !seal_size(fd.get(), false)) return nullptr;
  Mapping mapping = Mapping::map(fd.get(), page_bytes, Access::read_write);
  if (!mapping) return nullptr;
  Pipe wake_pipe;
  if (has_wake_pipe && !(wake_pipe = make_pipe()).write_end) return nullptr;
  auto* page = new (mapping.data()) PositionPage;
  page->consumer_id = consumer_id;
  page->epoch = epoch;
  page->position.store(position, std::memory_order_release);
  return std::shared_ptr<ConsumerPage>(new ConsumerPage(
      consumer_id, position, std::move(fd), std::move(mapping), std::move(wake_pipe), is_follower));
}

bool ConsumerPage::wake_sleeper(std::uint32_t word) {
  // Even before the system call, so that a consumer that is about to sleep on the odd value returns
  // at once.
  page_->sleep_word.compare_exchange_strong(word, word + 1, std::memory_order_seq_cst);
  // One sleeper, the consumer: the time of the call grows with the number of those that it wakes,
  // and the consumer decides how many of its threads sleep there. A neighbour that sleeps there too
  // may be woken instead, see RingReader::shared_sleep_max.
  base::futex_wake(page_->sleep_word, base::Scope::shared, 1);
  // Never blocks, whatever the consumer does to its end: each end has flags of its own. A full pipe
  // is readable already.
  if (wake_pipe_.write_end) {
    [[maybe_unused]] const auto written = ::write(wake_pipe_.write_end.get(), "", 1);
  }
  return true;
}

void ConsumerPage::evict(Eviction reason) {
  eviction_ = reason;
  page_->eviction.store(static_cast<std::uint32_t>(reason), std::memory_order_seq_cst);
  const std::uint32_t word = page_->sleep_word.load(std::memory_order_seq_cst);
  if ((word & 1) != 0) wake_sleeper(word);
}

}  // namespace millrace::shm
