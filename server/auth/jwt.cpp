#include "server/auth/jwt.hpp"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "protocol/topic.hpp"
#include "server/auth/crypto.hpp"

namespace millrace::server {

namespace {

using Json = nlohmann::json;

constexpr std::size_t file_bytes_max = 1 << 20;
constexpr std::size_t filters_max = 256;  // in the rules that a token carries
constexpr std::size_t topic_levels_max = 128;
constexpr double time_max_s = 1e15;  // beyond it a double is no exact number of seconds

std::optional<Json> decode_object(std::string_view part) {
  const auto text = from_base64url(part);
  return text ? parse_json_object(*text) : std::nullopt;
}

struct Parts {
  std::string_view header, claims, signature, signed_text;
};

std::optional<Parts> split(std::string_view token) {
  const auto first = token.find('.');
  if (first == std::string_view::npos) return std::nullopt;
  const auto second = token.find('.', first + 1);
  if (second == std::string_view::npos || token.find('.', second + 1) != std::string_view::npos) {
    return std::nullopt;
  }
  return Parts{token.substr(0, first), token.substr(first + 1, second - first - 1),
               token.substr(second + 1), token.substr(0, second)};
}

bool is_text(const Json& value, std::string_view text) {
  return value.is_string() && value.get_ref<const std::string&>() == text;
}

// A NumericDate; nothing: it is there and is none. `absent` if it is not there.
std::optional<double> time_of(const Json& claims, const char* name, double absent) {
  const auto found = claims.find(name);
  if (found == claims.end()) return absent;
  if (!found->is_number()) return std::nullopt;
  const double time = found->get<double>();
  if (!std::isfinite(time) || std::fabs(time) > time_max_s) return std::nullopt;
  return time;
}

const char* check_times(const Json& claims, const JwtConfig& config, std::int64_t now_s,
                        std::int64_t& expires_at_s) {
  const auto now = static_cast<double>(now_s);
  const double leeway = config.leeway_seconds;
  const auto exp = time_of(claims, "exp", time_max_s);
  const auto nbf = time_of(claims, "nbf", -time_max_s);
  const auto iat = time_of(claims, "iat", -time_max_s);
  if (!exp || !nbf || !iat) return "a time in it is no number";
  if (config.expiry_required && !claims.contains("exp")) return "it never expires";
  if (now >= *exp + leeway) return "it has expired";
  if (now + leeway < *nbf) return "it is not valid yet";
  if (now + leeway < *iat) return "it was issued in the future";
  if (claims.contains("exp")) {
    expires_at_s = static_cast<std::int64_t>(std::ceil(*exp + leeway));
  }
  return nullptr;
}

const char* check_parties(const Json& claims, const JwtConfig& config) {
  if (!config.issuer.empty()) {
    const auto issuer = claims.find("iss");
    if (issuer == claims.end() || !is_text(*issuer, config.issuer)) return "it is another issuer's";
  }
  const auto audience = claims.find("aud");
  if (audience == claims.end()) {
    return config.audience.empty() ? nullptr : "it names no audience";
  }
  // RFC 7519, section 4.1.3: who is not named must refuse it, and without a setting nobody is named.
  const auto names_us = [&](const Json& one) { return is_text(one, config.audience); };
  const bool named = audience->is_array()
                         ? std::any_of(audience->begin(), audience->end(), names_us)
                         : names_us(*audience);
  return named && !config.audience.empty() ? nullptr : "it is for another audience";
}

// Adds the filters of a list; false: it is no list of filters.
bool add_filters(const Json& list, std::vector<broker::TopicRule>& rules) {
  if (!list.is_array() || rules.size() + list.size() > filters_max) return false;
  for (const Json& one : list) {
    if (!one.is_string()) return false;
    auto filter = one.get<std::string>();
    if (protocol::has_prefix(filter) || !protocol::valid_topic_filter(filter, topic_levels_max))
      return false;
    rules.push_back({true, std::move(filter)});
  }
  return true;
}

// Of {"publish": [...], "subscribe": [...], "all": [...]}. What it does not name is denied. Null:
// it is nothing of the kind.
std::shared_ptr<const broker::CarriedRules> carried_rules(const Json& claim) {
  if (!claim.is_object()) return nullptr;
  std::vector<broker::TopicRule> publish, subscribe;
  for (const auto& [action, list] : claim.items()) {
    const bool is_all = action == "all";
    if (!is_all && action != "publish" && action != "subscribe") return nullptr;
    if ((is_all || action == "publish") && !add_filters(list, publish)) return nullptr;
    if ((is_all || action == "subscribe") && !add_filters(list, subscribe)) return nullptr;
  }
  auto carried = std::make_shared<broker::CarriedRules>();
  carried->publish = std::make_shared<const broker::TopicRules>(std::move(publish), false);
  carried->subscribe = std::make_shared<const broker::TopicRules>(std::move(subscribe), false);
  return carried;
}

bool is_user_name(const std::string& name) {
  return !name.empty() && name.find('\0') == std::string::npos;
}

// "": it cannot be read, and that is a fault.
std::string read_key_file(const std::string& path, const char* key,
                          std::vector<ConfigFault>& faults) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream.is_open()) {
    faults.push_back({key, "cannot read \"" + path + "\": " + std::strerror(errno), ""});
    return {};
  }
  std::string text(file_bytes_max + 1, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(stream.gcount()));
  if (text.empty()) faults.push_back({key, "\"" + path + "\" is empty, or no file", ""});
  if (text.size() <= file_bytes_max) return text;
  faults.push_back({key, "\"" + path + "\" is larger than 1 MiB", ""});
  return {};
}

