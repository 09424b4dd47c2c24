// `millrace clients`, `topics`, `kick`, `publish`: what the management API offers, in a terminal.
#include <cstdio>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "server/cli/api_client.hpp"

namespace millrace::server {

namespace po = boost::program_options;

namespace {

using Json = nlohmann::json;

std::string positional(const po::variables_map& values, const char* name, const char* what) {
  if (values.count(name) == 0) throw UsageError(what);
  return values[name].as<std::vector<std::string>>().front();
}

std::string lag_of(const Json& client) {
  const Json& ms = client.at("oldest_waiting_ms");
  return ms.is_null() ? "" : short_time(ms.get<double>() / 1000);
}

void print_client(const Json& client) {
  const Json& connection = client.at("connection");
  const std::string user = client.at("user").is_null() ? "" : client.at("user").get<std::string>();
  const bool slow = client.at("slow").get<bool>();
  const std::string address =
      connection.is_null() ? "" : connection.at("address").get<std::string>();
  std::printf("%-24s %-12s %-16s %-10s %8s %8s %9s %6s\n",
              printable(client.at("id").get<std::string>()).c_str(), printable(user).c_str(),
              address.c_str(), slow ? "slow" : client.at("state").get<std::string>().c_str(),
              lag_of(client).c_str(), short_number(client.at("waiting").get<double>()).c_str(),
              short_number(client.at("conflated").get<double>()).c_str(),
              short_number(client.at("subscriptions").get<double>()).c_str());
}

}  // namespace

int run_clients(const Arguments& arguments) {
  po::options_description options("Options");
  options.add_options()("state", po::value<std::string>(), "connected, away or slow");
  options.add_options()("sort", po::value<std::string>()->default_value("id"),
                        "id, waiting, waiting_bytes, age, connected, received or sent");
  options.add_options()("of-user", po::value<std::string>(),
                        "clients of that user; '' for those of the anonymous");
  options.add_options()("address", po::value<std::string>(),
                        "connected from that address, or range as 10.0.0.0/8");
  options.add_options()("listener", po::value<std::string>(),
                        "connected to the listener of that name");
  options.add_options()("json", "one JSON object a line");
  const auto values = parse_api_command(arguments, "millrace clients [PREFIX] [options]", "prefix",
                                        1, std::move(options));
  if (!values) return 0;
  ApiClient api(*values);
  std::string query = "limit=1000&sort=" + percent_encode((*values)["sort"].as<std::string>());
  for (const char* name : {"state", "address", "listener"}) query += parameter(*values, name, name);
  query += parameter(*values, "of-user", "user");
  if (values->count("prefix") > 0) {
    query += "&prefix=" + percent_encode(positional(*values, "prefix", ""));
  }
  const bool json = values->count("json") > 0;
  if (!json) {
    std::printf("%-24s %-12s %-16s %-10s %8s %8s %9s %6s\n", "CLIENT", "USER", "ADDRESS", "STATE",
                "LAG", "WAITING", "CONFLATED", "SUBS");
  }
  for (std::string after;;) {
    const Json page = api.get("/api/v1/clients?" + query + after);
    for (const Json& client : page.at("clients")) {
      if (json) {
        std::cout << client.dump() << "\n";
      } else {
        print_client(client);
      }
    }
    if (page.at("next").is_null()) return 0;
    after = "&after=" + percent_encode(page.at("next").get<std::string>());
  }
}

int run_topics(const Arguments& arguments) {
  po::options_description options("Options");
  options.add_options()("json", "one JSON object a line");
  const auto values = parse_api_command(arguments, "millrace topics [FILTER] [options]", "filter",
                                        1, std::move(options));
  if (!values) return 0;
  ApiClient api(*values);
  const std::string filter = values->count("filter") > 0 ? positional(*values, "filter", "") : "#";
  const Json list = api.get("/api/v1/topics?filter=" + percent_encode(filter));
  for (const Json& value : list.at("topics")) {
    if (values->count("json") > 0) {
      std::cout << value.dump() << "\n";
      continue;
    }
    const bool text = value.contains("payload");
    std::cout << printable(value.at("topic").get<std::string>()) << " "
              << (text ? printable(value.at("payload").get<std::string>())
                       : "(" + value.at("size").dump() + " bytes)")
              << "\n";
  }
  return 0;
}

int run_kick(const Arguments& arguments) {
  po::options_description options("Options");
  options.add_options()("of-user", po::value<std::string>(),
                        "whose client it is, where several users have one of that identifier; "
                        "'' for the anonymous");
  options.add_options()("link", "the link to another broker, upstream/NAME, not a client");
  options.add_options()("end-session", "end the client's session, too");
  const auto values = parse_api_command(arguments, "millrace kick CLIENT [options]", "client", 1,
                                        std::move(options));
  if (!values) return 0;
  const std::string client = positional(*values, "client", "kick needs a client identifier");
  std::string query = values->count("end-session") > 0 ? "?session=end" : "?session=keep";
  query += parameter(*values, "of-user", "user");
  if (values->count("link") > 0) query += "&link=true";
  ApiClient(*values).request("DELETE", "/api/v1/clients/" + percent_encode(client) + query);
  return 0;
}

int run_publish(const Arguments& arguments) {
  po::options_description options("Options");
  options.add_options()("message,m", po::value<std::string>(),
                        "the payload; without it, it is read from standard input");
  options.add_options()("retain,r", "publish with RETAIN");
  options.add_options()("qos,q", po::value<int>()->default_value(0), "the QoS: 0, 1 or 2");
  const auto values = parse_api_command(arguments, "millrace publish TOPIC [options]", "topic", 1,
                                        std::move(options));
  if (!values) return 0;
  const std::string topic = positional(*values, "topic", "publish needs a topic");
  const int qos = (*values)["qos"].as<int>();
  if (qos < 0 || qos > 2) throw UsageError("--qos must be 0, 1 or 2");
  if (values->count("message") == 0 && values->count("user") > 0 &&
      values->count("password-file") == 0) {
    throw UsageError("--message or --password-file: standard input is for one of them");
  }
  ApiClient api(*values);
  const std::string payload =
      values->count("message") > 0
          ? (*values)["message"].as<std::string>()
          : std::string(std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>());
  const char* const method = values->count("retain") > 0 ? "PUT" : "POST";
  api.request(method,
              "/api/v1/topics/" + percent_encode(topic, true) + "?qos=" + std::to_string(qos),
              payload);
  return 0;
}

}  // namespace millrace::server
