#include "server/observe/trace.hpp"

#include <algorithm>
#include <utility>

#include "protocol/topic.hpp"

namespace millrace::server {

namespace {

using Kind = TraceSubject::Kind;

void cut(std::string& text) {
  if (text.size() <= Trace::text_bytes_max) return;
  text.resize(Trace::text_bytes_max);
  text += "...";
}

}  // namespace

std::string_view word_of(Kind kind) {
  switch (kind) {
    case Kind::client:
      return "client";
    case Kind::topic:
      return "topic";
    case Kind::address:
      return "address";
  }
  return "";
}

std::string_view word_of(TraceKind kind) {
  switch (kind) {
    case TraceKind::received:
      return "received";
    case TraceKind::sent:
      return "sent";
    case TraceKind::log:
      return "log";
  }
  return "";
}

// --- One trace -----------------------------------------------------------------------------------

Trace::Trace(std::uint64_t trace_id, TraceSubject about, Clock::time_point end)
    : id(trace_id),
      subject(std::move(about)),
      ends_at(end),
      range_(subject.kind == Kind::address ? AddressRange::parse(subject.text) : std::nullopt) {}

bool Trace::wants(TraceClient client, std::string_view address, std::string_view topic) const {
  switch (subject.kind) {
    case Kind::client:
      return client.id == subject.text && (!subject.user || client.user == *subject.user);
    case Kind::topic:
      return !topic.empty() && protocol::matches(subject.text, topic);
    case Kind::address:
      return range_ && range_->contains(address);
  }
  return false;
}

void Trace::add(TraceEntry entry, Clock::time_point now) {
  for (std::string* text :
       {&entry.client, &entry.user, &entry.address, &entry.topic, &entry.text}) {
    cut(*text);
  }
  const std::lock_guard lock(mutex_);
  if (now >= ends_at) return;
  if (now - second_began_ >= std::chrono::seconds(1)) {
    second_began_ = now;
    in_second_ = 0;
  }
  if (in_second_ == entries_per_second_max) {
    ++counts_.skipped;
    return;
  }
  ++in_second_;
  entry.sequence = ++counts_.recorded;
  bytes_ += entry.bytes();
  entries_.push_back(std::move(entry));
  while (entries_.size() > entries_max || bytes_ > bytes_max) {
    bytes_ -= entries_.front().bytes();
    entries_.pop_front();
  }
}

Trace::Counts Trace::counts() const {
  const std::lock_guard lock(mutex_);
  return counts_;
}

std::vector<TraceEntry> Trace::entries(std::uint64_t after, std::size_t count) const {
  const std::lock_guard lock(mutex_);
  const auto begin =
      std::partition_point(entries_.begin(), entries_.end(),
                           [&](const TraceEntry& entry) { return entry.sequence <= after; });
  const auto left = static_cast<std::size_t>(entries_.end() - begin);
  return {begin, begin + static_cast<std::ptrdiff_t>(std::min(count, left))};
}

void Trace::forget_entries() {
  const std::lock_guard lock(mutex_);
  entries_ = {};
  bytes_ = 0;
}

// --- All of them ---------------------------------------------------------------------------------

std::string Traces::fault_of(const TraceSubject& subject) {
  if (subject.user && subject.kind != Kind::client) return "user: only with client";
  switch (subject.kind) {
    case Kind::client:
      return subject.text.empty() ? "client: a client identifier" : "";
    case Kind::topic:
      return protocol::valid_topic_filter(subject.text)
                 ? ""
                 : "topic: not a topic filter: \"" + subject.text + "\"";
    case Kind::address:
      return AddressRange::parse(subject.text)
                 ? ""
                 : "address: not an address, and not a range as 10.0.0.0/8: \"" + subject.text +
                       "\"";
  }
  return "";
}

Traces::Ref Traces::start(TraceSubject subject, std::chrono::seconds time, Clock::time_point now) {
  end_due(now);
  const std::lock_guard lock(mutex_);
  if (running_.size() == traces_max) return nullptr;
  if (all_.size() == traces_max) {
    const auto ended = std::find_if(all_.begin(), all_.end(),
                                    [&](const Ref& trace) { return now >= trace->ends_at; });
    (*ended)->forget_entries();  // a thread may hold it in its copy of running_ for long
    all_.erase(ended);
  }
  const auto trace = std::make_shared<Trace>(++last_id_, std::move(subject),
                                             now + std::min<std::chrono::seconds>(time, time_max));
  all_.push_back(trace);
  auto running = running_;
  running.push_back(trace);
  set_running(std::move(running));
  return trace;
}

Traces::Ref Traces::find(std::uint64_t id) const {
  const std::lock_guard lock(mutex_);
  const auto found =
      std::find_if(all_.begin(), all_.end(), [&](const Ref& trace) { return trace->id == id; });
  return found == all_.end() ? nullptr : *found;
}

std::vector<Traces::Ref> Traces::all() const {
  const std::lock_guard lock(mutex_);
  return all_;
}

bool Traces::forget(std::uint64_t id) {
  const auto is_it = [&](const Ref& trace) { return trace->id == id; };
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(all_.begin(), all_.end(), is_it);
  if (found == all_.end()) return false;
  (*found)->forget_entries();
  all_.erase(found);
  auto running = running_;
  std::erase_if(running, is_it);
  set_running(std::move(running));
  return true;
}

bool Traces::end_due(Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  auto running = running_;
  const auto ended =
      std::erase_if(running, [&](const Ref& trace) { return now >= trace->ends_at; });
  if (ended > 0) set_running(std::move(running));
  return !running_.empty();
}

// Under mutex_.
void Traces::set_running(std::vector<Ref> running) {
  running_ = std::move(running);
  // Release: who sees the number finds the list, under the mutex.
  generation_.fetch_add(1, std::memory_order_release);
  any_trace_runs.store(!running_.empty(), std::memory_order_relaxed);
}

const std::vector<Traces::Ref>& Traces::running() const {
  thread_local std::vector<Ref> copy;
  thread_local std::uint64_t seen = 0;
  if (generation_.load(std::memory_order_acquire) != seen) {
    const std::lock_guard lock(mutex_);
    copy = running_;
    seen = generation_.load(std::memory_order_relaxed);
  }
  return copy;
}

Traces& traces() {
  static Traces instance;
  return instance;
}

}  // namespace millrace::server
