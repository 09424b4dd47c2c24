"""What the dashboard asks, and how a Prometheus is asked."""

import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

DASHBOARD = json.loads((Path(__file__).resolve().parents[2] / "deploy" / "grafana" / "millrace.json").read_text())


def panels():
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def queries(rate_interval, job=".+", instance=".+"):
    """[('panel', 'expression')] as Grafana sends them: its variables replaced."""
    found = []
    for panel in panels():
        for target in panel["targets"]:
            text = target["expr"].replace("$__rate_interval", rate_interval)
            found.append((panel["title"], text.replace("$job", job).replace("$instance", instance)))
    return found


def ask(address, path, **parameters):
    """The data of an answer; {} while Prometheus is still starting."""
    url = f"http://{address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        if error.code == 503:
            return {}
        raise AssertionError(f"{parameters}: {error.read().decode()}") from None
