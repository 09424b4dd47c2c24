// The real program, run as people run it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "server/auth/password_file.hpp"
#include "server/auth/scram.hpp"
#include "server/http/server.hpp"
#include "tests/server/certificates.hpp"
#include "tests/server/files.hpp"

namespace millrace::server {
namespace {

using test::Finished;
using test::Folder;
using ::testing::HasSubstr;
using ::testing::Not;

Finished millrace(const std::string& arguments) {
  return test::run(std::string("exec ") + MILLRACE_BINARY + " " + arguments);
}

TEST(Cli, SaysItsVersion) {
  const Finished finished = millrace("--version");
  EXPECT_EQ(finished.code, 0);
  EXPECT_THAT(finished.output, HasSubstr("millrace 0."));
}

TEST(Cli, HelpsWithEachCommand) {
  EXPECT_THAT(millrace("--help").output, HasSubstr("millrace passwd FILE USER"));
  for (const char* command : {"serve", "check", "passwd", "store", "tap", "pub", "import", "top",
                              "clients", "topics", "kick", "publish", "trace"}) {
    const Finished finished = millrace(std::string(command) + " --help");
    EXPECT_EQ(finished.code, 0) << command;
    EXPECT_THAT(finished.output, HasSubstr("usage: millrace")) << command;
  }
  EXPECT_THAT(millrace("serve --help").output, HasSubstr("queue.bytes_max"));
}

TEST(Cli, AnswersTyposWithWhatWasMeant) {
  Finished finished = millrace("chekc");
  EXPECT_EQ(finished.code, 2);
  EXPECT_THAT(finished.output, HasSubstr("unknown command \"chekc\"; did you mean \"check\"?"));
  finished = millrace("serve --htp-port 1");
  EXPECT_EQ(finished.code, 2);
  EXPECT_THAT(finished.output, HasSubstr("did you mean \"--http-port\"?"));
  finished = millrace("check --set quue.bytes_max=1");
  EXPECT_EQ(finished.code, 1);
  EXPECT_THAT(finished.output, HasSubstr("did you mean \"queue.bytes_max\"?"));
}

TEST(Cli, RefusesWrongArguments) {
  EXPECT_EQ(millrace("serve extra").code, 2);
  EXPECT_EQ(millrace("serve --mqtt-port 70000").code, 2);
  EXPECT_EQ(millrace("serve --mqtt-port x").code, 2);
  EXPECT_EQ(millrace("serve --config").code, 2);
}

TEST(Check, AcceptsTheDefaultsAndShowsThem) {
  const Finished finished = millrace("check --mqtt-port 1999");
  EXPECT_EQ(finished.code, 0) << finished.output;
  EXPECT_THAT(finished.output, HasSubstr("listener tcp: tcp on 127.0.0.1:1999"));
  EXPECT_THAT(finished.output, HasSubstr("the configuration is valid"));
}

TEST(Check, PrintsAllFaultsAndExits1) {
  const Folder folder;
  const std::string file = folder.write("m.json", R"({"http": {"port": -1}, "nonsense": 1})");
  const Finished finished = millrace("check --config " + file + " --set inflight_max=x");
  EXPECT_EQ(finished.code, 1);
  EXPECT_THAT(finished.output, HasSubstr(file + ": http.port: must be"));
  EXPECT_THAT(finished.output, HasSubstr(file + ": nonsense: unknown key"));
  EXPECT_THAT(finished.output, HasSubstr("--set: inflight_max"));
  EXPECT_THAT(finished.output, HasSubstr("3 faults"));
}

TEST(Check, NamesEveryFileThatItCannotReadAtOnce) {
  const Folder folder;
  const std::string file = folder.write("m.json", R"({"listeners": [{"transport": "tls",
      "tls": {"certificate_file": "/no/cert", "key_file": "/no/key"}}],
      "access": {"password_file": "/no/passwd", "scram_file": "/no/scram"}})");
  const Finished finished = millrace("check --config " + file);
  EXPECT_EQ(finished.code, 1);
  for (const char* missing : {"/no/cert", "/no/key", "/no/passwd", "/no/scram"}) {
    EXPECT_THAT(finished.output, HasSubstr(std::string("cannot read \"") + missing + "\""));
  }
}

