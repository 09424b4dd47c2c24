// millrace::local::Reader: a RingReader that attaches again when the server is restarted.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <thread>
#include <utility>

#include "core/base/wait.hpp"
#include "core/shm/client/control_client.hpp"
#include "core/shm/client/poll_set.hpp"
#include "core/shm/client/wildcards.hpp"
#include "core/shm/include/millrace/local.hpp"
#include "core/shm/ring/ring_reader.hpp"

namespace millrace::local {

using base::AnyWait;
using base::Clock;
using base::WaitKind;
using shm::ControlClient;

namespace {

constexpr int frames_between_releases = 64;
constexpr auto reconnect_interval = std::chrono::milliseconds(20);

WaitKind kind_of(Wait wait) {
  switch (wait) {
    case Wait::spin:
      return WaitKind::spin;
    case Wait::yield:
      return WaitKind::yield;
    case Wait::block:
      break;
  }
  return WaitKind::block;
}

// The end of a call's time-out. Reading the clock costs more than reading a message, so it is read
// only once the call has to wait.
class Deadline {
 public:
  explicit Deadline(std::chrono::nanoseconds timeout) : timeout_(timeout) {}
  // True if the call must not wait.
  bool is_now() const { return timeout_ <= timeout_.zero(); }
  Clock::time_point at() {
    if (at_ == not_known) {
      const auto now = Clock::now();
      at_ = timeout_ >= base::never - now ? base::never : now + timeout_;
    }
    return at_;
  }
  bool has_passed() { return is_now() || Clock::now() >= at(); }

 private:
  static constexpr auto not_known = Clock::time_point::min();
  const std::chrono::nanoseconds timeout_;
  Clock::time_point at_ = not_known;
};

}  // namespace

class Reader::Impl {
 public:
  Impl(std::vector<std::string> filters, ReaderOptions options)
      : filters_(std::move(filters)), options_(std::move(options)), wait_{kind_of(options_.wait)} {
    for (std::string& filter : filters_) filter = to_mqtt_filter(filter, options_.wildcards);
    if (filters_.empty() || filters_.size() > shm::filters_max) {
      throw Error("a reader has 1 to " + std::to_string(shm::filters_max) + " filters");
    }
    if (options_.pollable && !(poll_ = shm::PollSet::make())) {
      throw Error("the system refuses a descriptor for the poll set");
    }
    if (!attach()) {
      const std::string warning = this->warning();
      throw Error(warning.empty() ? error_ : error_ + " (" + warning + ")");
    }
  }
  ~Impl() { control_.reset(); }  // first, as its thread uses ring_

  Status next(Message& message, Deadline& deadline) {
    disarm();
    for (;;) {
      if (was_stopped()) return Status::stopped;
      if (!control_) return reconnect(deadline);
      if (snapshot_) {
        if (snapshot_at_ < snapshot_bytes_) return next_snapshot(message);
        snapshot_ = {};  // the caller may have used its last message until this call
      }
      if (++in_hand_ > frames_between_releases) {
        let_go();
        meet_neighbours();
      }
      shm::RingReader::Frame frame;
      if (ring_->next(frame)) return fill(message, frame), Status::message;
      let_go();
      if (control_->has_event()) {
        if (const Status status = on_events(); status != Status::message) return status;
        continue;
      }
      if (ring_->is_cut_off()) return cut_off();
      if (deadline.is_now() || !ring_->wait(wait_, deadline.at())) {
        ring_->resume_waiting();
        if (control_->has_event() || stopped_.load()) continue;
        if (ring_->eviction() != shm::Eviction::none) return evicted(ring_->eviction());
        if (deadline.has_passed() && arm()) return Status::timeout;
      }
    }
  }

  int fd() const {
    if (!poll_) throw Error("fd() needs ReaderOptions::pollable");
    return poll_->fd();
  }
  std::string warning() const {
    return options_.wildcards == Wildcards::star ? std::string() : star_warning(filters_);
  }

  bool is_valid() const { return in_snapshot_ || !ring_ || ring_->last_is_intact(); }

