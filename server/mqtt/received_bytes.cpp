#include "server/mqtt/received_bytes.hpp"

#include <algorithm>

#include "core/broker/inbox.hpp"

namespace millrace::server {

// Before the first message of a read.
void ReceivedBytes::prepare_holder(protocol::Version version) {
  if (holder_ == nullptr) {
    const auto count = static_cast<std::uint32_t>(bytes_.size());
    own_ = broker::Buffer::allocate(count);
    std::copy(bytes_.begin(), bytes_.end(), own_->data());
    holder_ = own_.get();
  }
  holder_->received_ns = broker::Inbox::now_ns();
  holder_->holds_v5 = version == protocol::Version::v5;
  holder_->origin = origin_;
}

}  // namespace millrace::server
