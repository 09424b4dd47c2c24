"""Starts the server under test and ends it again, by process id.

The binary is named by SERVER_BINARY (ctest sets it). Ports are 0: the operating system picks them
and the server's log names them, so any number of tests may run side by side.
"""

import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import urllib.request

START_TIMEOUT_S = 60
EXIT_TIMEOUT_S = 60


def binary():
    path = os.environ.get("SERVER_BINARY")
    if not path:
        raise SystemExit("SERVER_BINARY names the server to test, for example "
                         "build/release/bin/millrace")
    return path


def environment():
    """The server's environment: without MILLRACE_... variables, which would be configuration keys."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MILLRACE_")}


class Server:
    """One server process. `config` is the JSON configuration; `arguments` follow `serve`. A
    configuration that has its own listeners must give them port 0. `inside`: a command that ends by
    becoming the one that is its arguments."""

    def __init__(self, config=None, arguments=(), inside=()):
        self.folder = tempfile.TemporaryDirectory(prefix="millrace-test-")
        command = [*inside, binary(), "serve", "--http-port", "0"]
        if "listeners" not in (config or {}):
            command += ["--mqtt-port", "0", "--ws-port", "0"]
        self._file = os.path.join(self.folder.name, "millrace.json")
        if config is not None:
            self._write(config)
            command += ["--config", self._file]
        self.lines = []
        self._changed = threading.Condition()
        self._ended = False
        self.process = subprocess.Popen(command + list(arguments), stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True, errors="replace",
                                        env=environment())
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()

    def _write(self, config):
        with open(self._file, "w") as out:
            json.dump(config, out)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def pid(self):
        return self.process.pid

    # ---- the log
    # -----------------------------------------------------------------------------------

    def _read_log(self):
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_for_log(self, pattern, since=0):
        """The first match of `pattern` in the log from line `since` on; waits for it."""
        expression = re.compile(pattern)

        def found():
            for line in self.lines[since:]:
                match = expression.search(line)
                if match:
                    return match
            return None

        with self._changed:
            self._changed.wait_for(lambda: found() or self._ended, START_TIMEOUT_S)
            match = found()
        if not match:
            raise AssertionError(f"no /{pattern}/ in the log:\n" + "\n".join(self.lines[-40:]))
        return match

    def port(self, listener):
        """The port that the listener of this name got; the default ones are tcp, ws and http."""
        line = rf"\blistening\b.* port=(\d+) listener={re.escape(listener)}\b"
        return int(self.wait_for_log(line)[1])

    @property
    def mqtt_port(self):
        return self.port("tcp")

    @property
    def ws_port(self):
        return self.port("ws")

    @property
    def http_port(self):
        return self.port("http")

    # ---- metrics and resources
    # -----------------------------------------------------------------------

    def http(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=30) as answer:
            return answer.read().decode()

    def metrics(self):
        """{'name{labels}': value} of /metrics."""
        found = {}
        for line in self.http("/metrics").splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                found[name] = float(value)
        return found

    def resident_bytes(self):
        with open(f"/proc/{self.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    # ---- changes
    # -------------------------------------------------------------------------------------

    def reload(self, config=None):
        """Sends SIGHUP, after writing `config` if it is given; returns the result from the log:
        `reloaded` or `reload.fault`."""
        if config is not None:
            self._write(config)
        self.http_port  # Waits until the server listens: by then it handles signals too.
        seen = len(self.lines)
        self.process.send_signal(signal.SIGHUP)
        return self.wait_for_log(r"\b(reloaded|reload\.fault)\b", seen)[1]

    # ---- its end
    # -------------------------------------------------------------------------------------

    def terminate(self):
        """Sends SIGTERM; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(EXIT_TIMEOUT_S)
        self._reader.join(EXIT_TIMEOUT_S)
        return status

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join(EXIT_TIMEOUT_S)
        self.process.stdout.close()
        self.folder.cleanup()

