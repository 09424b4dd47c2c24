"""The browser example: what the page does with MQTT.js, in Node; and the page itself where Chromium is
installed."""

import functools
import http.server
import os
import queue
import shutil
import tempfile
import threading
from pathlib import Path

from case import Case, main
from programs import EXAMPLES

FOLLOWS = """
import mqtt from 'mqtt'
import { follow } from './follow.js'
const client = follow(mqtt, process.argv[2], process.argv[3], (topic, value) => {
  console.log(`${topic} ${value}`)
  if (value === 'end') client.end()
})
"""

# Sends the table to the server of the page, each time that it changes.
REPORTS = """
<script>
  const values = document.getElementById('values')
  new MutationObserver(() => fetch('/shown', { method: 'POST', body: values.innerHTML }))
    .observe(values, { childList: true, subtree: true, characterData: true })
</script>
"""


class PageServer(http.server.SimpleHTTPRequestHandler):
    shown = queue.Queue()

    def do_POST(self):
        self.shown.put(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


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
        page = self.folder / "index.html"
        page.write_text(page.read_text().replace("</table>", "</table>" + REPORTS))
        web = http.server.ThreadingHTTPServer(("127.0.0.1", 0),
                                              functools.partial(PageServer, directory=self.folder))
        threading.Thread(target=web.serve_forever, daemon=True).start()
        self.addCleanup(web.server_close)
        self.addCleanup(web.shutdown)
        self.peer().publish("sensors/kitchen", b"21.5", qos=1)
        self.program(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
                     f"--user-data-dir={self.folder}/profile",
                     f"http://127.0.0.1:{web.server_port}/index.html?url={self.url}")
        rows = ""
        while "<td>sensors/kitchen</td><td>21.5</td>" not in rows:
            rows = PageServer.shown.get(timeout=60)


if __name__ == "__main__":
    main()
