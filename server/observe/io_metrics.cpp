// The rows of what the I/O threads count.
#include <memory>

#include "protocol/reason_code.hpp"
#include "protocol/version.hpp"
#include "server/config/words.hpp"
#include "server/observe/metrics.hpp"

namespace millrace::server {

namespace {

using Threads = std::shared_ptr<const std::vector<const IoCounters*>>;

// One counter of each thread, added up.
template <class Get>
double total(const Threads& threads, Get get) {
  std::uint64_t sum = 0;
  for (const IoCounters* counters : *threads) sum += get(*counters);
  return static_cast<double>(sum);
}

constexpr std::array<protocol::Version, version_count> versions = {
    protocol::Version::v3_1, protocol::Version::v3_1_1, protocol::Version::v5};
constexpr std::array<std::string_view, qos_count> qos_words = {"0", "1", "2"};
constexpr std::array<std::string_view, close_cause_count> cause_words = {
    "client_disconnect", "peer_closed",     "protocol_fault",
    "handshake_fault",   "connect_timeout", "keep_alive_timeout",
    "refused",           "processor",       "limit",
    "shutdown",          "revoked",         "expired"};

MetricRow single(const Threads& threads, std::string name, std::string help,
                 Counter IoCounters::*field) {
  return {std::move(name), MetricType::counter, {}, std::move(help), [=](MetricWriter& writer) {
            writer.sample(total(threads, [&](const auto& io) { return (io.*field).value(); }));
          }};
}

// One sample for each element of an array of counters.
template <class Array, class Word>
MetricRow per_element(const Threads& threads, std::string name, std::string label, std::string help,
                      Array IoCounters::*field, Word word) {
  return {std::move(name),
          MetricType::counter,
          {std::move(label)},
          std::move(help),
          [=](MetricWriter& writer) {
            for (std::size_t i = 0; i < std::tuple_size_v<Array>; ++i) {
              writer.sample(total(threads, [&](const auto& io) { return (io.*field)[i].value(); }),
                            {word(i)});
            }
          }};
}

// The same, but only what was ever counted: for long lists of possible faults.
template <class Array, class Word>
MetricRow per_seen_element(const Threads& threads, std::string name, std::string label,
                           std::string help, Array IoCounters::*field, Word word) {
  return {std::move(name),
          MetricType::counter,
          {std::move(label)},
          std::move(help),
          [=](MetricWriter& writer) {
            for (std::size_t i = 0; i < std::tuple_size_v<Array>; ++i) {
              const double sum =
                  total(threads, [&](const auto& io) { return (io.*field)[i].value(); });
              if (sum > 0) writer.sample(sum, {word(i)});
            }
          }};
}

// Begun minus ended, as a gauge. The two are read one after the other, so a thread that counts in
// between could make the difference negative: it is cut at zero.
template <class Array, class Word>
MetricRow open_now(const Threads& threads, std::string name, std::string label, std::string help,
                   Array IoCounters::*begun, Array IoCounters::*ended, Word word) {
  return {
      std::move(name),
      MetricType::gauge,
      {std::move(label)},
      std::move(help),
      [=](MetricWriter& writer) {
        for (std::size_t i = 0; i < std::tuple_size_v<Array>; ++i) {
          const double out = total(threads, [&](const auto& io) { return (io.*ended)[i].value(); });
          const double in = total(threads, [&](const auto& io) { return (io.*begun)[i].value(); });
          writer.sample(in > out ? in - out : 0, {word(i)});
        }
      }};
}

std::string_view transport_word(std::size_t index) {
  return word_of(static_cast<Transport>(index));
}
std::string_view version_word(std::size_t index) {
  return protocol::to_string(versions[index]);
}
std::string_view qos_word(std::size_t index) {
  return qos_words[index];
}
std::string_view cause_word(std::size_t index) {
  return cause_words[index];
}
std::string_view reason_word(std::size_t index) {
  return protocol::to_string(static_cast<protocol::ReasonCode>(index));
}
std::string_view packet_word(std::size_t index) {
  return protocol::to_string(static_cast<protocol::PacketType>(index));
}

using Latencies = Histogram<latency_bounds_ns.size()>;

MetricRow latency_row(const Threads& threads, std::string name, std::string help,
                      Latencies IoCounters::*field) {
  return {std::move(name), MetricType::histogram, {}, std::move(help), [=](MetricWriter& writer) {
            std::array<std::uint64_t, latency_bounds_ns.size() + 1> buckets{};
            std::uint64_t sum = 0;
            for (const IoCounters* io : *threads) {
              for (std::size_t i = 0; i < buckets.size(); ++i) {
                buckets[i] += (io->*field).bucket(i);
              }
              sum += (io->*field).sum();
            }
            writer.histogram(latency_bounds_ns, buckets, sum, 1e-9);
          }};
}

std::vector<MetricRow> connection_rows(const Threads& threads) {
  using Io = IoCounters;
  return {
      per_element(threads, "millrace_connections_accepted_total", "transport",
                  "Connections accepted.", &Io::accepted, transport_word),
      open_now(threads, "millrace_connections_open", "transport", "Connections open now.",
               &Io::accepted, &Io::closed, transport_word),
      per_element(threads, "millrace_clients_connected_total", "protocol",
                  "Clients whose CONNECT was accepted.", &Io::connected, version_word),
      open_now(threads, "millrace_clients_open", "protocol", "Clients connected now.",
               &Io::connected, &Io::gone, version_word),
      per_element(threads, "millrace_connections_closed_total", "cause",
                  "Connections that ended, by cause.", &Io::closed_by_cause, cause_word),
      per_seen_element(threads, "millrace_protocol_faults_total", "reason",
                       "Connections ended or requests refused because of a peer's fault, by MQTT "
                       "5's reason code; only those that occurred.",
                       &Io::protocol_faults, reason_word),
      single(threads, "millrace_authentication_failures_total",
             "Clients refused because of their user name, password or SCRAM proof.",
             &Io::authentication_failures),
      single(threads, "millrace_password_checks_refused_total",
             "Clients told `server busy` because of access.password_checks_max.",
             &Io::password_checks_refused),
      single(threads, "millrace_receive_maximum_exceeded_total",
             "PUBLISH packets of clients that exceeded receive_maximum.",
             &Io::receive_maximum_exceeded),
      single(threads, "millrace_publish_denied_total",
             "Messages refused by the access rules, or because their topic is the server's own.",
             &Io::publish_denied),
      single(threads, "millrace_subscribe_denied_total",
             "Subscriptions refused by the access rules.", &Io::subscribe_denied),
  };
}

std::vector<MetricRow> traffic_rows(const Threads& threads) {
  using Io = IoCounters;
  return {
      per_element(threads, "millrace_messages_received_total", "qos", "PUBLISH packets received.",
                  &Io::messages_received, qos_word),
      per_element(threads, "millrace_message_received_bytes_total", "qos",
                  "Payload bytes of PUBLISH packets received.", &Io::message_bytes_received,
                  qos_word),
      per_element(threads, "millrace_messages_sent_total", "qos", "PUBLISH packets sent.",
                  &Io::messages_sent, qos_word),
      per_element(threads, "millrace_message_sent_bytes_total", "qos",
                  "Payload bytes of PUBLISH packets sent.", &Io::message_bytes_sent, qos_word),
      per_seen_element(threads, "millrace_packets_received_total", "type",
                       "MQTT packets received; only types that occurred.", &Io::packets_received,
                       packet_word),
      per_seen_element(threads, "millrace_packets_sent_total", "type",
                       "MQTT packets sent; only types that occurred.", &Io::packets_sent,
                       packet_word),
      single(threads, "millrace_socket_received_bytes_total",
             "Bytes read from sockets, inside TLS and WebSocket.", &Io::bytes_received),
      single(threads, "millrace_socket_sent_bytes_total",
             "Bytes written to sockets, inside TLS and WebSocket.", &Io::bytes_sent),
      single(threads, "millrace_socket_reads_total", "Reads from sockets that brought data.",
             &Io::reads),
      single(threads, "millrace_socket_writes_total", "Writes to sockets.", &Io::writes),
      single(threads, "millrace_read_pauses_total",
             "Times that reading from a connection was paused because what it had sent was not yet "
             "applied.",
             &Io::read_pauses),
      single(threads, "millrace_rate_pauses_total",
             "Times that reading from a connection was paused because of "
             "connection.messages_per_second, connection.bytes_per_second, or the same of a "
             "listener.",
             &Io::rate_pauses),
      single(threads, "millrace_rate_drops_total",
             "Messages of QoS 0 that were dropped because they exceeded these limits "
             "(drop_qos0_over_rate).",
             &Io::rate_drops),
      single(threads, "millrace_accept_pauses_total",
             "Times that accepting was paused because file descriptors or memory had run out.",
             &Io::accept_pauses),
      {"millrace_unread_bytes",
       MetricType::gauge,
       {},
       "Bytes that wait in the receive buffers of clients that are being conflated or subscribe to "
       "the newest values alone, as far as TCP tells (outbox.unread_bytes).",
       [=](MetricWriter& writer) {
         writer.sample(total(threads, [](const auto& io) { return io.unread_bytes.value(); }));
       }},
      single(threads, "millrace_late_binding_unknown_total",
             "Clients that are conflated or subscribe to the newest values alone, and of which the "
             "kernel does not tell what they have read: they are sent values within "
             "outbox.latest_credit_bytes.",
             &Io::late_binding_unknown),
      latency_row(threads, "millrace_publish_to_write_seconds",
                  "From the read that brought a message to the write that took it to a subscriber.",
                  &Io::publish_to_write),
      latency_row(threads, "millrace_age_seconds",
                  "With outbox.unread_bytes, the age at which a client that is conflated or "
                  "subscribes to the newest values alone will read what is written to it: "
                  "publish_to_write and the estimated wait in its receive buffer.",
                  &Io::age),
  };
}

}  // namespace

std::vector<MetricRow> io_metric_rows(std::vector<const IoCounters*> counters) {
  const auto threads = std::make_shared<const std::vector<const IoCounters*>>(std::move(counters));
  std::vector<MetricRow> rows = connection_rows(threads);
  for (MetricRow& row : traffic_rows(threads)) rows.push_back(std::move(row));
  return rows;
}

}  // namespace millrace::server
