#include "server/upstream/nats_client.hpp"

#include <algorithm>
#include <chrono>
#include <system_error>
#include <thread>
#include <utility>

#include "core/broker/inbox.hpp"
#include "server/upstream/nats_headers.hpp"

namespace millrace::server {

namespace {

constexpr std::int64_t connect_ms = 10'000;
constexpr std::int64_t goodbye_ms = 2'000;
// Of what is published without a stop, so much is reported as drained at once.
constexpr std::uint64_t report_bytes_min = 64 * 1024;
constexpr std::size_t refused_max = 16;

// libnats may call for a subscription that has ended. It is given a number instead of an address, and
// whoever has that number lives while it is called.
class Registry {
 public:
  std::uint64_t add(std::weak_ptr<NatsClient> client) {
    std::lock_guard lock(mutex_);
    clients_.emplace(++last_, std::move(client));
    return last_;
  }
  void remove(std::uint64_t id) {
    std::lock_guard lock(mutex_);
    clients_.erase(id);
  }
  std::shared_ptr<NatsClient> find(void* id) {
    std::lock_guard lock(mutex_);
    const auto found = clients_.find(reinterpret_cast<std::uintptr_t>(id));
    return found == clients_.end() ? nullptr : found->second.lock();
  }

 private:
  std::mutex mutex_;
  std::map<std::uint64_t, std::weak_ptr<NatsClient>> clients_;
  std::uint64_t last_ = 0;
};

// Never destroyed: libnats's threads outlive main().
Registry& registry() {
  static auto* const one = new Registry;
  return *one;
}

std::string last_error(natsStatus status) {
  natsStatus last = NATS_OK;
  const char* text = nats_GetLastError(&last);
  std::string made = natsStatus_GetText(status);
  if (text != nullptr && *text != '\0' && last == status && made != text) {
    made.append(": ").append(text);
  }
  return made;
}

}  // namespace

struct NatsClient::Handles {
  natsConnection* connection = nullptr;
  struct Subscription {
    natsSubscription* handle;
    std::int64_t dropped = 0;  // as counted
  };
  std::map<std::size_t, std::vector<Subscription>> subscriptions;  // by number

