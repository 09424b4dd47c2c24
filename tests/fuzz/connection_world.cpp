#include "tests/fuzz/connection_world.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include "server/app/limits.hpp"
#include "server/mqtt/connection.hpp"
#include "server/observe/log.hpp"

namespace {

// Far ahead of the real clock: a sleeping thread never wakes by itself.
constexpr std::int64_t start_ns = std::int64_t{1} << 60;
std::int64_t clock_ns = start_ns;

}  // namespace

std::int64_t millrace::broker::Inbox::now_ns() {
  return clock_ns;
}

namespace millrace::server {

namespace {

constexpr std::uint32_t session_expiry_max_s = 100;
constexpr int rounds_max = 100'000;

class Pipe final : public Stream {
 public:
  explicit Pipe(std::shared_ptr<Line> line) : line_(std::move(line)) {}

  void open(StreamUser& user) override {
    line_->user.reset(&user);
    user.on_open();
  }
  IoResult read(std::span<std::uint8_t> into) override {
    if (line_->lost) return {IoStatus::failed};
    auto& bytes = line_->to_server;
    const std::size_t count = std::min({bytes.size(), into.size(), line_->read_max});
    if (count == 0) return {line_->ended ? IoStatus::end : IoStatus::again};
    std::copy_n(bytes.begin(), count, into.begin());
    bytes.erase(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count));
    return {IoStatus::ok, count};
  }
  IoResult write(std::span<const iovec> from) override {
    if (line_->lost) return {IoStatus::failed};
    std::size_t taken = 0;
    for (const iovec& part : from) {
      const std::size_t count = std::min(part.iov_len, line_->write_room);
      const auto* begin = static_cast<const std::uint8_t*>(part.iov_base);
      line_->from_server.insert(line_->from_server.end(), begin, begin + count);
      line_->write_room -= count;
      taken += count;
    }
    return taken > 0 ? IoResult{IoStatus::ok, taken} : IoResult{IoStatus::again};
  }
  void wait_readable() override { line_->wants_read = true; }
  void wait_writable() override { line_->wants_write = true; }
  void post_readable() override { line_->posted = true; }
  void shutdown() override {}
  void close() override {
    line_->closed = true;
    line_->user.reset();
  }
  int fd() override { return -1; }  // its options cannot be set

 private:
  const std::shared_ptr<Line> line_;
};

std::shared_ptr<const Settings> make_settings(OverflowPolicy overflow) {
  Config config;
  config.queue.initial_capacity = 16;
  config.queue.min_capacity = 16;
  config.queue.max_capacity = 64;
  config.processor.batch_max = 8;
  config.connection.read_bytes = 512;
  config.connection.unapplied_bytes = 4096;
  config.connection.unapplied_commands = 16;
  config.packet_bytes_max = 4096;
  config.connect_bytes_max = World::connect_bytes_max;
  config.outbox.credit_bytes = 512;
  config.outbox.latest_credit_bytes = 128;
  config.outbox.control_bytes_max = 256;
  config.adaptive.backlog_bytes = 512;
  config.session.queue_messages = 8;
  config.session.queue_bytes = 2048;
  config.session.overflow = overflow;
  config.session.expiry_max_seconds = session_expiry_max_s;
  config.session.subscriptions_max = 6;
  config.session.count_max = 6;
  config.slots.count_max = 12;
  config.receive_maximum = 4;
  config.inflight_max = 4;
  config.topic_alias_maximum = {3, 3};
  config.mqtt.topic_levels_max = 8;
  config.access.rules = {{AccessEffect::deny, std::nullopt, AccessAction::subscribe, "secret/#"},
                         {AccessEffect::deny, std::nullopt, AccessAction::publish, "read/#",
                          RefusalReason::unspecified}};
  config.access.otherwise = AccessEffect::allow;
  config.log.level = LogLevel::off;
  static const bool logs_nothing = (setup_log(config.log), true);
  static_cast<void>(logs_nothing);
  std::vector<ConfigFault> faults;
  auto access = Access::make(config.access, faults);
  return std::make_shared<const Settings>(Settings{std::move(config), std::move(access)});
}

}  // namespace

World::World(OverflowPolicy overflow)
    : settings_(make_settings(overflow)),
      processor_(processor_limits(settings_->config)),
      inbox_(inbox_limits(settings_->config), processor_),
      listener_(settings_->config.listeners.front()),
      thread_(inbox_, worker_, settings_),
      ticks_ns_(start_ns) {
  clock_ns = start_ns;
}

