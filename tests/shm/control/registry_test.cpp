// The registry of the control socket: which requests of a consumer it refuses.
#include "core/shm/control/registry.hpp"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "tests/shm/no_more_descriptors.hpp"

namespace millrace::shm {
namespace {

class Consumers : public ::testing::Test, public Registry::Watcher {
 protected:
  void feed_made(Feed&) override {}
  void feed_ends(Feed&) override {}
  std::unique_ptr<NewestWalk> walk_newest(const std::vector<std::string>&) override {
    return nullptr;
  }
  bool newest(std::string_view, std::string_view, std::string&, std::uint8_t&) override {
    return false;
  }

  // Attaches a consumer, as one that has mapped its page. Why not, or nullopt.
  std::optional<Refusal> attach(std::string name, std::vector<std::string> after) {
    const auto refused = answer(std::move(name), std::move(after));
    return refused ? std::optional(refused->reason) : std::nullopt;
  }
  std::optional<Refused> answer(std::string name, std::vector<std::string> after,
                                std::string filter = "#") {
    registry.handle(++client,
                    AttachRequest{Policy::lossy, StartAt::now, false, {filter}, name, after},
                    now_ns);
    registry.handle(client, MappedNotice{}, now_ns);
    ReplyParser parser;
    parser.feed(std::as_bytes(std::span(registry.take_outgoing().at(0).bytes)));
    const auto reply = parser.next();
    const auto* refused = std::get_if<Refused>(&reply->reply);
    return refused ? std::optional(*refused) : std::nullopt;
  }

  static constexpr std::uint64_t now_ns = 1;
  ClientId client = 0;
  Registry registry{{}, *this};
};

TEST_F(Consumers, OneWithANameMayBeFollowed) {
  EXPECT_EQ(attach("a", {}), std::nullopt);
  EXPECT_EQ(attach("b", {"a"}), std::nullopt);
  EXPECT_EQ(attach("c", {"x"}), Refusal::unknown_consumer);
}

// A follower is given the page of the one before it, which expects that only if it has a name.
TEST_F(Consumers, OneWithoutANameMayNotBeFollowed) {
  EXPECT_EQ(attach("", {}), std::nullopt);
  EXPECT_EQ(attach("b", {""}), Refusal::unknown_consumer);
}

TEST_F(Consumers, AreToldWhyTheSystemRefusesWhatTheyNeed) {
  // UBSan opens a pipe for its first look at a type's virtual table, so that look comes before.
  ASSERT_EQ(attach("", {}), std::nullopt);
  for (const std::string filter : {"#", "a ring that is not there yet"}) {
    std::optional<Refused> refused;
    {
      const test::NoMoreDescriptors limit;
      refused = answer("", {}, filter);
    }
    ASSERT_TRUE(refused);
    EXPECT_EQ(refused->reason, Refusal::no_memory);
    EXPECT_NE(refused->text.find("Too many open files"), std::string::npos) << refused->text;
  }
}

}  // namespace
}  // namespace millrace::shm
