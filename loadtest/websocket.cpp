// The client side of a WebSocket: upgrade, masked frames out, plain frames in. RFC 6455; the
// sub-protocol is `mqtt` [MQTT-6.0.0-3].
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "loadtest/packets.hpp"
#include "loadtest/transport.hpp"

namespace millrace::loadtest {
namespace {

constexpr std::size_t kRawBytes = 64 * 1024;
constexpr std::size_t kOutBytesMax = 256 * 1024;
constexpr std::size_t kResponseBytesMax = 16 * 1024;

enum Opcode : std::uint8_t {
  kContinuation = 0,
  kText = 1,
  kBinary = 2,
  kClose = 8,
  kPing = 9,
  kPong = 10
};

std::string base64(const unsigned char* bytes, int count) {
  std::string out(static_cast<std::size_t>(4 * ((count + 2) / 3)), '\0');
  EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()), bytes, count);
  return out;
}

std::string accept_key(const std::string& key) {
  const std::string text = key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  unsigned char digest[SHA_DIGEST_LENGTH];
  SHA1(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  return base64(digest, sizeof digest);
}

class WebSocket final : public Transport {
 public:
  WebSocket(std::unique_ptr<Transport> lower, const WebSocketSettings& settings)
      : lower_(std::move(lower)), settings_(settings) {
    unsigned char nonce[16];
    RAND_bytes(nonce, sizeof nonce);
    RAND_bytes(reinterpret_cast<unsigned char*>(&mask_state_), sizeof mask_state_);
    mask_state_ |= 1;
    key_ = base64(nonce, sizeof nonce);
    const std::string request = "GET " + settings_.path + " HTTP/1.1\r\nHost: " + settings_.host +
                                "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                "Sec-WebSocket-Key: " +
                                key_ +
                                "\r\nSec-WebSocket-Version: 13\r\n"
                                "Sec-WebSocket-Protocol: mqtt\r\n\r\n";
    out_.assign(request.begin(), request.end());
  }

  IoStatus handshake() override;
  IoResult read(char* out, std::size_t out_bytes_max) override;
  IoResult write(const iovec* pieces, int count) override;
  bool has_unflushed() const override { return out_at_ < out_.size(); }
  IoStatus flush() override;
  bool may_hold_input() const override { return raw_begin_ < raw_end_ || lower_->may_hold_input(); }
  bool wants_write() const override { return has_unflushed() || lower_->wants_write(); }

 private:
  enum class Step { progress, starved, closed };

  IoStatus check_response();
  IoStatus refill();
  Step parse_header();
  void append_frame(std::uint8_t opcode, const char* data, std::size_t bytes);
  std::size_t frame_pieces(const char* data, std::size_t bytes);

  std::unique_ptr<Transport> lower_;
  const WebSocketSettings settings_;
  std::string key_;
  bool lower_ready_ = false;
  std::string response_;

  std::unique_ptr<char[]> raw_;  // received, not yet unframed; there only while it holds something
  std::size_t raw_begin_ = 0;
  std::size_t raw_end_ = 0;
  std::uint64_t frame_left_ = 0;  // of the data frame that is being read

  std::vector<char> out_;  // framed, not yet written
  std::size_t out_at_ = 0;
  std::uint64_t mask_state_ = 1;
};

IoStatus WebSocket::handshake() {
  if (!lower_ready_) {
    const IoStatus status = lower_->handshake();
    if (status != IoStatus::done) return status;
    lower_ready_ = true;
  }
  if (has_unflushed()) {
    const IoStatus status = flush();
    if (status != IoStatus::done) return status;
  }
  for (;;) {
    char byte_block[1024];
    const IoResult got = lower_->read(byte_block, sizeof byte_block);
    if (got.status != IoStatus::done) return got.status;
    response_.append(byte_block, got.bytes);
    if (response_.find("\r\n\r\n") != std::string::npos) return check_response();
    if (response_.size() > kResponseBytesMax) {
      set_transport_error("WebSocket: the answer to the upgrade has no end");
      return IoStatus::failed;
    }
  }
}

IoStatus WebSocket::check_response() {
  const std::size_t end = response_.find("\r\n\r\n") + 4;
  const std::string_view head(response_.data(), end);
  const bool switched = head.starts_with("HTTP/1.1 101");
  if (!switched || head.find(accept_key(key_)) == std::string_view::npos) {
    set_transport_error("WebSocket: upgrade refused: " +
                        std::string(head.substr(0, head.find("\r\n"))));
    return IoStatus::failed;
  }
  raw_end_ = response_.size() - end;  // a server may have sent more at once
  if (raw_end_ > 0) raw_ = std::make_unique_for_overwrite<char[]>(kRawBytes);
  if (raw_end_ > 0) std::memcpy(raw_.get(), response_.data() + end, raw_end_);
  response_.clear();
  return IoStatus::done;
}

IoStatus WebSocket::refill() {
  if (!raw_) raw_ = std::make_unique_for_overwrite<char[]>(kRawBytes);
  raw_end_ -= raw_begin_;
  std::memmove(raw_.get(), raw_.get() + raw_begin_, raw_end_);
  raw_begin_ = 0;
  const IoResult got = lower_->read(raw_.get() + raw_end_, kRawBytes - raw_end_);
  raw_end_ += got.bytes;
  if (raw_end_ == 0) raw_.reset();  // an idle connection holds no buffer
  return got.status;
}

// Takes one frame header (and a whole control frame) off raw_.
WebSocket::Step WebSocket::parse_header() {
  const char* const p = raw_.get() + raw_begin_;
  const std::size_t n = raw_end_ - raw_begin_;
  if (n < 2) return Step::starved;
  const auto byte = [p](std::size_t i) { return static_cast<std::uint8_t>(p[i]); };
  std::uint64_t length = byte(1) & 0x7F;
  std::size_t head = 2;
  if (length >= 126) {
    const std::size_t extra = length == 126 ? 2 : 8;
    if (n < 2 + extra) return Step::starved;
    length = 0;
    for (std::size_t i = 0; i < extra; ++i) length = length << 8 | byte(2 + i);
    head += extra;
  }
  const std::uint8_t opcode = byte(0) & 0x0F;
  if (opcode >= kClose) {
    if (n < head + length) return Step::starved;
    if (opcode == kClose) return Step::closed;
    if (opcode == kPing && out_.size() < kOutBytesMax) {
      append_frame(kPong, p + head, static_cast<std::size_t>(length));
    }
    raw_begin_ += head + static_cast<std::size_t>(length);
    return Step::progress;
  }
  raw_begin_ += head;
  frame_left_ = length;
  return Step::progress;
}

IoResult WebSocket::read(char* out, std::size_t out_bytes_max) {
  std::size_t total = 0;
  while (total < out_bytes_max) {
    if (frame_left_ > 0 && raw_begin_ < raw_end_) {
      const std::size_t n = std::min(
          {out_bytes_max - total, raw_end_ - raw_begin_, static_cast<std::size_t>(frame_left_)});
      std::memcpy(out + total, raw_.get() + raw_begin_, n);
      raw_begin_ += n;
      frame_left_ -= n;
      total += n;
      continue;
    }
    const Step step = frame_left_ == 0 ? parse_header() : Step::starved;
    if (step == Step::progress) continue;
    if (step == Step::closed) return {total > 0 ? IoStatus::done : IoStatus::finished, total};
    const IoStatus status = refill();
    if (status == IoStatus::done) continue;
    if (total > 0) break;  // the next read() meets the status again
    return {status};
  }
  return {IoStatus::done, total};
}

void WebSocket::append_frame(std::uint8_t opcode, const char* data, std::size_t bytes) {
  char head[14];
  std::size_t head_bytes = 2;
  head[0] = static_cast<char>(0x80 | opcode);
  if (bytes < 126) {
    head[1] = static_cast<char>(0x80 | bytes);
  } else {
    const std::size_t extra = bytes <= 0xFFFF ? 2 : 8;
    head[1] = static_cast<char>(0x80 | (extra == 2 ? 126 : 127));
    for (std::size_t i = 0; i < extra; ++i) {
      head[2 + i] = static_cast<char>(static_cast<std::uint64_t>(bytes) >> (8 * (extra - 1 - i)));
    }
    head_bytes += extra;
  }
  mask_state_ ^= mask_state_ << 13;  // xorshift: a fresh mask per frame, as the RFC asks
  mask_state_ ^= mask_state_ >> 7;
  mask_state_ ^= mask_state_ << 17;
  const auto mask = static_cast<std::uint32_t>(mask_state_ >> 16);
  std::memcpy(head + head_bytes, &mask, 4);
  head_bytes += 4;

  const std::size_t at = out_.size();
  out_.resize(at + head_bytes + bytes);
  char* to = out_.data() + at;
  std::memcpy(to, head, head_bytes);
  to += head_bytes;
  const std::uint64_t mask8 = static_cast<std::uint64_t>(mask) << 32 | mask;
  std::size_t i = 0;
  for (; i + 8 <= bytes; i += 8) {
    std::uint64_t word;
    std::memcpy(&word, data + i, 8);
    word ^= mask8;
    std::memcpy(to + i, &word, 8);
  }
  char mask_bytes[4];
  std::memcpy(mask_bytes, &mask, 4);
  for (; i < bytes; ++i) to[i] = static_cast<char>(data[i] ^ mask_bytes[i % 4]);
}

// Frames as much of `data` (which begins with a packet) as there is room for; returns how much.
std::size_t WebSocket::frame_pieces(const char* data, std::size_t bytes) {
  std::size_t done = 0;
  while (done < bytes && out_.size() < kOutBytesMax) {
    std::size_t n = std::min(bytes - done, settings_.frame_bytes_max);
    if (settings_.frame_bytes_max == 0) {
      PacketHead head{};
      read_head(data + done, bytes - done, head);
      n = head.head_bytes + head.body_bytes;
    }
    append_frame(kBinary, data + done, n);
    done += n;
  }
  return done;
}

IoResult WebSocket::write(const iovec* pieces, int count) {
  const IoStatus before = flush();
  if (before == IoStatus::failed || before == IoStatus::finished) return {before};
  if (has_unflushed()) return {IoStatus::blocked};
  std::size_t total = 0;
  for (int i = 0; i < count; ++i) {
    const std::size_t n =
        frame_pieces(static_cast<const char*>(pieces[i].iov_base), pieces[i].iov_len);
    total += n;
    if (n < pieces[i].iov_len) break;
  }
  const IoStatus after = flush();
  if (after == IoStatus::failed || after == IoStatus::finished) return {after};
  return {IoStatus::done, total};
}

IoStatus WebSocket::flush() {
  while (has_unflushed()) {
    const iovec piece{out_.data() + out_at_, out_.size() - out_at_};
    const IoResult result = lower_->write(&piece, 1);
    if (result.status != IoStatus::done) return result.status;
    out_at_ += result.bytes;
  }
  out_.clear();
  out_at_ = 0;
  return IoStatus::done;
}

}  // namespace

std::unique_ptr<Transport> make_websocket(std::unique_ptr<Transport> lower,
                                          const WebSocketSettings& settings) {
  return std::make_unique<WebSocket>(std::move(lower), settings);
}

}  // namespace millrace::loadtest
