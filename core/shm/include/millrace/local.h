/* The client library for processes on the server's host, in C; local.hpp describes each term.
 *
 *   char error[256];
 *   millrace_reader* reader = millrace_reader_open("md/#", NULL, error, sizeof error);
 *   millrace_message message;
 *   while (millrace_reader_next(reader, &message, -1) == MILLRACE_MESSAGE) use(&message);
 *   millrace_reader_close(reader);
 *
 * Each object belongs to one thread at a time, except for millrace_reader_stop. Errors are returned
 * as results. Link with -lmillrace-local.
 */
#ifndef MILLRACE_LOCAL_H
#define MILLRACE_LOCAL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct millrace_reader millrace_reader;
typedef struct millrace_publisher millrace_publisher;
typedef struct millrace_latest millrace_latest;

enum { MILLRACE_LOSSY = 0, MILLRACE_LOSSLESS = 1 };
enum { MILLRACE_NOW = 0, MILLRACE_OLDEST = 1, MILLRACE_LATEST = 2 };
enum { MILLRACE_SPIN = 0, MILLRACE_YIELD = 1, MILLRACE_BLOCK = 2 };
enum { MILLRACE_WILDCARDS_MQTT = 0, MILLRACE_WILDCARDS_STAR = 1 };

typedef struct millrace_reader_options {
  const char* socket; /* NULL: /run/millrace/local.sock */
  int policy;
  int start;
  int wait;
  const char* name;         /* NULL: none */
  const char* const* after; /* names of readers of the same filter */
  size_t after_count;
  int wildcards; /* STAR: in filters, also `*` for `+`, and a last level `**` for `#` */
  int pollable;  /* see millrace_reader_fd() */
} millrace_reader_options;

typedef struct millrace_message {
  const char* topic; /* not terminated */
  size_t topic_bytes;
  const void* payload;
  size_t payload_bytes;
  uint64_t sequence; /* 0: a value from before the start (MILLRACE_LATEST) */
  uint64_t time_ns;  /* since 1970 */
  int retained;
  int oversize; /* the message was too large for the ring: no payload */
  uint64_t oversize_bytes;
} millrace_message;

typedef enum millrace_status {
  MILLRACE_MESSAGE = 0,
  MILLRACE_TIMEOUT = 1,
  MILLRACE_DISCONNECTED = 2,
  MILLRACE_RECONNECTED = 3,
  MILLRACE_EVICTED = 4,
  MILLRACE_STOPPED = 5,
  MILLRACE_FAILED = 6 /* out of memory, or an invalid argument */
} millrace_status;

/* Sets the defaults: lossy, start now, block. */
void millrace_reader_options_init(millrace_reader_options* options);

/* NULL when the reader cannot attach; `error` then says why. */
millrace_reader* millrace_reader_open(const char* filter, const millrace_reader_options* options,
                                      char* error, size_t error_bytes);
/* With several filters; a message that matches several of them is read once. */
millrace_reader* millrace_reader_open_filters(const char* const* filters, size_t filter_count,
                                              const millrace_reader_options* options, char* error,
                                              size_t error_bytes);
void millrace_reader_close(millrace_reader* reader);
/* Writes the warning about a filter with a level `*`, which MQTT takes literally, into `warning`.
 * Returns 1 if there is one, else 0. */
int millrace_reader_warning(const millrace_reader* reader, char* warning, size_t warning_bytes);
/* For poll loops: call millrace_reader_next() with a time-out of 0 until it returns
 * MILLRACE_TIMEOUT; from then on the descriptor becomes readable when the next call may return
 * something else. Only poll it, do not read it. -1 if the reader was opened without `pollable`. */
int millrace_reader_fd(const millrace_reader* reader);

/* The next message, copied; valid until the next call. A negative time-out waits for ever. */
millrace_status millrace_reader_next(millrace_reader* reader, millrace_message* message,
                                     int64_t timeout_ns);
/* The same in place, without a copy: check millrace_reader_is_valid() after reading it. */
millrace_status millrace_reader_next_in_place(millrace_reader* reader, millrace_message* message,
                                              int64_t timeout_ns);
int millrace_reader_is_valid(const millrace_reader* reader);
int millrace_reader_release(millrace_reader* reader);
uint64_t millrace_reader_missed(const millrace_reader* reader);
uint64_t millrace_reader_epoch(const millrace_reader* reader);
uint64_t millrace_reader_lag_bytes(const millrace_reader* reader);
void millrace_reader_stop(millrace_reader* reader); /* any thread */

typedef enum millrace_published {
  MILLRACE_TAKEN = 0,
  MILLRACE_FULL = 1,
  MILLRACE_TOO_LARGE = 2,
  MILLRACE_NO_SERVER = 3,
  MILLRACE_NOT_PUBLISHED = 4, /* out of memory */
  MILLRACE_INVALID = 5        /* not a valid topic name, or not a QoS */
} millrace_published;

millrace_publisher* millrace_publisher_open(const char* socket, const char* name, char* error,
                                            size_t error_bytes);
void millrace_publisher_close(millrace_publisher* publisher);
millrace_published millrace_publish(millrace_publisher* publisher, const char* topic,
                                    const void* payload, size_t payload_bytes, int retain, int qos);
/* In batches: put many, then flush once. */
millrace_published millrace_put(millrace_publisher* publisher, const char* topic,
                                const void* payload, size_t payload_bytes, int retain, int qos);
void millrace_flush(millrace_publisher* publisher);
/* 1 when the server has taken everything, 0 at the time-out or without a server. */
int millrace_drain(millrace_publisher* publisher, int64_t timeout_ns);
uint64_t millrace_publisher_refused(const millrace_publisher* publisher);

typedef struct millrace_value {
  const void* payload; /* valid until the next call */
  size_t payload_bytes;
  uint64_t sequence;
  uint64_t time_ns;
  int retained;
} millrace_value;

millrace_latest* millrace_latest_open(const char* filter, const char* socket, char* error,
                                      size_t error_bytes);
void millrace_latest_close(millrace_latest* latest);
/* 1 when there is a value, 0 when there is none. */
int millrace_latest_get(millrace_latest* latest, const char* topic, millrace_value* value);

#ifdef __cplusplus
}
#endif

#endif
