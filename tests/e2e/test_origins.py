"""Web pages of other origins, in a real browser: which may open a WebSocket and read over HTTP."""

import http.server
import json
import queue
import shutil
import tempfile
import threading
import urllib.request

from case import EVENT_TIMEOUT_S, Case, http_answer, main
from server import Server

PAGE = """<!doctype html><title>a page</title><script>
async function read() {
  const asked = { headers: { Prefer: 'handling=lenient', 'If-None-Match': '"x"' } }
  try {
    const answer = await fetch('%(http)s/topics/a', asked)
    return `${await answer.text()} ${answer.headers.get('ETag') !== null}`
  } catch (error) { return 'refused' }
}
function open(url) {
  return new Promise(resolve => {
    const socket = new WebSocket(url, 'mqtt')
    socket.onopen = () => resolve('open')
    socket.onerror = () => resolve('refused')
  })
}
Promise.all([read(), open('%(ws)s'), open('%(default)s')]).then(told =>
  fetch('/told', { method: 'POST', body: JSON.stringify(told) }))
</script>"""


class Page(http.server.BaseHTTPRequestHandler):
    told = queue.Queue()
    text = ""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(self.text.encode())

    def do_POST(self):
        self.told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


class Origins(Case):
    @classmethod
    def setUpClass(cls):
        web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
        threading.Thread(target=web.serve_forever, daemon=True).start()
        cls.addClassCleanup(web.server_close)
        cls.addClassCleanup(web.shutdown)
        cls.web_port = web.server_port
        cls.listed = f"http://listed.localhost:{web.server_port}"
        cls.CONFIG = {"listeners": [{"name": "tcp", "port": 0},
                                    {"name": "ws", "transport": "ws", "port": 0,
                                     "origins": [cls.listed]},
                                    {"name": "default", "transport": "ws", "port": 0}],
                      "http": {"origins": [cls.listed]}}
        super().setUpClass()

    def told_by(self, page_host):
        """What a page of this host could do, in a browser that is started for it."""
        chromium = shutil.which("chromium")
        if not chromium:
            self.skipTest("chromium is not installed")
        profile = tempfile.TemporaryDirectory(prefix="millrace-test-", ignore_cleanup_errors=True)
        self.addCleanup(profile.cleanup)
        Page.text = PAGE % {"http": f"http://127.0.0.1:{self.server.http_port}",
                            "ws": f"ws://127.0.0.1:{self.server.ws_port}/mqtt",
                            "default": f"ws://127.0.0.1:{self.server.port('default')}/mqtt"}
        # Names below localhost are the browser's own machine, whatever a name server says.
        self.program(chromium, "--headless", "--no-sandbox", "--disable-gpu",
                     "--remote-debugging-port=0", f"--user-data-dir={profile.name}",
                     f"http://{page_host}:{self.web_port}/")
        return Page.told.get(timeout=EVENT_TIMEOUT_S)

    def test_a_page_of_a_listed_origin_reads_and_connects(self):
        self.peer().publish("a", b"21.5", qos=1)
        self.assertEqual(self.told_by("listed.localhost"), ["21.5 true", "open", "refused"])

    def test_a_page_of_another_origin_does_neither(self):
        self.peer().publish("a", b"21.5", qos=1)
        self.assertEqual(self.told_by("stranger.localhost"), ["refused", "refused", "refused"])

    def test_where_none_is_listed_a_page_of_the_same_host_connects_whatever_its_port(self):
        self.assertEqual(self.told_by("127.0.0.1"), ["refused", "open", "open"])

    def ask(self, server, method="GET", **headers):
        request = urllib.request.Request(
            f"http://127.0.0.1:{server.http_port}/topics/none", method=method,
            headers={name.replace("_", "-"): value for name, value in headers.items()})
        return http_answer(request)[:2]

    def test_the_answer_names_the_origin_that_may_read_it(self):
        status, headers = self.ask(self.server, Origin=self.listed)
        self.assertEqual((status, headers["Access-Control-Allow-Origin"]), (404, self.listed))
        self.assertEqual(headers["Vary"], "Origin")
        for other in (self.listed + "0", "null", "http://listed.localhost"):
            self.assertIsNone(self.ask(self.server, Origin=other)[1]["Access-Control-Allow-Origin"])

    def test_a_browser_that_asks_first_is_told_what_its_page_may_send(self):
        status, headers = self.ask(self.server, "OPTIONS", Origin=self.listed,
                                   Access_Control_Request_Method="GET")
        self.assertEqual((status, headers["Access-Control-Allow-Headers"]),
                         (204, "Authorization, If-None-Match, Last-Event-ID, Prefer"))
        status, headers = self.ask(self.server, "OPTIONS", Origin="http://stranger.example")
        self.assertEqual((status, headers["Access-Control-Allow-Headers"]), (204, None))

    def test_without_the_setting_no_page_of_another_origin_reads(self):
        with Server({}) as server:
            status, headers = self.ask(server, Origin=self.listed)
            self.assertEqual((status, headers["Access-Control-Allow-Origin"]), (404, None))
            self.assertEqual(self.ask(server, "OPTIONS", Origin=self.listed)[0], 405)


if __name__ == "__main__":
    main()