  void end(std::size_t number) {
    for (const Subscription& one : subscriptions[number]) natsSubscription_Destroy(one.handle);
    subscriptions.erase(number);
  }
  ~Handles() {
    while (!subscriptions.empty()) end(subscriptions.begin()->first);
    if (connection != nullptr) natsConnection_Destroy(connection);
  }
};

NatsClient::NatsClient(IoThread& thread, NatsOwner& owner, UpstreamPlanRef plan, std::string url)
    : plan_(std::move(plan)), url_(std::move(url)), thread_(&thread), owner_(&owner) {}

std::uint64_t NatsClient::size_of(const natsMsg& message) {
  constexpr std::uint64_t of_itself = 256;
  return of_itself + static_cast<std::uint64_t>(natsMsg_GetDataLength(&message));
}

// --- The I/O thread ------------------------------------------------------------------------------

void NatsClient::start() {
  id_ = registry().add(weak_from_this());
  try {
    std::thread([self = shared_from_this()] {
      self->run();
      registry().remove(self->id_);
      nats_ReleaseThreadMemory();
    }).detach();
  } catch (const std::system_error& error) {  // the system has no thread to spare
    registry().remove(id_);
    tell([&](Events& events) {
      events.fault = error.what();
      events.closed = true;
    });
  }
}

void NatsClient::change(std::vector<Change> changes) {
  std::lock_guard lock(mutex_);
  std::ranges::move(changes, std::back_inserter(changes_));
  changed_ = true;
  wake_.notify_one();
}

void NatsClient::send(std::vector<Outgoing> batch, bool late) {
  std::lock_guard lock(mutex_);
  std::ranges::move(batch, std::back_inserter(outgoing_));
  late_ = late;
  wake_.notify_one();
}

bool NatsClient::has_unsent() const {
  std::lock_guard lock(mutex_);
  return busy_ || !outgoing_.empty();
}

NatsClient::Events NatsClient::take() {
  std::lock_guard lock(mutex_);
  return std::exchange(events_, {});
}

void NatsClient::let_in(std::uint64_t bytes) {
  std::lock_guard lock(mutex_);
  incoming_bytes_ -= bytes;
}

void NatsClient::stop() {
  std::lock_guard lock(mutex_);
  stopping_ = true;
  wake_.notify_one();
}

void NatsClient::forget() {
  std::lock_guard lock(mutex_);
  stopping_ = lost_ = true;
  thread_ = nullptr;
  owner_ = nullptr;
  events_ = {};
  outgoing_.clear();
  wake_.notify_one();
}

// --- Any thread ----------------------------------------------------------------------------------

template <class What>
void NatsClient::tell(What what) {
  std::lock_guard lock(mutex_);
  if (thread_ == nullptr) return;
  what(events_);
  if (std::exchange(posted_, true)) return;
  thread_->post([self = shared_from_this()] {
    NatsOwner* owner = nullptr;
    {
      std::lock_guard inner(self->mutex_);
      self->posted_ = false;
      owner = self->owner_;
    }
    if (owner != nullptr) owner->on_nats_events();
  });
}

void NatsClient::fail(std::string why) {
  tell([&](Events& events) {
    if (!events.fault) events.fault = std::move(why);
  });
  std::lock_guard lock(mutex_);
  lost_ = true;
  wake_.notify_one();
}

void NatsClient::on_message(natsConnection*, natsSubscription*, natsMsg* raw, void* id) {
  NatsMessage message(raw);
  const auto self = registry().find(id);
  if (!self) return;
  const std::uint64_t bytes = size_of(*raw);
  self->tell([&](Events& events) {
    if (self->incoming_bytes_ + bytes > incoming_bytes_max) {
      ++events.overflow;
      return;
    }
    self->incoming_bytes_ += bytes;
    events.messages.push_back(std::move(message));
  });
}

void NatsClient::on_closed(natsConnection* connection, void* id) {
  const auto self = registry().find(id);
  if (!self) return;
  const char* text = nullptr;
  natsConnection_GetLastError(connection, &text);
  self->fail(text != nullptr && *text != '\0' ? text : "the connection ended");
}

// What the server says about one thing that it was asked for; the connection goes on.
void NatsClient::on_error(natsConnection* connection, natsSubscription* subscription,
                          natsStatus status, void* id) {
  const auto self = registry().find(id);
  if (!self || status == NATS_SLOW_CONSUMER) return;  // those are counted
  const char* text = nullptr;
  natsConnection_GetLastError(connection, &text);
  const char* subject = subscription == nullptr ? "" : natsSubscription_GetSubject(subscription);
  self->tell([&](Events& events) {
    if (events.refused.size() >= refused_max) return;
    events.refused.emplace_back(
        subject == nullptr ? "" : subject,
        text != nullptr && *text != '\0' ? text : natsStatus_GetText(status));
  });
}

// --- Its own thread ------------------------------------------------------------------------------

void NatsClient::run() {
  {
    Handles handles;
    if (connect(handles)) serve(handles);
  }
  tell([](Events& events) { events.closed = true; });
}

bool NatsClient::connect(Handles& handles) {
  natsOptions* options = nullptr;
  natsStatus status = natsOptions_Create(&options);
  if (status == NATS_OK) status = set_options(*options);
  if (status == NATS_OK) status = natsConnection_Connect(&handles.connection, options);
  if (status != NATS_OK) fail(last_error(status));
  natsOptions_Destroy(options);
  if (status == NATS_OK) tell([](Events& events) { events.connected = true; });
  return status == NATS_OK;
}

// No reconnecting by libnats: a new link takes what waits in the processor, and nothing waits twice.
natsStatus NatsClient::set_options(natsOptions& options) {
  natsStatus status = NATS_OK;
  const auto set = [&](auto function, auto... values) {
    if (status == NATS_OK) status = function(&options, values...);
  };
  const UpstreamConfig& config = plan_->config;
  const std::int64_t keep_alive_ms = 1000 * static_cast<std::int64_t>(config.keep_alive_seconds);
  void* const id = reinterpret_cast<void*>(static_cast<std::uintptr_t>(id_));
  set(natsOptions_SetURL, url_.c_str());
  set(natsOptions_SetName, plan_->client_id.c_str());
  set(natsOptions_SetTimeout, connect_ms);
  set(natsOptions_SetAllowReconnect, false);
  set(natsOptions_SetNoEcho, true);
  set(natsOptions_UseGlobalMessageDelivery, true);
  set(natsOptions_SetPingInterval, keep_alive_ms);
  set(natsOptions_SetMaxPingsOut, 1);
  set(natsOptions_SetWriteDeadline, keep_alive_ms);
  set(natsOptions_SetClosedCB, &NatsClient::on_closed, id);
  set(natsOptions_SetErrorHandler, &NatsClient::on_error, id);
  if (!config.user.empty()) {
    set(natsOptions_SetUserInfo, config.user.c_str(), plan_->password.value_or("").c_str());
  }
  if (!config.credentials_file.empty()) {
    set(natsOptions_SetUserCredentialsFromFiles, config.credentials_file.c_str(), nullptr);
  }
  if (!url_.starts_with("tls://")) return status;
  const UpstreamTlsConfig& tls = config.tls;
  set(natsOptions_SetSecure, true);
  if (!tls.ca_file.empty()) set(natsOptions_LoadCATrustedCertificates, tls.ca_file.c_str());
  if (!tls.certificate_file.empty()) {
    set(natsOptions_LoadCertificatesChain, tls.certificate_file.c_str(), tls.key_file.c_str());
  }
  if (!tls.server_name.empty()) set(natsOptions_SetExpectedHostname, tls.server_name.c_str());
  if (tls.verify == TlsVerify::insecure) set(natsOptions_SkipServerVerification, true);
  return status;
}

void NatsClient::serve(Handles& handles) {
  const std::chrono::seconds ping_interval(std::max(1u, plan_->config.keep_alive_seconds / 4 * 3));
  auto next_ping = std::chrono::steady_clock::now();
  for (;;) {
    std::vector<Outgoing> batch;
    std::vector<Change> changes;
    bool late = false, is_last = false, changed = false;
    {
      std::unique_lock lock(mutex_);
      wake_.wait_until(lock, next_ping,
                       [&] { return lost_ || stopping_ || !outgoing_.empty() || changed_; });
      if (lost_) return;
      batch.swap(outgoing_);
      changes.swap(changes_);
      changed = std::exchange(changed_, false);
      late = late_;
      is_last = stopping_;
      busy_ = !batch.empty();
    }
    if (changed) subscribe(handles, changes);
    if (!batch.empty() && !publish(handles, batch, late)) return;
    if (is_last) {
      natsConnection_FlushTimeout(handles.connection, goodbye_ms);
      return;
    }
    if (std::chrono::steady_clock::now() >= next_ping) {
      count_dropped(handles);
      if (!flush(handles)) return;
      next_ping = std::chrono::steady_clock::now() + ping_interval;
    }
  }
}

void NatsClient::subscribe(Handles& handles, const std::vector<Change>& changes) {
  void* const id = reinterpret_cast<void*>(static_cast<std::uintptr_t>(id_));
  for (const Change& change : changes) {
    count_dropped(handles);
    handles.end(change.number);
    for (const std::string& subject : change.subjects) {
      natsSubscription* subscription = nullptr;
      const natsStatus status = natsConnection_Subscribe(
          &subscription, handles.connection, subject.c_str(), &NatsClient::on_message, id);
      if (status != NATS_OK) return fail(last_error(status));
      handles.subscriptions[change.number].push_back({subscription});
    }
  }
  if (flush(handles)) tell([](Events& events) { events.subscribed = true; });
}

bool NatsClient::publish(Handles& handles, std::vector<Outgoing>& batch, bool late) {
  std::uint64_t bytes = 0;
  std::vector<std::uint16_t> too_large;
  const auto report = [&] {
    tell([&](Events& events) {
      events.drained_bytes += std::exchange(bytes, 0);
      std::ranges::move(std::exchange(too_large, {}), std::back_inserter(events.too_large));
    });
  };
  for (const Outgoing& one : batch) {
    const natsStatus status = publish_one(handles, one);
    if (status == NATS_MAX_PAYLOAD) {
      too_large.push_back(one.delivery.packet_id);
    } else if (status != NATS_OK) {
      fail(last_error(status));
      return false;
    }
    if (one.charged) bytes += one.delivery.charge_bytes();
    if (!late && bytes >= report_bytes_min) report();
  }
  if (late && !flush(handles)) return false;
  {
    std::lock_guard lock(mutex_);
    busy_ = false;
  }
  report();
  return true;
}

natsStatus NatsClient::publish_one(Handles& handles, const Outgoing& one) {
  const broker::Message& message = one.delivery.message;
  const auto payload = message.payload();
  const auto bytes = static_cast<int>(payload.size());
  std::optional<std::uint32_t> expiry_s;
  if (message.expires_at_s != 0) {
    const auto now_s = broker::clock_seconds(broker::Inbox::now_ns());
    expiry_s = message.expires_at_s > now_s ? message.expires_at_s - now_s : 1;
  }
  NatsHeaders headers;
  if (message.has_properties || one.retain) {
    headers = to_nats_headers(message.properties().bytes, expiry_s, one.retain);
  }
  if (headers.empty() && one.reply.empty()) {
    return natsConnection_Publish(handles.connection, one.subject.c_str(), payload.data(), bytes);
  }
  natsMsg* raw = nullptr;
  natsStatus status =
      natsMsg_Create(&raw, one.subject.c_str(), one.reply.empty() ? nullptr : one.reply.c_str(),
                     reinterpret_cast<const char*>(payload.data()), bytes);
  const NatsMessage made(raw);
  for (const auto& [name, value] : headers) {
    if (status == NATS_OK) status = natsMsgHeader_Add(raw, name, value.c_str());
  }
  if (status == NATS_OK && !one.id.empty()) {
    status = natsMsgHeader_Set(raw, "Nats-Msg-Id", one.id.c_str());
  }
  return status == NATS_OK ? natsConnection_PublishMsg(handles.connection, raw) : status;
}

// The server has what was written before.
bool NatsClient::flush(Handles& handles) {
  const std::int64_t before_ns = broker::Inbox::now_ns();
  const std::int64_t patience_ms =
      750 * static_cast<std::int64_t>(plan_->config.keep_alive_seconds);
  const natsStatus status = natsConnection_FlushTimeout(handles.connection, patience_ms);
  if (status != NATS_OK) {
    fail(last_error(status));
    return false;
  }
  const std::int64_t took_ns = broker::Inbox::now_ns() - before_ns;
  tell([&](Events& events) { events.round_trip_ns = took_ns; });
  return true;
}

// What libnats dropped because its own queue was full.
void NatsClient::count_dropped(Handles& handles) {
  std::uint64_t more = 0;
  for (auto& [number, subscriptions] : handles.subscriptions) {
    for (Handles::Subscription& one : subscriptions) {
      std::int64_t dropped = 0;
      if (natsSubscription_GetDropped(one.handle, &dropped) != NATS_OK) continue;
      more += static_cast<std::uint64_t>(dropped - std::exchange(one.dropped, dropped));
    }
  }
  if (more > 0) tell([&](Events& events) { events.overflow += more; });
}

}  // namespace millrace::server