// Of reading, of keys together, and of the contents of files: one of each is not all.
TEST(Check, PrintsTheFaultsOfEveryStageAtOnce) {
  const Folder folder;
  test::make_certificate(folder, "one");
  test::make_certificate(folder, "other");
  const std::string file = folder.write(
      "m.json", R"({"inflight_max": 0, "listeners": [{"transport": "tls", "port": 0, "tls": {
          "certificate_file": ")" +
                    folder.path("one.pem") + R"(", "key_file": ")" + folder.path("other.key") +
                    R"(", "ciphers": "RC4"}}],
          "access": {"allow_anonymous": true,
            "rules": [{"effect": "allow", "listener": "tsl", "filter": "#"}],
            "http_tokens": [{"name": "x", "token_file": "/no/token", "scopes": ["red"]}]}})");
  const Finished finished = millrace("check --config " + file);
  EXPECT_EQ(finished.code, 1);
  const std::string lines[] = {
      "inflight_max: must be 1 to 65,535, not 0",
      "access.rules[0].listener: no listener is called \"tsl\"; did you mean \"tls\"?",
      "access.http_tokens[0].scopes: must be metrics, read, publish or manage, not \"red\"; did "
      "you "
      "mean \"read\"?",
      "access.http_tokens[0].token_file: cannot read /no/token",
      "listeners[0].tls.ciphers: is no list of ciphers",
      "listeners[0].tls.key_file: does not belong to the certificate"};
  std::size_t at = 0;
  for (const std::string& line : lines) {
    const auto found = finished.output.find(line, at);
    ASSERT_NE(found, std::string::npos) << line << " is not there, or not in this order, in:\n"
                                        << finished.output;
    at = found;
  }
  EXPECT_THAT(finished.output, HasSubstr("6 faults\n"));
  // The start says the same.
  EXPECT_THAT(millrace("serve --config " + file).output, HasSubstr(lines[5]));
}

TEST(Check, SaysOnceWhatIsWrongWithAKey) {
  const Folder folder;
  const std::string file = folder.write("m.json", R"({"listeners": [{"transport": "tls",
      "tls": {"certificate_file": "/no/cert", "key_file": 5,
              "more_certificate_files": ["/no/1", "/no/2"], "more_key_files": "/no/3"}}],
      "access": {"password_file": "/no/passwd", "jwt": {"keys_file": "/no/keys"}}})");
  const Finished finished = millrace("check --config " + file);
  EXPECT_EQ(finished.code, 1);
  for (const char* path :
       {"tls.certificate_file: cannot read", "tls.key_file: must be text", "certificate_files[0]",
        "certificate_files[1]", "tls.more_key_files: must name one key", "more_key_files[0]",
        "access.password_file: cannot read", "access.jwt.keys_file: cannot read"}) {
    EXPECT_THAT(finished.output, HasSubstr(path));
  }
  EXPECT_THAT(finished.output, HasSubstr("8 faults\n"));
}

TEST(Check, SaysThatACertificateCannotBeUsed) {
  const Folder folder;
  const std::string certificate = folder.write("cert.pem", "no certificate");
  const std::string key = folder.write("key.pem", "no key");
  const std::string file = folder.write(
      "m.json", R"({"listeners": [{"transport": "tls", "tls": {"certificate_file": ")" +
                    certificate + R"(", "key_file": ")" + key + R"("}}]})");
  const Finished finished = millrace("check --config " + file);
  EXPECT_EQ(finished.code, 1);
  EXPECT_THAT(
      finished.output,
      HasSubstr("listeners[0].tls.certificate_file: cannot be used: " + certificate + ": "));
}

TEST(Check, WarnsOfWhatIsUnsafe) {
  const Folder folder;
  const std::string users = folder.write("users", "");
  ::chmod(users.c_str(), 0644);
  const Finished finished =
      millrace("check --set listeners[0].host=0.0.0.0 --set access.password_file=" + users);
  EXPECT_EQ(finished.code, 0) << finished.output;
  EXPECT_THAT(finished.output, HasSubstr("access.password_file: every user"));
  EXPECT_THAT(finished.output, HasSubstr("passwords cross the network"));
  ::chmod(users.c_str(), 0600);
  EXPECT_THAT(millrace("check --set access.password_file=" + users).output,
              Not(HasSubstr("every user")));
}

TEST(Check, SuggestsSectionsAndSizes) {
  const Finished finished =
      millrace("check --set acces.password_file=x --set queue.bytes_max='64 MB'");
  EXPECT_EQ(finished.code, 1);
  EXPECT_THAT(finished.output, HasSubstr("did you mean \"access.password_file\"?"));
  EXPECT_THAT(finished.output, HasSubstr("queue.bytes_max: must be a whole number, not \"64 MB\"; "
                                         "did you mean 64000000?"));
  const Folder folder;
  const std::string file = folder.write("m.json", R"({"acces": {}})");
  EXPECT_THAT(millrace("check --config " + file).output,
              HasSubstr("acces: unknown key; did you mean \"access\"?"));
}

