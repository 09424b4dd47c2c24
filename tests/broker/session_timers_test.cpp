#include "core/broker/session_timers.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

#include "tests/broker/parts.hpp"

namespace millrace::broker {
namespace {

using testing::ElementsAre;

constexpr std::int64_t ms = 1'000'000;
constexpr std::int64_t latest_ns = SessionTimers::never_ns - 1;

class Timers : public testing::Test {
 protected:
  Session& expires_at(std::int64_t at_ns) {
    Session& session = parts.client().session;
    session.deadlines.write().expires_at_ns = at_ns;
    parts.timers.reschedule(session, parts.batch);
    return session;
  }
  // Their numbers, in the order in which they are taken out.
  std::vector<std::uint64_t> take_all_due(std::int64_t now_ns) {
    std::vector<std::uint64_t> taken;
    while (Session* session = parts.timers.take_due(now_ns)) taken.push_back(session->number);
    return taken;
  }

  Parts parts;
};

TEST_F(Timers, HaveNobodyForWhomNothingIsDue) {
  Session& session = parts.client().session;
  parts.timers.reschedule(session, parts.batch);
  EXPECT_EQ(parts.timers.next_ns(), SessionTimers::never_ns);
  EXPECT_EQ(parts.timers.take_due(latest_ns), nullptr);
  parts.timers.cancel(session);  // which has no entry
  EXPECT_FALSE(session.deadlines.is_made()) << "most sessions pay nothing for timers";
}

TEST_F(Timers, TakeNobodyOutEarlyAndNobodyTwice) {
  Session& session = expires_at(5000 * ms);
  EXPECT_EQ(parts.timers.next_ns(), 5000 * ms);
  EXPECT_EQ(parts.timers.take_due(5000 * ms - 1), nullptr);
  EXPECT_EQ(parts.timers.take_due(5000 * ms), &session);
  EXPECT_EQ(parts.timers.take_due(latest_ns), nullptr);
  EXPECT_EQ(parts.timers.next_ns(), SessionTimers::never_ns);
}

TEST_F(Timers, TakeOutWhoIsDueFirstAndOfThoseTheOldestSession) {
  expires_at(30);
  expires_at(20);
  expires_at(30);
  expires_at(10);
  expires_at(20);
  EXPECT_THAT(take_all_due(20), ElementsAre(4, 2, 5));
  EXPECT_THAT(take_all_due(30), ElementsAre(1, 3));
}

TEST_F(Timers, GoByTheEarliestOfWhatASessionWaitsFor) {
  Session& session = expires_at(300);
  session.deadlines.write().will_at_ns = 200;
  parts.timers.reschedule(session, parts.batch);
  EXPECT_EQ(parts.timers.next_ns(), 200);
  session.deferred.write().rate_limits.note_sent({1, 1}, 100, 10);
  parts.timers.reschedule(session, parts.batch);
  EXPECT_EQ(parts.timers.next_ns(), 100);
  EXPECT_THAT(take_all_due(latest_ns), ElementsAre(1)) << "one entry, however often it was entered";
}

TEST_F(Timers, EnterWhoWasTakenOutTooEarlyForWhatIsStillDue) {
  Session& session = expires_at(100);
  session.deadlines.write().expires_at_ns = 500;
  parts.timers.reschedule(session, parts.batch);
  EXPECT_LE(parts.timers.next_ns(), 500);
  for (const std::uint64_t number : take_all_due(499)) {
    EXPECT_EQ(number, session.number);
    parts.timers.reschedule(session, parts.batch);
  }
  EXPECT_EQ(parts.timers.next_ns(), 500);
  EXPECT_EQ(take_all_due(500).size(), 1u);
}

TEST_F(Timers, ForgetWhoEnds) {
  Session& session = expires_at(100);
  Session& other = expires_at(100);
  parts.timers.cancel(session);
  parts.timers.cancel(session);
  EXPECT_EQ(session.deadlines.read().timer_ns, 0);
  EXPECT_EQ(parts.timers.take_due(latest_ns), &other);
  EXPECT_EQ(parts.timers.take_due(latest_ns), nullptr);
}

TEST_F(Timers, LookAtAnAdaptiveBacklogWhenItsOldestBecomesStale) {
  Client& client = parts.client();
  PendingEntry oldest = waiting(message("a", "1"), 1);
  oldest.since_ns = parts.now_ns - 200 * ms;
  client.session.pending.push_adaptive(oldest);
  client.session.pending.push_adaptive(waiting(message("a", "2"), 1));
  client.lose_connection();
  parts.timers.reschedule(client.session, parts.batch);
  EXPECT_EQ(parts.timers.next_ns(), SessionTimers::never_ns) << "nobody reads, so nobody is slow";
  client.connect();
  parts.timers.reschedule(client.session, parts.batch);
  EXPECT_EQ(parts.timers.next_ns(), parts.now_ns + 800 * ms);
}

TEST_F(Timers, LookAtACollapsedBacklogWhenItsSocketHasBeenCalm) {
  Session& session = parts.client().session;
  session.pending.push_adaptive(waiting(message("a", "1")));
  session.pending.collapse();
  session.pending.note_blocked(parts.now_ns);
  parts.next_batch(1000 * ms - 1);
  parts.timers.reschedule(session, parts.batch);
  EXPECT_EQ(parts.timers.next_ns(), parts.now_ns + 1);
  EXPECT_EQ(parts.timers.take_due(parts.now_ns + 1), &session);
  parts.next_batch(1);
  parts.timers.reschedule(session, parts.batch);
  EXPECT_EQ(parts.timers.next_ns(), SessionTimers::never_ns)
      << "what drains is looked at by itself";
}

TEST_F(Timers, LookAtNewestValuesWithoutCreditWhenTheirAgeMakesTheSessionSlow) {
  Client& client = parts.client();
  Session& session = client.session;
  PendingEntry oldest = waiting(message("a", "1"));
  oldest.since_ns = parts.now_ns - 200 * ms;
  session.pending.push_cell(oldest);
  parts.timers.reschedule(session, parts.batch);
  EXPECT_EQ(parts.timers.next_ns(), SessionTimers::never_ns) << "with credit it is served at once";
  client.outbox->outstanding_bytes = 1 << 20;
  session.counted_slow = true;
  parts.timers.reschedule(session, parts.batch);
  EXPECT_EQ(parts.timers.next_ns(), SessionTimers::never_ns) << "it counts as slow already";
  session.counted_slow = false;
  parts.timers.reschedule(session, parts.batch);
  EXPECT_EQ(parts.timers.next_ns(), parts.now_ns + 800 * ms);
}

// Whatever changes, in whatever order: each is taken out no later than it is due.
TEST_F(Timers, AreNeverLate) {
  std::minstd_rand random(11);
  const auto below = [&](std::uint32_t end) { return static_cast<std::int64_t>(random() % end); };
  constexpr std::size_t count = 20;
  for (std::size_t i = 0; i < count; ++i) parts.client();
  std::int64_t now_ns = 0;
  std::size_t were_due = 0;
  for (int round = 0; round < 5000; ++round) {
    Session& session = parts.clients[static_cast<std::size_t>(below(count))]->session;
    Deadlines& deadlines = session.deadlines.write();
    switch (below(4)) {
      case 0:
        parts.timers.cancel(session);
        deadlines.will_at_ns = deadlines.expires_at_ns = 0;
        break;
      case 1:
        deadlines.will_at_ns = now_ns + 1 + below(50);
        break;
      default:
        deadlines.expires_at_ns = now_ns + 1 + below(200);
    }
    parts.timers.reschedule(session, parts.batch);
    now_ns += below(3);
    std::map<std::uint64_t, int> taken;
    while (Session* due = parts.timers.take_due(now_ns)) {
      ASSERT_EQ(++taken[due->number], 1) << "twice at one time";
      Deadlines& of_due = due->deadlines.write();
      for (std::int64_t* at : {&of_due.will_at_ns, &of_due.expires_at_ns}) {
        if (*at == 0 || *at > now_ns) continue;
        *at = 0;
        ++were_due;
      }
      parts.timers.reschedule(*due, parts.batch);
    }
    for (const auto& client : parts.clients) {
      const Deadlines& of_client = client->session.deadlines.read();
      ASSERT_TRUE(of_client.will_at_ns == 0 || of_client.will_at_ns > now_ns);
      ASSERT_TRUE(of_client.expires_at_ns == 0 || of_client.expires_at_ns > now_ns);
    }
  }
  EXPECT_GT(were_due, 100u);
}

}  // namespace
}  // namespace millrace::broker
