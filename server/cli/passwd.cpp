// `millrace passwd`: edits a password file that mosquitto understands too, or one of SCRAM's keys.
#include <unistd.h>

#include <iostream>

#include "server/auth/password_file.hpp"
#include "server/auth/scram.hpp"
#include "server/auth/user_file.hpp"
#include "server/cli/ask_secret.hpp"
#include "server/cli/cli.hpp"
#include "server/cli/replace_file.hpp"

namespace millrace::server {

namespace po = boost::program_options;

namespace {

std::string ask_password() {
  std::string password = ask_secret("Password: ");
  if (isatty(STDIN_FILENO) == 1 && ask_secret("Again: ") != password) {
    throw UsageError("the two passwords differ");
  }
  return password;
}

po::options_description passwd_options() {
  po::options_description options("Options");
  options.add_options()("create,c", "make a new file; an existing one is overwritten");
  options.add_options()("batch,b",
                        "take the password from the command line, where other users can see it");
  options.add_options()("delete,D", "remove the user");
  options.add_options()("scram",
                        "make the file for access.scram_file, with keys for SCRAM-SHA-256");
  options.add_options()("argon2",
                        "hash the password with Argon2id, which costs memory as well: "
                        "19 MiB for each login");
  options.add_options()(
      "iterations,I", po::value<std::int64_t>()->value_name("N"),
      "rounds of PBKDF2: 1,000 unless given; the server computes them for each connection with a "
      "user name. With --scram: 15,000 unless given, at least 4,096; the client computes them");
  options.add_options()("help,h", "print this text");
  options.add_options()("arguments", po::value<std::vector<std::string>>(), "FILE USER [PASSWORD]");
  return options;
}

constexpr const char* passwd_usage =
    "usage: millrace passwd [options] FILE USER          asks for the password, or reads a line\n"
    "       millrace passwd -b [options] FILE USER PASSWORD\n"
    "       millrace passwd -D FILE USER\n\n"
    "The file has mosquitto's format ($7$, PBKDF2-SHA512; or $argon2id$), so mosquitto_passwd can\n"
    "change it too. With --scram it holds keys for SCRAM-SHA-256, with which nobody can log in. A\n"
    "user who authenticates both ways needs an entry in both files.\n\n";

void write_users(const std::string& file, const std::string& text) {
  if (replace_file(file, text) == Rewritten::as_one_step) return;
  std::cerr
      << "millrace: " << file
      << " was rewritten in place (it is mounted, or its folder may not be written): a server "
         "that read it just now may have seen half of it\n";
}

// What stands behind the user's name.
std::string secret_of(const std::string& password, bool scram, bool argon2,
                      std::int64_t iterations) {
  if (argon2) return PasswordHash::make_argon2(password).to_string();
  const auto count = static_cast<std::uint32_t>(iterations);
  return scram ? ScramKeys::make(password, count).to_string()
               : PasswordHash::make(password, count).to_string();
}

std::int64_t iterations_of(const po::variables_map& values, bool scram) {
  const std::int64_t min = scram ? scram_iterations_min : 1;
  const std::int64_t max = scram ? scram_iterations_max : password_iterations_max;
  if (values.count("iterations") == 0) {
    return scram ? scram_iterations_default : password_iterations_default;
  }
  const auto iterations = values["iterations"].as<std::int64_t>();
  if (iterations < min || iterations > max) {
    throw UsageError("--iterations must be " + std::to_string(min) + " to " + std::to_string(max));
  }
  return iterations;
}

}  // namespace

int run_passwd(const Arguments& arguments) {
  const po::options_description options = passwd_options();
  po::positional_options_description positional;
  positional.add("arguments", -1);
  const po::variables_map values = parse_options(arguments, options, positional);
  if (values.count("help") > 0) {
    std::cout << passwd_usage << options;
    return 0;
  }
  const bool batch = values.count("batch") > 0, deletes = values.count("delete") > 0;
  const auto given = values.count("arguments") > 0
                         ? values["arguments"].as<std::vector<std::string>>()
                         : std::vector<std::string>();
  if (batch && deletes) throw UsageError("--batch and --delete exclude each other");
  if (given.size() != (batch ? 3u : 2u)) {
    throw UsageError(std::string("passwd needs FILE and USER") + (batch ? " and PASSWORD" : ""));
  }
  const std::string &file = given[0], &user = given[1];
  if (const std::string fault = user_name_fault(user); !fault.empty()) {
    throw UsageError("the user name " + fault);
  }
  const bool scram = values.count("scram") > 0;
  const bool argon2 = values.count("argon2") > 0;
  if (argon2 && (scram || values.count("iterations") > 0)) {
    throw UsageError("--argon2 excludes --scram and --iterations");
  }
  const std::int64_t iterations = iterations_of(values, scram);
  std::string text = values.count("create") > 0 ? "" : read_file_text(file);
  if (deletes) {
    if (!without_user(text, user)) throw std::runtime_error("there is no user \"" + user + "\"");
    write_users(file, text);
    return 0;
  }
  const std::string password = batch ? given[2] : ask_password();
  if (password.empty()) throw UsageError("the password is empty");
  if (const std::string fault = scram_password_fault(password); scram && !fault.empty()) {
    throw UsageError("the password " + fault);
  }
  write_users(file, with_user(text, user, secret_of(password, scram, argon2, iterations)));
  return 0;
}

}  // namespace millrace::server