TEST(Check, FindsTheFileByItsVariable) {
  const Folder folder;
  const std::string file = folder.write("m.json", R"({"http": {"port": 1234}})");
  const auto finished = test::run("MILLRACE_CONFIG=" + file + " " + MILLRACE_BINARY + " check");
  EXPECT_THAT(finished.output, HasSubstr("http on 127.0.0.1:1234"));
}

TEST(Check, AsksARunningServerForItsHealth) {
  HttpConfig config;
  config.port = 0;
  HttpServer http(config);
  const Metrics metrics;
  std::atomic<bool> ready{true};
  add_standard_routes(http, metrics, [&] { return ready ? "" : "draining"; });
  http.start();
  const std::string port = std::to_string(http.port());
  EXPECT_EQ(millrace("check --health http://127.0.0.1:" + port + "/healthz").code, 0);
  EXPECT_EQ(millrace("check --health --http-port " + port).code, 0);
  ready = false;
  const Finished finished = millrace("check --http-port " + port + " --health");
  EXPECT_EQ(finished.code, 1);
  EXPECT_THAT(finished.output, HasSubstr("503 not ready: draining"));
  http.stop();
  EXPECT_EQ(millrace("check --health http://127.0.0.1:" + port + "/").code, 1);
  EXPECT_EQ(millrace("check --health ftp://x/").code, 2);
}

TEST(Serve, WithAFaultyConfigurationStartsNothing) {
  const Finished finished = millrace("serve --set listeners[0].host=0.0.0.0");
  EXPECT_EQ(finished.code, 1);
  EXPECT_THAT(finished.output, HasSubstr("0.0.0.0 is beyond loopback"));
}

