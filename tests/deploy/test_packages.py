"""The Debian packages and what is in them: manual, completion, scripts; and, with MILLRACE_HEAVY_TESTS=1 in the
environment, that they install on a bare Debian, run, are upgraded and purged there.

That needs root, cpack, dpkg-shlibdeps (package dpkg-dev) and apt, which downloads what the packages depend on.
MILLRACE_BARE_ROOT names a tar file of a bare Debian 12; without it, debootstrap makes one."""

import os
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from server import binary
from suite import eventually, main

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(binary()).resolve().parents[1]
MANUAL = ROOT / "deploy" / "man" / "millrace.1"
COMPLETION = ROOT / "deploy" / "completion" / "millrace"
COMMANDS = ("serve", "check", "passwd", "store", "tap", "pub", "top", "clients", "topics", "kick", "publish", "trace", "import")


def printed(*command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode:
        raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def options_of(command):
    text = printed(binary(), command, "--help").partition("\nKeys")[0]
    return set(re.findall(r"^  (?:-\S \[ )?(--[a-z0-9-]+)", text, re.M)) - {"--help", "--arguments", "--file"}


class Manual(unittest.TestCase):
    def test_it_has_every_command_and_option(self):
        text = MANUAL.read_text().replace("\\-", "-")
        commands = set(re.findall(r"millrace \[?([a-z]+)\b", printed(binary(), "--help")))
        self.assertEqual(commands, set(COMMANDS))
        for command in commands:
            self.assertIn(f".SS {command}", text.replace("Options of ", ""))
            self.assertEqual([option for option in options_of(command) if option not in text], [], command)

    def test_its_options_are_those_that_there_are(self):
        text = MANUAL.read_text().partition(".SH EXIT")[0].replace("\\-", "-")
        known = set().union(*(options_of(command) for command in COMMANDS))
        self.assertEqual(set(re.findall(r"--[a-z0-9-]+", text)) - known, {"--version"})

    @unittest.skipUnless(shutil.which("groff"), "groff is not installed")
    def test_it_is_well_formed(self):
        done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", str(MANUAL)], stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.stderr, "")


class Completion(unittest.TestCase):
    def complete(self, *words):
        """What bash offers for the last word."""
        script = (f". {COMPLETION}; COMP_WORDS=({binary()} \"$@\"); COMP_CWORD=$#; _millrace; "
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        return printed("bash", "-c", script, "bash", *words).split()

    def test_commands(self):
        self.assertEqual(set(self.complete("")), {*COMMANDS, "--help", "--version"})
        self.assertEqual(self.complete("t"), ["tap", "top", "topics", "trace"])

    def test_options_are_those_of_the_command(self):
        for command in COMMANDS:
            self.assertEqual(set(self.complete(command, "--")) - {"--help", "--arguments", "--file"}, options_of(command))
        self.assertIn("--mqtt-port", self.complete("--m"))

    def test_keys_behind_set(self):
        self.assertIn("queue.bytes_max=", self.complete("serve", "--set", "queue."))
        self.assertIn("queue.bytes_max=", self.complete("--set", "queue.b"))

    def test_values(self):
        self.assertEqual(self.complete("tap", "--start", "o"), ["oldest"])


class Scripts(unittest.TestCase):
    def test_the_shell_understands_them(self):
        for name in ("postinst", "prerm", "postrm"):
            printed("sh", "-n", str(ROOT / "deploy" / "debian" / name))


def missing():
    if not os.environ.get("MILLRACE_HEAVY_TESTS"):
        return "MILLRACE_HEAVY_TESTS is not set"
    if os.geteuid() != 0:
        return "needs root"
    wanted = ["cpack", "dpkg-shlibdeps", "apt-get", "unshare", "chroot", "ip"]
    if not os.environ.get("MILLRACE_BARE_ROOT"):
        wanted.append("debootstrap")
    lacking = [name for name in wanted if not shutil.which(name)]
    return f"{', '.join(lacking)} not installed" if lacking else ""


@unittest.skipIf(missing(), missing())
class Packages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="millrace-packages-")
        cls.addClassCleanup(folder.cleanup)
        cls.root, cls.made = Path(folder.name) / "root", Path(folder.name) / "made"
        cls.root.mkdir()
        if tar := os.environ.get("MILLRACE_BARE_ROOT"):
            printed("tar", "-C", str(cls.root), "-xf", tar)
        else:
            printed("debootstrap", "--variant=minbase", "bookworm", str(cls.root))
        cls.root.chmod(0o755)
        for version in ("0.1.0", "0.1.1"):
            printed("cpack", "-G", "DEB", "-R", version, "-B", str(cls.made / version), cwd=BUILD)
        cls.download_dependencies()

    @classmethod
    def download_dependencies(cls):
        """With this machine's apt, for the other root: that needs no package sources of its own."""
        files = [str(path) for path in sorted((cls.made / "0.1.0").glob("*.deb"))]
        cls.archives = cls.root / "archives"
        (cls.archives / "partial").mkdir(parents=True)
        printed("apt-get", "-qq", "-y", "--no-install-recommends", "--download-only",
                "-o", f"Dir::State::status={cls.root}/var/lib/dpkg/status",
                "-o", f"Dir::Cache::archives={cls.archives}", "install", *files)
        for version in ("0.1.0", "0.1.1"):
            shutil.copytree(cls.made / version, cls.root / version, ignore=shutil.ignore_patterns("_CPack_Packages"))

    def inside(self, script, **options):
        """In the bare root, with a network of its own that has loopback alone."""
        enter = ('ip link set lo up; mount -t proc proc "$0/proc"; mount -t tmpfs tmpfs "$0/run"; '
                 'mount --bind /dev "$0/dev"; exec chroot "$0" /bin/sh -ec "$1"')
        return printed("unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "sh", "-ec", enter,
                       str(self.root), script, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8",
                                                    "DEBIAN_FRONTEND": "noninteractive"}, **options)

    def files(self):
        """What a package could have left: not what dpkg and the loader keep for themselves."""
        found = set()
        for top in ("etc", "usr", "lib", "var", "run", "opt"):
            for folder, _, names in os.walk(self.root / top):
                for path in [folder, *(os.path.join(folder, name) for name in names)]:
                    found.add(os.path.relpath(path, self.root))
        ours = re.compile(r"^(var/lib/dpkg|var/log|var/cache)/|^etc/(passwd|group|g?shadow|sub[ug]id)-?$|ld\.so\.cache")
        return {path for path in found if not ours.search(path)}

    def unit(self, key):
        text = (self.root / "usr/lib/systemd/system/millrace.service").read_text()
        return re.search(rf"^{key}=(.*)$", text, re.M)[1]

    def started(self):
        """The unit's own commands, by the unit's user; what is asked of the server and of the client library."""
        script = f"""
            install -d -o millrace -g millrace -m 755 /run/millrace
            export {self.unit("Environment")} MILLRACE_LOCAL_SOCKET=/run/millrace/local.sock
            as_user="setpriv --reuid={self.unit("User")} --regid={self.unit("Group")} --clear-groups --no-new-privs"
            $as_user {self.unit("ExecStartPre")} >/dev/null
            $as_user {self.unit("ExecStart")} 2>/tmp/log & server=$!
            until millrace check --health >/dev/null; do kill -0 $server || {{ cat /tmp/log; exit 1; }}; done
            millrace tap 'a/#' --count 1 2>/tmp/tap & tap=$!
            until grep -q attached /tmp/tap; do kill -0 $tap; done
            millrace pub a/b -m 'a message'
            wait $tap
            kill -HUP $server; until grep -q reloaded /tmp/log; do :; done
            kill -TERM $server; wait $server
            millrace --version"""
        return self.inside(script)

    def test_installed_started_upgraded_and_purged(self):
        before = self.files()
        self.inside("dpkg -i /archives/*.deb >/dev/null 2>&1 || dpkg -i /archives/*.deb")
        bare = self.files()  # with the dependencies
        self.assertNotEqual(before, bare)
        self.inside("dpkg -i /0.1.0/*.deb")
        self.assertEqual(self.inside("stat -c '%U:%G %a' /etc/millrace/millrace.json /etc/millrace").split("\n")[:2],
                         ["root:millrace 640", "root:millrace 750"])
        self.assertTrue((self.root / "etc/systemd/system/multi-user.target.wants/millrace.service").is_symlink())
        for name in ("usr/share/man/man1/millrace.1", "usr/share/bash-completion/completions/millrace",
                     "usr/include/millrace/local.h", "usr/share/doc/millrace/copyright",
                     "usr/share/doc/libmillrace-local/copyright", "usr/share/doc/libmillrace-core-dev/copyright"):
            self.assertTrue((self.root / name).exists(), name)
        self.assertIn("Files: node_modules/uplot/*", (self.root / "usr/share/doc/millrace/copyright").read_text())
        self.assertEqual(self.started(), "a/b a message\nmillrace 0.1.0\n")

        own = self.root / "etc/millrace/millrace.json"
        own.write_text('// by hand\n{ "log": { "level": "info" } }\n')
        self.inside("dpkg -i /0.1.1/*.deb")
        self.assertIn("by hand", own.read_text())
        self.assertEqual(self.inside("dpkg-query -W -f '${Version} ${Status}' millrace"), "0.1.1-1 install ok installed")
        self.assertEqual(self.inside("stat -c '%U:%G %a' /etc/millrace/millrace.json"), "root:millrace 640\n")
        self.assertTrue(self.started().startswith("a/b a message\n"))

        store = self.root / "var/lib/millrace/store"  # made by systemd, which is not here
        store.mkdir(parents=True)
        self.inside("dpkg -r millrace")
        self.assertTrue(own.exists(), "removed, not purged: the configuration stays")
        self.assertTrue(store.exists(), "removed, not purged: what is stored stays")
        self.inside("dpkg -P millrace libmillrace-local libmillrace-core-dev")
        self.assertEqual(self.files() - bare, set())
        self.inside("getent passwd millrace")  # a user identifier is not given to somebody else


if __name__ == "__main__":
    main()
