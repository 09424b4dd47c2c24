"""Runs every command of one page, from top to bottom, as a reader would, against the real server; and
compares what it prints with what the page says. The page is named on the command line. How a page
marks its blocks is said in pages.py.

The commands run in a folder of their own that looks like the repository. The server's ports are free
ones: 1883, 8083 and 9464 in the commands are replaced by what the server got, and stock clients that
are called without a port find theirs in their configuration. The built programs are on the search path
only once the page has said how they get there, and a page that starts another server must say before that
the one that runs is to be stopped.
"""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from pages import PAGES, ROOT, blocks
from server import Server
from suite import eventually, free_port, main

BINARY = Path(os.environ["SERVER_BINARY"]).resolve()
BUILD = BINARY.parents[1]
CLIENTS = ("mosquitto_sub", "mosquitto_pub", "mosquitto_rr")
TIMEOUT_S = 240
# How a page says where the built programs are: by itself, or by a link to the page that does.
NAMES_PROGRAMS = re.compile(r"^export PATH=\"\$PWD/build/release/bin:|getting-started\.md#the-programs", re.M)
STARTS_SERVER = re.compile(r"^(deploy/run\.sh|(?:build/release/bin/)?millrace)(?: serve)?((?: --\S+(?: [^-\s]\S*)?)*)$")

[PAGE] = [page for page in PAGES if page.stem == sys.argv[1]]
del sys.argv[1]


def pattern(expected, figures_differ):
    """What the page shows, as an expression for what has to be printed."""
    lines = []
    for line in expected.rstrip().split("\n"):
        if line == "...":
            lines.append(r"(?:.*\n)*?")
            continue
        line = re.escape(line.rstrip()).replace(r"\.\.\.", ".*")
        if figures_differ:
            line = re.sub(r"(\\ )+", r" +", line)
            line = re.sub(r"\d[\d,]*(\\\.\d+)?( \+(ms|s|us|MB|KB|GB|B))?\b", r"(?:[\\d.,]+(?: (?:ms|s|us|MB|KB|GB|B))?|-)",
                          line.replace(r"\,", ","))
        lines.append(line + r" *\n")
    return re.compile("".join(lines))


