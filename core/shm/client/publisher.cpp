// millrace::local::Publisher: a LaneWriter that finds its server again.
#include <sched.h>

#include <thread>
#include <utility>

#include "core/disruptor/futex.hpp"
#include "core/shm/client/door_client.hpp"
#include "core/shm/include/millrace/local.hpp"
#include "core/shm/lane.hpp"

namespace millrace::local {

using disruptor::Clock;
using shm::DoorClient;

class Publisher::Impl {
 public:
  explicit Impl(PublisherOptions options) : options_(std::move(options)) {
    if (!open()) throw Error(error_);
  }

  Published put(std::string_view topic, std::string_view payload, bool retain, int qos) {
    if (door_ && door_->is_closed()) {
      door_.reset();
      return Published::disconnected;  // what was not yet taken is lost, so it is said once
    }
    if (!door_ && !open()) return Published::disconnected;
    const auto flags = static_cast<std::uint8_t>((retain ? shm::frame_retain : 0) | qos << 1);
    const auto result = lane_.put(topic, std::as_bytes(std::span(payload)), flags);
    if (result == shm::LaneResult::taken) return Published::taken;
    if (result == shm::LaneResult::too_large) return Published::too_large;
    flush();
    return Published::full;
  }

  void flush() {
    if (door_ && lane_.flush()) door_->send(shm::Bell{});
  }

  bool drain(std::chrono::nanoseconds timeout) {
    flush();
    const auto begin = Clock::now();
    while (door_ && !door_->is_closed()) {
      if (lane_.is_drained()) return true;
      if (Clock::now() - begin >= timeout) return false;
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
    return false;
  }

  std::uint64_t refused() const { return lane_.refused(); }
  std::uint64_t epoch() const { return epoch_; }

 private:
  bool open() {
    DoorClient::Item answer;
    auto door = DoorClient::knock(options_.socket, shm::LaneRequest{options_.name}, answer, error_);
    if (!door) return false;
    const auto* opened = std::get_if<shm::LaneOpened>(&answer.reply);
    if (!opened || answer.descriptors.size() != 2) {
      return error_ = "the door gave an answer to another question", false;
    }
    if (const char* fault = lane_.open(answer.descriptors[0].get(), answer.descriptors[1].get())) {
      return error_ = fault, false;
    }
    epoch_ = opened->epoch;
    door_ = std::move(door);
    door_->watch([] {});
    return true;
  }

  const PublisherOptions options_;
  std::string error_;
  shm::LaneWriter lane_;
  std::unique_ptr<DoorClient> door_;
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
