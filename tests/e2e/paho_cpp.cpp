// The Eclipse Paho C++ client (asynchronous), 5.0: paho_cpp ADDRESS, for example
// tcp://127.0.0.1:1883. The program ends at the first check that fails.

#include <mqtt/async_client.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>

namespace {

constexpr auto timeout = std::chrono::seconds(60);
std::string address;
int checks = 0;

void check(bool holds, const std::string& what) {
  if (!holds) {
    std::cerr << "does not hold: " << what << '\n';
    std::exit(1);
  }
  ++checks;
}

// A client whose received messages are kept in a queue.
class Client {
 public:
  explicit Client(const std::string& name, bool clean = true, int expiry_seconds = 0,
                  const mqtt::will_options* will = nullptr, int aliases_max = 0)
      : client_(address, name, mqtt::create_options(MQTTVERSION_5)) {
    client_.start_consuming();
    auto options = mqtt::connect_options_builder().mqtt_version(MQTTVERSION_5).clean_start(clean);
    options.properties({{mqtt::property::SESSION_EXPIRY_INTERVAL, expiry_seconds},
                        {mqtt::property::TOPIC_ALIAS_MAXIMUM, aliases_max}});
    if (will) options.will(*will);
    auto token = client_.connect(options.finalize());
    check(token->wait_for(timeout), name + " connects");
    session_present_ = token->get_connect_response().is_session_present();
  }

  bool session_present() const { return session_present_; }

  void subscribe(const std::string& filter, int qos) {
    check(client_.subscribe(filter, qos)->wait_for(timeout), "subscribes to " + filter);
  }

  void publish(const std::string& topic, const std::string& text, int qos, bool retained = false,
               const mqtt::properties& properties = {}) {
    auto message = mqtt::make_message(topic, text, qos, retained);
    message->set_properties(properties);
    check(client_.publish(message)->wait_for(timeout), "publishes to " + topic);
  }

  mqtt::const_message_ptr receive(const std::string& topic, const std::string& text) {
    mqtt::const_message_ptr message;
    check(client_.try_consume_message_for(&message, timeout) && message, "a message on " + topic);
    check(message->get_topic() == topic, "its topic is " + topic + ", not " + message->get_topic());
    check(message->to_string() == text, "it says " + text + ", not " + message->to_string());
    return message;
  }

  // The number of messages before the one on `end`.
  int count_until(const std::string& end) {
    for (int count = 0;; ++count) {
      mqtt::const_message_ptr message;
      check(client_.try_consume_message_for(&message, timeout) && message,
            "a message before " + end);
      if (message->get_topic() == end) return count;
    }
  }

  void leave() { check(client_.disconnect()->wait_for(timeout), "disconnects"); }

