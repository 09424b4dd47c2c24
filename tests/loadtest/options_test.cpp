#include "loadtest/options.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace millrace::loadtest {
namespace {

Options parse(std::vector<const char*> words) {
  words.insert(words.begin(), "millrace-load");
  return parse_options(static_cast<int>(words.size()), words.data()).value();
}

std::string fault_of(const std::vector<const char*>& words) {
  try {
    parse(words);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Options, GiveEachScenarioItsOwnShape) {
  const Options fanin = parse({"fanin"});
  EXPECT_EQ(fanin.publishers, 4u);
  EXPECT_EQ(fanin.topics, 100u);
  EXPECT_EQ(fanin.in_flight, 4000u);
  EXPECT_TRUE(fanin.rates_per_s.empty());
  const Options qos1 = parse({"qos1"});
  EXPECT_EQ(qos1.qos, 1);
  EXPECT_EQ(qos1.subscribe_qos, 1);
  EXPECT_EQ(qos1.unacked, 20u);
  EXPECT_EQ(qos1.in_flight, 0u);
  const Options latency = parse({"latency"});
  EXPECT_THAT(latency.rates_per_s, testing::ElementsAre(5000.0));
}

TEST(Options, LetTheCommandLineOverrideTheScenario) {
  const Options o = parse({"fanin", "--payload", "1024", "--in-flight=2000", "-p", "4242", "--mqtt",
                           "5", "--transport", "wss", "--insecure"});
  EXPECT_EQ(o.payload_bytes, 1024u);
  EXPECT_EQ(o.in_flight, 2000u);
  EXPECT_EQ(o.port, 4242);
  EXPECT_EQ(o.mqtt, MqttVersion::v5);
  EXPECT_EQ(o.transport, TransportKind::wss);
}

TEST(Options, LetThePublishersGoAnotherWay) {
  const Options options = parse({"fresh", "--publish-host", "10.91.2.1", "--publish-port", "1884"});
  EXPECT_EQ(options.host, "127.0.0.1");
  EXPECT_EQ(options.publish_host, "10.91.2.1");
  EXPECT_EQ(options.publish_port, 1884);
}

TEST(Options, TakeThePortFromTheTransport) {
  EXPECT_EQ(parse({"one2one"}).port, 1883);
  EXPECT_EQ(parse({"one2one", "--transport", "tls"}).port, 8883);
  EXPECT_EQ(parse({"one2one", "--transport", "ws"}).port, 8083);
}

TEST(Options, ARateMakesAnyStreamAnOpenLoop) {
  const Options o = parse({"one2one", "--rate", "1000,2500.5"});
  EXPECT_THAT(o.rates_per_s, testing::ElementsAre(1000.0, 2500.5));
  EXPECT_EQ(o.in_flight, 0u);
}

TEST(Options, AMessageCountNeedsNoWarmup) {
  EXPECT_EQ(parse({"one2one", "--messages", "10"}).warmup_s, 0);
  EXPECT_EQ(parse({"one2one", "--messages", "10", "--warmup", "2"}).warmup_s, 2);
}

TEST(Options, SubscribeAtTheQosOfThePublishesUnlessTold) {
  EXPECT_EQ(parse({"one2one", "--qos", "2"}).subscribe_qos, 2);
  EXPECT_EQ(parse({"one2one", "--qos", "2", "--subscribe-qos", "0"}).subscribe_qos, 0);
}

TEST(Options, KeepTheSessionsOfSubscribersIfTold) {
  EXPECT_FALSE(parse({"qos1"}).is_kept);
  EXPECT_TRUE(parse({"qos1", "--kept"}).is_kept);
}

TEST(Options, RefuseWhatHasNoMeaningInTheScenario) {
  EXPECT_THAT(fault_of({"connect", "--kept"}), testing::HasSubstr("--kept"));
  EXPECT_THAT(fault_of({"one2one", "--pause", "3"}), testing::HasSubstr("--pause"));
  EXPECT_THAT(fault_of({"connect", "--payload", "64"}), testing::HasSubstr("--payload"));
  EXPECT_THAT(fault_of({"latency", "--in-flight", "10"}), testing::HasSubstr("--in-flight"));
  EXPECT_THAT(fault_of({"idle", "--pid", "1", "--retain"}), testing::HasSubstr("--retain"));
  EXPECT_THAT(fault_of({"fanin", "--churn", "1"}), testing::HasSubstr("--churn"));
  EXPECT_THAT(fault_of({"one2one", "--unacked", "5"}), testing::HasSubstr("--unacked"));
  EXPECT_THAT(fault_of({"one2one", "--cafile", "x"}), testing::HasSubstr("--cafile"));
  EXPECT_THAT(fault_of({"one2one", "--ws-path", "/x"}), testing::HasSubstr("--ws-path"));
  EXPECT_THAT(fault_of({"soak", "--rate", "1,2"}), testing::HasSubstr("--rate"));
}

TEST(Options, RefuseWhatBreaksARule) {
  EXPECT_NE(fault_of({}), "accepted");
  EXPECT_NE(fault_of({"nonsense"}), "accepted");
  EXPECT_NE(fault_of({"one2one", "--nonsense"}), "accepted");
  EXPECT_NE(fault_of({"one2one", "more"}), "accepted");
  EXPECT_NE(fault_of({"one2one", "--payload", "31"}), "accepted");
  EXPECT_NE(fault_of({"one2one", "--qos", "3"}), "accepted");
  EXPECT_NE(fault_of({"one2one", "--qos", "-1"}), "accepted");
  EXPECT_NE(fault_of({"one2one", "--publishers", "0"}), "accepted");
  EXPECT_NE(fault_of({"one2one", "--in-flight", "0"}), "accepted");
  EXPECT_NE(fault_of({"one2one", "--rate", "fast"}), "accepted");
  EXPECT_NE(fault_of({"one2one", "--rate", "-5"}), "accepted");
  EXPECT_NE(fault_of({"one2one", "--rate", "5", "--in-flight", "5"}), "accepted");
  EXPECT_NE(fault_of({"one2one", "--duration", "0"}), "accepted");
  EXPECT_NE(fault_of({"one2one", "--topic-prefix", "a/#"}), "accepted");
  EXPECT_NE(fault_of({"one2one", "--user-property", "a=b"}), "accepted");
  EXPECT_NE(fault_of({"one2one", "--mqtt", "5", "--user-property", "ab"}), "accepted");
  EXPECT_NE(fault_of({"one2one", "--password", "x"}), "accepted");
  EXPECT_NE(fault_of({"one2one", "--pid", "1", "--cgroup", "/x"}), "accepted");
  EXPECT_NE(fault_of({"idle"}), "accepted");
  EXPECT_EQ(fault_of({"qos1", "--in-flight", "0"}), "accepted");
}

TEST(Options, HelpNamesEveryScenario) {
  const std::string help = help_text();
  for (const char* name : {"one2one", "fanin", "fanout", "qos1", "latency", "slow", "fresh", "idle",
                           "connect", "soak"}) {
    EXPECT_THAT(help, testing::HasSubstr(std::string("\n  ") + name));
  }
}

}  // namespace
}  // namespace millrace::loadtest
