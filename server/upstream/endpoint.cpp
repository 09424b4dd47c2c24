#include "server/upstream/endpoint.hpp"

#include <arpa/inet.h>
#include <netdb.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <thread>
#include <utility>

#include "server/config/config.hpp"

namespace millrace::server {

namespace {

Resolved resolve(const std::string& host, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG;
  if (is_address(host)) hints.ai_flags = AI_NUMERICSERV | AI_NUMERICHOST;
  addrinfo* list = nullptr;
  const int error = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list);
  Resolved resolved;
  if (error != 0) {
    resolved.fault = error == EAI_SYSTEM ? std::strerror(errno) : ::gai_strerror(error);
    return resolved;
  }
  for (const addrinfo* one = list; one != nullptr; one = one->ai_next) {
    Endpoint& endpoint = resolved.endpoints.emplace_back();
    std::memcpy(&endpoint.address, one->ai_addr, one->ai_addrlen);
    endpoint.bytes = one->ai_addrlen;
  }
  ::freeaddrinfo(list);
  return resolved;
}

}  // namespace

std::string to_string(const Endpoint& endpoint) {
  char host[INET6_ADDRSTRLEN] = "?";
  if (endpoint.address.ss_family == AF_INET6) {
    const auto& address = reinterpret_cast<const sockaddr_in6&>(endpoint.address);
    ::inet_ntop(AF_INET6, &address.sin6_addr, host, sizeof host);
    return address_text(host, ntohs(address.sin6_port));
  }
  const auto& address = reinterpret_cast<const sockaddr_in&>(endpoint.address);
  ::inet_ntop(AF_INET, &address.sin_addr, host, sizeof host);
  return address_text(host, ntohs(address.sin_port));
}

Resolving::Resolving(IoThread& thread, const std::string& host, std::uint16_t port, Done done)
    : question_(std::make_shared<Question>()) {
  question_->thread = &thread;
  question_->done = std::move(done);
  const auto answer = [question = question_](Resolved resolved) {
    std::lock_guard lock(question->mutex);
    if (question->thread == nullptr) return;
    question->thread->post([question, resolved = std::move(resolved)]() mutable {
      const Done done = std::move(question->done);  // it may end the Resolving
      if (done) done(std::move(resolved));
    });
  };
  if (is_address(host)) {
    answer(resolve(host, port));  // that needs nobody else
    return;
  }
  try {
    std::thread([answer, host, port] { answer(resolve(host, port)); }).detach();
  } catch (const std::system_error& error) {  // the system has no thread to spare
    answer({{}, error.what()});
  }
}

Resolving::~Resolving() {
  std::lock_guard lock(question_->mutex);
  question_->thread = nullptr;
  question_->done = nullptr;
}

}  // namespace millrace::server
