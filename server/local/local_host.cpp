#include "server/local/local_host.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <span>
#include <stdexcept>
#include <utility>

#include "core/broker/message.hpp"
#include "protocol/topic.hpp"
#include "server/observe/log.hpp"

namespace millrace::server {
namespace {

// Differs in each run of the server, by which clients see that it was restarted.
std::uint64_t new_epoch() {
  return static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch().count());
}

bool matches_peer(const LocalPeer& allowed, const shm::Credentials& peer) {
  return (!allowed.uid || *allowed.uid == peer.uid) && (!allowed.gid || *allowed.gid == peer.gid);
}

shm::RegistryOptions registry_options(const Config& config, std::uint64_t epoch) {
  const LocalConfig& local = config.local;
  shm::RegistryOptions options;
  options.epoch = epoch;
  options.rings_max = local.rings_max;
  options.ring_bytes = local.ring_bytes;
  options.frame_bytes_max = local.ring_bytes / 4;
  options.overflow_bytes_max = local.overflow_bytes;
  options.consumers_max = local.consumers_max;
  options.tables_max = local.tables_max;
  options.table_cells = local.table_cells;
  options.snapshot_bytes_max = local.snapshot_bytes_max;
  options.lease_ns = local.lease_ms * 1'000'000ull;
  options.linger_ns = local.linger_ms * 1'000'000ull;
  return options;
}

ControlLoopOptions control_loop_options(const Config& config, std::uint64_t epoch) {
  const LocalConfig& local = config.local;
  ControlLoopOptions options;
  options.path = local.socket;
  options.mode = 0666;  // admit() decides, by local.allow
  options.epoch = epoch;
  options.clients_max = std::size_t{2} * local.consumers_max + local.publishers_max;
  options.publisher_rings_max = local.publishers_max;
  options.publisher_ring_bytes = local.publisher_ring_bytes;
  options.publisher_ring_frame_bytes_max = local.publisher_frame_bytes_max;
  return options;
}

}  // namespace

LocalHost::LocalHost(std::shared_ptr<const Settings> settings, broker::Processor& processor,
                     broker::Inbox& inbox)
    : settings_(std::move(settings)), processor_(processor), inbox_(inbox) {
  const Config& config = settings_->config;
  const std::uint64_t epoch = new_epoch();
  std::string error;
  loop_ = ControlLoop::open(control_loop_options(config, epoch), *this, error);
  if (!loop_) throw std::runtime_error("local.socket: " + error);
  processor_.open_local_side(registry_options(config, epoch),
                             [this](auto outgoing) { loop_->post(std::move(outgoing)); });
  for (const LocalRing& ring : config.local.rings) {
    if (!processor_.local_side()->declare(ring.filter, ring.policy)) {
      throw std::runtime_error("local.rings: no memory for the ring of " + ring.filter);
    }
  }
}

LocalHost::~LocalHost() {
  stop();
}

void LocalHost::start() {
  loop_->start();
  log_info("listening", {{"transport", "local"},
                         {"address", settings()->config.local.socket},
                         {"listener", "local"}});
}

void LocalHost::stop() {
  loop_->stop();
}

void LocalHost::set_settings(std::shared_ptr<const Settings> settings) {
  std::lock_guard lock(settings_mutex_);
  settings_ = std::move(settings);
}

std::shared_ptr<const Settings> LocalHost::settings() const {
  std::lock_guard lock(settings_mutex_);
  return settings_;
}

std::optional<std::string> LocalHost::admit(const shm::Credentials& peer) {
  const auto settings = this->settings();
  for (const LocalPeer& allowed : settings->config.local.allow) {
    if (matches_peer(allowed, peer)) return allowed.user;
  }
  if (peer.uid == 0 || peer.uid == ::geteuid()) return std::string();
  // A process that tries again and again does not fill the disk.
  const auto verdict = peer_log_limiter().ask("local uid " + std::to_string(peer.uid));
  if (verdict.log) {
    log_warn("local process refused", {{"uid", peer.uid},
                                       {"gid", peer.gid},
                                       {"pid", peer.pid},
                                       {"suppressed", verdict.suppressed}});
  }
  return std::nullopt;
}

