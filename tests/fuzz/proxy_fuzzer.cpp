// The fuzz target of what proxies say about their clients: server/net/proxy_header.hpp and
// forwarded_for.hpp.
//
// What must hold, beside the absence of crashes: a whole header is whole without what stands behind
// it, and incomplete without its last byte; what it names is an address; and what X-Forwarded-For
// brings out is an address, and a proxy's word only if a proxy said it.
#include <cstdint>
#include <span>
#include <string>

#include "server/config/config.hpp"
#include "server/net/forwarded_for.hpp"
#include "server/net/proxy_header.hpp"
#include "tests/fuzz/expect.hpp"

namespace server = millrace::server;
using millrace::expect;

namespace {

void check_header(std::span<const std::uint8_t> input) {
  using Status = server::ProxyHeader::Status;
  const auto header = server::parse_proxy_header(input);
  if (header.status != Status::whole) return;
  expect(header.bytes > 0 && header.bytes <= input.size() &&
             header.bytes <= server::proxy_header_bytes_max,
         "a whole header lies in what was received");
  const auto alone = server::parse_proxy_header(input.first(header.bytes));
  expect(alone.status == Status::whole && alone.bytes == header.bytes &&
             alone.address.has_value() == header.address.has_value(),
         "what stands behind a header is not looked at");
  expect(server::parse_proxy_header(input.first(header.bytes - 1)).status == Status::incomplete,
         "without its last byte a header is incomplete");
  if (header.address) expect(server::is_address(header.address->host), "a client has an address");
}

void check_forwarded(const std::string& field) {
  const auto proxies = server::address_ranges({"10.0.0.0/8", "fd00::/8"});
  for (const std::string peer : {"10.0.0.1", "192.0.2.1"}) {
    const std::string client = server::forwarded_client(peer, field, proxies);
    expect(server::is_address(client), "a client has an address");
    if (peer != "10.0.0.1") expect(client == peer, "a stranger's word is not believed");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t count) {
  check_header({data, count});
  check_forwarded({reinterpret_cast<const char*>(data), count});
  return 0;
}
