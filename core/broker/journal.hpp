// Journal: writes down what of the processor's state must outlive the process: sessions that outlive
// their connection, with their subscriptions and messages, and retained messages.
//
// The parts tell it each change where they make it; it makes records of the changes, and at the end
// of the batch gives them to the store as one batch, which is found again whole or not at all. So
// what a batch did together stays together: the message that was queued, and the identifier by which
// its publisher is not to send it again. While the store waits for the disk, the CommitGate holds
// what may not be said before.
//
// What always holds: a session with Session::stored is in the store, and no other; whatever is in
// its queue or inflight at QoS 1 or 2 has a number there (Delivery::stored).
//
// Without a store there is no Journal (Batch::journal() is null), and no session is `stored`.
//
// Threads: the processor's holder alone.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/broker/batch.hpp"
#include "core/broker/commit_gate.hpp"
#include "core/broker/inflight.hpp"
#include "core/broker/journal_records.hpp"
#include "core/broker/pending.hpp"
#include "core/broker/session.hpp"
#include "core/broker/stored_state.hpp"
#include "core/store/commit_log.hpp"

namespace millrace::broker {

class Journal {
 public:
  struct Options {
    // The newest values of topics are kept, too.
    bool newest_values = false;
    // A retained message at QoS 0, or a newest value, is written at most once in this time, however
    // often it changes.
    std::int64_t values_interval_ns = 1'000'000'000;
    // More than that of answers does not wait for the disk: see CommitGate::shed(). And the store
    // takes as many bytes of changes while it cannot write, so values go there in parts of them.
    std::uint64_t waiting_bytes_max = 256ull << 20;
    // While the store cannot write, who can be told is refused instead of kept waiting.
    bool refuses = false;
    // A session's entries are numbered anew from here on.
    std::uint32_t renumber_at = 0xF0000000;
  };

  Journal(store::CommitLog& log, Batch& batch, const Options& options)
      : log_(log), options_(options), gate_(batch) {}

  // --- The batch ---

  void begin(std::int64_t now_ns, std::uint64_t time_of_day_ns);
  // Gives the records of the batch to the store.
  void seal();
  // A command: everything up to that batch is on the disk.
  void committed(std::uint64_t number);
  // Values that wait are due, or the rest of those that were. 0: none waits.
  std::int64_t next_deadline_ns() const { return values_due_ns_; }
  // The end of the process: nobody is left for whom an answer could be held, and no value waits for
  // its interval any more. May wait for the disk. What a disk that fails does not take is lost.
  void close();

  // --- What may not leave before it is on the disk ---

  // Behind one that waits already the next one does, too: they leave in order [MQTT-4.6.0-2].
  bool acknowledgements_wait() const { return log_.acknowledgements_wait() || gate_.size() > 0; }
  // Something is not on the disk that an answer may depend on.
  bool answers_wait() const {
    return acknowledgements_wait() && (!records_.empty() || committed_ < appended_);
  }
  bool failed() const { return log_.failed(); }
  store::Trouble trouble() const { return log_.trouble(); }
  // What a publisher is told while the store cannot write, if it is to be told.
  std::optional<protocol::ReasonCode> refusal() const {
    if (!options_.refuses) return std::nullopt;
    return refusal_for(trouble());
  }
  bool too_much_waits() const { return gate_.bytes() > options_.waiting_bytes_max; }
  std::vector<OutboxRef> shed_answers() { return gate_.shed(options_.waiting_bytes_max / 2); }
  CommitGate& gate() { return gate_; }
  const CommitGate& gate() const { return gate_; }

  // --- Sessions ---

  // It has got a connection: from now on it is stored, or is no more.
  void connected(Session& session);
  // Its connection, its will or its deadlines are others.
  void changed(const Session& session);
  void ended(Session& session);
  void subscribed(const Subscription& subscription);
  void unsubscribed(const Session& session, std::string_view name);
  void received_qos2(const Session& session, std::uint16_t packet_id);
  void released_qos2(const Session& session, std::uint16_t packet_id);

  // --- Messages of a stored session, at QoS 1 and 2 ---

  // It is about to wait. Gives it a number.
  void queued(Session& session, PendingEntry& entry, Waits waits);
  // It is about to be sent for the first time: gives it a number if it has none. Then, with its
  // packet identifier: bound().
  void number(Session& session, Delivery& delivery);
  void bound(Session& session, const Delivery& delivery, std::uint32_t subscription);
  // PUBREC came: only the identifier is needed from here on.
  void released(const Session& session, const Inflight& entry);
  // It was acknowledged, dropped, or replaced.
  void gone(const Session& session, const Delivery& delivery) {
    gone(session, delivery.stored, delivery.bound_apart);
  }
  void gone(const Session& session, std::uint32_t stored, bool bound_apart = false);

  // --- Values ---

  // Null: cleared. `user`: see TopicTable::store_retained(). At once if somebody waits for an
  // acknowledgement.
  void retained(std::string_view topic, const BufferRef& value,
                std::optional<std::string_view> user, bool at_once);

  bool keeps_newest() const { return options_.newest_values; }
  void newest(std::string_view topic, const BufferRef& value);
  // It is retained, is empty, or made room: there is none to keep. Behind retained(), if that came of
  // the same publish.
  void newest_gone(std::string_view topic);

  // --- The start ---

  // Numbers go on after those that were found in the store.
  void go_on(std::uint64_t last_body, std::uint64_t last_number);
  // What the store has of a session that does not come back.
  void forget(std::uint64_t session_number) {
    records_.erase_group(records::session_space, session_number);
  }

 private:
  static std::optional<protocol::ReasonCode> refusal_for(store::Trouble trouble);
  std::uint64_t body_of(const Message& message);
  std::uint32_t next_number(Session& session);
  void put(const Session& session, std::string_view rest, std::string_view value,
           std::uint64_t body = 0);
  void put_entry(const Session& session, const Delivery& delivery, const records::Entry& entry);
  // Gives what there is of records to the store.
  void append();
  void expect_values();
  void write_some_values();
  void put_retained(std::string_view topic, const BufferRef& value,
                    std::optional<std::string_view> user);
  void erase_newest(std::string_view topic);
  void renumber(Session& session);

  store::CommitLog& log_;
  const Options options_;
  CommitGate gate_;

  store::Batch records_;
  WallClock clock_;
  std::uint64_t appended_ = 0;
  std::uint64_t committed_ = 0;
  std::uint64_t body_number_ = 0;
  BufferRef last_body_;  // of this batch: its receivers come one after the other
  std::vector<Session*> to_renumber_;
  // Values that are written later. A topic has one in `waiting_`, for its interval, or in `due_`,
  // from where they are written, some at the end of each batch.
  struct Values {
    struct Retained {
      BufferRef value;  // null: cleared
      std::optional<std::string> user;
      // It takes the place of a newest value that the store has, which goes in the same batch: a
      // crash in between would leave neither.
      bool ends_newest = false;
    };
    std::unordered_map<std::string, Retained> retained;
    std::unordered_map<std::string, BufferRef> newest;
    bool empty() const { return retained.empty() && newest.empty(); }
  };
  // Of that topic. Null: none.
  Values::Retained* later_retained(std::string_view topic);
  Values waiting_;
  Values due_;
  std::int64_t values_due_ns_ = 0;
};

}  // namespace millrace::broker
