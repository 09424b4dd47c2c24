#include "core/broker/largest_sessions.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/broker/world.hpp"

namespace millrace::broker {
namespace {

// Sessions as the processor makes them, in a list of the test's own.
struct LargestSessionsTest : testing::Test {
  // Holds as much as its identifier is long, or more.
  Session& session(std::size_t bytes, char name) {
    Session& made = *sessions_.emplace_back(std::make_unique<Session>());
    made.client_id = std::string(bytes, name);
    made.number = ++number_;
    return made;
  }
  void TearDown() override {
    for (const auto& one : sessions_) {
      one->ended = true;
      largest.note(*one);
    }
    EXPECT_EQ(largest.largest(), nullptr);
    EXPECT_EQ(largest.largest_offline(), nullptr);
  }

  LargestSessions largest;

 private:
  std::vector<std::unique_ptr<Session>> sessions_;
  std::uint64_t number_ = 0;
};

TEST_F(LargestSessionsTest, WhoHoldsLittleIsNotListed) {
  largest.note(session(LargestSessions::listed_bytes_min - 1, 'a'));
  EXPECT_EQ(largest.largest(), nullptr);
}

TEST_F(LargestSessionsTest, ThatOfALinkIsNotListedByWhatItHolds) {
  Session& of_link = session(8192, 'a');
  of_link.origin = 3;
  largest.note(of_link);
  EXPECT_EQ(largest.largest(), nullptr);
  EXPECT_EQ(largest.largest_offline(), nullptr);
  of_link.origin = 0;  // a client has taken it over
  largest.note(of_link);
  EXPECT_EQ(largest.largest(), &of_link);
}

TEST_F(LargestSessionsTest, OfAsLargeOnesTheFirstThatWasMadeComesFirst) {
  Session& first = session(8192, 'a');
  Session& second = session(8192, 'b');
  largest.note(second);
  largest.note(first);
  EXPECT_EQ(largest.largest(), &first);
  EXPECT_EQ(largest.largest_offline(), &first);
}

TEST_F(LargestSessionsTest, OneWithAConnectionIsAmongAllButNotAmongThoseWithout) {
  Session& offline = session(8192, 'a');
  Session& connected = session(32'768, 'b');
  World world;
  const OutboxRef outbox = world.peer("c").outbox;
  connected.outbox = outbox;
  largest.note(offline);
  largest.note(connected);
  EXPECT_EQ(largest.largest(), &connected);
  EXPECT_EQ(largest.largest_offline(), &offline);

  connected.outbox.reset();
  largest.note(connected);
  EXPECT_EQ(largest.largest_offline(), &connected);
  offline.outbox = outbox;
  largest.note(offline);
  EXPECT_EQ(largest.largest(), &connected);
  offline.outbox.reset();
}

}  // namespace
}  // namespace millrace::broker
