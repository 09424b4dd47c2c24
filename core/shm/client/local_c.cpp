// The C ABI: each function calls the C++ one and turns exceptions into results.
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/shm/include/millrace/local.h"
#include "core/shm/include/millrace/local.hpp"

namespace local = millrace::local;

struct millrace_reader {
  local::Reader reader;
  local::MessageCopy copy;
};
struct millrace_publisher {
  local::Publisher publisher;
};
struct millrace_latest {
  local::Latest latest;
  local::Value value;
};

namespace {

std::chrono::nanoseconds timeout_of(int64_t timeout_ns) {
  return timeout_ns < 0 ? local::forever : std::chrono::nanoseconds(timeout_ns);
}

const char* or_default(const char* text, const char* otherwise) {
  return text ? text : otherwise;
}

void copy_text(const char* text, char* to, size_t bytes) {
  if (!to || bytes == 0) return;
  std::strncpy(to, text, bytes - 1);
  to[bytes - 1] = '\0';
}

// Runs `make`; null and a message in `error` if it throws.
template <class Make>
auto guarded(char* error, size_t error_bytes, Make&& make) -> decltype(make()) {
  try {
    return make();
  } catch (const std::exception& exception) {
    copy_text(exception.what(), error, error_bytes);
    return nullptr;
  }
}

template <class From>
void fill(millrace_message* to, const From& from) {
  to->topic = from.topic.data();
  to->topic_bytes = from.topic.size();
  to->payload = from.payload.data();
  to->payload_bytes = from.payload.size();
  to->sequence = from.sequence;
  to->time_ns = from.time_ns;
  to->retained = from.retained;
  to->oversize = from.oversize;
  to->oversize_bytes = from.oversize_bytes;
}

template <class Put>
millrace_published published(Put&& put) {
  try {
    const local::Published result = put();
    // 4 stands for an exception.
    if (result == local::Published::invalid) return MILLRACE_INVALID;
    return static_cast<millrace_published>(result);
  } catch (const std::exception&) {
    return MILLRACE_NOT_PUBLISHED;
  }
}

std::string_view view(const void* bytes, size_t size) {
  return {static_cast<const char*>(bytes), size};
}

}  // namespace

void millrace_reader_options_init(millrace_reader_options* options) {
  *options = {};
  options->wait = MILLRACE_BLOCK;
}

millrace_reader* millrace_reader_open(const char* filter, const millrace_reader_options* options,
                                      char* error, size_t error_bytes) {
  return millrace_reader_open_filters(&filter, 1, options, error, error_bytes);
}

millrace_reader* millrace_reader_open_filters(const char* const* filters, size_t filter_count,
                                              const millrace_reader_options* options, char* error,
                                              size_t error_bytes) {
  return guarded(error, error_bytes, [&] {
    local::ReaderOptions wanted;
    if (options) {
      const auto in_range = [](int value, int last) { return value >= 0 && value <= last; };
      if (!in_range(options->policy, 1) || !in_range(options->start, 2) ||
          !in_range(options->wait, 2) || !in_range(options->wildcards, 1)) {
        throw local::Error("an option is out of its range");
      }
      wanted.wildcards = static_cast<local::Wildcards>(options->wildcards);
      wanted.pollable = options->pollable != 0;
      wanted.socket = or_default(options->socket, local::default_socket);
      wanted.policy = static_cast<local::Policy>(options->policy);
      wanted.start = static_cast<local::Start>(options->start);
      wanted.wait = static_cast<local::Wait>(options->wait);
      wanted.name = or_default(options->name, "");
      wanted.after.assign(options->after, options->after + options->after_count);
    }
    std::vector<std::string> all(filters, filters + filter_count);
    return new millrace_reader{local::Reader(std::move(all), std::move(wanted)), {}};
  });
}

void millrace_reader_close(millrace_reader* reader) {
  delete reader;
}

