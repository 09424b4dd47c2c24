"""The browser example: what the page does with MQTT.js, in Node; and the page itself where Chromium is
installed."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from case import Case, main
from programs import EXAMPLES, run

FOLLOWS = """
import mqtt from 'mqtt'
import { follow } from './follow.js'
const client = follow(mqtt, process.argv[2], process.argv[3], (topic, value) => {
  console.log(`${topic} ${value}`)
  if (value === 'end') client.end()
})
"""


class Browser(Case):
    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory(prefix="millrace-test-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        for name in ("index.html", "follow.js"):
            shutil.copy(EXAMPLES / "browser" / name, self.folder)
        (self.folder / "node_modules").symlink_to(Path(os.environ["MQTTJS_FOLDER"]) / "node_modules")
        (self.folder / "package.json").write_text('{"type": "module"}')
        self.url = f"ws://127.0.0.1:{self.server.ws_port}/mqtt"

    def test_the_newest_value_comes_first_and_then_what_is_published(self):
        (self.folder / "follows.js").write_text(FOLLOWS)
        publisher = self.peer()
        publisher.publish("sensors/kitchen", b"21.5", qos=1)
        page = self.program("node", str(self.folder / "follows.js"), self.url, "sensors/#")
        self.assertEqual(page.line(), "sensors/kitchen 21.5")
        publisher.publish("sensors/kitchen", b"end", qos=1)
        self.assertEqual(page.finish()[-1], "sensors/kitchen end")

    def test_the_page_shows_it(self):
        chromium = shutil.which("chromium")
        if not chromium:
            self.skipTest("chromium is not installed")
        self.peer().publish("sensors/kitchen", b"21.5", qos=1)
        page = run(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
                   f"--user-data-dir={self.folder}/profile", "--timeout=5000", "--dump-dom",
                   f"file://{self.folder}/index.html?url={self.url}", timeout=120)
        self.assertIn("<td>sensors/kitchen</td><td>21.5</td>", page)


if __name__ == "__main__":
    main()
