"""deploy/debian/copyright has a notice of everything of others that is inside the program, and
docker/built-in.sh, from which the bill of materials is made, names the same."""

import json
import os
import re
import unittest
from pathlib import Path

SOURCE, BUILD = (Path(os.environ[name]) for name in ("SOURCE", "BUILD"))
NOTICES = SOURCE / "deploy" / "debian" / "copyright"
PAGE = SOURCE / "server" / "console"
# Where the headers of a library are that has code in them. Any other one is linked at most, and named as such.
HEADERS = {"Boost": "boost", "OpenSSL": "openssl", "nlohmann_json": "nlohmann", "prometheus-cpp": "prometheus",
           "spdlog": "spdlog"}
SYSTEM = {"arpa", "linux", "netinet", "sys"}


def stanzas():
    """Each as {field: text}, by the form https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/."""
    found = []
    for paragraph in NOTICES.read_text().split("\n\n"):
        fields = {}
        for line in paragraph.strip("\n").split("\n"):
            if line.startswith(" "):
                fields[name] += "\n" + line.strip()
            else:
                name, colon, text = line.partition(":")
                assert colon and name not in fields, line
                fields[name] = text.strip()
        found.append(fields)
    return found


class Notices(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.header, *rest = stanzas()
        cls.files = {one["Files"]: one for one in rest if "Files" in one}
        cls.texts = {}
        for one in rest:
            if "Files" not in one:
                name, _, text = one["License"].partition("\n")
                cls.texts[name] = text

    def is_noticed(self, folder):
        return f"{folder}/*" in self.files or re.search(rf"\b{re.escape(folder)}/", self.header["Comment"])

    def test_it_has_debians_form_and_the_text_of_each_licence(self):
        self.assertIn("copyright-format/1.0", self.header["Format"])
        self.assertEqual(self.files["*"]["License"], "Apache-2.0")
        named = set()
        for name, one in self.files.items():
            self.assertTrue(one["Copyright"], name)
            named |= set(one["License"].split(" and "))
        self.assertEqual(named, set(self.texts))
        for name, text in self.texts.items():
            self.assertGreater(len(text), 200, name)

    def test_each_library_that_cmake_looks_for_has_a_notice(self):
        text = (SOURCE / "server" / "CMakeLists.txt").read_text()
        names = re.findall(r"\bfind_package\(([\w-]+)", text) + re.findall(r"\bfind_library\(\w+ ([\w-]+)", text)
        self.assertIn("Boost", names)
        self.assertIn("argon2", names)
        for name in names:
            if name in HEADERS:
                self.assertTrue(self.is_noticed(HEADERS[name]), name)
            else:
                self.assertRegex(self.header["Comment"], rf"\b{re.escape(name)}\b")

    def test_each_folder_of_headers_that_the_sources_include_has_a_notice(self):
        folders = set()
        for top in ("protocol", "core", "server"):
            for path in (SOURCE / top).rglob("*"):
                if path.suffix in (".cpp", ".hpp", ".h", ".in") and "node_modules" not in path.parts:
                    folders |= set(re.findall(r"^#include <(\w+)/", path.read_text(), re.M))
        self.assertIn("boost", folders)
        self.assertEqual([folder for folder in folders - SYSTEM - {"millrace"} if not self.is_noticed(folder)], [])

    def test_each_package_that_the_page_needs_has_a_notice(self):
        packages = json.loads((PAGE / "package-lock.json").read_text())["packages"]
        needed = [path for path, package in packages.items() if path and not package.get("dev")]
        self.assertIn("node_modules/uplot", needed)
        self.assertEqual([path for path in needed if not self.is_noticed(path)], [])

    @unittest.skipUnless((BUILD / "server" / "console" / "built").exists(), "the page is not built")
    def test_each_package_that_is_in_the_page_has_a_notice_and_its_version(self):
        packages = json.loads((PAGE / "package-lock.json").read_text())["packages"]
        bundled = dict(line.split() for line in (BUILD / "server" / "console" / "bundled.txt").read_text().splitlines())
        self.assertIn("uplot", bundled)
        for name, version in bundled.items():
            self.assertTrue(self.is_noticed(f"node_modules/{name}"), name)
            self.assertEqual(version, packages[f"node_modules/{name}"]["version"])

    def test_the_bill_of_materials_is_made_of_the_same(self):
        script = re.sub(r"(?m)^#.*", "", (SOURCE / "docker" / "built-in.sh").read_text())
        listed = set(re.findall(r"\b[a-z0-9][a-z0-9.-]*-dev\b", script))
        noticed = {re.match(r"Debian's (\S+)\.", one["Comment"])[1] for one in self.files.values()
                   if one.get("Comment", "").startswith("Debian's")}
        self.assertEqual(listed, noticed)


if __name__ == "__main__":
    unittest.main()