int millrace_reader_warning(const millrace_reader* reader, char* warning, size_t warning_bytes) {
  try {
    const std::string text = reader->reader.warning();
    copy_text(text.c_str(), warning, warning_bytes);
    return !text.empty();
  } catch (const std::exception&) {
    return 0;
  }
}

int millrace_reader_fd(const millrace_reader* reader) {
  try {
    return reader->reader.fd();
  } catch (const std::exception&) {
    return -1;
  }
}

millrace_status millrace_reader_next(millrace_reader* reader, millrace_message* message,
                                     int64_t timeout_ns) {
  try {
    const auto status = reader->reader.next_copy(reader->copy, timeout_of(timeout_ns));
    if (status == local::Status::message) fill(message, reader->copy);
    return static_cast<millrace_status>(status);
  } catch (const std::exception&) {
    return MILLRACE_FAILED;
  }
}

millrace_status millrace_reader_next_in_place(millrace_reader* reader, millrace_message* message,
                                              int64_t timeout_ns) {
  try {
    local::Message in_place;
    const auto status = reader->reader.next(in_place, timeout_of(timeout_ns));
    if (status == local::Status::message) fill(message, in_place);
    return static_cast<millrace_status>(status);
  } catch (const std::exception&) {
    return MILLRACE_FAILED;
  }
}

int millrace_reader_is_valid(const millrace_reader* reader) {
  return reader->reader.is_valid();
}
int millrace_reader_release(millrace_reader* reader) {
  return reader->reader.release();
}
uint64_t millrace_reader_missed(const millrace_reader* reader) {
  return reader->reader.missed();
}
uint64_t millrace_reader_epoch(const millrace_reader* reader) {
  return reader->reader.epoch();
}
uint64_t millrace_reader_lag_bytes(const millrace_reader* reader) {
  return reader->reader.lag_bytes();
}
void millrace_reader_stop(millrace_reader* reader) {
  reader->reader.stop();
}

millrace_publisher* millrace_publisher_open(const char* socket, const char* name, char* error,
                                            size_t error_bytes) {
  return guarded(error, error_bytes, [&] {
    return new millrace_publisher{
        local::Publisher({or_default(socket, local::default_socket), or_default(name, "")})};
  });
}

void millrace_publisher_close(millrace_publisher* publisher) {
  delete publisher;
}

millrace_published millrace_publish(millrace_publisher* publisher, const char* topic,
                                    const void* payload, size_t payload_bytes, int retain,
                                    int qos) {
  return published([&] {
    return publisher->publisher.publish(topic, view(payload, payload_bytes), retain != 0, qos);
  });
}

millrace_published millrace_put(millrace_publisher* publisher, const char* topic,
                                const void* payload, size_t payload_bytes, int retain, int qos) {
  return published([&] {
    return publisher->publisher.put(topic, view(payload, payload_bytes), retain != 0, qos);
  });
}

void millrace_flush(millrace_publisher* publisher) {
  publisher->publisher.flush();
}
int millrace_drain(millrace_publisher* publisher, int64_t timeout_ns) {
  return publisher->publisher.drain(timeout_of(timeout_ns));
}
uint64_t millrace_publisher_refused(const millrace_publisher* publisher) {
  return publisher->publisher.refused();
}

millrace_latest* millrace_latest_open(const char* filter, const char* socket, char* error,
                                      size_t error_bytes) {
  return guarded(error, error_bytes, [&] {
    return new millrace_latest{local::Latest(filter, or_default(socket, local::default_socket)),
                               {}};
  });
}

void millrace_latest_close(millrace_latest* latest) {
  delete latest;
}

int millrace_latest_get(millrace_latest* latest, const char* topic, millrace_value* value) {
  try {
    if (!latest->latest.get(topic, latest->value)) return 0;
    *value = {latest->value.payload.data(), latest->value.payload.size(), latest->value.sequence,
              latest->value.time_ns, latest->value.retained};
    return 1;
  } catch (const std::exception&) {
    return 0;
  }
}