TEST(Passwd, MakesAFileForItsOwnerAlone) {
  const Folder folder;
  const std::string file = folder.path("passwd");
  EXPECT_EQ(test::run("printf 'se cret\\n' | " MILLRACE_BINARY " passwd " + file + " ann").code, 0);
  EXPECT_EQ(millrace("passwd -b -I 5 " + file + " bob b").code, 0);
  std::vector<std::string> faults;
  const auto parsed = PasswordFile::parse(folder.read("passwd"), faults);
  EXPECT_TRUE(faults.empty());
  EXPECT_TRUE(parsed.verify("ann", "se cret"));
  EXPECT_TRUE(parsed.verify("bob", "b"));
  EXPECT_THAT(folder.read("passwd"), HasSubstr("bob:$7$5$"));
  struct stat status {};
  ASSERT_EQ(stat(file.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777u, 0600u);
}

TEST(Passwd, ReplacesRemovesAndStartsAfresh) {
  const Folder folder;
  const std::string file = folder.path("passwd");
  millrace("passwd -b -I 1 " + file + " ann old");
  millrace("passwd -b -I 1 " + file + " ann new");
  std::vector<std::string> faults;
  const auto parsed = PasswordFile::parse(folder.read("passwd"), faults);
  EXPECT_EQ(parsed.size(), 1u);
  EXPECT_TRUE(parsed.verify("ann", "new"));
  EXPECT_EQ(millrace("passwd -D " + file + " ann").code, 0);
  EXPECT_EQ(folder.read("passwd"), "");
  const Finished again = millrace("passwd -D " + file + " ann");
  EXPECT_EQ(again.code, 1);
  EXPECT_THAT(again.output, HasSubstr("there is no user \"ann\""));
  folder.write("passwd", "x:y\n");
  EXPECT_EQ(millrace("passwd -c -b -I 1 " + file + " ann a").code, 0);
  EXPECT_EQ(folder.read("passwd").find("x:y"), std::string::npos);
}

TEST(Passwd, RefusesWhatCannotWork) {
  const Folder folder;
  const std::string file = folder.path("passwd");
  EXPECT_EQ(millrace("passwd " + file).code, 2);
  EXPECT_EQ(millrace("passwd -b " + file + " ann").code, 2);
  EXPECT_EQ(millrace("passwd -b " + file + " a:b c").code, 2);
  EXPECT_EQ(millrace("passwd -b " + file + " ann ''").code, 2);
  EXPECT_EQ(millrace("passwd -b -I 0 " + file + " ann a").code, 2);
  EXPECT_EQ(millrace("passwd " + file + " ann < /dev/null").code, 2);
  EXPECT_EQ(millrace("passwd -b /nonexistent/passwd ann a").code, 1);
}

TEST(Store, FindsNoneInAnotherFolder) {
  const Folder folder;
  folder.write("notes", "");
  const Finished finished = millrace("store check " + folder.path(""));
  EXPECT_EQ(finished.code, 2);
  EXPECT_THAT(finished.output, HasSubstr("no store in "));
  EXPECT_FALSE(std::filesystem::exists(folder.path("lock")));
}

TEST(Passwd, HashesWithArgon2) {
  const Folder folder;
  const std::string file = folder.path("passwd");
  ASSERT_EQ(millrace("passwd --argon2 -b " + file + " ann secret").code, 0);
  EXPECT_THAT(folder.read("passwd"), HasSubstr("ann:$argon2id$v=19$m=19456,t=2,p=1$"));
  EXPECT_EQ(millrace("passwd --argon2 --scram -b " + file + " bob b").code, 2);
  EXPECT_EQ(millrace("passwd --argon2 -I 5 -b " + file + " bob b").code, 2);
  std::vector<std::string> faults;
  const auto parsed = PasswordFile::parse(folder.read("passwd"), faults);
  EXPECT_TRUE(faults.empty());
  EXPECT_TRUE(parsed.verify("ann", "secret"));
}

TEST(Passwd, MakesKeysForScram) {
  const Folder folder;
  const std::string file = folder.path("scram");
  ASSERT_EQ(millrace("passwd --scram -b -I 4096 " + file + " ann secret").code, 0);
  ASSERT_EQ(millrace("passwd --scram -b " + file + " bob b").code, 0);
  EXPECT_EQ(millrace("passwd --scram -b -I 4095 " + file + " cid c").code, 2);
  EXPECT_EQ(millrace("passwd --scram -b " + file + " cid \xc3\xa4").code, 2);
  EXPECT_EQ(folder.read("scram").find("secret"), std::string::npos);
  std::vector<std::string> faults;
  const auto parsed = ScramFile::parse(folder.read("scram"), faults);
  EXPECT_TRUE(faults.empty());
  EXPECT_EQ(parsed.size(), 2u);
  const ScramKeys ann = parsed.keys_of("ann");
  EXPECT_EQ(ann.stored_key, ScramKeys::derive("secret", ann.salt, 4096).stored_key);
  EXPECT_EQ(millrace("check --set access.scram_file=" + file).code, 0);
  ASSERT_EQ(millrace("passwd -b " + file + " dan d").code, 0);  // a password's hash is no key
  const Finished mixed = millrace("check --set access.scram_file=" + file);
  EXPECT_EQ(mixed.code, 1);
  EXPECT_THAT(mixed.output, HasSubstr("access.scram_file: line 3: not keys of SCRAM-SHA-256"));
}

bool has_user(const std::string& text, const char* user) {
  return text.find(std::string(user) + ":$7$") != std::string::npos;
}

TEST(Passwd, LeavesASymbolicLinkAndWritesWhatItPointsTo) {
  const Folder folder;
  folder.write("real", "");
  std::filesystem::create_symlink("real", folder.path("link"));
  std::filesystem::create_symlink("link", folder.path("link2"));
  EXPECT_EQ(millrace("passwd -b -I 1 " + folder.path("link2") + " ann a").code, 0);
  EXPECT_TRUE(std::filesystem::is_symlink(folder.path("link2")));
  EXPECT_TRUE(std::filesystem::is_symlink(folder.path("link")));
  EXPECT_FALSE(std::filesystem::is_symlink(folder.path("real")));
  EXPECT_TRUE(has_user(folder.read("real"), "ann"));
  // One that points nowhere yet, as a fresh volume has it.
  std::filesystem::create_symlink("new", folder.path("link3"));
  EXPECT_EQ(millrace("passwd -b -I 1 " + folder.path("link3") + " bob b").code, 0);
  EXPECT_TRUE(std::filesystem::is_symlink(folder.path("link3")));
  EXPECT_TRUE(has_user(folder.read("new"), "bob"));
}

TEST(Passwd, KeepsAllNamesOfAFile) {
  const Folder folder;
  folder.write("one", "");
  std::filesystem::create_hard_link(folder.path("one"), folder.path("other"));
  EXPECT_EQ(millrace("passwd -b -I 1 " + folder.path("one") + " ann a").code, 0);
  EXPECT_TRUE(has_user(folder.read("other"), "ann"));
}

TEST(Passwd, RewritesAFileThatIsAMountOfItsOwn) {
  if (test::run("unshare -rm true").code != 0) GTEST_SKIP() << "no mounts of one's own here";
  const Folder folder;
  folder.write("source", "a line that is longer than what is written later, and shall go\n");
  folder.write("passwd", "");
  const std::string mounted = folder.path("passwd");
  const Finished finished =
      test::run("unshare -rm sh -c 'mount --bind " + folder.path("source") + " " + mounted +
                " && " + MILLRACE_BINARY + " passwd -c -b -I 1 " + mounted + " ann a && " +
                MILLRACE_BINARY + " passwd -b -I 1 " + mounted + " bob b && " + MILLRACE_BINARY +
                " passwd -D " + mounted + " bob'");
  EXPECT_EQ(finished.code, 0) << finished.output;
  EXPECT_THAT(finished.output, HasSubstr("was rewritten in place"));
  const std::string text = folder.read("source");
  EXPECT_TRUE(has_user(text, "ann"));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
}

TEST(Serve, ListensOnAllAddressesOfBothFamiliesOnOnePort) {
  if (test::run("unshare -rn true").code != 0) GTEST_SKIP() << "no network of one's own here";
  const Folder folder;
  const std::string config = folder.write("m.json", R"({"access": {"allow_anonymous": true},
      "http": {"host": "127.0.0.1"}, "listeners": [
        {"name": "four", "host": "0.0.0.0", "port": 1883},
        {"name": "six", "host": "::", "port": 1883}]})");
  const std::string log = folder.path("log");
  const Finished finished =
      test::run("unshare -rn sh -c 'ip link set lo up; " MILLRACE_BINARY " serve --config " +
                config + " 2>" + log + " & pid=$!; while kill -0 $pid && ! grep -q listener=six " +
                log + "; do sleep 0.05; done; kill $pid; wait $pid'");
  EXPECT_EQ(finished.code, 0) << folder.read("log");
  EXPECT_THAT(folder.read("log"), HasSubstr("listener=six"));
}