  bool release() {
    let_go();
    return std::exchange(was_valid_, true);
  }

  // For a message that was overwritten while it was copied.
  void count_as_missed() { ring_->count_as_missed(); }
  std::uint64_t missed() const { return missed_before_ + (ring_ ? ring_->missed() : 0); }
  std::uint64_t epoch() const { return epoch_; }
  std::uint64_t lag_bytes() const { return ring_ ? ring_->lag_bytes() : 0; }
  const std::string& error() const { return error_; }

  void stop() {
    stopped_.store(true);
    const std::lock_guard lock(ring_mutex_);
    if (ring_) ring_->stop_waiting();
    if (poll_) poll_->signal();
  }

 private:
  // Releases what was read, which next() does, too. Whether that was valid is kept for the caller's
  // release().
  void let_go() {
    in_hand_ = 0;
    if (!ring_) return;
    if (!ring_->release()) was_valid_ = false;
    // While frames wait in the server's overflow, the server is sent a wake-up after each quarter
    // of the ring, and when everything is read. (If the first frame begins to wait at this moment
    // it may not be seen here; the server also reads the positions from time to time.)
    const std::uint64_t progress = ring_->position() - woken_at_;
    if (progress > 0 && ring_->is_waited_for() && control_ &&
        (ring_->has_caught_up() || progress >= ring_quarter_)) {
      woken_at_ = ring_->position();
      control_->send(shm::WakeUp{});
    }
  }

  // Called for each message, so the exchange, which is expensive, is done only after a stop().
  bool was_stopped() {
    return stopped_.load(std::memory_order_seq_cst) && stopped_.exchange(false);
  }

  void disconnect() {
    control_.reset();
    if (poll_) poll_->remove_wake_pipe();
  }

  // To be called before Status::timeout is returned: from then on fd() becomes readable for the
  // next message or event. False if there is one already.
  bool arm() {
    if (!poll_) return true;
    poll_->clear();
    if (control_->has_event() || stopped_.load()) return false;
    const auto armed = ring_->arm();
    if (armed == shm::RingReader::Armed::now) return false;
    if (armed == shm::RingReader::Armed::unsafe) {
      poll_->signal_after(shm::RingReader::unsafe_sleep_max);
    }
    armed_ = true;
    return true;
  }
  void disarm() {
    if (std::exchange(armed_, false)) ring_->disarm();
  }

  bool attach() {
    shm::AttachRequest request;
    request.policy = static_cast<shm::Policy>(options_.policy);
    request.start = static_cast<shm::StartAt>(options_.start);
    request.wants_wake_pipe = options_.pollable;
    request.filters = filters_;
    request.name = options_.name;
    request.after = options_.after;
    ControlClient::Item reply;
    auto control = ControlClient::connect(options_.socket, request, reply, error_);
    if (!control) return false;
    const auto* attached = std::get_if<shm::Attached>(&reply.reply);
    if (!attached) return error_ = "the server sent a reply of another kind than expected", false;
    if (!open(*attached, reply.descriptors)) return false;
    if (!control->send(shm::MappedNotice{})) {
      return error_ = "the server closed the connection at once", false;
    }
    control_ = std::move(control);
    control_->watch([this] {
      const std::lock_guard lock(ring_mutex_);
      if (ring_) ring_->stop_waiting();
      if (poll_) poll_->signal();
    });
    return true;
  }

