"""The OpenAPI document of the management API is one by the specification of OpenAPI 3.1. That the answers are as it
says is held by whoever asks for them (api_case.py)."""

import copy
import json
import re
from pathlib import Path

import jsonschema

from api_case import ApiCase
from case import main


class Document(ApiCase):
    @staticmethod
    def must_ask(path):
        return False  # test_api.py, test_api_traces.py

    def test_the_document_is_one_of_openapi(self):
        document = self.document
        self.assertEqual(list(self.misshapen(document)), [])
        for schema in document["components"]["schemas"].values():
            jsonschema.Draft202012Validator.check_schema(schema)
        used = list(document["security"])
        for path, methods in document["paths"].items():
            named = set(re.findall(r"\{(\w+)\}", path))
            for method, operation in methods.items():
                declared = [self.resolved(one) for one in operation.get("parameters", [])]
                self.assertEqual({one["name"] for one in declared if one["in"] == "path"}, named, (path, method))
                self.assertTrue(operation["responses"], (path, method))
                for parameter in declared:
                    jsonschema.Draft202012Validator.check_schema(parameter["schema"])
                used += operation.get("security", [])
        for requirement in used:
            self.assertLessEqual(set(requirement), set(document["components"]["securitySchemes"]))
        for reference in self.references(document):
            self.resolved({"$ref": reference})

    def test_a_document_that_is_none_of_openapi_is_found(self):
        clients = ("paths", "/clients", "get")
        client = ("paths", "/clients/{id}", "get")
        for *way, name, value in ((*clients, "paramaters", []), (*clients, "responses", {"2000": {"description": "x"}}),
                                  (*clients, "responses", "200", "description", None), ("info", "version", None),
                                  ("openapi", "3.0.3"), ("paths", "clients", {}), ("paths", "/clients", "fetch", {}),
                                  (*client, "parameters", 0, "required", None), (*client, "parameters", 0, "in", "body"),
                                  (*client, "parameters", 0, "schema", None),
                                  (*client, "responses", "404", "$ref", "x.json"),
                                  ("components", "schemas", "Client", "requierd", ["id"]), ("components", "models", {}),
                                  ("components", "securitySchemes", "basic", "scheme", None), ("security", {"basic": []})):
            document = copy.deepcopy(self.document)
            node = document
            for step in way:
                node = node[step]
            if value is None:
                del node[name]
            else:
                node[name] = value
            self.assertTrue(list(self.misshapen(document)), (way, name))

    @staticmethod
    def misshapen(document):
        """What is not as the specification of OpenAPI has it: where it is, and why."""
        objects = json.loads((Path(__file__).parent / "openapi_objects.json").read_text())
        jsonschema.Draft202012Validator.check_schema(objects)
        for fault in jsonschema.Draft202012Validator(objects).iter_errors(document):
            yield "/".join(map(str, fault.absolute_path)), fault.message

    def resolved(self, node):
        """What a reference leads to; a KeyError names the part that is not there."""
        while "$ref" in node:
            root, *parts = node["$ref"].split("/")
            self.assertEqual(root, "#")
            node = self.document
            for part in parts:
                node = node[part.replace("~1", "/").replace("~0", "~")]
        return node

    def references(self, node):
        for key, value in (node.items() if isinstance(node, dict) else enumerate(node)):
            if key == "$ref":
                yield value
            elif isinstance(value, (dict, list)):
                yield from self.references(value)


if __name__ == "__main__":
    main()
