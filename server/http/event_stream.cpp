#include "server/http/event_stream.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <iterator>
#include <optional>
#include <utility>

#include "core/broker/ledger.hpp"
#include "server/auth/crypto.hpp"
#include "server/http/event_text.hpp"
#include "server/http/refusal.hpp"

namespace millrace::server {

namespace {

// So long an EventSource waits before it asks again.
constexpr std::string_view first_lines = "retry: 1000\n";
constexpr std::string_view heartbeat = ":\n\n";

// About what a reader takes while nothing is on its way to it: its connection's buffers above all.
constexpr std::uint64_t fixed_bytes = 16 * 1024;

constexpr const char* rights_ended =
    "its rights ended meanwhile: the access rules were reloaded, or its token has expired";

// The first refusal in a SUBACK of the processor's own making, which is alone in its hand-over's
// control packets: the reasons are its end. Nothing: all is granted.
std::optional<protocol::ReasonCode> refusal_in(const std::vector<std::uint8_t>& suback,
                                               std::size_t filters) {
  assert(suback.size() > filters);
  const auto found = std::find_if(suback.end() - static_cast<std::ptrdiff_t>(filters), suback.end(),
                                  [](std::uint8_t reason) { return reason >= 0x80; });
  if (found == suback.end()) return std::nullopt;
  return static_cast<protocol::ReasonCode>(*found);
}

// `limits`: the keys that may be the reason.
std::string why_not(protocol::ReasonCode reason, const char* what, const char* limits) {
  if (reason == protocol::ReasonCode::not_authorized) return rights_ended;
  return std::string("no room for ") + what + " (" + limits +
         ", memory.bytes_max or memory.user_bytes_max)";
}

// One that no client can have guessed, so that none takes it over.
std::string make_client_id() {
  constexpr char digits[] = "0123456789abcdef";
  std::string id = "events-";
  for (const char byte : random_bytes(12)) {
    id += digits[static_cast<unsigned char>(byte) >> 4];
    id += digits[static_cast<unsigned char>(byte) & 15];
  }
  return id;
}

}  // namespace

EventStream::EventStream(const Setup& setup, HttpExchange::Ptr exchange)
    : setup_(setup),
      exchange_(std::move(exchange)),
      outbox_(new broker::Outbox(setup.ready_list, *this)) {
  outbox_->version = protocol::Version::v5;
  outbox_->wants_sequence = true;
  setup_.counters.streams.add();
  charge(fixed_bytes);
}

EventStream::~EventStream() {
  outbox_->forget_owner();
  charge(0);
}

void EventStream::charge(std::uint64_t bytes) {
  broker::Ledger& ledger = setup_.inbox.ledger();
  ledger.charge_connection(bytes);
  ledger.release_connection(std::exchange(charged_bytes_, bytes));
}

void EventStream::start(broker::RightsRef rights,
                        std::unique_ptr<broker::SubscribeRequest> request) {
  auto connect = std::make_unique<broker::ConnectRequest>();
  connect->client_id = make_client_id();
  connect->version = outbox_->version;
  connect->rights = std::move(rights);
  connect->address = exchange_->request().peer;
  connect->listener = http_listener;
  connect->keeps = outbox_;
  filters_ = request->filters.size();
  kept_.push_back({outbox_.get(), broker::command::Connect{std::move(connect)}});
  kept_.push_back({outbox_.get(), broker::command::Subscribe{std::move(request)}});
  submit_kept();
  exchange_->on_gone([weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->on_gone();
  });
}

// --- Commands ------------------------------------------------------------------------------------

template <class What>
void EventStream::submit(What&& what) {
  kept_.push_back({outbox_.get(), std::forward<What>(what)});
  submit_kept();
}

void EventStream::submit_kept() {
  const auto submit_some = [this] {
    const std::size_t taken = setup_.inbox.submit(kept_);
    kept_.erase(kept_.begin(), kept_.begin() + static_cast<std::ptrdiff_t>(taken));
  };
  submit_some();
  if (kept_.empty()) return;
  setup_.inbox.wait_for_room(outbox_);  // calls on_outbox_ready()
  submit_some();
}

// --- What the processor hands over ---------------------------------------------------------------

void EventStream::on_outbox_ready() {
  if (!kept_.empty()) submit_kept();
  if (!gone_) take();
}

void EventStream::take() {
  if (writing_ || ending_) return;
  std::unique_ptr<broker::Handover> handover = outbox_->take();
  if (!handover) return;
  if (early_) {
    early_->append(std::move(*handover));
    outbox_->recycle(std::exchange(handover, std::move(early_)));
  }
  if (handover->close) ending_ = true;
  std::string text;
  if (body_ == nullptr) {
    if (ending_) return refuse(why_not(*handover->close, "one more session", "session.count_max"));
    const auto& suback = handover->control.bytes();
    if (suback.empty()) {  // connected, and perhaps the first subscriptions have brought values
      early_ = std::move(handover);
      return;
    }
    if (const auto reason = refusal_in(suback, filters_)) {
      return refuse(why_not(*reason, "its subscriptions",
                            "session.subscriptions_max, session.all_subscriptions_max"));
    }
    if (!begin()) return on_gone();
    text = first_lines;
    text += "event: start\ndata: {\"run\":\"" + std::string(setup_.run) + "\",\"resumed\":";
    text += setup_.newer_than > 0 ? "true}\n\n" : "false}\n\n";
  }
  append(*handover, text);
  outbox_->recycle(std::move(handover));
  if (!text.empty()) return write(std::move(text));
  if (ending_) body_->end();
}

// False: the client is gone.
bool EventStream::begin() {
  HttpResponse head;
  head.content_type = "text/event-stream";
  head.headers.emplace_back("Cache-Control", "no-store");
  body_ = exchange_->begin(std::move(head), [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->on_taken();
  });
  return body_ != nullptr;
}

void EventStream::append(broker::Handover& handover, std::string& text) {
  const std::int64_t now_ns = broker::Inbox::now_ns();
  for (const broker::HandoverItem& item : handover.deliveries) {
    append_events(text, item, now_ns, setup_.payload_bytes_max);
    writing_bytes_ += broker::charge_bytes(item);
    const std::uint32_t count = broker::packet_count(item);
    setup_.counters.events.add(count);
    sent_events_ += count;
  }
  if (handover.complete_to > 0) {
    text += "id: " + event_id(setup_.run, handover.complete_to) + "\n\n";
  }
}

// Before the answer has begun.
void EventStream::refuse(std::string why) {
  exchange_->answer(busy(std::move(why)));
  on_gone();
}

// --- Writing -------------------------------------------------------------------------------------

void EventStream::write(std::string text) {
  sent_bytes_ += text.size();
  writing_text_bytes_ = text.size();
  charge(fixed_bytes + text.capacity());
  writing_ = true;
  written_at_ = Clock::now();
  body_->limit_writes(late_ ? late_->terms().write_bytes_max : SIZE_MAX);
  body_->write(std::move(text));
}

void EventStream::on_taken() {
  writing_ = false;
  charge(fixed_bytes);
  unreported_bytes_ += std::exchange(writing_bytes_, 0);
  unreported_text_bytes_ += std::exchange(writing_text_bytes_, 0);
  if (ending_) return body_->end();
  report();
  take();
}

// --- Credit --------------------------------------------------------------------------------------

void EventStream::on_reader_progress() {
  report();
}

// When report_bytes are written, or when late_ says so. The processor reckons in bytes of messages,
// late_ in bytes on the wire, of which events have more.
void EventStream::report() {
  if (body_ == nullptr || ending_ || gone_) return;
  follow_binding();
  const bool says_more = late_ && late_->written(as_written(unreported_bytes_));
  if (unreported_bytes_ < setup_.report_bytes && !says_more) return;
  if (unreported_bytes_ > 0) {
    const auto text_bytes = static_cast<double>(unreported_text_bytes_);
    bytes_per_byte_ = std::clamp(text_bytes / unreported_bytes_, 0.01, 100.0);
  }
  unreported_text_bytes_ = 0;
  broker::command::Drained drained;
  drained.bytes = std::exchange(unreported_bytes_, 0);
  if (late_) late_->report(drained);
  if (drained.late_credit_bytes) {
    const double credit = std::ceil(*drained.late_credit_bytes / bytes_per_byte_);
    drained.late_credit_bytes = static_cast<std::uint32_t>(std::min(credit, 1e9));
  }
  submit(std::move(drained));
}

// Rounded up, as the credit is: so late_ sees none left when the processor has none.
std::uint32_t EventStream::as_written(std::uint32_t message_bytes) const {
  return static_cast<std::uint32_t>(std::min(std::ceil(message_bytes * bytes_per_byte_), 2e9));
}

void EventStream::follow_binding() {
  const bool is_late = outbox_->binding() == broker::Outbox::Binding::latest &&
                       setup_.home.outbox_config().unread_bytes > 0;
  if (!is_late) {
    late_.reset();
  } else if (!late_) {
    LateBinding::User& user = *this;
    late_ = std::make_unique<LateBinding>(setup_.home, user, body_->fd());
  }
}

// --- The end -------------------------------------------------------------------------------------

void EventStream::describe(broker::ConnectionFacts& facts) const {
  const auto seconds = [](Clock::duration time) {
    return static_cast<std::uint32_t>(
        std::chrono::duration_cast<std::chrono::seconds>(time).count());
  };
  facts.address = exchange_->request().peer;
  facts.listener = facts.transport = "http";
  facts.connected_seconds = facts.silent_seconds = seconds(Clock::now() - begun_at_);
  facts.last_sent_seconds = seconds(Clock::now() - written_at_);
  facts.bytes_sent = sent_bytes_;
  facts.messages_sent = sent_events_;
}

void EventStream::beat(Clock::time_point before, std::int64_t now_s) {
  if (setup_.expires_at_s != 0 && now_s >= setup_.expires_at_s) return end();
  if (body_ == nullptr || writing_ || ending_ || gone_ || written_at_ >= before) return;
  write(std::string(heartbeat));
}

void EventStream::end() {
  if (std::exchange(ending_, true) || writing_ || gone_) return;
  if (body_ != nullptr) return body_->end();
  refuse(rights_ended);
}

void EventStream::on_gone() {
  if (std::exchange(gone_, true)) return;
  late_.reset();
  setup_.counters.streams.subtract();
  submit(broker::command::Close{protocol::ReasonCode::normal_disconnection, std::nullopt});
}

}  // namespace millrace::server
