#include "loadtest/fleet.hpp"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/resource.h>

#include <cstring>
#include <random>

namespace millrace::loadtest {
namespace {

// A source address has about 28,000 ports; use fewer.
constexpr std::size_t kPortsPerSource = 20'000;

void raise_descriptor_limit(std::size_t wanted) {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur >= wanted) return;
  limit.rlim_cur = wanted;
  if (limit.rlim_max < wanted) limit.rlim_max = wanted;  // only root may
  if (setrlimit(RLIMIT_NOFILE, &limit) == 0) return;
  throw RunError("needs " + std::to_string(wanted) + " file descriptors: raise ulimit -n");
}

}  // namespace

Endpoint make_endpoint(const Options& options, std::uint16_t other_port,
                       const std::string& other_host) {
  Endpoint out;
  const std::string& host = other_host.empty() ? options.host : other_host;
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const std::string port = std::to_string(other_port != 0 ? other_port : options.port);
  const int code = getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
  if (code != 0) throw RunError(host + ": " + gai_strerror(code));
  std::memcpy(&out.address, found->ai_addr, found->ai_addrlen);
  out.address_bytes = found->ai_addrlen;
  freeaddrinfo(found);

  out.tls = is_tls(options.transport);
  out.websocket = is_websocket(options.transport);
  out.tls_settings = {options.ca_file, options.certificate_file, options.key_file,
                      options.server_name, options.insecure};
  if (out.tls) out.tls_context = make_tls_context(out.tls_settings);
  out.websocket_settings = {host + ":" + port, options.ws_path, options.ws_frame_bytes};
  out.connect = {options.mqtt, {}, options.username, options.password, options.keepalive_s};
  out.receive_buffer_bytes = options.receive_buffer_bytes;
  out.send_buffer_bytes = options.send_buffer_bytes;
  return out;
}