TEST(Service, DoesNotGiveUpWhenAnAddressComesLate) {
  std::ifstream unit(MILLRACE_SOURCE_DIR "/deploy/systemd/millrace.service");
  std::ostringstream text;
  text << unit.rdbuf();
  EXPECT_THAT(text.str(), HasSubstr("\nRestart=on-failure\n"));
  EXPECT_THAT(text.str(), HasSubstr("\nStartLimitIntervalSec=0\n"));
}

TEST(Passwd, MosquittoPasswdWorksOnTheFile) {
  if (!test::has_program("mosquitto_passwd")) GTEST_SKIP() << "mosquitto_passwd is not installed";
  const Folder folder;
  const std::string file = folder.path("passwd");
  ASSERT_EQ(millrace("passwd -b -I 101 " + file + " ann a").code, 0);
  const auto finished = test::run("mosquitto_passwd -b " + file + " bob b");
  ASSERT_EQ(finished.code, 0) << finished.output;
  std::vector<std::string> faults;
  const auto parsed = PasswordFile::parse(folder.read("passwd"), faults);
  EXPECT_TRUE(parsed.verify("ann", "a"));
  EXPECT_TRUE(parsed.verify("bob", "b"));
}

TEST(Passwd, MosquittoLetsOurUsersIn) {
  if (!test::has_program("mosquitto")) GTEST_SKIP() << "mosquitto is not installed";
  const Folder folder;
  const std::string file = folder.path("passwd");
  ASSERT_EQ(millrace("passwd -b -I 1000 " + file + " ann secret").code, 0);
  // mosquitto drops root's rights, so that its own user must be able to read.
  chmod(file.c_str(), 0644);
  chmod(folder.path("").c_str(), 0755);
  const std::string socket = folder.path("socket");
  const std::string config =
      folder.write("mosquitto.conf", "listener 0 " + socket + "\nuser root\npassword_file " + file +
                                         "\nallow_anonymous false\n");
  const std::string client = "mosquitto_pub --unix " + socket + " -t a -m b -u ann -P ";
  const Finished finished =
      test::run("mosquitto -c " + config +
                " & pid=$!\n"
                "while [ ! -S " +
                socket + " ] && kill -0 $pid; do sleep 0.05; done\n" + client +
                "secret; echo right=$?\n" + client + "wrong; echo wrong=$?\nkill $pid; wait $pid");
  EXPECT_THAT(finished.output, HasSubstr("right=0"));
  EXPECT_THAT(finished.output, HasSubstr("wrong=5"));
}

}  // namespace
}  // namespace millrace::server
