// WebSocket client over TCP or TLS: the upgrade request, masked frames out, unmasked frames in. RFC
// 6455; the sub-protocol is `mqtt` [MQTT-6.0.0-3]. One thread.
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "loadtest/packets.hpp"
#include "loadtest/transport.hpp"
#include "protocol/websocket.hpp"

namespace millrace::loadtest {

namespace websocket = protocol::websocket;

namespace {

constexpr std::size_t kOutBytesMax = 256 * 1024;
constexpr std::size_t kResponseBytesMax = 16 * 1024;

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
  bool may_hold_input() const override { return !early_.empty() || lower_->may_hold_input(); }
  bool wants_write() const override { return has_unflushed() || lower_->wants_write(); }

 private:
  IoStatus check_response();
  IoResult receive(char* out, std::size_t out_bytes_max);
  std::uint32_t next_mask();
  void append_frame(const char* data, std::size_t bytes);
  std::size_t frame_pieces(const char* data, std::size_t bytes);

  std::unique_ptr<Transport> lower_;
  const WebSocketSettings settings_;
  std::string key_;
  bool lower_ready_ = false;
  std::string response_;

  std::string early_;  // frame bytes that arrived together with the response
  websocket::FrameReader reader_{websocket::Role::client};
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
      set_transport_error("WebSocket: the response to the upgrade request is too long");
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
  early_ = response_.substr(end);
  response_ = {};
  return IoStatus::done;
}

// The next received bytes, not yet unframed.
IoResult WebSocket::receive(char* out, std::size_t out_bytes_max) {
  if (early_.empty()) return lower_->read(out, out_bytes_max);
  const std::size_t bytes = early_.copy(out, out_bytes_max);
  early_.erase(0, bytes);
  return {IoStatus::done, bytes};
}

IoResult WebSocket::read(char* out, std::size_t out_bytes_max) {
  std::size_t total = 0;
  while (total < out_bytes_max && !reader_.over()) {
    const std::size_t room = out_bytes_max - total;
    const IoResult got = receive(out + total, room);
    if (got.status != IoStatus::done) return total > 0 ? IoResult{IoStatus::done, total} : got;
    total +=
        reader_.unframe({reinterpret_cast<std::uint8_t*>(out + total), got.bytes});  // in place
    const std::string answer = reader_.take_answer(next_mask());
    if (out_.size() < kOutBytesMax) out_.insert(out_.end(), answer.begin(), answer.end());
    if (total > 0 && got.bytes < room) break;
  }
  if (total > 0) return {IoStatus::done, total};  // the next read() reports the end
  if (!reader_.fault()) return {IoStatus::finished};
  set_transport_error("WebSocket: the server violated RFC 6455");
  return {IoStatus::failed};
}

// A new mask for each frame, by xorshift from a random seed.
std::uint32_t WebSocket::next_mask() {
  mask_state_ ^= mask_state_ << 13;
  mask_state_ ^= mask_state_ >> 7;
  mask_state_ ^= mask_state_ << 17;
  return static_cast<std::uint32_t>(mask_state_ >> 16);
}

void WebSocket::append_frame(const char* data, std::size_t bytes) {
  const std::uint32_t mask = next_mask();
  std::array<std::uint8_t, websocket::masked_header_bytes_max> header;
  const std::size_t header_bytes =
      websocket::encode_header(websocket::Opcode::binary, bytes, mask, header);
  const std::size_t at = out_.size();
  out_.resize(at + header_bytes + bytes);
  std::memcpy(out_.data() + at, header.data(), header_bytes);
  websocket::apply_mask(mask, reinterpret_cast<const std::uint8_t*>(data),
                        reinterpret_cast<std::uint8_t*>(out_.data()) + at + header_bytes, bytes);
}

// Frames as much of `data` (which begins with a packet) as there is room for; returns the bytes
// used.
std::size_t WebSocket::frame_pieces(const char* data, std::size_t bytes) {
  std::size_t done = 0;
  while (done < bytes && out_.size() < kOutBytesMax) {
    std::size_t n = std::min(bytes - done, settings_.frame_bytes_max);
    if (settings_.frame_bytes_max == 0) {
      PacketHead head{};
      read_head(data + done, bytes - done, head);
      n = head.head_bytes + head.body_bytes;
    }
    append_frame(data + done, n);
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
