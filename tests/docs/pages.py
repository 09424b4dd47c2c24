"""README and the pages of docs/ as the tests see them: fenced blocks with the remark before them.

    ```sh      commands; they are run
    ```text    what the commands before it print
    ```json    a configuration; `millrace check` has to accept it
    ```cpp, ```c, ```python, ```html, ```js    the text of an example, which the remark names

A remark is an HTML comment on the line before the fence, which a reader of the page does not see:

    <!-- not run: WHY -->                 these commands cannot be run in a test, for the reason given
    <!-- in another terminal -->          they run until the page ends, beside what follows
    <!-- the other terminal prints -->    the output is that of the commands in the other terminal
    <!-- figures differ -->               the numbers in the output are those of one run
    <!-- file: NAME -->                   the block is the content of this file, for the commands after it
    <!-- examples/... -->                 the block is this file of the repository

A line of output that is `...` stands for any number of lines.
"""

import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "CHANGELOG.md",
         *sorted((ROOT / "docs").glob("*.md"))]
LINKING = [*PAGES, ROOT / "examples" / "README.md", *sorted((ROOT / "docs" / "decisions").glob("*.md"))]

FENCE = re.compile(r"(?:^<!-- (?P<remark>[^\n]*?) -->\n)?"
                   r"^```(?P<kind>[a-z]*)\n(?P<text>.*?)^```$", re.M | re.S)


class Block:
    def __init__(self, match, page):
        self.kind, self.text = match["kind"], match["text"]
        self.remark = match["remark"] or ""
        self.before = page.read_text()[:match.start()]  # the page up to this block
        self.where = f"{os.path.relpath(page, ROOT)}:{page.read_text()[:match.start('text')].count(chr(10)) + 1}"

    def __repr__(self):
        return f"{self.where} ({self.kind})"

    def says(self, phrase):
        return phrase in self.remark

    def named(self, prefix):
        """What stands behind `prefix` in the remark, such as a file's name."""
        return self.remark[len(prefix):].strip() if self.remark.startswith(prefix) else None


def blocks(page):
    return [Block(match, page) for match in FENCE.finditer(page.read_text())]


def prose(page):
    """The page without what stands in fences."""
    return FENCE.sub("", page.read_text())


def between_markers(page, name):
    """What stands between <!-- name:begin --> and <!-- name:end -->."""
    found = re.search(rf"<!-- {name}:begin -->\n(.*?)<!-- {name}:end -->", page.read_text(), re.S)
    return found[1] if found else f"no markers for {name} in {page.name}"
