"""README's commands, read from it and run against the real server."""

import re
import shlex
from pathlib import Path

from case import Case, main

README = Path(__file__).resolve().parents[2] / "README.md"


def section(title):
    """The text under '## title', up to the next heading of that level."""
    return re.search(rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", README.read_text(), re.M | re.S).group(1)


def commands(title, program):
    """The command lines of a section that call this program, as lists of words."""
    code = "\n".join(line[4:] for line in section(title).splitlines() if line.startswith("    "))
    code = code.replace("\\\n", " ")
    return [shlex.split(line, comments=True) for line in code.splitlines() if line.startswith(program + " ")]


class Readme(Case):
    def mosquitto(self, words):
        return self.program(words[0], "-p", str(self.server.mqtt_port), *words[1:])

    def curl(self, words, etag=""):
        words = [word.replace("127.0.0.1:9464", f"127.0.0.1:{self.server.http_port}")
                 .replace('"<etag>"', etag) for word in words]
        return self.program("curl", "-sS", *words[1:])

    def test_the_first_use(self):
        [subscribe] = commands("Run it", "mosquitto_sub")
        [publish] = commands("Run it", "mosquitto_pub")
        reader = self.mosquitto(subscribe)
        self.run_until_subscribed("sensors/probe")  # -v alone has no line to wait for
        self.mosquitto(publish).finish()
        self.assertEqual(reader.line("sensors/kitchen"), "sensors/kitchen/temperature 21.5")

    def test_the_newest_value_at_once(self):
        [publish] = commands("Run it", "mosquitto_pub")
        [subscribe] = commands("The newest value", "mosquitto_sub")
        self.mosquitto(publish).finish()
        self.assertEqual(self.mosquitto(subscribe).line("sensors/kitchen"), "sensors/kitchen/temperature 21.5")

    def test_the_newest_value_over_http(self):
        title = "The newest value over HTTP"
        [publish] = commands(title, "mosquitto_pub")
        value, listing, wait = commands(title, "curl")
        self.mosquitto(publish).finish()
        status, *headers, payload = self.curl(value).finish()
        self.assertEqual((status, payload), ("HTTP/1.1 200 OK", "21.5"))
        self.assertIn("home/kitchen/temp", "".join(self.curl(listing).finish()))
        [etag] = [line.split(": ", 1)[1] for line in headers if line.lower().startswith("etag: ")]
        waiting = self.curl(wait, etag)
        self.mosquitto([word if word != "21.5" else "22.0" for word in publish]).finish()
        self.assertEqual(waiting.finish(), ["22.0"])


if __name__ == "__main__":
    main()