  bool open(const shm::Attached& attached, std::vector<shm::UniqueFd>& descriptors) {
    const std::size_t snapshot = attached.snapshot_bytes > 0 ? 1 : 0;
    const std::size_t pipe = attached.has_wake_pipe ? 1 : 0;
    const std::size_t others = 2 + pipe + snapshot;  // what comes before the predecessors' pages
    if (descriptors.size() != others + attached.predecessors.size() ||
        attached.has_wake_pipe != options_.pollable) {
      return error_ = "the server's reply lacks descriptors", false;
    }
    auto ring = std::make_unique<shm::RingReader>();
    if (const char* fault =
            ring->open(descriptors[0].get(), descriptors[1].get(), attached.position,
                       attached.sequence, !options_.name.empty())) {
      return error_ = fault, false;
    }
    for (std::size_t i = 0; i < attached.predecessors.size(); ++i) {
      if (!ring->add_predecessor(attached.predecessors[i], descriptors[others + i].get())) {
        return error_ = "a predecessor's position page cannot be mapped", false;
      }
    }
    snapshot_ = {};
    snapshot_bytes_ = snapshot_at_ = 0;
    if (snapshot > 0) {
      snapshot_ = shm::Mapping::map(descriptors[2 + pipe].get(), attached.snapshot_bytes,
                                    shm::Access::read_only);
      if (!snapshot_) return error_ = "the newest values cannot be mapped", false;
      snapshot_bytes_ = attached.snapshot_bytes;
    }
    if (poll_ && !poll_->set_wake_pipe(std::move(descriptors[2]))) {
      return error_ = "the wake pipe cannot be polled", false;
    }
    if (ring_) missed_before_ += ring_->missed();
    // In the same ring, the difference of the sequences is what was missed in between, and what was
    // read is not read again. The sequences of another ring mean other messages; it may be another
    // one within the same run of the server, too, since a ring that nobody reads is freed.
    if (ring_ && epoch_ == attached.epoch && ring_->ring_id() == ring->ring_id()) {
      const std::uint64_t next = ring_->next_sequence();
      missed_before_ += std::max(attached.sequence, next) - next;
      ring->begin_at(next);
    }
    epoch_ = attached.epoch;
    woken_at_ = attached.position;
    ring_quarter_ = ring->data_bytes() / 4;
    const std::lock_guard lock(ring_mutex_);
    ring_ = std::move(ring);
    return true;
  }

  // Tries to attach again until the deadline.
  Status reconnect(Deadline& deadline) {
    for (;;) {
      if (was_stopped()) return Status::stopped;
      if (attach()) return Status::reconnected;
      if (deadline.has_passed()) {
        if (poll_) {
          poll_->clear();
          poll_->signal_after(reconnect_interval);
        }
        return Status::timeout;
      }
      std::this_thread::sleep_until(std::min(deadline.at(), Clock::now() + reconnect_interval));
    }
  }

  // Other events wait until the ring is empty: what it holds comes first.
  void meet_neighbours() {
    if (!control_->has_event()) return;
    for (const ControlClient::Item& item : control_->take_neighbours()) meet_neighbour(item);
  }
  void meet_neighbour(const ControlClient::Item& item) {
    if (const auto* gone = std::get_if<shm::NeighbourGone>(&item.reply)) {
      return ring_->remove_neighbour(gone->consumer_id);
    }
    const auto* came = std::get_if<shm::NeighbourCame>(&item.reply);
    if (!came || item.descriptors.empty()) return;
    const int page = item.descriptors.front().get();
    if (came->is_predecessor) {
      ring_->add_predecessor(came->consumer_id, page);
    } else {
      ring_->add_follower(came->consumer_id, page);
    }
  }

  // Handles what the server sent; `message` when there is nothing to report to the caller.
  Status on_events() {
    for (const ControlClient::Item& item : control_->take()) {
      if (const auto* notice = std::get_if<shm::EvictedNotice>(&item.reply)) {
        return evicted(notice->reason);
      }
      meet_neighbour(item);
    }
    return control_->is_closed() ? cut_off() : Status::message;
  }

  // The connection has ended, or the server has overwritten what this reader was to read next.
  Status cut_off() {
    if (ring_->eviction() != shm::Eviction::none) return evicted(ring_->eviction());
    disconnect();
    error_ = "the server ended the connection";
    return Status::disconnected;
  }

  Status evicted(shm::Eviction reason) {
    error_ = shm::describe(reason);
    disconnect();
    return reason == shm::Eviction::ring_closed ? Status::disconnected : Status::evicted;
  }

