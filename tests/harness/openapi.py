"""Checks answers against an OpenAPI description: as much of JSON Schema as schemas/ use."""

import json
import re

import yaml

TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int,
         "number": (int, float)}
KNOWN = {"$ref", "type", "required", "properties", "additionalProperties", "items", "enum",
         "pattern", "oneOf", "allOf", "format", "description", "example", "default", "minimum",
         "maximum"}


class Description:
    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.document = yaml.safe_load(file)

    def operations(self):
        for path, operations in self.document["paths"].items():
            for method, operation in operations.items():
                yield method.upper(), path, operation

    def resolve(self, node):
        while "$ref" in node:
            target = self.document
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            node = target
        return node

    def check(self, method, path, answer):
        content_type = (answer.headers["Content-Type"] or "").split(";")[0]
        self.check_body(path, method.lower(), answer.status, content_type, answer.body)

    def check_body(self, path, method, status, content_type, body):
        where = f"{method} {path} {status}"
        responses = self.document["paths"][path][method]["responses"]
        response = responses.get(str(status), responses.get("default"))
        assert response is not None, f"{where}: not described"
        content = self.resolve(response).get("content", {})
        if not content:
            assert body == b"", f"{where}: a body that is not described"
            return
        assert content_type in content, f"{where}: {content_type} is not described"
        if content_type.endswith("json"):
            self.match(content[content_type]["schema"], json.loads(body), where)

    def fits(self, schema, value):
        try:
            self.match(schema, value, "")
        except AssertionError:
            return False
        return True

    def match(self, schema, value, where):
        schema = self.resolve(schema)
        assert set(schema) <= KNOWN, f"{where}: {set(schema) - KNOWN} is not checked"
        for part in schema.get("allOf", []):
            self.match(part, value, where)
        if "oneOf" in schema:
            fitting = [s for s in schema["oneOf"] if self.fits(s, value)]
            assert len(fitting) == 1, f"{where}: fits {len(fitting)} of oneOf: {value}"
        if "type" in schema:
            kind = TYPES[schema["type"]]
            good = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
            assert good, f"{where}: {value!r} is no {schema['type']}"
        if "enum" in schema:
            assert value in schema["enum"], f"{where}: {value!r} is none of {schema['enum']}"
        if "pattern" in schema:
            assert re.search(schema["pattern"], value), f"{where}: {value!r}"
        if isinstance(value, list) and "items" in schema:
            for index, item in enumerate(value):
                self.match(schema["items"], item, f"{where}[{index}]")
        if isinstance(value, dict):
            properties = schema.get("properties", {})
            for name in schema.get("required", []):
                assert name in value, f"{where}: no {name}"
            for name, item in value.items():
                more = schema.get("additionalProperties", True)
                if name in properties:
                    self.match(properties[name], item, f"{where}.{name}")
                elif more is not True:
                    assert more, f"{where}: {name} is not described"
                    self.match(more, item, f"{where}.{name}")
