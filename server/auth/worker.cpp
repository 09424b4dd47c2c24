#include "server/auth/worker.hpp"

#include <algorithm>
#include <utility>

namespace millrace::server {

class Worker::Waiting {
 public:
  Login login;
  Check check;
  bool held_back = false;
};

Worker::Worker() : thread_([this] { run(); }) {}

std::list<Worker::Line>::iterator Worker::line_of(const std::string& address) {
  return std::find_if(lines_.begin(), lines_.end(),
                      [&](const Line& line) { return line.address == address; });
}

Worker::Ticket Worker::post(std::size_t limit, Login login, Check check) {
  login.address = address_group(login.address);
  const std::lock_guard lock(mutex_);
  const auto line = line_of(login.address);
  const std::size_t of_address = line == lines_.end() ? 0 : line->tickets.size();
  if (waiting() >= limit || of_address >= limit - limit / 4) return nullptr;
  auto ticket = std::make_shared<Waiting>();
  ticket->login = std::move(login);
  ticket->check = std::move(check);
  Line& found = line != lines_.end() ? *line : lines_.emplace_back(Line{ticket->login.address, {}});
  found.tickets.push_back(ticket);
  waiting_.fetch_add(1, std::memory_order_relaxed);
  changed_.notify_one();
  return ticket;
}

void Worker::cancel(const Ticket& ticket) {
  Check dropped;  // destroyed outside the lock
  const std::lock_guard lock(mutex_);
  const auto line = line_of(ticket->login.address);
  if (line == lines_.end() || std::erase(line->tickets, ticket) == 0) return;
  dropped = std::move(ticket->check);
  if (line->tickets.empty()) lines_.erase(line);
  waiting_.fetch_sub(1, std::memory_order_relaxed);
}

bool Worker::must_wait(Login login) const {
  login.address = address_group(login.address);
  const std::lock_guard lock(mutex_);
  return due(login) > Clock::now();
}

void Worker::note(Login login, bool right) {
  login.address = address_group(login.address);
  const std::lock_guard lock(mutex_);
  learn(login, right);
}

Worker::Clock::time_point Worker::due(const Login& login) const {
  return std::max(delays_.address_due(login.address), delays_.user_due(login.user));
}

void Worker::learn(const Login& login, bool right) {
  if (right) {
    delays_.note_success(login);
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
    for (auto at = line->tickets.begin(); at != line->tickets.end(); ++at) {
      const Clock::time_point ticket_due = this->due((*at)->login);
      if (ticket_due > now) {
        if (!std::exchange((*at)->held_back, true))
          delayed_.fetch_add(1, std::memory_order_relaxed);
        due = std::min(due, ticket_due);
        if (address_due > now) break;  // and so do all behind it
        continue;
      }
      Ticket ticket = std::move(*at);
      line->tickets.erase(at);
      lines_.splice(lines_.end(), lines_, line);
      if (line->tickets.empty()) lines_.erase(line);
      return ticket;
    }
  }
  return nullptr;
}

void Worker::run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    Clock::time_point due;
    const Ticket ticket = take_next(Clock::now(), due);
    if (!ticket) {
      if (due == Clock::time_point::max()) {
        changed_.wait(lock);
      } else {
        changed_.wait_until(lock, due);
      }
      continue;
    }
    lock.unlock();
    const bool right = ticket->check();
    ticket->check = nullptr;  // what it holds goes on this thread, and now
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
  for (Line& line : lines_) {
    // A check and whoever asked for it may hold each other.
    for (const Ticket& ticket : line.tickets) const Check dropped = std::move(ticket->check);
  }
  lines_.clear();
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
