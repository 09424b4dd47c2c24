// `millrace pub`: publishes to a server on this host through shared memory.
#include <chrono>
#include <iostream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "core/shm/include/millrace/local.hpp"
#include "server/cli/local_options.hpp"

namespace millrace::server {

namespace po = boost::program_options;

namespace {

constexpr auto drain_timeout = std::chrono::seconds(10);

po::options_description pub_options() {
  po::options_description options("Options");
  options.add_options()("message,m", po::value<std::string>(),
                        "the payload; without it, an empty message is published");
  options.add_options()("stdin-lines", "publish each line of standard input as a message");
  options.add_options()("retain,r", "publish with RETAIN");
  options.add_options()("qos,q", po::value<int>()->default_value(0), "the QoS: 0, 1 or 2");
  return options;
}

// Waits while the publisher ring is full.
void publish(local::Publisher& publisher, const std::string& topic, const std::string& payload,
             bool retain, int qos) {
  for (;;) {
    switch (publisher.publish(topic, payload, retain, qos)) {
      case local::Published::taken:
        return;
      case local::Published::full:
        std::this_thread::sleep_for(std::chrono::microseconds(100));
        break;
      case local::Published::too_large:
        throw std::runtime_error("the message is too large (see local.publisher_frame_bytes_max)");
      case local::Published::invalid:
        throw UsageError("\"" + topic + "\" is not a topic to publish to");
      case local::Published::disconnected:
        throw std::runtime_error("the server ended the connection");
    }
  }
}

}  // namespace

int run_pub(const Arguments& arguments) {
  const auto parsed =
      parse_local_client(arguments, "millrace pub TOPIC [options]", "topic", 1, pub_options());
  if (!parsed) return 0;
  const po::variables_map& values = *parsed;
  if (values.count("topic") == 0) throw UsageError("pub needs a topic");
  const bool lines = values.count("stdin-lines") > 0;
  if (lines && values.count("message") > 0)
    throw UsageError("--message or --stdin-lines, not both");
  const int qos = values["qos"].as<int>();
  if (qos < 0 || qos > 2) throw UsageError("--qos must be 0, 1 or 2");
  const bool retain = values.count("retain") > 0;
  const std::string topic = values["topic"].as<std::vector<std::string>>().front();

  local::Publisher publisher({local_socket(values), "millrace pub"});
  if (lines) {
    for (std::string line; std::getline(std::cin, line);) {
      publish(publisher, topic, line, retain, qos);
    }
  } else {
    const bool has_message = values.count("message") > 0;
    publish(publisher, topic, has_message ? values["message"].as<std::string>() : "", retain, qos);
  }
  if (!publisher.drain(drain_timeout)) {
    throw std::runtime_error("the server did not take all messages in time");
  }
  if (publisher.refused() > 0) {
    throw std::runtime_error(std::to_string(publisher.refused()) +
                             " messages refused by the server: not a valid topic, or not allowed");
  }
  return 0;
}

}  // namespace millrace::server
