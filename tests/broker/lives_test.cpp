// The processor with a store, and clients that know what they were promised: killed at any moment,
// with a disk that has what it committed and perhaps some more; and with the store's files, through a
// loss of power before each change of the folder.
#include <gtest/gtest.h>

#include <memory>
#include <random>

#include "tests/broker/server_on_files.hpp"
#include "tests/broker/two_clients.hpp"
#include "tests/broker/world.hpp"
#include "tests/store/faulty_files.hpp"
#include "tests/store/version_1.hpp"

namespace millrace::broker {
namespace {

using Unflushed = store::FaultyFiles::Unflushed;

// One of the things that clients do, in a mix that leaves much under way.
void do_something(TwoClients& clients, std::mt19937_64& random) {
  switch (random() % 9) {
    case 0:
      if (random() % 4 == 0) clients.reconnect_reader();
      break;
    case 1:
      if (random() % 4 == 0) clients.reconnect_sender();
      break;
    case 2:
    case 3:
    case 4:
      clients.publish();
      break;
    case 5:
    case 6:
      clients.read();
      break;
    default:
      clients.hear();
  }
}

// --- Kills ---------------------------------------------------------------------------------------

class Lives {
 public:
  explicit Lives(std::uint64_t seed) : random_(seed), clients_(seed) {
    world_.open_store();
    world_.commits = [this] { return random_() % 4 == 0; };
    clients_.begin(world_);
    world_.commit();
  }

  void run() {
    for (int step = 0; step < 600; ++step) {
      if (random_() % 40 == 0) {
        restart();
      } else {
        do_something(clients_, random_);
      }
    }
    world_.commits = nullptr;
    restart();
    for (int round = 0; round < 20; ++round) {
      world_.run_until_idle();
      clients_.hear();
      clients_.read();
    }
    ASSERT_EQ(clients_.broken_promise(), "");
    ASSERT_GT(clients_.acknowledged(), 20u);
  }

 private:
  void restart() {
    const std::uint64_t committed = world_.log->committed;
    world_.end_batch();
    const std::uint64_t more = world_.log->appended() - committed;
    world_.restart(0, nullptr, committed + (more == 0 ? 0 : random_() % (more + 1)));
    clients_.go_on(world_);
  }

  std::mt19937_64 random_;
  World world_;
  TwoClients clients_;
};

TEST(Lives, NothingAcknowledgedIsLostAndQoS2ComesOnceWheneverTheProcessIsKilled) {
  for (std::uint64_t seed = 1; seed <= 150; ++seed) {
    Lives(seed).run();
    if (testing::Test::HasFailure()) FAIL() << "seed " << seed;
  }
}

// --- A store of a version before ------------------------------------------------------------------

TEST(Version, TheStateOfAStoreOfVersion1ComesBack) {
  store::FaultyFiles files;
  using store::version_1::bytes_of_hex;
  files.set_content("snapshot-0000000000000003", bytes_of_hex(store::version_1::snapshot));
  files.set_content("log-0000000000000004", bytes_of_hex(store::version_1::log));
  ServerOnFiles server(files);
  EXPECT_EQ(server.recovery().damaged_places, 0u);
  World& world = server.world();
  EXPECT_EQ(world.restored.sessions, 1u);
  EXPECT_EQ(world.restored.subscriptions, 1u);
  EXPECT_EQ(world.restored.messages, 2u);
  EXPECT_EQ(world.restored.retained, 1u);
  EXPECT_EQ(world.restored.newest, 1u);
  EXPECT_EQ(world.restored.orphans, 0u);
  Peer& reader = world.peer("reader", protocol::Version::v5).connect(false, 3600);
  ASSERT_TRUE(server.commit());
  EXPECT_EQ(reader.read().payloads(), (std::vector<std::string>{"sent", "waits"}));
  EXPECT_EQ(reader.session_present, true);
  EXPECT_EQ(reader.got.at(0).packet_id, 9);
  EXPECT_TRUE(reader.got.at(0).duplicate);
  Peer& plain = world.peer("plain").connect().subscribe("#");
  EXPECT_EQ(plain.read().payloads(), std::vector<std::string>{"kept"});
}

// --- Losses of power -----------------------------------------------------------------------------

class PowerLoss : public testing::TestWithParam<Unflushed> {
 protected:
  // `failures`: calls fail now and then.
  void live(std::uint64_t seed, bool failures) {
    store::FaultyFiles files;
    std::mt19937_64 random(seed);
    TwoClients clients(seed);
    ServerOnFiles server(files);
    clients.begin(server.world());
    ASSERT_TRUE(server.commit());
    files.before_change = [&] {
      lose_power(files, clients, random);
      const bool fails = failures && random() % 40 == 0;
      return fails ? std::make_error_code(std::errc::io_error) : std::error_code();
    };
    bool goes_on = true;
    for (int step = 0; step < 300 && goes_on && !HasFailure(); ++step) {
      do_something(clients, random);
      if (random() % 3 == 0) goes_on = server.commit();
    }
    lose_power(files, clients, random);
    files.before_change = nullptr;
    compactions_ += server.compactions();
  }

  // The clients go on with a server that finds what is left.
  void lose_power(const store::FaultyFiles& files, TwoClients clients, std::mt19937_64& random) {
    if (HasFailure()) return;
    ++losses_;
    const auto left = files.after_crash(GetParam(), random);
    ServerOnFiles server(*left);
    ASSERT_EQ(server.recovery().damaged_places, 0u);
    clients.go_on(server.world());
    for (int round = 0; round < 20; ++round) {
      server.world().run_until_idle();
      ASSERT_TRUE(server.commit());
      clients.hear();
      clients.read();
    }
    ASSERT_EQ(clients.broken_promise(), "") << "loss " << losses_;
  }

  int losses_ = 0;
  int compactions_ = 0;
};

TEST_P(PowerLoss, CostsNothingThatWasAcknowledgedAtEachChangeOfTheFolder) {
  for (std::uint64_t seed = 1; seed <= 4 && !HasFailure(); ++seed) live(seed, false);
  EXPECT_GT(losses_, 400);
  EXPECT_GT(compactions_, 3);
}

TEST_P(PowerLoss, CostsNothingThatWasAcknowledgedWhereCallsFailToo) {
  for (std::uint64_t seed = 1; seed <= 8 && !HasFailure(); ++seed) live(seed, true);
}

INSTANTIATE_TEST_SUITE_P(Unflushed, PowerLoss,
                         testing::Values(Unflushed::lost, Unflushed::kept, Unflushed::torn,
                                         Unflushed::in_part));

}  // namespace
}  // namespace millrace::broker
