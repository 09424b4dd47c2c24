// millrace::local::Publisher: a PublisherRingWriter that connects again when the server is
// restarted.
#include <sched.h>

#include <thread>
#include <utility>

#include "core/base/clock.hpp"
#include "core/shm/client/control_client.hpp"
#include "core/shm/include/millrace/local.hpp"
#include "core/shm/ring/publisher_ring.hpp"
#include "protocol/topic.hpp"

namespace millrace::local {

using base::Clock;
using shm::ControlClient;

class Publisher::Impl {
 public:
  explicit Impl(PublisherOptions options) : options_(std::move(options)) {
    if (!open()) throw Error(error_);
  }

  Published put(std::string_view topic, std::string_view payload, bool retain, int qos) {
    if (qos < 0 || qos > 2 || !protocol::valid_topic_name(topic) ||
        protocol::is_reserved_topic(topic)) {
      return Published::invalid;
    }
    if (control_ && control_->is_closed()) {
      control_.reset();
      return Published::disconnected;  // reported once: messages not yet taken are lost
    }
    if (!control_ && !open()) return Published::disconnected;
    const auto flags = static_cast<std::uint8_t>((retain ? shm::frame_retain : 0) | qos << 1);
    const auto result = ring_.put(topic, std::as_bytes(std::span(payload)), flags);
    if (result == shm::PublisherRingResult::taken) return Published::taken;
    if (result == shm::PublisherRingResult::too_large) return Published::too_large;
    flush();
    return Published::full;
  }

  void flush() {
    if (control_ && ring_.flush()) control_->send(shm::WakeUp{});
  }

  bool drain(std::chrono::nanoseconds timeout) {
    flush();
    const auto begin = Clock::now();
    while (control_ && !control_->is_closed()) {
      if (ring_.is_drained()) return true;
      if (Clock::now() - begin >= timeout) return false;
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
    return false;
  }

  std::uint64_t refused() const { return ring_.refused(); }
  std::uint64_t epoch() const { return epoch_; }

 private:
  bool open() {
    ControlClient::Item reply;
    auto control = ControlClient::connect(options_.socket, shm::PublisherRingRequest{options_.name},
                                          reply, error_);
    if (!control) return false;
    const auto* opened = std::get_if<shm::PublisherRingOpened>(&reply.reply);
    if (!opened || reply.descriptors.size() != 2) {
      return error_ = "the server sent a reply of another kind than expected", false;
    }
    if (const char* fault = ring_.open(reply.descriptors[0].get(), reply.descriptors[1].get())) {
      return error_ = fault, false;
    }
    epoch_ = opened->epoch;
    control_ = std::move(control);
    control_->watch([] {});
    return true;
  }

  const PublisherOptions options_;
  std::string error_;
  shm::PublisherRingWriter ring_;
  std::unique_ptr<ControlClient> control_;
  std::uint64_t epoch_ = 0;
};

Publisher::Publisher(PublisherOptions options)
    : impl_(std::make_unique<Impl>(std::move(options))) {}
Publisher::~Publisher() = default;
Publisher::Publisher(Publisher&&) noexcept = default;
Publisher& Publisher::operator=(Publisher&&) noexcept = default;

Published Publisher::publish(std::string_view topic, std::string_view payload, bool retain,
                             int qos) {
  const Published result = impl_->put(topic, payload, retain, qos);
  if (result == Published::taken) impl_->flush();
  return result;
}

Published Publisher::put(std::string_view topic, std::string_view payload, bool retain, int qos) {
  return impl_->put(topic, payload, retain, qos);
}

void Publisher::flush() {
  impl_->flush();
}
bool Publisher::drain(std::chrono::nanoseconds timeout) {
  return impl_->drain(timeout);
}
std::uint64_t Publisher::refused() const {
  return impl_->refused();
}
std::uint64_t Publisher::epoch() const {
  return impl_->epoch();
}

}  // namespace millrace::local