std::optional<shm::Refusal> LocalHost::check_filter(const std::string& user,
                                                    const std::string& filter) {
  const auto settings = this->settings();
  const bool is_filter =
      protocol::valid_topic_filter(filter, settings->config.mqtt.topic_levels_max) &&
      !protocol::has_prefix(filter);
  if (!is_filter) return shm::Refusal::bad_filter;
  // A ring is shared by all readers of its filter, so each must be allowed all of it. A filter of
  // which an access rule withholds some topics, as it does for a subscription, is refused.
  const auto rules = grants_.of(user, settings).subscription(filter);
  if (!rules || *rules) return shm::Refusal::not_allowed;
  return std::nullopt;
}

void LocalHost::submit(broker::LocalRequest::What what, shm::ClientId client,
                       shm::Request request) {
  auto local = std::make_unique<broker::LocalRequest>();
  local->what = what;
  local->client = client;
  local->request = std::move(request);
  waiting_.push_back({nullptr, broker::command::Local{std::move(local)}});
  submit_waiting();
}

bool LocalHost::submit_waiting() {
  if (waiting_.empty()) return true;
  const std::size_t taken = inbox_.submit(waiting_);
  waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(taken));
  return waiting_.empty();
}

void LocalHost::ask(shm::ClientId client, shm::Request request) {
  submit(broker::LocalRequest::What::ask, client, std::move(request));
}

void LocalHost::gone(shm::ClientId client) {
  submit(broker::LocalRequest::What::gone, client, {});
}

bool LocalHost::has_room_for_publishes() {
  return submit_waiting();
}

bool LocalHost::publish(shm::ClientId, const std::string& user,
                        const shm::PublisherRingMessage& message) {
  const auto settings = this->settings();
  const MqttConfig& mqtt = settings->config.mqtt;
  const bool retain = (message.flags & shm::frame_retain) != 0;
  const auto qos = static_cast<std::uint8_t>(message.flags >> 1 & 3);
  // The same rules as for a PUBLISH packet; [MQTT-3.3.2-2] no wildcards.
  if (qos > mqtt.qos_max || (retain && !mqtt.retain_available)) return false;
  if (!protocol::valid_topic_name(message.topic, mqtt.topic_levels_max)) return false;
  if (protocol::is_reserved_topic(message.topic)) return false;
  const Grants& grants = grants_.of(user, settings);
  if (grants.publish_refusal(message.topic, {qos, retain})) return false;
  const auto* payload = reinterpret_cast<const std::uint8_t*>(message.payload.data());
  broker::Message built = broker::build_message({.topic = message.topic,
                                                 .payload = {payload, message.payload.size()},
                                                 .qos = qos,
                                                 .retain = retain,
                                                 .packet_id = std::uint16_t{qos > 0},  // replaced
                                                 .version = protocol::Version::v3_1_1},
                                                broker::Inbox::now_ns());
  if (retain) {
    add_retained(std::move(built), grants.rights());
    return true;
  }
  const std::uint32_t bytes = built.packet_bytes;
  waiting_.push_back({nullptr, broker::command::Publish{std::move(built), bytes}});
  return true;
}

// A retained value is charged to its user. The others are nobody's, and need no allocation more.
void LocalHost::add_retained(broker::Message message, broker::RightsRef rights) {
  auto request = std::make_unique<broker::PublishRequest>();
  request->charged_bytes = message.packet_bytes;
  request->message = std::move(message);
  request->rights = std::move(rights);
  waiting_.push_back({nullptr, broker::command::PublishFor{std::move(request)}});
}

void LocalHost::flush_publishes() {
  submit_waiting();
}

}  // namespace millrace::server