class Terminal:
    """Commands that run beside the others until the page ends."""

    def __init__(self, script, environment):
        self.output = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(["bash", "-eu", "-c", script], stdout=self.output,
                                        stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                        env=environment, start_new_session=True)

    def text(self):
        self.output.flush()
        return os.pread(self.output.fileno(), 1 << 24, 0).decode()

    def stop(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.output.close()


class Page(unittest.TestCase):
    def setUp(self):
        # Where the commands run, in the build folder; and what they take /tmp for, as a socket's path is short.
        folder = tempfile.TemporaryDirectory(prefix="docs-", dir=BUILD)
        tmp = tempfile.TemporaryDirectory(prefix="millrace-docs-")
        for one in (folder, tmp):
            self.addCleanup(one.cleanup)
        self.folder, self.tmp = Path(folder.name), Path(tmp.name)
        self.server, self.terminal, self.other_port = None, None, free_port()
        self.finds_programs = False
        self.read_at_start = ""  # the page up to the block that started the server
        for entry in ROOT.iterdir():
            if entry.name not in ("build", ".git"):
                (self.folder / entry.name).symlink_to(entry)
        for name in ("build", "bin", "config"):
            (self.folder / name).mkdir()
        (self.folder / "build" / "release").symlink_to(BUILD)
        if Path("/usr/bin/python3").exists():  # the one that Debian's packages are for
            (self.folder / "bin" / "python3").symlink_to("/usr/bin/python3")
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)

    def environment(self):
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MILLRACE_")}
        if self.server:
            inherited["MILLRACE_HTTP_PORT"] = str(self.server.http_port)  # for `millrace check --health`
        programs = f"{self.folder}/build/release/bin:" if self.finds_programs else ""
        return {**inherited,
                "PATH": f"{programs}{self.folder}/bin:{os.environ['PATH']}", "HOME": str(self.folder),
                "XDG_CONFIG_HOME": f"{self.folder}/config", "PYTHONUNBUFFERED": "1",
                "CMAKE_PREFIX_PATH": ""}

    def start_server(self, arguments=()):
        if self.server:
            self.server.stop()
        self.server = Server(arguments=[self.placed(word) for word in arguments])
        self.addCleanup(self.server.stop)
        for client in CLIENTS:
            (self.folder / "config" / client).write_text(f"-p {self.server.mqtt_port}\n")

    def placed(self, text):
        """The command, with paths and ports that are this test's own."""
        text = text.replace("/tmp/", f"{self.tmp}/")
        if self.server:
            for printed, own in ((1883, self.server.mqtt_port), (8083, self.server.ws_port),
                                 (9464, self.server.http_port), (1884, self.other_port)):
                text = re.sub(rf"\b{printed}\b", str(own), text)
        return text

    # ---- the three kinds of commands -----------------------------------------------------------------

    def run_aside(self, block):
        command = block.text.strip()
        if start := STARTS_SERVER.match(command):
            self.assertTrue(self.finds_programs or start[1] != "millrace", f"{block}: the page does not say where millrace is")
            if self.server:
                self.assertIn("Ctrl-C", block.before[len(self.read_at_start):],
                              f"{block}: another server runs, and the page does not say that it is to be stopped")
            self.read_at_start = block.before
            self.start_server(shlex.split(start[2]))
            return
        before = self.subscribes()
        self.terminal = Terminal(self.line_by_line(self.placed(command)), self.environment())
        self.addCleanup(self.terminal.stop)
        if "mosquitto_sub" in command:
            eventually(lambda: self.subscribes() > before, f"{block}: nobody subscribed")
        if "millrace tap" in command:
            eventually(lambda: "attached" in self.terminal.text(), f"{block}: tap did not attach")
        if "sbin/mosquitto" in command:
            eventually(self.other_listens, f"{block}: it does not listen")

    def subscribes(self):
        """How often somebody has subscribed. (A gauge would still count clients that have just left.)"""
        return self.server.metrics().get('millrace_packets_sent_total{type="SUBACK"}', 0)

    def other_listens(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.other_port)) == 0

    @staticmethod
    def line_by_line(script):
        """So that what clients print can be seen at once."""
        return re.sub(r"^(mosquitto_sub|millrace tap)", r"stdbuf -oL \1", script, flags=re.M)

    def run_here(self, block):
        done = subprocess.run(["bash", "-eu", "-o", "pipefail", "-c", self.placed(block.text)],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                              text=True, env=self.environment(), timeout=TIMEOUT_S)
        self.assertEqual(done.returncode, 0, f"{block} ended with {done.returncode}:\n{done.stdout}")
        return done.stdout

    def check_output(self, block, output):
        expected = pattern(self.placed(block.text), block.says("figures differ"))
        if block.says("the other terminal prints"):
            eventually(lambda: expected.search(self.terminal.text()),
                       f"{block} is not what the other terminal printed:\n{self.terminal.text()}")
            return
        self.assertIsNotNone(output, f"{block} has no command before it")
        self.assertTrue(expected.fullmatch(output.rstrip("\n") + "\n"),
                        f"{block} is not what was printed:\n{output}")

    def test_every_command(self):
        ran, output = 0, None
        for block in blocks(PAGE):
            self.finds_programs = bool(NAMES_PROGRAMS.search(block.before))
            if block.kind == "sh" and block.remark.startswith("not run"):
                reason = block.named("not run:")
                self.assertGreater(len((reason or "").split()), 2, f"{block} is not run and does not say why")
                output = None
                continue
            if block.kind == "json":
                name = block.named("file:") or "checked.json"
                (self.folder / name).write_text(block.text)
                done = subprocess.run([BINARY, "check", "--config", name], stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT, text=True, env=self.environment())
                self.assertEqual(done.returncode, 0, f"{block} is not accepted:\n{done.stdout}")
                continue
            if block.kind == "sh":
                starts = block.says("in another terminal") and STARTS_SERVER.match(block.text.strip())
                if not self.server and not starts:
                    self.start_server()
                if block.says("in another terminal"):
                    self.run_aside(block)
                else:
                    missing = [word for word in re.findall(r"^(\S+)", block.text, re.M)
                               if word in CLIENTS and not shutil.which(word)]
                    self.assertFalse(missing, f"{block}: {missing} not installed")
                    output = self.run_here(block)
                ran += 1
            elif block.kind == "text":
                self.check_output(block, output)
        print(f"{PAGE.name}: {ran} blocks of commands")


if __name__ == "__main__":
    main()
