"""The client library for processes on the server's host: read, publish, look up newest values.

    from millrace_local import Reader
    for message in Reader("md/#"):
        print(message.topic, message.payload)

Standard library only; needs libmillrace-local.so.0 (or the path in LIBMILLRACE_LOCAL). Each object
belongs to one thread at a time. Topics are str, payloads are bytes.

Policies (how the server treats a reader that is too slow): LOSSY, it misses messages and `missed`
counts them; LOSSLESS, the server keeps unread messages up to its limits.
Starts (the message to begin with): NOW, the next one; OLDEST, the oldest in the ring; LATEST, first
the newest value of each topic.
Waits (what a reader does while there is no message): SPIN, YIELD, BLOCK.
Wildcards (in filters): MQTT, + and #; STAR, also * for one level, and ** at the end for all that
follow.
"""

import ctypes
import os
import warnings
from collections import namedtuple

Message = namedtuple("Message", "topic payload sequence time_ns retained oversize_bytes")
Value = namedtuple("Value", "payload sequence time_ns retained")

LOSSY, LOSSLESS = 0, 1
NOW, OLDEST, LATEST = 0, 1, 2
SPIN, YIELD, BLOCK = 0, 1, 2
MQTT, STAR = 0, 1
MESSAGE, TIMEOUT, DISCONNECTED, RECONNECTED, EVICTED, STOPPED, FAILED = range(7)
TAKEN, FULL, TOO_LARGE, NO_SERVER, NOT_PUBLISHED, INVALID = range(6)

# A blocking call is made in slices, so that Ctrl-C works meanwhile.
_SLICE_NS = 200_000_000


class LocalError(Exception):
    """The connection to the server failed or was refused; the text says why."""


class _Options(ctypes.Structure):
    _fields_ = [("socket", ctypes.c_char_p), ("policy", ctypes.c_int), ("start", ctypes.c_int),
                ("wait", ctypes.c_int), ("name", ctypes.c_char_p),
                ("after", ctypes.POINTER(ctypes.c_char_p)), ("after_count", ctypes.c_size_t),
                ("wildcards", ctypes.c_int), ("pollable", ctypes.c_int)]


class _Message(ctypes.Structure):
    _fields_ = [("topic", ctypes.c_void_p), ("topic_bytes", ctypes.c_size_t),
                ("payload", ctypes.c_void_p), ("payload_bytes", ctypes.c_size_t),
                ("sequence", ctypes.c_uint64), ("time_ns", ctypes.c_uint64),
                ("retained", ctypes.c_int), ("oversize", ctypes.c_int),
                ("oversize_bytes", ctypes.c_uint64)]


class _Value(ctypes.Structure):
    _fields_ = [("payload", ctypes.c_void_p), ("payload_bytes", ctypes.c_size_t),
                ("sequence", ctypes.c_uint64), ("time_ns", ctypes.c_uint64),
                ("retained", ctypes.c_int)]


def _load():
    library = ctypes.CDLL(os.environ.get("LIBMILLRACE_LOCAL", "libmillrace-local.so.0"))
    pointer, text, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
    publish = [pointer, text, text, size, ctypes.c_int, ctypes.c_int]
    for name, result, arguments in (
            ("millrace_reader_open_filters", pointer,
             [ctypes.POINTER(text), size, ctypes.POINTER(_Options), text, size]),
            ("millrace_reader_warning", ctypes.c_int, [pointer, text, size]),
            ("millrace_reader_fd", ctypes.c_int, [pointer]),
            ("millrace_reader_close", None, [pointer]),
            ("millrace_reader_next", ctypes.c_int,
             [pointer, ctypes.POINTER(_Message), ctypes.c_int64]),
            ("millrace_reader_missed", ctypes.c_uint64, [pointer]),
            ("millrace_reader_epoch", ctypes.c_uint64, [pointer]),
            ("millrace_publisher_open", pointer, [text, text, text, size]),
            ("millrace_publisher_close", None, [pointer]),
            ("millrace_publish", ctypes.c_int, publish),
            ("millrace_put", ctypes.c_int, publish),
            ("millrace_flush", None, [pointer]),
            ("millrace_drain", ctypes.c_int, [pointer, ctypes.c_int64]),
            ("millrace_publisher_refused", ctypes.c_uint64, [pointer]),
            ("millrace_latest_open", pointer, [text, text, text, size]),
            ("millrace_latest_close", None, [pointer]),
            ("millrace_latest_get", ctypes.c_int, [pointer, text, ctypes.POINTER(_Value)])):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


_library = _load()


def _encode(text):
    return None if text is None else os.fsencode(text)


class _Handle:
    def __init__(self, handle, error, close):
        if not handle:
            raise LocalError(error.value.decode(errors="replace"))
        self._handle, self._close = handle, close

    def close(self):
        """Detaches from the server. The object cannot be used afterwards."""
        handle, self._handle = self._handle, None
        if handle:
            self._close(handle)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        if getattr(self, "_handle", None):
            self.close()


