#include "server/app/warnings.hpp"

#include <sys/stat.h>

#include <algorithm>

#include "server/config/http_url.hpp"
#include "server/config/upstream_address.hpp"

namespace millrace::server {

namespace {

class Warnings {
 public:
  Warnings(const Settings& settings, std::int64_t now_s) : settings_(settings), now_s_(now_s) {}

  std::vector<Warning> take() {
    const Config& config = settings_.config;
    for (std::size_t i = 0; i < config.listeners.size(); ++i) {
      const std::string path = "listeners[" + std::to_string(i) + "]";
      look_at(config.listeners[i], path);
      if (i < settings_.tls.size() && settings_.tls[i].context) {
        look_at_ends(settings_.tls[i], path);
      }
    }
    look_at_http(config.http.host, config.http.port, TlsConfig(), "http.host");
    for (std::size_t i = 0; i < config.http.listeners.size(); ++i) {
      const HttpListenerConfig& listener = config.http.listeners[i];
      const std::string path = "http.listeners[" + std::to_string(i) + "]";
      look_at_http(listener.host, listener.port, listener.tls, path);
      look_at_secret(listener.tls.key_file, path + ".tls.key_file");
      look_at_secret(listener.tls.key_password_file, path + ".tls.key_password_file");
      if (i < settings_.http_tls.size() && settings_.http_tls[i].context) {
        look_at_ends(settings_.http_tls[i], path);
      }
    }
    for (std::size_t i = 0; i < config.upstreams.size(); ++i) {
      look_at(config.upstreams[i], "upstreams[" + std::to_string(i) + "]");
    }
    look_at_hook(config.access.http);
    look_at_secret(config.access.password_file, "access.password_file");
    look_at_secret(config.access.scram_file, "access.scram_file");
    look_at_secret(config.access.jwt.secret_file, "access.jwt.secret_file");
    for (std::size_t i = 0; i < config.access.http_tokens.size(); ++i) {
      look_at_secret(config.access.http_tokens[i].token_file,
                     "access.http_tokens[" + std::to_string(i) + "].token_file");
    }
    // Public keys may be read by anybody; a set with a secret in it may not.
    if (settings_.access && settings_.access->has_secrets_in_key_set()) {
      look_at_secret(config.access.jwt.keys_file, "access.jwt.keys_file");
    }
    return std::move(found_);
  }

 private:
  void add(std::string path, std::string message) {
    found_.push_back({std::move(path), std::move(message)});
  }

  void look_at(const ListenerConfig& listener, const std::string& path) {
    look_at_secret(listener.tls.key_file, path + ".tls.key_file");
    const auto& more = listener.tls.more_key_files;
    for (std::size_t i = 0; i < more.size(); ++i) {
      look_at_secret(more[i], path + ".tls.more_key_files[" + std::to_string(i) + "]");
    }
    look_at_proxies(listener.proxy_protocol_from, path + ".proxy_protocol_from");
    look_at_proxies(listener.forwarded_from, path + ".forwarded_from");
    look_at_secret(listener.tls.key_password_file, path + ".tls.key_password_file");
    if (listener.uses_unix() || is_loopback(listener.host)) return;
    const std::string address = address_text(listener.host, listener.port);
    const AccessConfig& access = settings_.config.access;
    if (listener.tls.client_certificate != ClientCertificate::required &&
        access.anonymous_allowed()) {
      add(path, "beyond loopback, anyone who reaches " + address +
                    " may connect without a name (access.allow_anonymous)");
    }
    if (!listener.uses_tls() &&
        (!access.password_file.empty() || access.jwt.is_set() || access.http.is_set())) {
      add(path, "passwords cross the network to " + address + " in clear: there is no TLS");
    }
  }

  void look_at_http(const std::string& host, std::uint16_t port, const TlsConfig& tls,
                    const std::string& path) {
    if (is_loopback(host)) return;
    const AccessConfig& access = settings_.config.access;
    if (access.anonymous_allowed() && tls.client_certificate != ClientCertificate::required) {
      add(path, "beyond loopback, anyone who reaches " + address_text(host, port) +
                    " may read metrics and topics");
    }
    if (!tls.certificate_file.empty()) return;
    // Also of users whom HTTP does not let in: it asks for a password before it can know that.
    if (access.verifies_anyone()) {
      add(path, "passwords cross the network to " + address_text(host, port) +
                    " in clear: there is no TLS");
    }
    if (!access.http_tokens.empty()) {
      const auto& tokens = access.http_tokens;
      const bool any_manages = std::ranges::any_of(tokens, [](const HttpTokenConfig& token) {
        return std::ranges::find(token.scopes, "manage") != token.scopes.end();
      });
      add(path, "tokens (access.http_tokens) cross the network to " + address_text(host, port) +
                    " in clear: there is no TLS" +
                    (any_manages ? "; with one of them, anybody may manage the server" : ""));
    }
  }

