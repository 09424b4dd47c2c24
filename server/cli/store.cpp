#include <algorithm>
#include <filesystem>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "core/store/backup.hpp"
#include "core/store/log.hpp"
#include "server/cli/cli.hpp"
#include "server/cli/store_export.hpp"

namespace millrace::server {

namespace po = boost::program_options;

namespace {

constexpr const char* usage =
    "usage: millrace store info FOLDER       print what a store holds\n"
    "       millrace store check FOLDER      the same; exit with 1 if anything is damaged\n"
    "       millrace store compact FOLDER    write what is alive anew, and give back the space\n"
    "       millrace store export FOLDER     print all records, as lines of JSON\n"
    "       millrace store import FOLDER     make a store of such lines on standard input\n"
    "       millrace store backup FOLDER TO  copy a store, also while a server uses it\n"
    "\n"
    "FOLDER is that of store.path. No server may use it meanwhile, but for backup. info, check "
    "and\n"
    "export change nothing there.\n";

void print(const store::Recovery& found) {
  std::cout << "format: " << store::format_version << "\n"
            << "last batch: " << found.last_number << "\n"
            << "snapshot: " << found.snapshot_bytes << " bytes\n"
            << "log: " << found.log_bytes << " bytes, " << found.batches << " batches\n";
}

// Whether there is none.
bool print_damage(const store::Recovery& found) {
  if (found.torn_bytes > 0) {
    std::cout << "interrupted write at the end: " << found.torn_bytes << " bytes, not counted\n";
  }
  if (found.damaged_places == 0) {
    std::cout << "no damage\n";
    return true;
  }
  std::cout << "damaged places: " << found.damaged_places << ", " << found.damaged_bytes
            << " bytes\n"
            << "missing batches: " << found.missing_batches << "\n";
  return false;
}

store::Recovery inspect(const std::string& folder, const store::Log::Visit& visit) {
  if (!std::filesystem::is_directory(folder)) throw UsageError("no such folder: " + folder);
  store::PosixFiles files(folder);
  std::vector<std::string> names;
  if (const auto error = files.list(names)) throw UsageError(folder + ": " + error.message());
  const auto is_of_store = [](const std::string& name) {
    return name.starts_with("log-") || name.starts_with("snapshot-");
  };
  if (std::ranges::none_of(names, is_of_store)) throw UsageError("no store in " + folder);
  store::Log log(files, {});
  return log.open(visit, store::Log::Mode::inspect);
}

bool report(const std::string& folder) {
  std::map<std::string, std::uint64_t> counts;
  const store::Recovery found =
      inspect(folder, [&](const store::Record& record) { ++counts[kind_of(record)]; });
  print(found);
  for (const auto& [kind, count] : counts) std::cout << kind << "s: " << count << "\n";
  return print_damage(found);
}

void must(std::error_code error, const std::string& what) {
  if (error) throw store::StoreError(what + ": " + error.message());
}

int compact(const std::string& folder) {
  if (!std::filesystem::is_directory(folder)) throw UsageError("no such folder: " + folder);
  store::PosixFiles files(folder);
  store::Log log(files, {});
  const store::Recovery found = log.open([](const store::Record&) {});
  log.seal();
  must(log.compact(), "the store is as it was");
  std::cout << "before: " << found.snapshot_bytes + found.log_bytes << " bytes\n"
            << "after: " << log.snapshot_bytes() + log.log_bytes() << " bytes\n";
  print_damage(found);
  return 0;
}

int export_records(const std::string& folder) {
  StoreExport out(std::cout);
  const store::Recovery found =
      inspect(folder, [&](const store::Record& record) { out.add(record); });
  out.finish();
  if (found.damaged_places == 0) return 0;
  std::cerr << "millrace: some of the store is damaged, and not in the export\n";
  return 1;
}

int import_records(const std::string& folder) {
  store::PosixFiles files(folder);
  store::Log log(files, {});
  const store::Recovery found = log.open([](const store::Record&) {});
  if (found.records > 0 || found.damaged_places > 0) {
    throw UsageError(folder + " has a store already");
  }
  std::uint64_t records = 0;
  const auto show = [&](const store::Log::Visit& visit) {
    records = read_export(std::cin, visit);
    return std::error_code();
  };
  must(log.replace(show), "cannot write the store");
  std::cout << "records: " << records << "\n";
  return 0;
}

int back_up(const std::string& from, const std::string& to) {
  if (!std::filesystem::is_directory(from)) throw UsageError("no such folder: " + from);
  const store::BackUp made = store::back_up(from, to);
  std::cout << "copied: " << made.files << " files, " << made.bytes << " bytes\n";
  return report(to) ? 0 : 1;
}

}  // namespace

int run_store(const Arguments& arguments) {
  po::options_description options("Options");
  options.add_options()("help,h", "print this text");
  po::options_description hidden;
  hidden.add_options()("what", po::value<std::string>());
  hidden.add_options()("folder", po::value<std::string>());
  hidden.add_options()("to", po::value<std::string>());
  po::positional_options_description positional;
  positional.add("what", 1).add("folder", 1).add("to", 1);
  po::options_description all;
  all.add(options).add(hidden);
  const po::variables_map values = parse_options(arguments, all, positional);
  if (values.count("help") > 0) {
    std::cout << usage;
    return 0;
  }
  const auto value = [&](const char* name) {
    return values.count(name) > 0 ? values[name].as<std::string>() : "";
  };
  const std::string what = value("what");
  const std::string folder = value("folder");
  const std::string to = value("to");
  if (!what.empty() && folder.empty()) throw UsageError("store " + what + " needs a folder");
  if (what == "backup" && to.empty()) throw UsageError("store backup needs a folder to copy to");
  if (what != "backup" && !to.empty()) throw UsageError("too many arguments");
  if (what == "info") {
    report(folder);
    return 0;
  }
  if (what == "check") return report(folder) ? 0 : 1;
  if (what == "compact") return compact(folder);
  if (what == "export") return export_records(folder);
  if (what == "import") return import_records(folder);
  if (what == "backup") return back_up(folder, to);
  throw UsageError("store needs info, check, compact, export, import or backup");
}

}  // namespace millrace::server