class Reader(_Handle):
    """Reads the messages that match a topic filter; iterate over it, or call next().

    `filter`: a topic filter, or several: a message that matches several of them is read once.
    `socket`: path of the server's local.socket.
    `policy`, `start`, `wait`: see the module.
    `name`: by which other readers can name this one in their `after`.
    `after`: names of readers with the same filter and policy; this one reads what they have read.
    `events`: a function that iteration calls with each status other than MESSAGE and TIMEOUT.
    `wildcards`: see the module. With MQTT, a filter with a level `*` (literal) causes a warning.
    `pollable`: makes the reader usable in select, selectors and asyncio: fileno(), `async for`.
    """

    def __init__(self, filter, *, socket=None, policy=LOSSY, start=NOW, wait=BLOCK, name=None,
                 after=(), events=None, wildcards=MQTT, pollable=False):
        names = (ctypes.c_char_p * len(after))(*[_encode(one) for one in after])
        all_filters = [filter] if isinstance(filter, str) else list(filter)
        filters = (ctypes.c_char_p * len(all_filters))(*[one.encode() for one in all_filters])
        options = _Options(_encode(socket), policy, start, wait, _encode(name), names, len(after),
                           wildcards, int(pollable))
        error = ctypes.create_string_buffer(512)
        super().__init__(
            _library.millrace_reader_open_filters(filters, len(filters), ctypes.byref(options),
                                                  error, len(error)),
            error, _library.millrace_reader_close)
        self._events, self._in_a_row = events, 0
        if _library.millrace_reader_warning(self._handle, error, len(error)):
            warnings.warn(error.value.decode(errors="replace"), stacklevel=2)

    def fileno(self):
        """A descriptor for poll loops, if the reader is `pollable`.

        Call next(0) until it returns TIMEOUT; from then on the descriptor becomes readable when the
        next call may return something else. Only poll it.
        """
        fd = _library.millrace_reader_fd(self._handle)
        if fd < 0:
            raise LocalError("the reader is not pollable")
        return fd

    def next(self, timeout=None):
        """The next Message, or a status (an int) when there is none.

        `timeout` is in seconds; None waits for ever.

        TIMEOUT: no message came in time.
        DISCONNECTED: the server ended; the next calls try to attach again.
        RECONNECTED: attached again; messages published in between were missed.
        EVICTED: too slow for a LOSSLESS ring; the next calls try to attach again.
        FAILED: out of memory.
        """
        message = _Message()
        left = None if timeout is None else int(timeout * 1e9)
        while True:
            slice_ns = _SLICE_NS if left is None else min(left, _SLICE_NS)
            status = _library.millrace_reader_next(self._handle, ctypes.byref(message), slice_ns)
            if status == MESSAGE:
                return Message(ctypes.string_at(message.topic, message.topic_bytes).decode(),
                               ctypes.string_at(message.payload, message.payload_bytes),
                               message.sequence, message.time_ns, bool(message.retained),
                               message.oversize_bytes if message.oversize else None)
            if status != TIMEOUT:
                return status
            if left is not None:
                left -= slice_ns
                if left <= 0:
                    return TIMEOUT

    def __iter__(self):
        while True:
            message = self.next()
            if isinstance(message, Message):
                yield message
            elif message == FAILED:
                raise LocalError("the reader failed")
            elif self._events:
                self._events(message)

    def __aiter__(self):
        return self

    async def __anext__(self):
        import asyncio  # only programs that use it pay for it
        self._in_a_row += 1
        if self._in_a_row % 64 == 0:
            await asyncio.sleep(0)  # while there is always a message, let other tasks run
        loop = asyncio.get_running_loop()
        while True:
            message = self.next(0)
            if isinstance(message, Message):
                return message
            if message == FAILED:
                raise LocalError("the reader failed")
            if message != TIMEOUT:
                if self._events:
                    self._events(message)
                continue
            readable = loop.create_future()
            loop.add_reader(self.fileno(), lambda: readable.done() or readable.set_result(None))
            try:
                await readable
            finally:
                loop.remove_reader(self.fileno())

    @property
    def missed(self):
        """Number of messages that were overwritten before they were read, as far as is known."""
        return _library.millrace_reader_missed(self._handle)

    @property
    def epoch(self):
        """A number that differs in each run of the server."""
        return _library.millrace_reader_epoch(self._handle)


class Publisher(_Handle):
    """Publishes messages. `socket`: the server's local.socket; `name`: reserved for diagnostics."""

    def __init__(self, *, socket=None, name=None):
        error = ctypes.create_string_buffer(256)
        super().__init__(_library.millrace_publisher_open(_encode(socket), _encode(name), error,
                                                          len(error)),
                         error, _library.millrace_publisher_close)

    def publish(self, topic, payload, *, retain=False, qos=0):
        """Publishes a message.

        TAKEN: it is on its way to the server. FULL: the server is behind, try again.
        TOO_LARGE: see local.publisher_frame_bytes_max.
        INVALID: not a valid topic name, or not a QoS.
        NO_SERVER: the server ended; later calls try to connect again.
        """
        data = payload.encode() if isinstance(payload, str) else bytes(payload)
        return _library.millrace_publish(self._handle, topic.encode(), data, len(data),
                                         int(retain), qos)

    def drain(self, timeout=None):
        """Waits until the server has taken everything.

        False after `timeout` seconds, or when the server has ended.
        """
        return bool(_library.millrace_drain(self._handle,
                                            -1 if timeout is None else int(timeout * 1e9)))

    @property
    def refused(self):
        """Number of messages that the server took but did not accept (not allowed, or invalid)."""
        return _library.millrace_publisher_refused(self._handle)


class Latest(_Handle):
    """Looks up the newest value of each topic that matches `filter`."""

    def __init__(self, filter, *, socket=None):
        error = ctypes.create_string_buffer(256)
        super().__init__(_library.millrace_latest_open(filter.encode(), _encode(socket), error,
                                                       len(error)),
                         error, _library.millrace_latest_close)

    def get(self, topic):
        """The newest Value of the topic, or None when there is none."""
        value = _Value()
        if not _library.millrace_latest_get(self._handle, topic.encode(), ctypes.byref(value)):
            return None
        return Value(ctypes.string_at(value.payload, value.payload_bytes), value.sequence,
                     value.time_ns, bool(value.retained))
