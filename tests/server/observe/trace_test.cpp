// Traces: whom they concern, what they keep, and when they end.
#include "server/observe/trace.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <thread>

#include "server/observe/log.hpp"

namespace millrace::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::ElementsAre;
using Kind = TraceSubject::Kind;

const Trace::Clock::time_point start{seconds(1000)};

class TraceTest : public testing::Test {
 protected:
  ~TraceTest() override {
    for (const auto& trace : traces().all()) traces().forget(trace->id);
    setup_log({LogLevel::info, LogFormat::text, 10});
  }
};

Trace trace_of(Kind kind, std::string text) {
  return {1, {kind, std::move(text)}, start + minutes(1)};
}

std::vector<std::string> texts(const Trace& trace, std::uint64_t after = 0) {
  std::vector<std::string> texts;
  for (const TraceEntry& entry : trace.entries(after, SIZE_MAX)) texts.push_back(entry.text);
  return texts;
}

void add(Trace& trace, std::string text, Trace::Clock::time_point now = start) {
  TraceEntry entry;
  entry.text = std::move(text);
  trace.add(std::move(entry), now);
}

void record(std::string_view client, std::string_view address, std::string_view topic,
            std::string text, std::string_view user = "") {
  traces().record(
      TraceKind::received, {client, user}, topic, [&] { return std::string(address); },
      [&] { return text; });
}

TEST_F(TraceTest, WantsWhatItsSubjectIs) {
  EXPECT_TRUE(trace_of(Kind::client, "lamp").wants({"lamp"}, "10.0.0.1", "a"));
  EXPECT_FALSE(trace_of(Kind::client, "lamp").wants({"lamp2"}, "10.0.0.1", "a"));
  EXPECT_TRUE(trace_of(Kind::topic, "a/+").wants({"lamp"}, "10.0.0.1", "a/b"));
  EXPECT_FALSE(trace_of(Kind::topic, "a/+").wants({"lamp"}, "10.0.0.1", "a/b/c"));
  EXPECT_FALSE(trace_of(Kind::topic, "#").wants({"lamp"}, "10.0.0.1", ""));
  EXPECT_TRUE(trace_of(Kind::address, "10.0.0.1").wants({"lamp"}, "10.0.0.1", "a"));
  EXPECT_TRUE(trace_of(Kind::address, "10.0.0.0/8").wants({"lamp"}, "::ffff:10.2.3.4", "a"));
  EXPECT_FALSE(trace_of(Kind::address, "10.0.0.0/8").wants({"lamp"}, "11.0.0.1", "a"));
}

TEST_F(TraceTest, WantsTheClientOfItsUserAlone) {
  const auto wants = [](std::optional<std::string> user, std::string_view of) {
    const Trace trace(1, {Kind::client, "lamp", std::move(user)}, start + minutes(1));
    return trace.wants({"lamp", of}, "10.0.0.1", "a");
  };
  EXPECT_TRUE(wants("ann", "ann"));
  EXPECT_FALSE(wants("ann", "bob"));
  EXPECT_FALSE(wants("ann", ""));
  EXPECT_TRUE(wants("", ""));
  EXPECT_FALSE(wants("", "ann"));
  EXPECT_TRUE(wants(std::nullopt, "ann"));
}

TEST_F(TraceTest, NamesWhatIsNoSubject) {
  EXPECT_EQ(Traces::fault_of({Kind::client, "x"}), "");
  EXPECT_NE(Traces::fault_of({Kind::client, ""}), "");
  EXPECT_EQ(Traces::fault_of({Kind::client, "x", "ann"}), "");
  EXPECT_NE(Traces::fault_of({Kind::topic, "a/#", "ann"}), "");
  EXPECT_EQ(Traces::fault_of({Kind::topic, "a/#"}), "");
  EXPECT_NE(Traces::fault_of({Kind::topic, "a/#/b"}), "");
  EXPECT_EQ(Traces::fault_of({Kind::address, "fd00::/8"}), "");
  EXPECT_NE(Traces::fault_of({Kind::address, "10.0.0"}), "");
}

TEST_F(TraceTest, KeepsTheNewestOfTooManyAndCountsAll) {
  Trace trace = {1, {Kind::client, "x"}, start + minutes(60)};
  for (std::size_t i = 0; i < Trace::entries_max + 3; ++i) {
    add(trace, std::to_string(i), start + milliseconds(2 * i));
  }
  const auto kept = trace.entries(0, SIZE_MAX);
  ASSERT_EQ(kept.size(), Trace::entries_max);
  EXPECT_EQ(kept.front().text, "3");
  EXPECT_EQ(kept.front().sequence, 4u);
  EXPECT_EQ(trace.counts().recorded, Trace::entries_max + 3);
}

TEST_F(TraceTest, HoldsNoMoreThanItsBytes) {
  Trace trace = trace_of(Kind::client, "x");
  const std::string text(Trace::text_bytes_max, 'x');
  for (int second = 0; second < 5; ++second) {
    for (std::uint32_t i = 0; i < Trace::entries_per_second_max; ++i) {
      add(trace, text, start + seconds(second));
    }
  }
  std::size_t bytes = 0;
  for (const TraceEntry& entry : trace.entries(0, SIZE_MAX)) bytes += entry.bytes();
  EXPECT_LE(bytes, Trace::bytes_max);
  EXPECT_GT(bytes, Trace::bytes_max / 2);
}

