// What only several keys together can get wrong.
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <iterator>

#include "core/broker/json_field.hpp"
#include "protocol/topic.hpp"
#include "server/config/address_range.hpp"
#include "server/config/http_url.hpp"
#include "server/config/schema.hpp"

namespace millrace::server {

namespace {

void check_hook(const HttpHookConfig& hook, const FaultSink& faults) {
  const auto check = [&](const std::string& text, const char* key) {
    std::string fault;
    if (!text.empty() && !parse_http_url(text, fault)) faults.at(key).add(fault);
  };
  check(hook.authenticate_url, "authenticate_url");
  check(hook.authorize_url, "authorize_url");
  if (!hook.authorize_url.empty() && !hook.is_set()) {
    faults.at("authenticate_url").add("is needed: clients are not known without it");
  }
  if (!hook.ca_file.empty()) check_readable(hook.ca_file, faults.at("ca_file"));
}

void check_filter(const std::string& filter, const Config& config, const FaultSink& faults) {
  if (!protocol::valid_topic_filter(filter, config.mqtt.topic_levels_max)) {
    faults.at("filter").add("is not a topic filter: \"" + filter + "\"");
  } else if (protocol::has_prefix(filter)) {
    faults.at("filter").add("must be the plain filter, without its prefix");
  }
}

// True as well if the keys that would say so could not be read.
bool verifies_names(const Config& config, const FaultSink& faults) {
  if (config.access.verifies_anyone() || !knows_who_is_verified(faults)) return true;
  for (std::size_t i = 0; i < config.listeners.size(); ++i) {
    const ListenerConfig& listener = config.listeners[i];
    if (listener.tls.user_from != CertificateUser::none || listener.peer_user) return true;
    const std::string path = item_path("listeners", i);
    if (faults.has_fault_of(path + ".tls.user_from") || faults.has_fault_of(path + ".peer_user")) {
      return true;
    }
  }
  return false;
}

void check_user(const std::optional<std::string>& user, const Config& config,
                const FaultSink& faults) {
  // A token for HTTP has a name, for which rules may be made.
  if (user && !user->empty() && !verifies_names(config, faults) &&
      config.access.http_tokens.empty()) {
    faults.at("user").add(
        "names a user, but without access.password_file, access.scram_file, keys of access.jwt, "
        "access.http, access.http_tokens or a listener's tls.user_from or peer_user no name is "
        "verified");
  }
}

void check_listener_name(const std::string& name, std::vector<std::string> others,
                         const Config& config, const FaultSink& faults) {
  std::vector<std::string> names = std::move(others);
  for (const ListenerConfig& listener : config.listeners) names.push_back(listener.name);
  if (std::find(names.begin(), names.end(), name) != names.end()) return;
  faults.at("listener").add("no listener is called \"" + name + "\"" + suggestion(name, names));
}

void check_rule(const AccessRule& rule, const Config& config, const FaultSink& faults) {
  // Placeholders stand for a text without wildcards.
  std::string filter = rule.filter;
  for (const std::string_view placeholder : {"%u", "%c"}) {
    for (std::size_t at; (at = filter.find(placeholder)) != std::string::npos;) {
      filter.replace(at, placeholder.size(), "x");
    }
  }
  check_filter(filter, config, faults);
  check_user(rule.user, config, faults);
  check_address_ranges(rule.address, faults.at("address"));
  if (rule.listener) {
    check_listener_name(*rule.listener, {http_listener_name, local_listener_name}, config, faults);
  }
  const bool denies = rule.effect == AccessEffect::deny;
  if (rule.reason != RefusalReason::not_authorized && !denies) {
    faults.at("reason").add("is what a rule that denies says; this one allows");
  }
  if (rule.qos_max < 2 && denies) {
    faults.at("qos_max").add("is what a rule that allows grants; this one denies");
  }
  if (rule.qos_max < 2 && rule.action == AccessAction::receive) {
    faults.at("qos_max").add("has no meaning for receive: it is granted with the subscription");
  }
  if (rule.retained && rule.action != AccessAction::publish) {
    faults.at("retained").add("has a meaning for the action publish alone");
  }
}

void check_jwt(const JwtConfig& jwt, const FaultSink& faults) {
  if (jwt.user_claim.empty()) faults.at("user_claim").add("must name a claim");
  const auto check = [&](bool is_set, std::string_view key) {
    if (is_set && !jwt.is_set()) {
      faults.at(key).add("has no meaning without access.jwt.keys_file or access.jwt.secret_file");
    }
  };
  check(!jwt.issuer.empty(), "issuer");
  check(!jwt.audience.empty(), "audience");
  check(!jwt.acl_claim.empty(), "acl_claim");
}

void check_access(const Config& config, const FaultSink& faults) {
  check_hook(config.access.http, faults.at("access").at("http"));
  const AccessConfig& access = config.access;
  check_jwt(access.jwt, faults.at("access.jwt"));
  const auto check_users = [&](const std::string& file, std::string_view key) {
    if (!file.empty()) check_readable(file, faults.at(key));
  };
  check_users(access.password_file, "access.password_file");
  check_users(access.scram_file, "access.scram_file");
  check_users(access.jwt.keys_file, "access.jwt.keys_file");
  check_users(access.jwt.secret_file, "access.jwt.secret_file");
  for (std::size_t i = 0; i < access.rules.size(); ++i) {
    check_rule(access.rules[i], config, faults.at(item_path("access.rules", i)));
  }
  if (access.allow_anonymous == false && !verifies_names(config, faults)) {
    faults.at("access.allow_anonymous")
        .add(
            "is false and there is none of access.password_file, access.scram_file, keys of "
            "access.jwt, access.http and a listener's tls.user_from and peer_user: nobody could "
            "connect");
  }
}

void check_mqtt(const Config& config, const FaultSink& faults) {
  const MqttConfig& mqtt = config.mqtt;
  const bool is_topic = protocol::valid_topic_name(mqtt.response_prefix, mqtt.topic_levels_max);
  if (!mqtt.response_prefix.empty() && (!is_topic || mqtt.response_prefix.starts_with('$'))) {
    faults.at("mqtt.response_prefix").add("must be a topic that clients may publish to");
  }
  constexpr std::size_t text_bytes_max = 65'535;
  if (mqtt.server_reference.size() > text_bytes_max) {
    faults.at("mqtt.server_reference").add("is longer than 65,535 bytes");
  }
}

void check_local(const Config& config, const FaultSink& faults) {
  const LocalConfig& local = config.local;
  const auto check_power = [&](const char* name, std::uint64_t value) {
    if (!std::has_single_bit(value)) faults.at(name).add("must be a power of two");
  };
  check_power("local.ring_bytes", local.ring_bytes);
  check_power("local.publisher_ring_bytes", local.publisher_ring_bytes);
  check_power("local.table_cells", local.table_cells);
  if (local.publisher_frame_bytes_max > local.publisher_ring_bytes / 4) {
    faults.at("local.publisher_frame_bytes_max")
        .add("must not exceed a quarter of local.publisher_ring_bytes (" +
             std::to_string(local.publisher_ring_bytes / 4) + ")");
  }
  if (local.socket.size() > socket_bytes_max) faults.at("local.socket").add("is too long a path");
  for (std::size_t i = 0; i < local.allow.size(); ++i) {
    const FaultSink here = faults.at(item_path("local.allow", i));
    if (!local.allow[i].uid && !local.allow[i].gid) here.add("says neither uid nor gid");
  }
  for (std::size_t i = 0; i < local.rings.size(); ++i) {
    check_filter(local.rings[i].filter, config, faults.at(item_path("local.rings", i)));
  }
  if (local.rings.size() > local.rings_max) {
    faults.at("local.rings").add("has more rings than local.rings_max");
  }
}

void check_delivery(const Config& config, const FaultSink& faults) {
  for (std::size_t i = 0; i < config.delivery.rules.size(); ++i) {
    const DeliveryRule& rule = config.delivery.rules[i];
    const FaultSink here = faults.at(item_path("delivery.rules", i));
    if (rule.filter) check_filter(*rule.filter, config, here);
    check_user(rule.user, config, here);
    if (!rule.says_anything()) here.add("says nothing of how subscriptions are served");
    if (rule.history.value_or(0) > config.history.depth) {
      here.at("history").add("must not exceed history.depth (" +
                             std::to_string(config.history.depth) + ")");
    }
    if (rule.unchanged == UnchangedValues::send &&
        (rule.delta || rule.delta_percent || rule.field)) {
      here.at("unchanged").add("is `send`, with which delta and field have no effect");
    }
    if (rule.delta && rule.delta_percent) here.at("delta_percent").add("stands beside delta");
    if (rule.field &&
        (!broker::is_json_pointer(*rule.field) || rule.field->size() > field_bytes_max)) {
      here.at("field").add("is no JSON pointer, such as /temperature, of at most " +
                           std::to_string(field_bytes_max) + " bytes");
    }
    if (!rule.listener) continue;
    check_listener_name(*rule.listener, {http_listener_name}, config, here);  // readers of /events
  }
}

// smaller <= larger, both named.
void check_order(double smaller, std::string_view smaller_path, double larger,
                 std::string_view larger_path, const FaultSink& faults) {
  if (smaller <= larger) return;
  faults.at(smaller_path)
      .add("must not exceed " + std::string(larger_path) + " (" + shown_number(larger) +
           "), but is " + shown_number(smaller));
}

void check_numbers(const Config& config, const FaultSink& faults) {
  const QueueConfig& queue = config.queue;
  check_order(queue.min_capacity, "queue.min_capacity", queue.initial_capacity,
              "queue.initial_capacity", faults);
  check_order(queue.initial_capacity, "queue.initial_capacity", queue.max_capacity,
              "queue.max_capacity", faults);
  check_order(queue.control_reserve, "queue.control_reserve", queue.max_capacity / 2,
              "half of queue.max_capacity", faults);
  check_order(config.packet_bytes_max, "packet_bytes_max", queue.bytes_max, "queue.bytes_max",
              faults);
  check_order(config.packet_bytes_max, "packet_bytes_max", config.store.waiting_bytes_max,
              "store.waiting_bytes_max", faults);
  check_order(config.outbox.latest_credit_bytes, "outbox.latest_credit_bytes",
              config.outbox.credit_bytes, "outbox.credit_bytes", faults);
  check_order(config.outbox.credit_bytes, "outbox.credit_bytes", config.outbox.credit_max_bytes,
              "outbox.credit_max_bytes", faults);
  if (queue.shrink_threshold * queue.growth_factor >= 1) {
    faults.at("queue.shrink_threshold")
        .add("must be below 1 / queue.growth_factor, else the queue shrinks right after it grew");
  }
}

}  // namespace

std::string item_path(std::string_view list, std::size_t index) {
  return std::string(list) + "[" + std::to_string(index) + "]";
}

void check_readable(const std::string& file, const FaultSink& faults) {
  if (::access(file.c_str(), R_OK) != 0) {
    faults.add("cannot read \"" + file + "\": " + std::strerror(errno));
  }
}

void check_address_ranges(const std::vector<std::string>& addresses, const FaultSink& faults) {
  for (const std::string& address : addresses) {
    if (!AddressRange::parse(address)) {
      faults.add(
          "must be an address, or a range like \"10.0.0.0/8\" with no bits behind its "
          "length, not \"" +
          address + "\"");
    }
  }
}

bool knows_who_is_verified(const FaultSink& faults) {
  constexpr std::string_view keys[] = {"access.password_file",     "access.scram_file",
                                       "access.jwt.keys_file",     "access.jwt.secret_file",
                                       "access.http_tokens",       "access.http.authenticate_url",
                                       "access.http.authorize_url"};
  return std::none_of(std::begin(keys), std::end(keys),
                      [&](std::string_view key) { return faults.has_fault_of(key); });
}

void validate_config(const Config& config, std::vector<ConfigFault>& faults) {
  const std::vector<ConfigFault> of_reading = faults;
  const FaultSink sink(faults, "", "");
  check_listeners(config, sink);
  check_exposure(config, sink);
  check_access(config, sink);
  check_mqtt(config, sink);
  check_delivery(config, sink);
  check_local(config, sink);
  check_upstreams(config, sink);
  check_numbers(config, sink);
  // In the place of what could not be read stands a value that nobody gave.
  const auto is_said = [&](const ConfigFault& fault) {
    return !fault.path.empty() && is_at_fault(of_reading, fault.path);
  };
  const auto added = faults.begin() + static_cast<std::ptrdiff_t>(of_reading.size());
  faults.erase(std::remove_if(added, faults.end(), is_said), faults.end());
}

}  // namespace millrace::server
