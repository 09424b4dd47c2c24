// `millrace trace`: what happens to one client, topic or address, line by line, in a terminal.
#include <iostream>
#include <string>

#include "server/cli/api_client.hpp"
#include "server/cli/interrupts.hpp"

namespace millrace::server {

namespace po = boost::program_options;

namespace {

using Json = nlohmann::json;

constexpr int look_ms = 250;

// "topic=a%2Fb"
std::string subject_of(const po::variables_map& values) {
  std::string subject;
  for (const char* kind : {"client", "topic", "address"}) {
    if (values.count(kind) == 0) continue;
    if (!subject.empty()) throw UsageError("one of --client, --topic and --address");
    subject = std::string(kind) + "=" + percent_encode(values[kind].as<std::string>());
  }
  if (subject.empty()) throw UsageError("trace needs --client, --topic or --address");
  if (values.count("of-user") > values.count("client")) {
    throw UsageError("--of-user goes with --client");
  }
  subject += parameter(values, "of-user", "user");
  return subject;
}

void print_entry(const Json& entry) {
  std::cout << entry.at("time").get<std::string>() << " " << entry.at("kind").get<std::string>();
  for (const char* name : {"client", "user", "address", "topic"}) {
    const Json& value = entry.at(name);
    if (!value.is_null()) std::cout << " " << name << "=" << printable(value.get<std::string>());
  }
  std::cout << " " << printable(entry.at("text").get<std::string>()) << "\n";
}

// Until the trace has ended, and all of it is printed, or somebody interrupts.
void print_trace(ApiClient& api, std::uint64_t id, bool json, const Interrupts& interrupts) {
  std::uint64_t after = 0;
  const std::string path = "/api/v1/trace/" + std::to_string(id);
  while (!interrupts.came()) {
    const Json page = api.get(path + "?after=" + std::to_string(after));
    const Json& entries = page.at("entries");
    for (const Json& entry : entries) {
      json ? static_cast<void>(std::cout << entry.dump() << "\n") : print_entry(entry);
    }
    std::cout << std::flush;
    after = page.at("next").get<std::uint64_t>();
    if (!entries.empty()) continue;
    if (!page.at("trace").at("running").get<bool>() || !interrupts.sleep(look_ms)) return;
  }
}

}  // namespace

int run_trace(const Arguments& arguments) {
  po::options_description options("Options");
  options.add_options()("client", po::value<std::string>(), "trace the client of that identifier");
  options.add_options()("of-user", po::value<std::string>(),
                        "with --client: of that user alone; '' for the anonymous");
  options.add_options()("topic", po::value<std::string>(),
                        "trace the topics that this filter matches");
  options.add_options()("address", po::value<std::string>(),
                        "trace what comes from that address, or range as 10.0.0.0/8");
  options.add_options()("minutes", po::value<std::uint32_t>()->default_value(5),
                        "for so long, 1 to 60");
  options.add_options()("json", "one JSON object a line");
  const auto values =
      parse_api_command(arguments, "millrace trace [options]", "", 0, std::move(options));
  if (!values) return 0;
  const std::string query =
      subject_of(*values) + "&minutes=" + std::to_string((*values)["minutes"].as<std::uint32_t>());
  ApiClient api(*values);
  const Interrupts interrupts;
  const Json trace = Json::parse(api.request("POST", "/api/v1/trace?" + query));
  const auto id = trace.at("id").get<std::uint64_t>();
  print_trace(api, id, values->count("json") > 0, interrupts);
  api.request("DELETE", "/api/v1/trace/" + std::to_string(id));
  return 0;
}

}  // namespace millrace::server
