// A reader of Server-Sent Events, which takes them from a socket by hand and blocks.
#pragma once

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "tests/server/http/topics_world.hpp"

namespace millrace::server {

// An event's fields, or "comment".
using Event = std::map<std::string, std::string>;

class EventReader {
 public:
  EventReader(TopicsWorld& world, const std::string& target,
              const HttpClient::Headers& headers = {}, const std::string& version = "1.1") {
    socket_.connect({boost::asio::ip::make_address("127.0.0.1"), world.http.port()});
    std::string request = "GET " + target + " HTTP/" + version + "\r\nHost: localhost\r\n";
    for (const auto& [name, value] : headers) request += name + ": " + value + "\r\n";
    boost::asio::write(socket_, boost::asio::buffer(request + "\r\n"));
    head = take_until("\r\n\r\n");
    chunked_ = head.find("Transfer-Encoding: chunked") != std::string::npos;
  }

  bool accepted() const { return head.find(" 200 ") != std::string::npos; }

  // The next event, comments and ids apart; empty at the end.
  Event next() {
    for (;;) {
      Event event;
      for (std::string line = line_of_body(); !line.empty(); line = line_of_body()) {
        const auto colon = line.find(':');
        if (colon > 0) event[line.substr(0, colon)] = line.substr(std::min(line.size(), colon + 2));
      }
      if (event.count("data") > 0 || ended_) return event;
    }
  }
  // The next value, as JSON. The stream's beginning comes before it.
  nlohmann::json value() {
    Event event = next();
    if (event["event"] == "start") {
      start = nlohmann::json::parse(event["data"]);
      event = next();
    }
    return event["data"].empty() ? nlohmann::json() : nlohmann::json::parse(event["data"]);
  }
  // Reads on until everything that was published has been told.
  std::string wait_for_id() {
    std::string line;
    wait_for_line("id: ", &line);
    return line.substr(std::min<std::size_t>(line.size(), 4));
  }
  bool wait_for_line(const std::string& beginning, std::string* found = nullptr) {
    while (!ended_) {
      const std::string line = line_of_body();
      if (!line.starts_with(beginning)) continue;
      if (found != nullptr) *found = line;
      return true;
    }
    return false;
  }
  bool ended() {
    while (!ended_) line_of_body();
    return true;
  }
  void close() { socket_.close(); }

  std::string head;
  nlohmann::json start;
  int ids = 0;

 private:
  std::string line_of_body() {
    std::size_t end = 0;
    while ((end = body_.find('\n')) == std::string::npos) {
      if (!read_body()) {
        ended_ = true;
        return "";
      }
    }
    std::string line = body_.substr(0, end);
    body_.erase(0, end + 1);
    if (line.starts_with("id: ")) ++ids;
    return line;
  }
  bool read_body() {
    if (ended_) return false;
    if (!chunked_) {
      if (raw_.empty() && !read_some()) return false;
      body_ += std::exchange(raw_, "");
      return true;
    }
    const std::string size = take_until("\r\n");
    if (size.empty()) return false;
    const std::size_t bytes = std::stoul(size, nullptr, 16);
    while (raw_.size() < bytes + 2) {
      if (!read_some()) return false;
    }
    body_ += raw_.substr(0, bytes);
    raw_.erase(0, bytes + 2);
    return bytes > 0;
  }
  std::string take_until(const std::string& end) {
    std::size_t at = 0;
    while ((at = raw_.find(end)) == std::string::npos) {
      if (!read_some()) return "";
    }
    std::string text = raw_.substr(0, at + end.size());
    raw_.erase(0, at + end.size());
    return text;
  }
  bool read_some() {
    char bytes[4096];
    boost::system::error_code error;
    const std::size_t count = socket_.read_some(boost::asio::buffer(bytes), error);
    raw_.append(bytes, count);
    return !error;
  }

  boost::asio::io_context context_;
  boost::asio::ip::tcp::socket socket_{context_};
  std::string raw_, body_;
  bool chunked_ = false;
  bool ended_ = false;
};

}  // namespace millrace::server
