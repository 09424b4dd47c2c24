// What only several keys together can get wrong about upstreams.
#include <algorithm>
#include <cctype>
#include <set>

#include "protocol/topic.hpp"
#include "server/config/schema.hpp"
#include "server/config/upstream_address.hpp"

namespace millrace::server {

namespace {

constexpr std::size_t text_bytes_max = 65'535;        // of a field of an MQTT packet
constexpr std::size_t nats_filter_bytes_max = 4'000;  // a NATS server takes lines of 4,096

// Where a file is named at all.
void check_given(const std::string& file, const FaultSink& faults) {
  if (!file.empty()) check_readable(file, faults);
}

bool is_name(const std::string& name) {
  const auto fits = [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-';
  };
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), fits);
}

// True if one of them uses TLS.
bool check_addresses(const UpstreamConfig& upstream, const FaultSink& faults) {
  if (upstream.addresses.empty()) faults.at("addresses").add("at least one is needed");
  bool uses_tls = false;
  for (const std::string& text : upstream.addresses) {
    std::string fault;
    const auto address = parse_upstream_address(text, fault);
    if (!address) faults.at("addresses").add(fault);
    if (address && address->type != upstream.type) {
      faults.at("addresses")
          .add((address->type == UpstreamType::nats ? "is an address of NATS"
                                                    : "is an address of MQTT") +
               std::string(", and `type` is ") + to_string(upstream.type) + ": \"" + text + "\"");
    }
    uses_tls = uses_tls || (address && address->uses_tls());
  }
  return uses_tls;
}

void check_tls(const UpstreamTlsConfig& tls, bool is_used, const FaultSink& faults) {
  if (!is_used) {
    if (tls == UpstreamTlsConfig{}) return;
    return faults.add(
        "has no meaning without an address that begins with mqtts://, wss:// or tls://");
  }
  check_given(tls.ca_file, faults.at("ca_file"));
  check_given(tls.certificate_file, faults.at("certificate_file"));
  check_given(tls.key_file, faults.at("key_file"));
  check_given(tls.key_password_file, faults.at("key_password_file"));
  if (tls.certificate_file.empty() != tls.key_file.empty()) {
    faults.at(tls.key_file.empty() ? "key_file" : "certificate_file")
        .add("is needed: a certificate and its key belong together");
  }
  if (!tls.key_password_file.empty() && tls.key_file.empty()) {
    faults.at("key_password_file").add("has no meaning without tls.key_file");
  }
  if (!tls.server_name.empty() && tls.verify != TlsVerify::full) {
    faults.at("server_name").add("is not looked at unless tls.verify is full");
  }
}

void check_login(const UpstreamConfig& upstream, const FaultSink& faults) {
  check_given(upstream.password_file, faults.at("password_file"));
  if (!upstream.password_file.empty() && upstream.user.empty()) {
    faults.at("password_file").add("has no meaning without `user`");
  }
  const auto check_text = [&](const std::string& text, std::string_view key) {
    if (text.size() > text_bytes_max) faults.at(key).add("is longer than 65,535 bytes");
  };
  check_text(upstream.user, "user");
  check_text(upstream.client_id, "client_id");
}

// The whole filter of one side, prefix included.
void check_side(const UpstreamRule& rule, const std::string& prefix, std::string_view key,
                const Config& config, const FaultSink& faults) {
  const std::string whole = prefix + rule.filter;
  if (prefix.find_first_of("+#") != std::string::npos) {
    return faults.at(key).add("must not contain wildcards: \"" + prefix + "\"");
  }
  if (!protocol::valid_topic_filter(whole, config.mqtt.topic_levels_max)) {
    return faults.at(key).add("and `filter` together are no topic filter: \"" + whole + "\"");
  }
  if (protocol::has_prefix(whole)) {
    faults.at(key).add("and `filter` must be a plain filter, not \"" + whole + "\"");
  }
}

// What only one of the two kinds of upstreams has.
void check_type(const UpstreamConfig& upstream, const FaultSink& faults) {
  check_given(upstream.credentials_file, faults.at("credentials_file"));
  if (upstream.type == UpstreamType::mqtt) {
    if (!upstream.credentials_file.empty()) {
      faults.at("credentials_file").add("is about NATS; this upstream has the type mqtt");
    }
    return;
  }
  if (!upstream.credentials_file.empty() && !upstream.user.empty()) {
    faults.at("credentials_file").add("stands in place of `user`: one of them is needed");
  }
  if (upstream.version) faults.at("version").add("is about MQTT; this upstream has the type nats");
  if (upstream.clean) faults.at("clean").add("is about MQTT; NATS keeps no sessions");
  if (!upstream.tls.key_password_file.empty()) {
    faults.at("tls.key_password_file").add("is not known to NATS's library: decrypt the key");
  }
  if (upstream.tls.verify == TlsVerify::signer) {
    faults.at("tls.verify").add("must be full or insecure for NATS; full takes a tls.server_name");
  }
}