World::~World() = default;

std::shared_ptr<Line> World::open() {
  auto line = std::make_shared<Line>();
  lines_.push_back(line);
  const boost::intrusive_ptr<Connection> connection(
      new Connection(thread_, listener_, std::make_unique<Pipe>(line)));
  connection->start();
  return line;
}

std::shared_ptr<Line> World::open_link(std::shared_ptr<LinkOwner> owner, Link::Setting setting) {
  auto line = std::make_shared<Line>();
  lines_.push_back(line);
  upstream_sessions_.push_back(setting.plan->session);
  const boost::intrusive_ptr<Link> link(
      new Link(thread_, std::move(owner), std::make_unique<Pipe>(line), std::move(setting)));
  link->start();
  return line;
}

// As Upstream does when it is removed.
void World::forget_upstreams() {
  for (const std::string& name : upstream_sessions_) {
    auto request = std::make_unique<broker::ConnectRequest>();
    request->client_id = name;
    class Nobody final : public broker::OutboxOwner {
      void on_outbox_ready() override {}
    } nobody;
    broker::OutboxRef outbox(new broker::Outbox(thread_.ready_list(), nobody));
    outbox->forget_owner();
    request->keeps = outbox;
    broker::Command commands[] = {
        {outbox.get(), broker::command::Connect{std::move(request)}},
        {outbox.get(),
         broker::command::Close{protocol::ReasonCode::normal_disconnection, std::nullopt}}};
    expect(inbox_.submit(commands) == std::size(commands), "the queue has room at the end");
    run();
  }
}

bool World::move(Line& line) {
  bool moved = false;
  while (line.user) {
    const StreamUserRef keep = line.user;
    const bool readable = line.lost || line.ended || !line.to_server.empty();
    if (line.wants_write && (line.write_room > 0 || line.lost)) {
      line.wants_write = false;
      keep->on_writable();
    } else if (line.wants_read && readable) {
      line.wants_read = false;
      keep->on_readable();
    } else if (line.posted) {
      line.posted = false;
      keep->on_readable();
    } else {
      break;
    }
    moved = true;
  }
  return moved;
}

void World::run() {
  int rounds = 0;
  for (bool moved = true; moved;) {
    moved = false;
    expect(++rounds < rounds_max, "the server comes to rest");
    for (std::size_t i = 0; i < lines_.size(); ++i) moved = move(*lines_[i]) || moved;
    moved = thread_.dispatch_ready() || moved;
    if (!inbox_.idle()) {  // a batch was left to the processor's thread
      inbox_.start();
      inbox_.stop();
      moved = true;
    }
  }
  std::erase_if(lines_, [](const auto& line) { return line->closed; });
}

void World::advance_ms(std::uint32_t ms) {
  clock_ns += std::int64_t{ms} * 1'000'000;
  for (; ticks_ns_ + IoThread::tick_ns <= clock_ns; ticks_ns_ += IoThread::tick_ns) {
    thread_.wheel().advance();
  }
  inbox_.start();  // what is due
  inbox_.stop();
  run();
}

void World::finish() {
  for (const auto& line : lines_) {
    line->write_room = SIZE_MAX;
    line->ended = true;
  }
  run();
  forget_upstreams();
  advance_ms((session_expiry_max_s + 1) * 1000);  // wills that wait, and sessions
  advance_ms(1000);
  const broker::ProcessorStats& stats = processor_.stats();
  expect(lines_.empty() && thread_.resident_count() == 0, "every connection leaves");
  expect(stats.sessions.value() == 0 && stats.sessions_connected.value() == 0,
         "every session ends");
  expect(processor_.index().size() == 0 && stats.shared_groups.value() == 0,
         "subscriptions end with their sessions");
  expect(stats.inflight.value() == 0, "inflight messages are counted");
  expect(stats.pending.value() == 0 && stats.pending_bytes.value() == 0,
         "pending messages are counted");
  expect(stats.slow_sessions.value() == 0, "slow sessions are counted");
  expect(inbox_.queue().len() == 0 && inbox_.queued_bytes() == 0, "the queue is empty");
  expect(processor_.topics().size() <= settings_->config.slots.count_max, "slots are limited");
}

}  // namespace millrace::server
