#include <algorithm>
#include <filesystem>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "core/broker/journal_records.hpp"
#include "core/store/log.hpp"
#include "server/cli/cli.hpp"

namespace millrace::server {

namespace po = boost::program_options;

namespace {

constexpr const char* usage =
    "usage: millrace store info FOLDER    print what a store holds\n"
    "       millrace store check FOLDER   the same; exit with 1 if anything is damaged\n"
    "\n"
    "The folder is that of store.path. No server may use it meanwhile; nothing is changed.\n";

const char* kind_of(const store::Record& record) {
  if (record.key.space == store::body_space) return "message bodies";
  if (record.key.space == broker::records::retained_space) return "retained messages";
  if (record.key.space != broker::records::session_space || record.key.rest.empty()) return "other";
  switch (static_cast<broker::records::Part>(record.key.rest.front())) {
    case broker::records::Part::session:
      return "sessions";
    case broker::records::Part::subscription:
      return "subscriptions";
    case broker::records::Part::received:
      return "QoS 2 messages to be released";
    case broker::records::Part::bound:
      return "packet identifiers";
    case broker::records::Part::entry:
      return "queued and inflight messages";
  }
  return "other";
}

int report(const std::string& folder, bool strict) {
  if (!std::filesystem::is_directory(folder)) throw UsageError("no such folder: " + folder);
  store::PosixFiles files(folder);
  std::vector<std::string> names;
  if (const auto error = files.list(names)) throw UsageError(folder + ": " + error.message());
  const auto is_of_store = [](const std::string& name) {
    return name.starts_with("log-") || name.starts_with("snapshot-");
  };
  if (std::ranges::none_of(names, is_of_store)) throw UsageError("no store in " + folder);
  store::Log log(files, {});
  std::map<std::string, std::uint64_t> counts;
  const store::Recovery found = log.open(
      [&](const store::Record& record) { ++counts[kind_of(record)]; }, store::Log::Mode::inspect);
  std::cout << "format: " << store::format_version << "\n"
            << "last batch: " << found.last_number << "\n"
            << "snapshot: " << found.snapshot_bytes << " bytes\n"
            << "log: " << found.log_bytes << " bytes, " << found.batches << " batches\n";
  for (const auto& [kind, count] : counts) std::cout << kind << ": " << count << "\n";
  if (found.torn_bytes > 0) {
    std::cout << "interrupted write at the end: " << found.torn_bytes << " bytes, not counted\n";
  }
  if (found.damaged_places == 0) {
    std::cout << "no damage\n";
    return 0;
  }
  std::cout << "damaged places: " << found.damaged_places << ", " << found.damaged_bytes
            << " bytes\n"
            << "missing batches: " << found.missing_batches << "\n";
  return strict ? 1 : 0;
}

}  // namespace

int run_store(const Arguments& arguments) {
  po::options_description options("Options");
  options.add_options()("help,h", "print this text");
  po::options_description hidden;
  hidden.add_options()("what", po::value<std::string>());
  hidden.add_options()("folder", po::value<std::string>());
  po::positional_options_description positional;
  positional.add("what", 1).add("folder", 1);
  po::options_description all;
  all.add(options).add(hidden);
  const po::variables_map values = parse_options(arguments, all, positional);
  if (values.count("help") > 0) {
    std::cout << usage;
    return 0;
  }
  const std::string what = values.count("what") > 0 ? values["what"].as<std::string>() : "";
  if (what != "info" && what != "check") throw UsageError("store needs info or check");
  if (values.count("folder") == 0) throw UsageError("store " + what + " needs a folder");
  return report(values["folder"].as<std::string>(), what == "check");
}

}  // namespace millrace::server
