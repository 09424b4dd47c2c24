"""What the tests of the management API share: requests, each answer of which is held against the
OpenAPI document that the server serves; and at the end, that each route was asked for."""

import json
import re
import subprocess
import urllib.parse
import urllib.request

import jsonschema

from case import EVENT_TIMEOUT_S, Case, basic, http_answer
from server import Server, binary

PASSWORDS = {"boss": "b", "user": "u"}


def write_passwords(path):
    for user, password in PASSWORDS.items():
        subprocess.run([binary(), "passwd", path, user], input=password + "\n", text=True, check=True,
                       stdout=subprocess.DEVNULL)


class ApiCase(Case):
    @staticmethod
    def must_ask(path):
        """Whether this program has to ask for that route."""
        return False

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.covered = set()
        with urllib.request.urlopen(f"http://127.0.0.1:{cls.server.http_port}/api/v1/openapi.json",
                                    timeout=EVENT_TIMEOUT_S) as answer:
            cls.document = json.load(answer)

    def ask(self, method, path, body=None, user=None, server=None, **headers):
        """Returns (status, headers, JSON or None). `path` is below /api/v1; `-` in the names of headers is
        given as `_`."""
        server = server or self.server
        request = urllib.request.Request(f"http://127.0.0.1:{server.http_port}/api/v1{path}", body,
                                         {name.replace("_", "-"): value for name, value in headers.items()},
                                         method=method)
        if user:
            request.add_header("Authorization", basic(user, PASSWORDS[user]))
        status, fields, text = http_answer(request)
        self.check(method, path.partition("?")[0], status, fields, text)
        return status, fields, json.loads(text) if text else None

    def operation(self, method, path):
        for pattern, methods in self.document["paths"].items():
            expression = re.sub(r"\\\{\w+\\\}", ".+", re.escape(pattern))
            if re.fullmatch(expression, path) and method.lower() in methods:
                return pattern, methods[method.lower()]
        return None, None

    def check(self, method, path, status, headers, text):
        pattern, operation = self.operation(method, path)
        if operation is None or status == 421:
            self.assertIn(status, (404, 405, 421))
            answer = self.document["components"]["responses"]["Problem"]
        else:
            self.covered.add((pattern, method.lower()))
            self.assertIn(str(status), operation["responses"], f"{method} {path} is not to answer {status}")
            answer = operation["responses"][str(status)]
        if "$ref" in answer:
            answer = self.document["components"]["responses"][answer["$ref"].rpartition("/")[2]]
        if "content" not in answer:
            self.assertEqual(text, b"")
            return
        kind = headers["Content-Type"]
        self.assertIn(kind, answer["content"])
        schema = {**answer["content"][kind]["schema"], "components": self.document["components"]}
        jsonschema.Draft202012Validator(schema).validate(json.loads(text))

    def get(self, path, **arguments):
        status, _, json_ = self.ask("GET", path, **arguments)
        self.assertEqual(status, 200, json_)
        return json_

    def refused(self, status, method, path, **arguments):
        got, headers, problem = self.ask(method, path, **arguments)
        self.assertEqual(got, status, problem)
        self.assertEqual(headers["Content-Type"], "application/problem+json")
        return problem

    def values(self, filter_, **arguments):
        query = urllib.parse.urlencode({"filter": filter_})
        return self.get("/topics?" + query, **arguments)["topics"]

    def with_users(self, config=None, **keys):
        """A server that knows two users. `keys`: of `access`."""
        server = Server({**(config or {}), "access": {"password_file": self.password_file(), **keys}})
        self.addCleanup(server.stop)
        return server

    def victim(self, server, client_id, *arguments):
        """A client that can be stopped, so that it does not come again."""
        process = subprocess.Popen(["mosquitto_sub", "-p", str(server.mqtt_port), "-u", "user", "-P", "u", "-i",
                                    client_id, "-t", "x", *arguments],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def password_file(self):
        path = f"{self.server.folder.name}/passwords-{self.id()}"
        write_passwords(path)
        return path

    @classmethod
    def tearDownClass(cls):
        every = {(path, method) for path, methods in cls.document["paths"].items() if cls.must_ask(path)
                 for method in methods}
        missing = every - cls.covered - {("/openapi.json", "get")}
        super().tearDownClass()
        if missing:
            raise AssertionError(f"no test asks for {sorted(missing)}")