  void look_at_hook(const HttpHookConfig& hook) {
    std::string fault;
    const auto url = parse_http_url(hook.authenticate_url, fault);
    if (url && !url->uses_tls && url->host != "localhost" && !is_loopback(url->host)) {
      add("access.http.authenticate_url",
          "passwords cross the network to " + url->host + " in clear: there is no TLS");
    }
    if (hook.is_set() && hook.on_failure == AccessEffect::allow) {
      add("access.http.on_failure",
          "while the service does not answer, anyone may come in under any name");
    }
  }

  void look_at(const UpstreamConfig& upstream, const std::string& path) {
    look_at_secret(upstream.password_file, path + ".password_file");
    look_at_secret(upstream.credentials_file, path + ".credentials_file");
    look_at_secret(upstream.tls.key_file, path + ".tls.key_file");
    look_at_secret(upstream.tls.key_password_file, path + ".tls.key_password_file");
    if (upstream.tls.verify == TlsVerify::insecure) {
      add(path + ".tls.verify",
          "no certificate is checked: anyone in between may read and change what crosses the link");
    }
    for (const std::string& text : upstream.addresses) {
      std::string fault;
      const auto address = parse_upstream_address(text, fault);
      if (!address || address->uses_tls() || upstream.password_file.empty()) continue;
      if (address->host == "localhost" || is_loopback(address->host)) continue;
      add(path + ".addresses",
          "the password crosses the network to " + text + " in clear: there is no TLS");
    }
  }

  void look_at_proxies(const std::vector<std::string>& proxies, const std::string& path) {
    for (const std::string& range : proxies) {
      if (range.ends_with("/0")) add(path, range + " is everybody: any client can say who it is");
    }
  }

  void look_at_secret(const std::string& file, std::string path) {
    struct stat status {};
    if (file.empty() || ::stat(file.c_str(), &status) != 0 || (status.st_mode & S_IROTH) == 0) {
      return;
    }
    add(std::move(path), "every user of this machine may read " + file + " (chmod o-r)");
  }

  void look_at_ends(const TlsSetup& tls, const std::string& path) {
    look_at_end(tls.certificate_ends_s, certificate_warning_s, path + ".tls.certificate_file", "");
    if (tls.crl_ends_s == 0) return;
    look_at_end(tls.crl_ends_s, revocation_list_warning_s, path + ".tls.crl_file",
                ": without a newer list no client's certificate is accepted");
  }

  void look_at_end(std::int64_t ends_s, std::int64_t warning_s, std::string path,
                   const std::string& and_then) {
    const std::int64_t left_s = ends_s - now_s_;
    if (left_s <= 0) return add(std::move(path), "has expired" + and_then);
    if (left_s >= warning_s) return;
    const std::string days = std::to_string(left_s / 86'400);
    add(std::move(path), "expires in " + days + " days" + and_then);
  }

  const Settings& settings_;
  const std::int64_t now_s_;
  std::vector<Warning> found_;
};

}  // namespace

std::vector<Warning> warnings_of(const Settings& settings, std::int64_t now_s) {
  return Warnings(settings, now_s).take();
}

std::string clients_of(const Config& config, const ListenerConfig& listener) {
  std::string text;
  const auto add = [&](bool holds, const char* word) {
    if (holds) text += (text.empty() ? "" : "|") + std::string(word);
  };
  const bool required = listener.tls.client_certificate == ClientCertificate::required;
  const bool named_by_certificate = required && listener.tls.user_from != CertificateUser::none;
  if (listener.peer_user) return "process";
  add(listener.tls.client_certificate != ClientCertificate::none, "certificate");
  add(!named_by_certificate && !config.access.password_file.empty(), "password");
  add(!config.access.scram_file.empty(), "scram");
  add(config.access.jwt.is_set(), "jwt");
  add(!named_by_certificate && config.access.http.is_set(), "http");
  add(!required && config.access.anonymous_allowed(), "anonymous");
  return text;
}

}  // namespace millrace::server
