"""Millrace for a process on the same host: iterate messages, publish, look up newest values.

    from millrace_local import Reader
    for message in Reader("md/#"):
        print(message.topic, message.payload)

Standard library only; needs libmillrace-local.so (LIBMILLRACE_LOCAL may name it).
"""

import ctypes
import os
from collections import namedtuple

Message = namedtuple("Message", "topic payload sequence time_ns retained oversize_bytes")
Value = namedtuple("Value", "payload sequence time_ns retained")

LOSSY, LOSSLESS = 0, 1
NOW, OLDEST, LATEST = 0, 1, 2
SPIN, YIELD, BLOCK = 0, 1, 2
MESSAGE, TIMEOUT, DISCONNECTED, RECONNECTED, EVICTED, STOPPED, FAILED = range(7)
TAKEN, FULL, TOO_LARGE, NO_SERVER, NOT_PUBLISHED = range(5)

# A blocking call in slices, so that Ctrl-C is answered.
_SLICE_NS = 200_000_000


class LocalError(Exception):
    """The control socket could not be opened, or a call failed."""


class _Options(ctypes.Structure):
    _fields_ = [("socket", ctypes.c_char_p), ("policy", ctypes.c_int), ("start", ctypes.c_int),
                ("wait", ctypes.c_int), ("name", ctypes.c_char_p),
                ("after", ctypes.POINTER(ctypes.c_char_p)), ("after_count", ctypes.c_size_t)]


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
            ("millrace_reader_open", pointer, [text, ctypes.POINTER(_Options), text, size]),
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
    """Iterates over messages; `events` (a function of a status) hears of everything else."""

    def __init__(self, filter, *, socket=None, policy=LOSSY, start=NOW, wait=BLOCK, name=None,
                 after=(), events=None):
        names = (ctypes.c_char_p * len(after))(*[_encode(one) for one in after])
        options = _Options(_encode(socket), policy, start, wait, _encode(name), names, len(after))
        error = ctypes.create_string_buffer(256)
        super().__init__(_library.millrace_reader_open(filter.encode(), ctypes.byref(options),
                                                       error, len(error)),
                         error, _library.millrace_reader_close)
        self._events = events

    def next(self, timeout=None):
        """A Message, or the status (an int) when there is none. `timeout` is in seconds."""
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

    @property
    def missed(self):
        return _library.millrace_reader_missed(self._handle)

    @property
    def epoch(self):
        return _library.millrace_reader_epoch(self._handle)


class Publisher(_Handle):
    def __init__(self, *, socket=None, name=None):
        error = ctypes.create_string_buffer(256)
        super().__init__(_library.millrace_publisher_open(_encode(socket), _encode(name), error,
                                                          len(error)),
                         error, _library.millrace_publisher_close)

    def publish(self, topic, payload, *, retain=False, qos=0):
        """TAKEN, FULL (try again), TOO_LARGE or NO_SERVER."""
        data = payload.encode() if isinstance(payload, str) else bytes(payload)
        return _library.millrace_publish(self._handle, topic.encode(), data, len(data),
                                         int(retain), qos)

    def drain(self, timeout=None):
        """True once the server has taken everything."""
        return bool(_library.millrace_drain(self._handle,
                                            -1 if timeout is None else int(timeout * 1e9)))

    @property
    def refused(self):
        return _library.millrace_publisher_refused(self._handle)


class Latest(_Handle):
    def __init__(self, filter, *, socket=None):
        error = ctypes.create_string_buffer(256)
        super().__init__(_library.millrace_latest_open(filter.encode(), _encode(socket), error,
                                                       len(error)),
                         error, _library.millrace_latest_close)

    def get(self, topic):
        """A Value, or None when none is known."""
        value = _Value()
        if not _library.millrace_latest_get(self._handle, topic.encode(), ctypes.byref(value)):
            return None
        return Value(ctypes.string_at(value.payload, value.payload_bytes), value.sequence,
                     value.time_ns, bool(value.retained))
