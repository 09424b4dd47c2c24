"""What the pages say about the program and the tree is what these are: tables, links, examples, the walk
of one message, the figures."""

import os
import re
import subprocess
import sys
import unittest
from pathlib import Path

from pages import LINKING, PAGES, ROOT, between_markers, blocks, prose
from suite import main

BINARY = os.environ["SERVER_BINARY"]
DOCS = ROOT / "docs"
LINK = re.compile(r"\]\(([^)\s]+)\)")


def printed(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def anchor(heading):
    """As code hosts derive it from a heading."""
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-")


class Pages(unittest.TestCase):
    maxDiff = None

    def test_the_table_of_keys_is_what_the_program_prints(self):
        self.assertEqual(between_markers(DOCS / "configuration.md", "config"),
                         printed(BINARY, "check", "--print-table"), "run deploy/update-docs.sh")

    def test_the_table_of_metrics_is_what_the_program_prints(self):
        self.assertEqual(between_markers(DOCS / "metrics.md", "metrics"),
                         printed(BINARY, "check", "--print-metrics"), "run deploy/update-docs.sh")

    def test_the_table_of_attacks_is_what_their_program_prints(self):
        self.assertEqual(between_markers(DOCS / "security.md", "attacks"),
                         printed(sys.executable, ROOT / "loadtest" / "attacks.py", "--table",
                                 DOCS / "figures" / "attacks.json"), "run deploy/update-docs.sh")

    def test_every_link_leads_somewhere(self):
        for page in LINKING:
            for link in LINK.findall(prose(page)):
                if link.startswith(("http:", "https:", "mailto:")):
                    continue
                path, _, fragment = link.partition("#")
                target = (page.parent / path).resolve() if path else page
                self.assertTrue(target.exists(), f"{page.name} links {link}")
                if fragment:
                    headings = re.findall(r"^#+ (.*)$", target.read_text(), re.M)
                    self.assertIn(fragment, [anchor(heading) for heading in headings], f"{page.name}: {link}")

    def test_readme_links_every_page(self):
        linked = {(ROOT / link.partition("#")[0]).resolve() for link in LINK.findall(prose(ROOT / "README.md"))}
        self.assertEqual([page.name for page in PAGES if page != ROOT / "README.md" and page not in linked], [])

    def test_the_newest_version_in_the_changelog_is_the_programs(self):
        newest = re.search(r"^## (\d+\.\d+\.\d+) - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.M)[1]
        self.assertIn(newest, printed(BINARY, "--version"))

    def test_every_decision_has_a_number_of_its_own_and_is_in_the_index(self):
        records = sorted(path.name for path in (DOCS / "decisions").glob("*.md") if path.name != "README.md")
        self.assertEqual([name for name in records if not re.match(r"\d{4}-[a-z0-9-]+\.md$", name)], [])
        numbers = [name[:4] for name in records]
        self.assertEqual(len(numbers), len(set(numbers)), records)
        index = (DOCS / "decisions" / "README.md").read_text()
        self.assertEqual(sorted(re.findall(r"^\| \[\d{4}\]\(([^)]+)\) \|", index, re.M)), records)

    def test_readme_is_short(self):
        self.assertLessEqual(len((ROOT / "README.md").read_text().splitlines()), 135)

    def test_code_is_that_of_an_example(self):
        for page in PAGES:
            for block in blocks(page):
                if block.kind in ("cpp", "c", "python", "html", "js"):
                    self.assertTrue(block.remark.startswith("examples/"), f"{block} names no example")
                    self.assertEqual(block.text, (ROOT / block.remark).read_text(),
                                     f"{block}: run deploy/update-docs.sh")

    def test_the_chart_is_drawn_from_the_figures_beside_it(self):
        figures = DOCS / "figures"
        drawn = printed(sys.executable, figures / "draw-slow-reader", figures / "slow-reader-millrace.jsonl",
                        figures / "slow-reader-mosquitto.jsonl")
        self.assertEqual(drawn, (figures / "slow-reader.svg").read_text())


class History(unittest.TestCase):
    SINCE = "2e7817f1"  # older subjects were not held to it

    def test_subjects_of_commits_have_at_most_72_characters(self):
        log = subprocess.run(["git", "-C", ROOT, "log", "--format=%s", f"{self.SINCE}..HEAD"],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if log.returncode != 0:
            self.skipTest(f"the history is not here: {log.stderr.strip()}")
        self.assertEqual([subject for subject in log.stdout.splitlines() if len(subject) > 72], [])


class Walk(unittest.TestCase):
    """docs/architecture.md: nine steps, one file each, and that file's first line has the step's number and
    name."""

    def steps_in_page(self):
        """[('4 submit', 'core/broker/inbox.hpp'), ...]"""
        page = (DOCS / "architecture.md").read_text()
        section = re.search(r"^## The walk of one message$(.*?)(?=^## )", page, re.M | re.S)[1]
        return re.findall(r"^\| (\d [a-z, ]+) \|.*?\]\(\.\./([^)]+)\)", section, re.M)

    def steps_in_files(self):
        found = []
        for layer in ("protocol", "core", "server"):
            for path in (ROOT / layer).rglob("*.[chi]pp"):
                if head := re.match(r"// \[(\d)\] ([a-z, ]+):", path.read_text()):
                    found.append((f"{head[1]} {head[2]}", str(path.relative_to(ROOT))))
        return sorted(found)

    def test_each_step_is_one_file_and_that_file_says_so(self):
        steps = self.steps_in_page()
        self.assertEqual([step[0] for step, _ in steps], list("123456789"))
        self.assertEqual(steps, self.steps_in_files())

    def test_every_folder_of_the_layers_is_in_the_map(self):
        page = (DOCS / "architecture.md").read_text()
        folders = sorted(f"{layer}/{path.name}/" for layer in ("core", "server")
                         for path in (ROOT / layer).iterdir() if path.is_dir() and any(path.rglob("*.[ch]pp")))
        self.assertEqual([folder for folder in folders if f"`{folder}`" not in page], [])


if __name__ == "__main__":
    main()
