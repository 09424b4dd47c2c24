"""A control group with a memory limit of its own, for servers that are to run as in a container.

Needs root and a mounted memory controller, of cgroup v2 or v1, in which a group may be made."""

import tempfile
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
# Where groups are, and the files of a group with its limit and its counts.
_KINDS = ((_ROOT, "memory.max", "memory.events"),
          (_ROOT / "memory", "memory.limit_in_bytes", "memory.oom_control"))


class MemoryGroup:
    """`make` returns a group, or why there can be none. To be closed after the last process in it ended."""

    def __init__(self, folder, counts):
        self._folder, self._counts = folder, counts

    @classmethod
    def make(cls, bytes_max):
        reasons = []
        for parent, limit, counts in _KINDS:
            if not (parent / "cgroup.procs").exists():
                continue
            try:
                folder = Path(tempfile.mkdtemp(prefix="millrace-test-", dir=parent))
            except OSError as error:
                reasons.append(f"{parent}: {error.strerror}")
                continue
            try:
                (folder / limit).write_text(str(bytes_max))
                return cls(folder, counts), ""
            except OSError as error:
                folder.rmdir()
                reasons.append(f"{parent}: {limit}: {error.strerror}")
        return None, "no memory group can be made: " + ("; ".join(reasons) or "no controller is mounted")

    @property
    def inside(self):
        """The command that becomes the one that is its arguments, in this group."""
        return ("sh", "-c", 'echo $$ >"$0" && exec "$@"', str(self._folder / "cgroup.procs"))

    def oom_kills(self):
        """How many processes in it the kernel has ended because it was at its limit."""
        lines = (self._folder / self._counts).read_text().splitlines()
        return int(dict(line.split() for line in lines)["oom_kill"])

    def close(self):
        self._folder.rmdir()