Fleet::Fleet(const Options& options)
    : options_(options),
      loop_(options.wait == Wait::spin),
      endpoint_(make_endpoint(options)),
      publish_endpoint_(make_endpoint(options, options.publish_port, options.publish_host)),
      subscribe_endpoint_(make_endpoint(options)),
      topics_(options.topic_prefix, std::max<std::uint32_t>(1, options.topics)),
      run_(std::random_device()() % (1u << 28)),  // a stamp has 28 bits for it
      name_prefix_(options.client_id_prefix + "-" + std::to_string(run_ % 100'000) + "-") {
  subscribe_endpoint_.connect.is_kept = options.is_kept;
  loop_.reserve_scratch(options.payload_bytes + 1024);
}

Fleet::Subscription Fleet::subscription(bool measured) const {
  Subscription out;
  const std::string prefix = measured ? options_.filter_prefix : std::string();
  if (options_.filter == FilterKind::wildcard) {
    out.filters.push_back(prefix + topics_.wildcard());
  } else {
    for (std::uint32_t t = 0; t < topics_.count(); ++t) {
      out.filters.push_back(prefix + topics_.name(t));
    }
  }
  out.qos = options_.subscribe_qos;
  if (measured) out.user_properties = options_.user_properties;
  return out;
}

std::uint32_t Fleet::source_for(std::size_t index) const {
  if (endpoint_.address.ss_family != AF_INET || index < kPortsPerSource) return 0;
  const auto* to = reinterpret_cast<const sockaddr_in*>(&endpoint_.address);
  if ((ntohl(to->sin_addr.s_addr) >> 24) != 127) return 0;
  return htonl((127u << 24) + 1 + static_cast<std::uint32_t>(index / kPortsPerSource));
}

Client& Fleet::add(const std::string& role, const Endpoint& endpoint) {
  const std::size_t index = members_.size();
  auto member = std::make_unique<Member>();
  member->client =
      std::make_unique<Client>(loop_, endpoint, *this, name_prefix_ + role + std::to_string(index));
  member->client->tag = member.get();
  member->client->bind_source(source_for(index));
  members_.push_back(std::move(member));
  return *members_.back()->client;
}

Client& Fleet::add_publisher() {
  const auto index = static_cast<std::uint32_t>(publishers_.size());
  Client& client = add("p", publish_endpoint_);
  PublishShape shape;
  shape.version = options_.mqtt;
  shape.qos = options_.qos;
  shape.retain = options_.retain;
  shape.payload_bytes = options_.payload_bytes;
  shape.run = run_;
  shape.first_stream = index * topics_.count();
  shape.first_topic = index * topics_.count() / options_.publishers;
  client.publish_from(std::make_unique<PublishRing>(topics_, shape), options_.qos,
                      options_.unacked);
  publishers_.push_back(&client);
  return client;
}

Client& Fleet::add_subscriber(Receiver* receiver, bool measured) {
  Client& client = add("s", subscribe_endpoint_);
  client.receive_into(receiver);
  members_.back()->subscription = std::make_unique<Subscription>(subscription(measured));
  return client;
}

void Fleet::connect_all() {
  raise_descriptor_limit(members_.size() + 64);
  const Nanos patience = from_seconds(options_.connect_timeout_s);
  Nanos last_progress = now_ns();
  std::size_t dialled = ready_;
  std::size_t ready_before = ready_;
  while (ready_ < members_.size()) {
    while (dialled < members_.size() && dialled - ready_ < options_.diallers) {
      members_[dialled++]->client->dial();
      if (broken_ > 0) throw RunError(broken_why_);
    }
    pump(patience);
    if (broken_ > 0) throw RunError(broken_why_);
    if (ready_ != ready_before) {
      ready_before = ready_;
      last_progress = now_ns();
    } else if (now_ns() - last_progress > patience) {
      throw RunError("no answer to CONNECT or SUBSCRIBE");
    }
  }
}

void Fleet::pump(Nanos timeout_ns) {
  for (const epoll_event& event : loop_.wait(timeout_ns)) {
    static_cast<Client*>(event.data.ptr)->on_events(event.events);
  }
  if (options_.keepalive_s > 0) send_keepalives(now_ns());
}

void Fleet::send_keepalives(Nanos now) {
  if (now < next_ping_ns_) return;
  const bool is_first = next_ping_ns_ == 0;
  next_ping_ns_ = now + options_.keepalive_s * kSecond / 2;
  if (is_first) return;
  for (const auto& member : members_) {
    if (member->client->is_ready()) member->client->ping();
  }
}

void Fleet::close_all() {
  // Publishers first, then a pause for the delivery of their last packets: a server that only
  // forwards bytes must not write to a closed subscriber.
  for (Client* publisher : publishers_) publisher->disconnect();
  const Nanos until = now_ns() + 20 * kMillisecond;
  for (Nanos now = now_ns(); now < until; now = now_ns()) pump(until - now);
  for (const auto& member : members_) member->client->disconnect();
}

std::uint64_t Fleet::protocol_errors() const {
  std::uint64_t sum = 0;
  for (const auto& member : members_) sum += member->client->protocol_errors();
  return sum;
}

std::uint64_t Fleet::refused() const {
  std::uint64_t sum = 0;
  for (const auto& member : members_) sum += member->client->refused();
  return sum;
}

void Fleet::on_ready(Client& client) {
  auto* const member = static_cast<Member*>(client.tag);
  if (member->subscription) {
    const Subscription& s = *member->subscription;
    client.subscribe(s.filters, s.qos, s.user_properties);
  } else {
    member->counted = true;
    ++ready_;
  }
}

void Fleet::on_subscribed(Client& client) {
  static_cast<Member*>(client.tag)->counted = true;
  ++ready_;
}

void Fleet::on_closed(Client& client, const std::string& why) {
  auto* const member = static_cast<Member*>(client.tag);
  if (member->counted) --ready_;
  member->counted = false;
  ++broken_;
  broken_why_ = client.id() + ": " + why;
}

}  // namespace millrace::loadtest