 private:
  mqtt::async_client client_;
  bool session_present_ = false;
};

void every_qos_and_retained() {
  Client client("paho-cpp");
  for (int qos = 0; qos <= 2; ++qos) {
    const std::string topic = "cpp/qos/" + std::to_string(qos);
    client.subscribe(topic, qos);
    client.publish(topic, "hello", qos);
    check(client.receive(topic, "hello")->get_qos() == qos, "it has QoS " + std::to_string(qos));
  }
  client.publish("cpp/kept", "kept", 1, true);
  client.subscribe("cpp/kept", 1);
  check(client.receive("cpp/kept", "kept")->is_retained(), "it is retained");
  client.leave();
}

void session_with_queued_messages() {
  {
    Client sleeper("paho-cpp-sleeper", false, 60);
    sleeper.subscribe("cpp/queued", 1);
    sleeper.leave();
  }
  Client sender("paho-cpp-sender");
  for (int number = 0; number < 5; ++number)
    sender.publish("cpp/queued", std::to_string(number), 1);
  Client sleeper("paho-cpp-sleeper", false, 60);
  check(sleeper.session_present(), "the session is there");
  for (int number = 0; number < 5; ++number) sleeper.receive("cpp/queued", std::to_string(number));
  sleeper.leave();
  sender.leave();
}

void will_at_a_takeover() {
  Client watcher("paho-cpp-watcher");
  watcher.subscribe("cpp/will", 1);
  const mqtt::will_options will("cpp/will", std::string("gone"), 1, false, mqtt::properties{});
  auto mortal = std::make_unique<Client>("paho-cpp-mortal", true, 0, &will);
  Client heir("paho-cpp-mortal");
  watcher.receive("cpp/will", "gone");
  heir.leave();
  watcher.leave();
}

// A child process that ends without DISCONNECT.
[[noreturn]] void die() {
  const mqtt::will_options will("cpp/late-will", std::string("gone"), 1, false,
                                mqtt::properties{{mqtt::property::WILL_DELAY_INTERVAL, 1}});
  Client mortal("paho-cpp-mortal", true, 60, &will);
  std::_Exit(0);
}

void will_with_delay(const std::string& program) {
  Client watcher("paho-cpp-watcher");
  watcher.subscribe("cpp/late-will", 1);
  const std::string command = "'" + program + "' " + address + " die";
  check(std::system(command.c_str()) == 0, "another client connects");
  watcher.receive("cpp/late-will", "gone");
  watcher.leave();
}

void shared_subscription() {
  Client one("paho-cpp-one"), two("paho-cpp-two"), sender("paho-cpp-sender");
  for (Client* member : {&one, &two}) {
    member->subscribe("$share/pair/cpp/jobs", 1);
    member->subscribe("cpp/end", 1);
  }
  for (int number = 0; number < 10; ++number) sender.publish("cpp/jobs", "job", 1);
  sender.publish("cpp/end", "end", 1);
  const int first = one.count_until("cpp/end");
  const int second = two.count_until("cpp/end");
  check(first > 0 && second > 0 && first + second == 10, "each job goes to one member");
  for (Client* client : {&one, &two, &sender}) client->leave();
}

// The library neither assigns nor resolves aliases, so the test does both.
void topic_aliases() {
  Client reader("paho-cpp-reader", true, 0, nullptr, 1), sender("paho-cpp-sender");
  reader.subscribe("cpp/alias", 1);
  const mqtt::properties alias{{mqtt::property::TOPIC_ALIAS, 3}};
  sender.publish("cpp/alias", "spelled", 1, false, alias);
  sender.publish("", "by its number", 1, false, alias);
  for (const auto& message :
       {reader.receive("cpp/alias", "spelled"), reader.receive("", "by its number")}) {
    const auto given =
        mqtt::get<std::uint16_t>(message->get_properties(), mqtt::property::TOPIC_ALIAS);
    check(given == 1, "the server used the alias that it may");
  }
  reader.leave();
  sender.leave();
}

void latest_value() {
  Client client("paho-cpp-latest");
  for (int number = 0; number < 4; ++number) client.publish("cpp/now", std::to_string(number), 1);
  client.subscribe("$latest/cpp/now", 0);
  client.receive("cpp/now", "3");
  client.leave();
}

void request_and_response() {
  Client asks("paho-cpp-asks"), answers("paho-cpp-answers");
  answers.subscribe("$share/workers/cpp/ask", 1);
  asks.subscribe("cpp/answer", 1);
  asks.publish("cpp/ask", "2+2", 1, false,
               {{mqtt::property::RESPONSE_TOPIC, "cpp/answer"},
                {mqtt::property::CORRELATION_DATA, "seven"},
                {mqtt::property::USER_PROPERTY, "key", "value"}});
  const auto request = answers.receive("cpp/ask", "2+2");
  const auto& properties = request->get_properties();
  const auto user = mqtt::get<mqtt::string_pair>(properties, mqtt::property::USER_PROPERTY);
  check(std::get<0>(user) == "key" && std::get<1>(user) == "value", "the user property is there");
  answers.publish(mqtt::get<std::string>(properties, mqtt::property::RESPONSE_TOPIC), "4", 1, false,
                  {{mqtt::property::CORRELATION_DATA,
                    mqtt::get<std::string>(properties, mqtt::property::CORRELATION_DATA)}});
  const auto answer = asks.receive("cpp/answer", "4");
  check(
      mqtt::get<std::string>(answer->get_properties(), mqtt::property::CORRELATION_DATA) == "seven",
      "the correlation data came back");
  asks.leave();
  answers.leave();
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2 && count != 3) {
    std::cerr << "paho_cpp ADDRESS\n";
    return 2;
  }
  address = arguments[1];
  if (count == 3) die();
  every_qos_and_retained();
  session_with_queued_messages();
  will_at_a_takeover();
  will_with_delay(arguments[0]);
  shared_subscription();
  topic_aliases();
  latest_value();
  request_and_response();
  std::cout << "paho C++: " << checks << " checks hold\n";
}
