// millrace::local::Latest: a TableReader that requests at the control socket what a cell does not
// tell, as the value is too large for it or is being written.
#include <utility>

#include "core/shm/client/control_client.hpp"
#include "core/shm/client/wildcards.hpp"
#include "core/shm/include/millrace/local.hpp"
#include "core/shm/ring/slot_table.hpp"

namespace millrace::local {

using shm::ControlClient;

namespace {

constexpr auto value_timeout = std::chrono::seconds(5);

}  // namespace

class Latest::Impl {
 public:
  Impl(std::string_view filter, std::string socket, Wildcards wildcards)
      : filter_(to_mqtt_filter(filter, wildcards)),
        socket_(std::move(socket)),
        warning_(wildcards == Wildcards::star ? std::string() : star_warning({filter_})) {
    if (!open()) throw Error(warning_.empty() ? error_ : error_ + " (" + warning_ + ")");
  }

  bool get(std::string_view topic, Value& value) {
    if (!is_connected() && !open()) return false;
    const auto found = table_.read(topic, value_);
    // busy: the server is interrupted in the middle of a store, so the cell says neither what the
    // value is nor that there is none.
    if (found == shm::TableReader::Found::elsewhere || found == shm::TableReader::Found::busy) {
      return request(topic, value);
    }
    if (found != shm::TableReader::Found::yes) return false;
    value.payload.assign(reinterpret_cast<const char*>(value_.payload.data()),
                         value_.payload.size());
    value.sequence = value_.sequence;
    value.time_ns = value_.time_ns;
    value.retained = (value_.flags & shm::frame_retain) != 0;
    return true;
  }

  bool is_connected() const { return control_ && !control_->is_closed(); }
  std::uint64_t epoch() const { return epoch_; }
  const std::string& warning() const { return warning_; }

 private:
  bool open() {
    control_.reset();
    ControlClient::Item reply;
    auto control = ControlClient::connect(socket_, shm::TableRequest{filter_}, reply, error_);
    if (!control) return false;
    const auto* opened = std::get_if<shm::TableOpened>(&reply.reply);
    if (!opened || reply.descriptors.size() != 1) {
      return error_ = "the server sent a reply of another kind than expected", false;
    }
    if (const char* fault = table_.open(reply.descriptors[0].get())) return error_ = fault, false;
    epoch_ = opened->epoch;
    control_ = std::move(control);
    control_->watch([] {});
    return true;
  }

  bool request(std::string_view topic, Value& value) {
    if (!control_->send(shm::ValueRequest{std::string(topic)})) return false;
    auto item = control_->wait_for_item(value_timeout);
    auto* reply = item ? std::get_if<shm::ValueReply>(&item->reply) : nullptr;
    if (!reply || !reply->found) {
      if (!reply) control_.reset();  // or a late reply would be taken for the next request's
      return false;
    }
    value.payload = std::move(reply->payload);
    value.sequence = reply->sequence;
    value.time_ns = reply->time_ns;
    value.retained = (reply->flags & shm::frame_retain) != 0;
    return true;
  }

  const std::string filter_;
  const std::string socket_;
  const std::string warning_;
  std::string error_;
  shm::TableReader table_;
  shm::TableReader::Value value_;
  std::unique_ptr<ControlClient> control_;
  std::uint64_t epoch_ = 0;
};

Latest::Latest(std::string filter, std::string socket, Wildcards wildcards)
    : impl_(std::make_unique<Impl>(filter, std::move(socket), wildcards)) {}
Latest::~Latest() = default;
Latest::Latest(Latest&&) noexcept = default;
Latest& Latest::operator=(Latest&&) noexcept = default;

bool Latest::get(std::string_view topic, Value& value) {
  return impl_->get(topic, value);
}
bool Latest::is_connected() const {
  return impl_->is_connected();
}
std::string Latest::warning() const {
  return impl_->warning();
}
std::uint64_t Latest::epoch() const {
  return impl_->epoch();
}

}  // namespace millrace::local