  void fill(Message& message, const shm::RingReader::Frame& frame) {
    in_snapshot_ = false;
    message = {frame.topic,
               {reinterpret_cast<const char*>(frame.payload.data()), frame.payload.size()},
               frame.sequence,
               frame.time_ns,
               (frame.flags & shm::frame_retain) != 0,
               frame.kind == shm::FrameKind::oversize,
               0};
    if (!message.oversize) return;
    std::memcpy(&message.oversize_bytes, message.payload.data(), sizeof message.oversize_bytes);
    message.payload = {};
  }

  Status next_snapshot(Message& message) {
    const std::byte* at = snapshot_.data() + snapshot_at_;
    const shm::FrameHeader header = shm::load_header(at);
    const auto* text = reinterpret_cast<const char*>(at + sizeof header);
    message = {{text, header.topic_bytes},
               {text + header.topic_bytes, header.payload_bytes},
               0,
               header.time_ns,
               (header.flags & shm::frame_retain) != 0,
               false,
               0};
    in_snapshot_ = true;
    snapshot_at_ += shm::frame_bytes(header.topic_bytes, header.payload_bytes);
    return Status::message;
  }

  std::vector<std::string> filters_;  // constant after construction
  const ReaderOptions options_;
  std::unique_ptr<shm::PollSet> poll_;  // constant after construction; null: not pollable
  bool armed_ = false;
  const AnyWait wait_;
  std::string error_;
  std::mutex ring_mutex_;  // held to replace ring_, and by stop() and the watcher thread to use it
  std::unique_ptr<shm::RingReader> ring_;
  std::unique_ptr<ControlClient> control_;
  shm::Mapping snapshot_;
  std::size_t snapshot_bytes_ = 0;
  std::size_t snapshot_at_ = 0;
  bool in_snapshot_ = false;
  int in_hand_ = 0;
  bool was_valid_ = true;  // what was let go since the caller's last release()
  std::uint64_t epoch_ = 0;
  std::uint64_t missed_before_ = 0;
  std::uint64_t woken_at_ = 0;
  std::uint64_t ring_quarter_ = 0;
  std::atomic<bool> stopped_{false};
};

Reader::Reader(std::string filter, ReaderOptions options)
    : Reader(std::vector<std::string>{std::move(filter)}, std::move(options)) {}
Reader::Reader(std::initializer_list<std::string_view> filters, ReaderOptions options)
    : Reader(std::vector<std::string>(filters.begin(), filters.end()), std::move(options)) {}
Reader::Reader(std::vector<std::string> filters, ReaderOptions options)
    : impl_(std::make_unique<Impl>(std::move(filters), std::move(options))) {}
Reader::~Reader() = default;
Reader::Reader(Reader&&) noexcept = default;
Reader& Reader::operator=(Reader&&) noexcept = default;

Status Reader::next(Message& message, std::chrono::nanoseconds timeout) {
  Deadline deadline(timeout);
  return impl_->next(message, deadline);
}

Status Reader::next_copy(MessageCopy& copy, std::chrono::nanoseconds timeout) {
  Deadline deadline(timeout);
  for (;;) {
    Message message;
    const Status status = impl_->next(message, deadline);
    if (status != Status::message) return status;
    copy.topic = message.topic;
    copy.payload = message.payload;
    copy.sequence = message.sequence;
    copy.time_ns = message.time_ns;
    copy.retained = message.retained;
    copy.oversize = message.oversize;
    copy.oversize_bytes = message.oversize_bytes;
    if (impl_->is_valid()) return status;
    impl_->count_as_missed();
  }
}

bool Reader::is_valid() const {
  return impl_->is_valid();
}
bool Reader::release() {
  return impl_->release();
}
int Reader::fd() const {
  return impl_->fd();
}
std::string Reader::warning() const {
  return impl_->warning();
}
std::uint64_t Reader::missed() const {
  return impl_->missed();
}
std::uint64_t Reader::epoch() const {
  return impl_->epoch();
}
std::uint64_t Reader::lag_bytes() const {
  return impl_->lag_bytes();
}
std::string Reader::last_error() const {
  return impl_->error();
}
void Reader::stop() {
  impl_->stop();
}

}  // namespace millrace::local
