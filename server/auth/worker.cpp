#include "server/auth/worker.hpp"

#include <algorithm>
#include <utility>

#include "server/auth/crypto.hpp"

namespace millrace::server {

class Worker::Waiting {
 public:
  Login login;
  Check check;
  Refused refused;
  bool held_back = false;
};

namespace {

// A name is the peer's to choose, and may be as long as a packet: what is kept of it is short.
constexpr std::size_t user_bytes_max = 64;

void bring_to_form(Login& login) {
  login.address = address_group(login.address);
  if (login.user.size() > user_bytes_max) login.user = digest(Digest::sha256, login.user);
}

}  // namespace

Worker::Worker() : thread_([this] { run(); }) {}

std::list<Worker::Line>::iterator Worker::line_of(const std::string& address) {
  return std::find_if(lines_.begin(), lines_.end(),
                      [&](const Line& line) { return line.address == address; });
}

std::size_t Worker::count_held_back(const Line& line) {
  return static_cast<std::size_t>(std::count_if(line.tickets.begin(), line.tickets.end(),
                                                [](const Ticket& one) { return one->held_back; }));
}

bool Worker::evict_held_back() {
  auto most = lines_.end();
  std::size_t count = 0;
  for (auto line = lines_.begin(); line != lines_.end(); ++line) {
    const std::size_t here = count_held_back(*line);
    if (here > count) most = line, count = here;
  }
  if (most == lines_.end()) return false;
  const auto last = std::find_if(most->tickets.rbegin(), most->tickets.rend(),
                                 [](const Ticket& one) { return one->held_back; });
  refused_.push_back(std::move(*last));
  most->tickets.erase(std::next(last).base());
  if (most->tickets.empty()) lines_.erase(most);
  waiting_.fetch_sub(1, std::memory_order_relaxed);
  return true;
}

Worker::Ticket Worker::post(std::size_t limit, Login login, Check check, Refused refused) {
  bring_to_form(login);
  const std::lock_guard lock(mutex_);
  if (stopping_) return nullptr;
  const bool held_back = due(login) > Clock::now();
  auto line = line_of(login.address);
  const std::size_t of_address = line == lines_.end() ? 0 : line->tickets.size();
  if (of_address >= limit - limit / 4) return nullptr;
  if (held_back && line != lines_.end() && count_held_back(*line) >= held_back_max) return nullptr;
  if (waiting() >= limit && (held_back || !evict_held_back())) return nullptr;
  auto ticket = std::make_shared<Waiting>();
  ticket->login = std::move(login);
  ticket->check = std::move(check);
  ticket->refused = std::move(refused);
  ticket->held_back = held_back;
  if (held_back) delayed_.fetch_add(1, std::memory_order_relaxed);
  line = line_of(ticket->login.address);  // its line may have gone with the one that was evicted
  Line& found = line != lines_.end() ? *line : lines_.emplace_back(Line{ticket->login.address, {}});
  found.tickets.push_back(ticket);
  waiting_.fetch_add(1, std::memory_order_relaxed);
  changed_.notify_one();
  return ticket;
}

void Worker::cancel(const Ticket& ticket) {
  Check dropped;  // destroyed outside the lock
  Refused dropped_too;
  const std::lock_guard lock(mutex_);
  const auto line = line_of(ticket->login.address);
  if (line == lines_.end() || std::erase(line->tickets, ticket) == 0) return;
  dropped = std::move(ticket->check);
  dropped_too = std::move(ticket->refused);
  if (line->tickets.empty()) lines_.erase(line);
  waiting_.fetch_sub(1, std::memory_order_relaxed);
}

bool Worker::must_wait(Login login) const {
  bring_to_form(login);
  const std::lock_guard lock(mutex_);
  return due(login) > Clock::now();
}

void Worker::note(Login login, bool right) {
  bring_to_form(login);
  const std::lock_guard lock(mutex_);
  learn(login, right);
}

Worker::Clock::time_point Worker::due(const Login& login) const {
  return std::max(delays_.address_due(login.address), delays_.user_due(login));
}

void Worker::learn(const Login& login, bool right) {
  if (right) {
    delays_.note_success(login, Clock::now());
  } else {
    delays_.note_failure(login, Clock::now());
  }
}

void Worker::set_delay_max(std::chrono::milliseconds max) {
  const std::lock_guard lock(mutex_);
  delays_.set_delay_max(max);
  changed_.notify_one();
}

Worker::Ticket Worker::take_next(Clock::time_point now, Clock::time_point& due) {
  due = Clock::time_point::max();
  for (auto line = lines_.begin(); line != lines_.end(); ++line) {
    const Clock::time_point address_due = delays_.address_due(line->address);
    std::size_t held_back = 0;
    for (auto at = line->tickets.begin(); at != line->tickets.end();) {
      const Clock::time_point ticket_due = std::max(address_due, delays_.user_due((*at)->login));
      if (ticket_due <= now) {
        Ticket ticket = std::move(*at);
        line->tickets.erase(at);
        lines_.splice(lines_.end(), lines_, line);
        if (line->tickets.empty()) lines_.erase(line);
        return ticket;
      }
      if (!std::exchange((*at)->held_back, true)) delayed_.fetch_add(1, std::memory_order_relaxed);
      due = std::min(due, ticket_due);
      if (++held_back <= held_back_max) {
        ++at;
        continue;
      }
      refused_.push_back(std::move(*at));  // they came before the failures that delay them
      at = line->tickets.erase(at);
      waiting_.fetch_sub(1, std::memory_order_relaxed);
    }
  }
  return nullptr;
}

void Worker::run_refused(std::unique_lock<std::mutex>& lock) {
  const std::vector<Ticket> refused = std::exchange(refused_, {});
  lock.unlock();
  for (const Ticket& ticket : refused) {
    if (ticket->refused) ticket->refused();
    ticket->check = nullptr;
    ticket->refused = nullptr;
  }
  lock.lock();
}

void Worker::run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    Clock::time_point due;
    const Ticket ticket = take_next(Clock::now(), due);
    if (!refused_.empty()) run_refused(lock);
    if (!ticket) {
      if (stopping_) break;
      if (due == Clock::time_point::max()) {
        changed_.wait(lock);
      } else {
        changed_.wait_until(lock, due);
      }
      continue;
    }
    lock.unlock();
    const bool right = ticket->check();
    ticket->check = nullptr;  // what it holds is released on this thread, and now
    ticket->refused = nullptr;
    lock.lock();
    waiting_.fetch_sub(1, std::memory_order_relaxed);
    done_.fetch_add(1, std::memory_order_relaxed);
    learn(ticket->login, right);
  }
}