void check_rule_of_nats(const UpstreamRule& rule, const FaultSink& faults) {
  const std::string whole = rule.remote_prefix + rule.filter;
  if (whole.starts_with('$')) {
    faults.at(rule.remote_prefix.empty() ? "filter" : "remote_prefix")
        .add("must not begin with `$`, below which NATS has names of its own: \"" + whole + "\"");
  }
  // As a subject; some characters take three there.
  if (3 * whole.size() > nats_filter_bytes_max) {
    faults.at("filter").add("is too long for NATS with its `remote_prefix`: at most 1,333 bytes");
  }
  if (rule.jetstream && !rule.goes_out()) {
    faults.at("jetstream").add("is about what goes out; this rule lets nothing out");
  }
  if (rule.jetstream && rule.qos_max == 0) {
    faults.at("jetstream").add("needs a `qos_max` of 1 or 2: nobody acknowledges QoS 0");
  }
  if (rule.ack == AckBy::upstream && !rule.jetstream) {
    faults.at("ack").add("needs `jetstream`: without it NATS acknowledges nothing");
  }
}

void check_rule(const UpstreamRule& rule, const Config& config, const FaultSink& faults) {
  if (!rule.direction) return faults.at("direction").add("is needed: in, out or both");
  check_side(rule, rule.local_prefix, "local_prefix", config, faults);
  check_side(rule, rule.remote_prefix, "remote_prefix", config, faults);
  if (rule.comes_in() && (rule.local_prefix + rule.filter).starts_with("$SYS")) {
    faults.at("local_prefix").add("is needed: what comes in cannot be published below $SYS");
  }
  if (rule.demand && rule.direction != Direction::in) {
    faults.at("demand").add(
        "is about rules of the direction `in`; what goes out is never asked "
        "for, and by `both` each side has all that the other has");
  }
  if (rule.ack == AckBy::upstream) {
    if (!rule.goes_out()) {
      faults.at("ack").add("is about what goes out; this rule lets nothing out");
    } else if (rule.qos_max == 0) {
      faults.at("ack").add("needs a `qos_max` of 1 or 2: nobody acknowledges QoS 0");
    } else if (rule.mode_out() != DeliveryMode::every) {
      faults.at("ack").add(
          "needs the mode `every`: a value that a newer one replaces never has "
          "an acknowledgement");
    }
  }
  if (!rule.goes_out()) {
    if (rule.mode) faults.at("mode").add("is about what goes out; this rule lets nothing out");
    if (rule.max_rate_hz) {
      faults.at("max_rate_hz").add("is about what goes out; this rule lets nothing out");
    }
  }
  if (rule.max_rate_hz && rule.mode == DeliveryMode::every) {
    faults.at("max_rate_hz").add("has no effect with the mode `every`, which drops no value");
  }
}

// One path a topic: else a message would cross twice.
void check_overlaps(const std::vector<UpstreamRule>& rules, const std::vector<bool>& is_valid,
                    const FaultSink& faults) {
  const UpstreamRule& rule = rules[is_valid.size()];
  for (std::size_t i = 0; i < is_valid.size(); ++i) {
    if (!is_valid[i]) continue;
    const UpstreamRule& other = rules[i];
    const bool both_out = rule.goes_out() && other.goes_out();
    const bool both_in = rule.comes_in() && other.comes_in();
    const bool out = both_out && protocol::overlaps(rule.local_prefix + rule.filter,
                                                    other.local_prefix + other.filter);
    const bool in = both_in && protocol::overlaps(rule.remote_prefix + rule.filter,
                                                  other.remote_prefix + other.filter);
    if (!out && !in) continue;
    faults.at("filter").add(std::string("matches topics that rules[") + std::to_string(i) +
                            "] matches too: what " + (out ? "goes out" : "comes in") +
                            " would cross twice");
  }
}

void check_rules(const UpstreamConfig& upstream, const Config& config, const FaultSink& faults) {
  if (upstream.rules.empty()) {
    faults.at("rules").add("at least one is needed: without it nothing crosses the link");
  }
  std::vector<bool> is_valid;  // of the rules before
  for (std::size_t i = 0; i < upstream.rules.size(); ++i) {
    const FaultSink here = faults.at(item_path("rules", i));
    std::vector<ConfigFault> found;
    check_rule(upstream.rules[i], config, FaultSink(found, "", ""));
    if (upstream.type == UpstreamType::nats) {
      check_rule_of_nats(upstream.rules[i], FaultSink(found, "", ""));
    } else if (upstream.rules[i].jetstream) {
      FaultSink(found, "", "")
          .at("jetstream")
          .add("is about NATS; this upstream has the type mqtt");
    }
    for (const ConfigFault& fault : found) here.at(fault.path).add(fault.message);
    if (found.empty()) check_overlaps(upstream.rules, is_valid, here);
    is_valid.push_back(found.empty());
  }
}

}  // namespace

void check_upstreams(const Config& config, const FaultSink& faults) {
  std::set<std::string> names;
  for (std::size_t i = 0; i < config.upstreams.size(); ++i) {
    const UpstreamConfig& upstream = config.upstreams[i];
    const FaultSink here = faults.at(item_path("upstreams", i));
    if (!is_name(upstream.name)) {
      here.at("name").add(
          "is needed: 1 to 64 letters, digits, dots, underscores and hyphens, not \"" +
          upstream.name + "\"");
    } else if (!names.insert(upstream.name).second) {
      here.at("name").add("\"" + upstream.name + "\" is another upstream's name already");
    }
    const bool uses_tls = check_addresses(upstream, here);
    check_tls(upstream.tls, uses_tls, here.at("tls"));
    check_login(upstream, here);
    check_type(upstream, here);
    if (upstream.spool.overflow != OverflowPolicy::drop_oldest &&
        upstream.spool.overflow != OverflowPolicy::drop_newest) {
      here.at("spool.overflow").add("must be drop_oldest or drop_newest for a link");
    }
    check_rules(upstream, config, here);
  }
}

}  // namespace millrace::server