TEST_F(TraceTest, CutsLongTexts) {
  Trace trace = trace_of(Kind::client, "x");
  add(trace, std::string(70'000, 'x'));
  EXPECT_EQ(texts(trace).front().size(), Trace::text_bytes_max + 3);
}

TEST_F(TraceTest, TakesSoManyASecondAndCountsTheRest) {
  Trace trace = trace_of(Kind::client, "x");
  for (std::uint32_t i = 0; i < Trace::entries_per_second_max + 5; ++i) add(trace, "x");
  EXPECT_EQ(trace.counts().recorded, Trace::entries_per_second_max);
  EXPECT_EQ(trace.counts().skipped, 5u);
  add(trace, "y", start + seconds(1));
  EXPECT_EQ(trace.counts().recorded, Trace::entries_per_second_max + 1);
}

TEST_F(TraceTest, RecordsNothingAfterItsEnd) {
  Trace trace = trace_of(Kind::client, "x");
  add(trace, "before", start + seconds(59));
  add(trace, "after", start + seconds(60));
  EXPECT_THAT(texts(trace), ElementsAre("before"));
}

TEST_F(TraceTest, IsReadFromWhereOneIs) {
  Trace trace = trace_of(Kind::client, "x");
  for (const char* text : {"1", "2", "3", "4"}) add(trace, text);
  EXPECT_THAT(texts(trace, 2), ElementsAre("3", "4"));
  EXPECT_EQ(trace.entries(1, 2).size(), 2u);
  EXPECT_TRUE(texts(trace, 4).empty());
  EXPECT_TRUE(texts(trace, 99).empty());
}

TEST_F(TraceTest, EachGetsWhatConcernsIt) {
  const auto client = traces().start({Kind::client, "lamp"}, minutes(1));
  const auto topic = traces().start({Kind::topic, "a/#"}, minutes(1));
  const auto address = traces().start({Kind::address, "10.0.0.0/8"}, minutes(1));
  record("lamp", "10.0.0.1", "b", "1");
  record("other", "11.0.0.1", "a/b", "2");
  std::thread([] { record("other", "10.0.0.2", "c", "3"); }).join();
  EXPECT_THAT(texts(*client), ElementsAre("1"));
  EXPECT_THAT(texts(*topic), ElementsAre("2"));
  EXPECT_THAT(texts(*address), ElementsAre("1", "3"));
  EXPECT_EQ(client->entries(0, 1).front().address, "10.0.0.1");
}

TEST_F(TraceTest, GetsWhatOthersDoToItsUsersClient) {
  const auto trace = traces().start({Kind::client, "lamp", "ann"}, minutes(1));
  log_debug("of", {{"client", "lamp"}, {"user", "ann"}});
  log_debug("of.another", {{"client", "lamp"}, {"user", "bob"}});
  log_debug("by.another", {{"client", "lamp"}, {"owner", "ann"}, {"user", "bob"}});
  record("lamp", "10.0.0.1", "a", "packet", "ann");
  record("lamp", "10.0.0.1", "a", "other packet", "bob");
  EXPECT_THAT(texts(*trace),
              ElementsAre("debug of user=ann", "debug by.another owner=ann user=bob", "packet"));
  EXPECT_EQ(trace->entries(0, 1).front().user, "ann");
}

TEST_F(TraceTest, IsLookedForOnlyWhileOneRuns) {
  EXPECT_FALSE(tracing());
  const auto first = traces().start({Kind::client, "a"}, seconds(10), start);
  const auto second = traces().start({Kind::client, "b"}, seconds(20), start);
  EXPECT_TRUE(tracing());
  EXPECT_TRUE(traces().end_due(start + seconds(10)));
  EXPECT_TRUE(tracing());
  EXPECT_FALSE(traces().end_due(start + seconds(20)));
  EXPECT_FALSE(tracing());
  EXPECT_EQ(traces().find(first->id), first);  // what it has recorded is still to be read
  const auto third = traces().start({Kind::client, "c"}, minutes(1));
  EXPECT_TRUE(traces().forget(third->id));
  EXPECT_FALSE(traces().forget(third->id));
  EXPECT_FALSE(tracing());
}

TEST_F(TraceTest, AreLimitedAndANewOneTakesThePlaceOfOneThatHasEnded) {
  std::vector<Traces::Ref> all;
  for (std::size_t i = 0; i < Traces::traces_max; ++i) {
    all.push_back(traces().start({Kind::client, "x"}, seconds(i == 3 ? 10 : 60), start));
    ASSERT_NE(all.back(), nullptr);
  }
  EXPECT_EQ(traces().start({Kind::client, "x"}, seconds(10), start + seconds(9)), nullptr);
  EXPECT_NE(traces().start({Kind::client, "x"}, seconds(10), start + seconds(10)), nullptr);
  EXPECT_EQ(traces().find(all[3]->id), nullptr);
  EXPECT_EQ(traces().all().size(), Traces::traces_max);
}

TEST_F(TraceTest, RunsNoLongerThanAnyMay) {
  const auto trace = traces().start({Kind::client, "x"}, std::chrono::hours(1000), start);
  EXPECT_EQ(trace->ends_at, start + Traces::time_max);
}

TEST_F(TraceTest, GetsLinesOfTheLogWhateverItsLevelIs) {
  testing::internal::CaptureStderr();
  setup_log({LogLevel::error, LogFormat::text, 10});
  const auto trace = traces().start({Kind::client, "lamp"}, minutes(1));
  log_debug("an.event", {{"client", "lamp"}, {"peer", "10.0.0.1"}, {"count", 7}});
  log_debug("an.event", {{"client", "other"}});
  log(LogLevel::error, "repeated", {{"client", "lamp"}}, true);
  flush_log();
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  EXPECT_THAT(texts(*trace), ElementsAre("debug an.event count=7", "error repeated"));
  EXPECT_EQ(trace->entries(0, 1).front().address, "10.0.0.1");
}

}  // namespace
}  // namespace millrace::server