void Worker::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
  std::list<Line> lines;
  std::vector<Ticket> refused;
  {
    const std::lock_guard lock(mutex_);
    lines.swap(lines_);
    refused.swap(refused_);
  }
  for (Line& line : lines) refused.insert(refused.end(), line.tickets.begin(), line.tickets.end());
  // A check and the object that asked for it may hold references to each other.
  for (const Ticket& ticket : refused) {
    const Check dropped = std::move(ticket->check);
    const Refused dropped_too = std::move(ticket->refused);
  }
}

std::vector<MetricRow> worker_metric_rows(const Worker& worker) {
  return {
      {"millrace_password_checks_waiting",
       MetricType::gauge,
       {},
       "Clients whose password is being checked or waits to be.",
       [&worker](MetricWriter& writer) { writer.sample(static_cast<double>(worker.waiting())); }},
      {"millrace_password_checks_total",
       MetricType::counter,
       {},
       "Passwords that were checked, right or wrong.",
       [&worker](MetricWriter& writer) { writer.sample(static_cast<double>(worker.done())); }},
      {"millrace_password_checks_delayed_total",
       MetricType::counter,
       {},
       "Passwords that had to wait because their address or user name had failed before.",
       [&worker](MetricWriter& writer) { writer.sample(static_cast<double>(worker.delayed())); }}};
}

}  // namespace millrace::server
