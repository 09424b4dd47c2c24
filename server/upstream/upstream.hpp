// Upstream: another broker that this server is connected to as a client, for as long as it is
// configured: it finds an address that answers, has a Link there, and when that ends waits a while
// (BackOff) and begins anew, with the address after that (AddressTurns).
//
//     waiting -> resolving -> dialing -> linked -> waiting ...      an address after the other
//
// Its session in the processor (spool_session.hpp) is there before the first link, so that what is
// published meanwhile waits for it, and ends when the upstream is removed.
//
// Its state is at `$SYS/broker/connection/<name>/state`, retained, "1" while the link is up, as
// mosquitto has it for its bridges.
//
// Threads: start(), change() and remove() post to its I/O thread, any thread; stats() and
// is_required() any; the rest on the I/O thread alone.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "server/mqtt/submission.hpp"
#include "server/net/io_thread.hpp"
#include "server/upstream/address_turns.hpp"
#include "server/upstream/back_off.hpp"
#include "server/upstream/dial.hpp"
#include "server/upstream/endpoint.hpp"
#include "server/upstream/link.hpp"
#include "server/upstream/plan.hpp"
#include "server/upstream/stats.hpp"

namespace millrace::server {

class Upstream final : public LinkOwner,
                       public Resident,
                       public std::enable_shared_from_this<Upstream> {
 public:
  Upstream(IoThread& thread, UpstreamPlanRef plan);
  ~Upstream() override;

  void start();
  // A reload: the link begins anew if it has to. One that was removed is back with this.
  void change(UpstreamPlanRef plan);
  // Its link and its session end.
  void remove();

  const UpstreamStats& stats() const { return *stats_; }
  // Its configuration says that the server is not ready without it.
  bool is_required() const { return required_.load(std::memory_order_relaxed); }

  // --- LinkOwner ---
  void on_link_up(const LinkTerms& terms) override;
  void on_link_subscribed() override;
  void on_link_closed(LinkEnd end) override;
  void on_rule_refused(std::string_view filter, std::string_view why) override;

  // --- Resident ---
  void on_due() override;
  void apply_settings() override {}
  void stop_reading() override {}
  void end(Which which) override;
  void abandon() override;

 private:
  enum class State : std::uint8_t {
    preparing,  // its session is not in the queue to the processor yet
    waiting,
    resolving,
    dialing,
    linked,
    leaving,  // it was removed: the end of its session is not in the queue yet
    removed,
    over,  // this server ends
  };
  enum class Announced : std::uint8_t { nothing, down, up, removed };

  void prepare();
  void open_errand(std::unique_ptr<broker::ConnectRequest> request);
  void run_errand();
  void watch_demand();
  void submit_watch();
  void on_demand(std::uint64_t watch, const std::vector<bool>& wanted);
  void begin_round();
  void try_address();
  void on_resolved(Resolved resolved);
  void try_endpoint();
  void on_dialed(int fd);
  void begin_link(int fd);
  void begin_nats_link();
  std::unique_ptr<Stream> make_stream(int fd);
  void attempt_failed(const std::string& why);
  void wait_a_while();
  void stop_trying();
  void apply_change(UpstreamPlanRef plan);
  void begin_anew();
  void note_stale(const UpstreamPlan& before);
  void finish_removal();
  void schedule(std::uint32_t ticks);
  void announce(Announced what);
  bool submit_announcement();

  const UpstreamAddress& address() const { return plan_->addresses[turns_.index()]; }
  const std::string& name() const { return plan_->config.name; }

  IoThread& thread_;
  std::atomic<bool> required_;
  const std::shared_ptr<UpstreamStats> stats_;
  UpstreamPlanRef plan_;
  AddressTurns turns_;  // among those of plan_
  BackOff back_off_;
  Dialect dialect_;
  // What plans before this one had subscribed to, and this one has not.
  std::vector<std::string> stale_here_;
  std::vector<std::string> stale_there_;

  std::string address_text_;        // of the one that is, or was last, tried
  std::deque<Endpoint> endpoints_;  // of the address; the first one is being tried
  std::unique_ptr<Resolving> resolving_;
  std::unique_ptr<Dial> dial_;
  std::shared_ptr<UpstreamLink> link_;

  // What makes or ends its session without a link, until the queue has taken it.
  std::optional<Submission> errand_;

  // What it asks of the processor (broker::Demand), until the queue has taken it; and the answer: by
  // rule, whether anybody here subscribes to something of it.
  std::unique_ptr<broker::WatchRequest> watch_;
  std::uint64_t watch_number_ = 0;
  std::optional<std::vector<bool>> demand_;

  std::set<std::string> failures_;  // since it was up: logged once each
  std::uint32_t due_tick_ = 0;
  std::uint32_t up_since_tick_ = 0;
  State state_ = State::preparing;
  Announced wanted_ = Announced::nothing;
  Announced announced_ = Announced::nothing;
  bool rules_changed_ = false;
  bool subscribed_ = false;    // by the present plan
  bool rule_refused_ = false;  // a rule of the present link
  bool link_was_up_ = false;
  bool begins_anew_ = false;     // the link ends for a change of the configuration
  bool prepares_again_ = false;  // after the errand
  bool removed_ = false;         // from the configuration
};

}  // namespace millrace::server
