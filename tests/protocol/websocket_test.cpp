#include "protocol/websocket.hpp"

#include <random>

#include "bytes.hpp"

namespace millrace::protocol::websocket::test {
namespace {

using protocol::test::bytes;
using Bytes = std::vector<std::uint8_t>;

// A client's frame with the mask 01 02 04 08 and the shortest form of the length.
Bytes frame(std::uint8_t first, const Bytes& payload) {
  Bytes out{first};
  const std::size_t count = payload.size();
  if (count < 126) {
    out.push_back(static_cast<std::uint8_t>(0x80 | count));
  } else if (count <= 0xFFFF) {
    out.insert(out.end(),
               {0xFE, static_cast<std::uint8_t>(count >> 8), static_cast<std::uint8_t>(count)});
  } else {
    out.insert(out.end(), {0xFF, 0, 0, 0, 0});
    for (int shift = 24; shift >= 0; shift -= 8) {
      out.push_back(static_cast<std::uint8_t>(count >> shift));
    }
  }
  const std::uint8_t mask[] = {1, 2, 4, 8};
  out.insert(out.end(), mask, mask + 4);
  for (std::size_t i = 0; i < count; ++i) out.push_back(payload[i] ^ mask[i % 4]);
  return out;
}

Bytes joined(std::initializer_list<Bytes> parts) {
  Bytes out;
  for (const Bytes& part : parts) out.insert(out.end(), part.begin(), part.end());
  return out;
}

Bytes counting(std::size_t count) {
  Bytes out(count);
  for (std::size_t i = 0; i < count; ++i) out[i] = static_cast<std::uint8_t>(i * 7 + (i >> 8));
  return out;
}

Bytes unframed(FrameReader& reader, Bytes received) {
  received.resize(reader.unframe(received));
  return received;
}

std::string text(std::string_view hex) {
  const Bytes plain = bytes(hex);
  return {plain.begin(), plain.end()};
}

TEST(WebSocketFrameReader, JoinsThePayloadsOfManyFramesInPlace) {
  FrameReader reader;
  const Bytes received =
      joined({frame(0x82, bytes("01 02 03")), frame(0x82, counting(9)), frame(0x82, {}),
              frame(0x02, bytes("aa")), frame(0x00, counting(8)), frame(0x80, bytes("bb cc"))});
  EXPECT_EQ(unframed(reader, received),
            joined({bytes("01 02 03"), counting(9), bytes("aa"), counting(8), bytes("bb cc")}));
  EXPECT_FALSE(reader.over());
  EXPECT_EQ(reader.take_answer(), "");
}

TEST(WebSocketFrameReader, ReadsEveryFormOfTheLength) {
  for (const std::size_t count : {0, 1, 7, 125, 126, 127, 65'535, 65'536, 100'000}) {
    FrameReader reader;
    EXPECT_EQ(unframed(reader, frame(0x82, counting(count))), counting(count)) << count;
    EXPECT_FALSE(reader.over()) << count;
  }
}

TEST(WebSocketFrameReader, TakesAnyPieces) {
  const Bytes received =
      joined({frame(0x82, counting(5)), frame(0x89, bytes("'hi'")), frame(0x02, counting(300)),
              frame(0x8A, {}), frame(0x80, counting(70'000)), frame(0x82, counting(1))});
  const Bytes expected = joined({counting(5), counting(300), counting(70'000), counting(1)});
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    FrameReader reader;
    Bytes got;
    std::string answer;
    const std::size_t longest = round == 0 ? 1 : 1 + random() % 500;
    for (std::size_t at = 0; at < received.size();) {
      const std::size_t count = std::min(1 + random() % longest, received.size() - at);
      const auto begin = received.begin() + static_cast<std::ptrdiff_t>(at);
      const Bytes piece =
          unframed(reader, Bytes(begin, begin + static_cast<std::ptrdiff_t>(count)));
      got.insert(got.end(), piece.begin(), piece.end());
      answer += reader.take_answer();
      at += count;
    }
    ASSERT_EQ(got, expected) << "round " << round;
    ASSERT_EQ(answer, text("8a 02 'hi'"));
    ASSERT_FALSE(reader.over());
  }
}

TEST(WebSocketFrameReader, AnswersAPingWithItsPayloadEvenWithinAMessage) {
  FrameReader reader;
  const Bytes received =
      joined({frame(0x02, bytes("01")), frame(0x89, counting(125)), frame(0x80, bytes("02"))});
  EXPECT_EQ(unframed(reader, received), bytes("01 02"));
  const std::string pong = reader.take_answer();
  ASSERT_EQ(pong.size(), 2u + 125);
  EXPECT_EQ(pong.substr(0, 2), text("8a 7d"));
  EXPECT_EQ(Bytes(pong.begin() + 2, pong.end()), counting(125));
  EXPECT_EQ(reader.take_answer(), "");
}

TEST(WebSocketFrameReader, AnswersTheLastOfManyPings) {
  FrameReader reader;
  unframed(reader, joined({frame(0x89, bytes("'1'")), frame(0x89, bytes("'2'"))}));
  EXPECT_EQ(reader.take_answer(), text("8a 01 '2'"));
}

TEST(WebSocketFrameReader, EndsAtACloseFrameAndSendsItsCodeBack) {
  FrameReader reader;
  const Bytes received = joined(
      {frame(0x82, bytes("01")), frame(0x88, bytes("03e9 'gone'")), frame(0x82, bytes("02"))});
  EXPECT_EQ(unframed(reader, received), bytes("01"));
  EXPECT_TRUE(reader.over());
  EXPECT_FALSE(reader.fault());
  EXPECT_EQ(reader.take_answer(), text("88 02 03e9"));
  EXPECT_EQ(unframed(reader, frame(0x82, bytes("03"))), Bytes());

  FrameReader silent;
  unframed(silent, frame(0x88, {}));
  EXPECT_TRUE(silent.over());
  EXPECT_EQ(silent.take_answer(), text("88 00"));
}

TEST(WebSocketFrameReader, BreaksOffWhenThePeerBreaksTheRules) {
  struct Row {
    const char* what;
    Bytes received;
    CloseCode code;
  };
  const auto protocol_error = CloseCode::protocol_error;
  const Row rows[] = {
      {"a text frame", frame(0x81, bytes("'x'")), CloseCode::unsupported_data},
      {"an unmasked frame", bytes("82 01 00000000 00"), protocol_error},
      {"a reserved bit", frame(0xC2, bytes("00")), protocol_error},
      {"an unknown data frame", frame(0x83, {}), protocol_error},
      {"an unknown control frame", frame(0x8B, {}), protocol_error},
      {"nothing to continue", frame(0x80, {}), protocol_error},
      {"a message within a message", joined({frame(0x02, {}), frame(0x82, {})}), protocol_error},
      {"a ping in parts", frame(0x09, {}), protocol_error},
      {"a ping of 126 bytes", frame(0x89, counting(126)), protocol_error},
      {"a length in two bytes for no reason", bytes("82 fe 007d 00000000"), protocol_error},
      {"a length in eight bytes for no reason", bytes("82 ff 000000000000ffff 00000000"),
       protocol_error},
      {"a length of 64 bits", bytes("82 ff 8000000000000000 00000000"), protocol_error},
      {"a close frame of one byte", frame(0x88, bytes("03")), protocol_error},
      {"a code that nobody may send", frame(0x88, bytes("03ed")), protocol_error},
      {"a code below all", frame(0x88, bytes("03e7")), protocol_error},
      {"a code between the ranges", frame(0x88, bytes("07d0")), protocol_error},
  };
  for (const Row& row : rows) {
    FrameReader reader;
    EXPECT_EQ(unframed(reader, row.received), Bytes()) << row.what;
    EXPECT_TRUE(reader.over()) << row.what;
    EXPECT_EQ(reader.fault(), row.code) << row.what;
    EXPECT_EQ(reader.take_answer(), "") << row.what;
  }
}

TEST(WebSocketFrames, AreWrittenWithTheShortestLength) {
  const auto header = [](std::size_t payload_bytes) {
    std::array<std::uint8_t, sent_header_bytes_max> out;
    const std::size_t count = encode_header(Opcode::binary, payload_bytes, out);
    return Bytes(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(count));
  };
  EXPECT_EQ(header(0), bytes("82 00"));
  EXPECT_EQ(header(125), bytes("82 7d"));
  EXPECT_EQ(header(126), bytes("82 7e 007e"));
  EXPECT_EQ(header(65'535), bytes("82 7e ffff"));
  EXPECT_EQ(header(65'536), bytes("82 7f 0000000000010000"));
  EXPECT_EQ(encode_close(CloseCode::unsupported_data), text("88 02 03eb"));
}

TEST(WebSocketFrames, OfAClientAreReadByAServerAndTheOtherWayRound) {
  for (const std::size_t count : {0u, 3u, 125u, 126u, 65'535u, 65'536u}) {
    std::array<std::uint8_t, masked_header_bytes_max> masked;
    const std::size_t masked_bytes = encode_header(Opcode::binary, count, 0xA1B2C3D4, masked);
    Bytes sent(masked_bytes + count);
    std::copy_n(masked.begin(), masked_bytes, sent.begin());
    const Bytes payload = counting(count);
    // In two steps; the first ends within the four bytes of the mask.
    const std::size_t first = count / 2;
    std::uint32_t mask = apply_mask(0xA1B2C3D4, payload.data(), &sent[masked_bytes], first);
    mask = apply_mask(mask, payload.data() + first, &sent[masked_bytes] + first, count - first);
    FrameReader server;
    EXPECT_EQ(unframed(server, sent), payload) << count;
    EXPECT_FALSE(server.over()) << count;

    std::array<std::uint8_t, sent_header_bytes_max> plain;
    const std::size_t plain_bytes = encode_header(Opcode::binary, count, plain);
    Bytes received(plain.begin(), plain.begin() + static_cast<std::ptrdiff_t>(plain_bytes));
    received.insert(received.end(), payload.begin(), payload.end());
    FrameReader client(Role::client);
    EXPECT_EQ(unframed(client, received), payload) << count;
    EXPECT_FALSE(client.over()) << count;
  }
}

TEST(WebSocketFrameReader, OfAClientBreaksOffAtAMaskedFrame) {
  FrameReader client(Role::client);
  EXPECT_EQ(unframed(client, frame(0x82, bytes("01"))), Bytes());
  EXPECT_EQ(client.fault(), CloseCode::protocol_error);
}

TEST(WebSocketFrameReader, OfAClientMasksItsAnswers) {
  FrameReader client(Role::client);
  unframed(client, bytes("89 02 'hi'"));
  const std::string pong = client.take_answer(0);  // a mask that leaves the payload as it is
  EXPECT_EQ(pong, text("8a 82 00000000 'hi'"));
  EXPECT_EQ(client.take_answer(0), "");
}

TEST(WebSocketFrameReader, NoticesAFrameWithoutAMaskByItsFirstTwoBytes) {
  FrameReader server;
  unframed(server, bytes("82 01"));
  EXPECT_EQ(server.fault(), CloseCode::protocol_error);
}

}  // namespace
}  // namespace millrace::protocol::websocket::test