// Without the end of the line that an editor or echo(1) leaves. "": it cannot be used.
std::string read_secret(const std::string& path, std::vector<ConfigFault>& faults) {
  constexpr const char* key = "access.jwt.secret_file";
  std::string secret = read_key_file(path, key, faults);
  if (secret.empty()) return {};
  if (secret.ends_with('\n')) secret.pop_back();
  if (secret.ends_with('\r')) secret.pop_back();
  if (secret.starts_with("-----BEGIN ")) {
    faults.push_back({key,
                      "\"" + path +
                          "\" holds a key or certificate in PEM; whoever has read it could sign "
                          "with it. Did you mean access.jwt.keys_file?",
                      ""});
    return {};
  }
  if (secret.size() >= JwtKey::secret_bytes_min) return secret;
  faults.push_back({key, "\"" + path + "\" has less than 32 bytes", ""});
  return {};
}

}  // namespace

std::shared_ptr<const JwtVerifier> JwtVerifier::make(const JwtConfig& config,
                                                     std::vector<ConfigFault>& faults) {
  if (!config.is_set()) return nullptr;
  const std::size_t before = faults.size();
  std::vector<JwtKey> keys;
  if (!config.keys_file.empty()) {
    const std::string text = read_key_file(config.keys_file, "access.jwt.keys_file", faults);
    std::vector<std::string> complaints;
    if (!text.empty()) keys = parse_jwt_keys(text, complaints);
    for (const std::string& complaint : complaints) {
      faults.push_back({"access.jwt.keys_file", config.keys_file + ": " + complaint, ""});
    }
  }
  if (!config.secret_file.empty()) {
    keys.push_back(JwtKey::of_secret(read_secret(config.secret_file, faults)));
  }
  if (faults.size() > before) return nullptr;
  return std::make_shared<const JwtVerifier>(config, std::move(keys));
}

JwtVerifier::JwtVerifier(const JwtConfig& config, std::vector<JwtKey> keys)
    : config_(config), keys_(std::move(keys)) {}

std::shared_ptr<const broker::CarriedRules> parse_carried_rules(std::string_view text) {
  const auto claim = parse_json_object(text);
  return claim ? carried_rules(*claim) : nullptr;
}

bool JwtVerifier::looks_like_token(std::string_view password) {
  // "{" and a quotation mark or white space, in base64.
  const bool is_object = password.starts_with("ey") || password.starts_with("ew");
  return is_object && split(password).has_value();
}

// It changes with the settings that say what a token must contain: connections whose tokens were
// verified under other ones end.
std::string JwtVerifier::key_name(const JwtKey& key) const {
  std::string all = key.fingerprint();
  for (const std::string& part :
       {config_.issuer, config_.audience, config_.user_claim, config_.acl_claim}) {
    all.append(1, '\0').append(part);
  }
  all.append(1, '\0').append(1, config_.expiry_required ? 'x' : '-');
  return to_base64url(digest(Digest::sha256, all));
}

bool JwtVerifier::knows(std::string_view key) const {
  return std::any_of(keys_.begin(), keys_.end(),
                     [&](const JwtKey& one) { return key_name(one) == key; });
}

bool JwtVerifier::has_secrets_in_set() const {
  // That of secret_file comes last.
  const auto end = keys_.end() - (config_.secret_file.empty() ? 0 : 1);
  return std::any_of(keys_.begin(), end,
                     [](const JwtKey& key) { return key.algorithm() == JwtAlgorithm::hs256; });
}

std::optional<JwtClaims> JwtVerifier::verify(std::string_view token, std::int64_t now_s,
                                             const char*& fault) const {
  const auto refuse = [&](const char* why) {
    fault = why;
    return std::nullopt;
  };
  if (token.size() > token_bytes_max) return refuse("it is longer than 16 KiB");
  const auto parts = split(token);
  if (!parts) return refuse("it has not three parts");
  const auto header = decode_object(parts->header);
  const auto signature = from_base64url(parts->signature);
  if (!header || !signature) return refuse("it cannot be read");
  if (header->contains("crit")) return refuse("it asks for an extension");
  const auto algorithm = header->find("alg"), id = header->find("kid");
  const JwtKey* verified = nullptr;
  for (const JwtKey& key : keys_) {
    if (algorithm == header->end() || !is_text(*algorithm, to_string(key.algorithm()))) continue;
    // A key without a name is for any token.
    if (id != header->end() && !key.id().empty() && !is_text(*id, key.id())) continue;
    if (!key.verify(parts->signed_text, *signature)) continue;
    verified = &key;
    break;
  }
  if (verified == nullptr) return refuse("no key here signed it");

  const auto claims = decode_object(parts->claims);
  if (!claims) return refuse("its claims cannot be read");
  JwtClaims result;
  if (const char* why = check_times(*claims, config_, now_s, result.expires_at_s)) {
    return refuse(why);
  }
  if (const char* why = check_parties(*claims, config_)) return refuse(why);
  const auto user = claims->find(config_.user_claim);
  if (user == claims->end() || !user->is_string() || !is_user_name(user->get<std::string>())) {
    return refuse("it names no user");
  }
  result.user = user->get<std::string>();
  if (!config_.acl_claim.empty()) {
    const auto acl = claims->find(config_.acl_claim);
    result.carried = acl == claims->end() ? nullptr : carried_rules(*acl);
    if (!result.carried) return refuse("its rules are missing, or no rules");
    result.rules = acl->dump();
  }
  result.key = key_name(*verified);
  return result;
}

}  // namespace millrace::server
