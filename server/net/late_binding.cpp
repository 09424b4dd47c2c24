#include "server/net/late_binding.hpp"

#include <algorithm>
#include <utility>

#include "core/broker/inbox.hpp"
#include "server/net/tcp_info.hpp"

namespace millrace::server {

namespace {

// For a reader that is faster than this, small writes would cost more than they bring.
constexpr double small_writes_rate = 4e6;
// While there is credit left, no look comes sooner after the last one.
constexpr std::int64_t look_interval_ns = 1'000'000;

LateWindow::Limits limits_of(const OutboxConfig& config) {
  LateWindow::Limits limits;
  limits.unread_bytes = static_cast<std::uint32_t>(config.unread_bytes);
  limits.allowance_bytes_max =
      static_cast<std::uint32_t>(std::max(config.credit_max_bytes, config.unread_bytes));
  return limits;
}

}  // namespace

LateBinding::LateBinding(LateHome& home, User& user, int fd)
    : home_(home),
      user_(user),
      fd_(fd),
      window_(limits_of(home.outbox_config())),
      told_credit_bytes_(static_cast<std::uint32_t>(home.outbox_config().latest_credit_bytes)) {
  look(broker::Inbox::now_ns(), false);
}

LateBinding::~LateBinding() {
  home_.cancel_look(*this);
  count_unread(0);
}

bool LateBinding::written(std::uint32_t unreported_bytes) {
  if (!works_) return false;
  const bool on_time = std::exchange(on_time_, false);
  written_since_look_bytes_ += unreported_bytes - unreported_bytes_;
  unreported_bytes_ = unreported_bytes;
  if (!is_told_) return true;
  if (told_room_bytes() >= window_.lump_bytes()) return false;
  const std::int64_t now_ns = broker::Inbox::now_ns();
  if (told_room_bytes() > 0 && now_ns - window_.looked_at_ns() < look_interval_ns) return false;
  look(now_ns, on_time);
  if (!works_) return true;
  if (trickles_ || room_bytes() - told_room_bytes() >= window_.lump_bytes()) return true;
  look_again_if_full();
  return false;
}

void LateBinding::report(broker::command::Drained& drained) {
  unreported_bytes_ = 0;
  is_told_ = true;
  if (!works_) return;
  const std::int64_t room = std::max<std::int64_t>(room_bytes(), trickles_ ? 1 : 0);
  drained.late_credit_bytes = told_credit_bytes_ = static_cast<std::uint32_t>(room);
  drained.blocked |= was_full_;
  was_full_ = trickles_ = false;
  look_again_if_full();
}

// Without credit nothing is bound and written, so nothing else would lead to another look.
void LateBinding::look_again_if_full() {
  if (told_room_bytes() > 0) return;
  home_.schedule_look(*this, window_.next_look_ns(), broker::Inbox::now_ns());
}

void LateBinding::on_look(std::int64_t) {
  on_time_ = true;
  user_.on_reader_progress();  // which asks written()
}

// Always the same: the receiver reckons how much of its buffer it may advertise by the size of what
// comes, and the window would swing with it.
std::size_t LateBinding::write_bytes_max() const {
  const std::size_t bytes = std::max<std::size_t>(home_.outbox_config().unread_bytes / 8, 512);
  const bool is_large = window_.segment_bytes() > bytes;
  return is_large && window_.rate_bytes_per_s() < small_writes_rate ? bytes : SIZE_MAX;
}

void LateBinding::look(std::int64_t now_ns, bool on_time) {
  const auto sample = sample_path(fd_, now_ns);
  if (!sample) {
    works_ = false;
    terms_ = {};
    count_unread(0);
    return home_.late_binding_unknown().add();
  }
  window_.look(*sample, told_room_bytes() <= 0);
  count_unread(window_.unread_bytes());
  room_at_look_bytes_ = std::int64_t{window_.allowance_bytes()} - window_.held_bytes();
  written_since_look_bytes_ = 0;
  const double rate = window_.rate_bytes_per_s();
  terms_.wait_ns =
      rate > 0 ? static_cast<std::int64_t>(std::min(window_.held_bytes() / rate, 3600.0) * 1e9) : 0;
  terms_.write_bytes_max = write_bytes_max();
  if (room_at_look_bytes_ >= window_.lump_bytes()) return;
  if (on_time) was_full_ = true;  // else the reader had no time yet
  if (told_room_bytes() <= 0 && window_.takes_trickle(now_ns)) trickles_ = true;
}

void LateBinding::count_unread(std::uint32_t bytes) {
  Counter& gauge = home_.unread_bytes();
  gauge.add(bytes);
  gauge.subtract(counted_unread_bytes_);
  counted_unread_bytes_ = bytes;
}

}  // namespace millrace::server
