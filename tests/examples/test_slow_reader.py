"""The slow reader's example: who conflates stays current, who asks for everything falls behind."""

import json
import sys
import tempfile

from case import Case, main
from programs import EXAMPLES


class SlowReader(Case):
    def test_only_who_reads_in_full_falls_behind(self):
        with tempfile.NamedTemporaryFile("r", prefix="millrace-test-") as kept:
            program = self.program(sys.executable, EXAMPLES / "slow_reader" / "slow_reader.py",
                                   "--port", str(self.server.mqtt_port), "--seconds", "12", "--out", kept.name)
            lines = program.finish()
            rows = [json.loads(line) for line in kept]
        self.assertEqual(len(lines), 2 + len(rows), lines)
        self.assertEqual([row["second"] for row in rows], [2, 4, 6, 8, 10, 12])
        # A reader that takes a tenth of what comes is 10.8 s behind after 12 s if nothing is left out; the others
        # may be as far behind as a machine that is busy with something else lets them be.
        last = rows[-1]
        self.assertLess(last["slow"], last["slow, in full"] / 2, lines)
        self.assertLess(last["slow, $latest"], last["slow, in full"] / 2, lines)


if __name__ == "__main__":
    main()
