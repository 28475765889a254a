"""The table of routes and the OpenAPI descriptions say the same: test_openapi.py PROGRAM YAML..."""

import pathlib
import subprocess
import sys

import yaml


def described(path):
    """(method, path, operation, who may ask) of every operation; complains about loose ends."""
    with open(path, encoding="utf-8") as file:
        document = yaml.safe_load(file)
    text = pathlib.Path(path).read_text(encoding="utf-8")
    for group, items in document["components"].items():
        for name in items:
            if group != "securitySchemes":
                assert f"#/components/{group}/{name}" in text, f"{group}/{name} is not used"
    for resource, operations in document["paths"].items():
        for method, operation in operations.items():
            security = operation.get("security", document.get("security", []))
            schemes = {name for choice in security for name in choice}
            who = "peer" if "machine" in schemes else "patient" if "token" in schemes else "anybody"
            names = {p["name"] for p in operation.get("parameters", []) if p.get("in") == "path"}
            wanted = set(part[1:-1] for part in resource.split("/") if part.startswith("{"))
            refs = [p for p in operation.get("parameters", []) if "$ref" in p]
            for ref in refs:
                parameter = document["components"]["parameters"][ref["$ref"].split("/")[-1]]
                if parameter["in"] == "path":
                    names.add(parameter["name"])
            assert names == wanted, f"{resource}: path parameters {names}"
            yield method.upper(), resource, operation["operationId"], who


def main(program, *paths):
    lines = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    routes = {tuple(line.split()) for line in lines.splitlines()}
    operations = {(pathlib.Path(path).name, *operation)
                  for path in paths for operation in described(path)}
    for missing in sorted(routes - operations):
        print("served, not described:", *missing)
    for missing in sorted(operations - routes):
        print("described, not served:", *missing)
    return 0 if routes == operations else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
