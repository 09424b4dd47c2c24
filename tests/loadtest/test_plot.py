"""loadtest/plot draws ages over time, with nothing but Python, from results of `millrace-load --out`."""

import json
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree
from pathlib import Path

PLOT = Path(__file__).resolve().parents[2] / "loadtest" / "plot"
SVG = "{http://www.w3.org/2000/svg}"


class Age(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def plot(self, *results, to="age.svg"):
        names = []
        for number, result in enumerate(results):
            names.append(self.folder / f"{number}.json")
            names[-1].write_text(json.dumps(result) + "\n")
        return subprocess.run([sys.executable, PLOT, "age", *names, "--to", self.folder / to], capture_output=True,
                              text=True, check=False)

    def test_a_line_for_each_result_and_the_last_age_beside_it(self):
        done = self.plot({"label": "grows", "age_p99_by_second_ms": "1000 2000 3000 4000"},
                         {"label": "stays <low>", "age_p99_by_second_ms": "40 - 0 45"})
        self.assertEqual(done.stderr, "")
        picture = xml.etree.ElementTree.parse(self.folder / "age.svg")
        lines = [one.get("d") for one in picture.iter(f"{SVG}path") if one.get("fill") == "none"]
        self.assertEqual(sorted(line.count("L") for line in lines), [2, 3])
        texts = [one.text for one in picture.iter(f"{SVG}text")]
        self.assertIn("grows: 4 s", texts)
        self.assertIn("stays <low>: 45 ms", texts)

    def test_what_has_no_ages_and_another_kind_of_file_are_refused(self):
        self.assertIn("scenario fresh", self.plot({"label": "idle", "age_p99_by_second_ms": ""}).stderr)
        self.assertIn(".svg", self.plot({"label": "x", "age_p99_by_second_ms": "1 2"}, to="age.png").stderr)


if __name__ == "__main__":
    unittest.main()
