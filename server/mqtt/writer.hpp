// [9] encode, write: what was handed over for a connection becomes bytes, gathered into few writes.
//
// Order: the rest of a packet that was half sent, control bytes, deliveries. Deliveries are encoded
// at the moment they are written, as many as one write call may take; those that the socket did not
// take are encoded anew the next time, so that control bytes can go ahead of them, and a stalled
// connection holds no encoded copy but of the one packet that it has begun.
//
// Packets that may pass unchanged go out straight from the buffer they were received in; small ones
// are copied next to each other, which the kernel takes faster than many addresses.
//
// Threads: the connection's I/O thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/broker/outbox.hpp"
#include "core/broker/rare.hpp"
#include "protocol/publish.hpp"
#include "protocol/version.hpp"
#include "server/mqtt/outbound_aliases.hpp"
#include "server/net/late_binding.hpp"
#include "server/net/stream.hpp"
#include "server/net/write_batch.hpp"
#include "server/observe/counters.hpp"

namespace millrace::server {

// Changes the header of each delivery before it is encoded, as a link to another broker needs it.
class HeaderEditor {
 public:
  // What `header` refers to afterwards stays until the next call.
  virtual void edit(protocol::PublishHeader& header, const broker::Message& message) = 0;

 protected:
  ~HeaderEditor() = default;
};

class Writer {
 public:
  enum class Status : std::uint8_t { written, blocked, failed };

  // What the client said in CONNECT. `aliases_max`: how many topic aliases it allows; 0: none.
  void set_peer(protocol::Version version, std::uint16_t aliases_max);

  // For deliveries of an outbox that encodes anew (Outbox::encodes_anew). It outlives the writer.
  void set_editor(HeaderEditor& editor) { editor_ = &editor; }

  // Everything in it but `connected` and `close`, which are the connection's.
  void add(std::unique_ptr<broker::Handover> handover, broker::Outbox& outbox);
  // Packets of the connection's own, after the control bytes that wait already.
  void add_control(std::span<const std::uint8_t> packets);

  // For a connection that binds late; null: it does not. `late` lives until another is set.
  void set_late(const LateTerms* late) { late_ = late; }

  // Writes until all is written or the stream takes no more. A hand-over that is written goes back
  // to `outbox` to be used again. `piece` is the thread's: nothing of it is kept between two calls.
  Status write(Stream& stream, WriterPiece& piece, IoCounters& counters, broker::Outbox* outbox);

  bool idle() const { return control_.read().empty() && !handover_ && !rest_; }
  std::size_t control_bytes() const {
    return control_.read().size() + (handover_ ? handover_->control.size() : 0);
  }

  // How many deliveries were added, and written, since the connection began; both wrap around. The
  // difference waits to be written.
  std::uint32_t deliveries_added() const { return deliveries_added_; }
  std::uint32_t deliveries_written() const { return deliveries_written_; }

  // PUBLISH packets written since the connection began; wraps around.
  std::uint32_t messages_sent() const { return messages_sent_; }

  // Of deliveries that were written and not yet reported to the processor.
  std::uint32_t unreported_bytes() const { return unreported_bytes_; }
  void reported() { unreported_bytes_ = 0; }

 private:
  // What is left of a delivery that was half sent: the first of handover_ from next_ on.
  struct Rest {
    std::vector<std::uint8_t> head;
    std::span<const std::uint8_t> tail;  // in the delivery's message
    std::size_t bytes() const { return head.size() + tail.size(); }
  };

  std::size_t bytes_at_once(WriterPiece& piece) const;
  void fill(WriterPiece& piece);
  bool fill_control(WriterPiece& piece, std::span<const std::uint8_t> bytes);
  bool fill_item(WriterPiece& piece, const broker::HandoverItem& item);
  bool fill_run(WriterPiece& piece, const broker::PacketRun& run);
  bool fill_encoded(WriterPiece& piece, const broker::Delivery& delivery);
  bool fill_in_parts(WriterPiece& piece, const protocol::PublishHeader& header,
                     const broker::Message& message);
  void settle(WriterPiece& piece, std::size_t sent, IoCounters& counters);
  std::size_t settle_rest(std::size_t sent, IoCounters& counters, std::int64_t now_ns);
  std::size_t settle_control(std::size_t sent);
  void keep_rest(WriterPiece& piece, std::size_t from, std::size_t to);
  void finish(const broker::HandoverItem& item, IoCounters& counters, std::int64_t now_ns);
  std::uint32_t alias_count() const { return aliases_ ? aliases_->count() : 0; }

  std::unique_ptr<broker::Handover> handover_;       // null: nothing to deliver
  broker::Rare<std::vector<std::uint8_t>> control_;  // ahead of handover_->control
  std::unique_ptr<Rest> rest_;
  std::unique_ptr<OutboundAliases> aliases_;
  HeaderEditor* editor_ = nullptr;  // null: headers stay as they are
  const LateTerms* late_ = nullptr;
  std::uint32_t next_ = 0;  // the first delivery that is not wholly sent
  // Of the piece that is being written: its control bytes, and the aliases before it.
  std::uint32_t piece_control_ = 0;
  std::uint32_t piece_aliases_ = 0;
  std::uint32_t unreported_bytes_ = 0;
  std::uint32_t deliveries_added_ = 0;
  std::uint32_t deliveries_written_ = 0;
  std::uint32_t messages_sent_ = 0;
  protocol::Version version_ = protocol::Version::v3_1_1;
};

}  // namespace millrace::server
