#!/usr/bin/env python3
"""Schemas for kubeconform: schemas.py SWAGGER OUT [CRD...]

Reads the OpenAPI document of Kubernetes (swagger.json) and custom resource definitions (YAML), and writes one JSON
Schema for each kind and version to OUT, named as kubeconform looks for it (KIND-GROUP-VERSION.json). Stricter than the
API server: a key that the API does not know is an error, since there it would be dropped without a word.
"""

import json
import pathlib
import sys

import yaml

TYPES = "_definitions.json"
# What the document calls a string, but the API also takes as a number.
ALSO_NUMBERS = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": ["string", "integer"],
    "io.k8s.apimachinery.pkg.api.resource.Quantity": ["string", "number"],
}
OBJECT_META = {"$ref": f"{TYPES}#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
# Checked by no validator the same way, or not part of JSON Schema.
DROPPED = {"format", "description", "default"}


def strict(schema):
    """The same schema, refusing keys that it does not list, with references into the file of all types."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["string", "integer"]}
    out = {}
    for key, value in schema.items():
        if key == "$ref":
            out[key] = value.replace("#/", f"{TYPES}#/")
        elif key == "properties":
            out[key] = {name: strict(member) for name, member in value.items()}
        elif key not in DROPPED and not key.startswith("x-kubernetes-"):
            out[key] = strict(value)
    if "properties" in out and not schema.get("x-kubernetes-preserve-unknown-fields"):
        out.setdefault("additionalProperties", False)
    return out


def write(out, kind, group, version, schema):
    """One schema, which also insists on its own kind and version."""
    api = f"{group}/{version}" if group else version
    properties = dict(schema.get("properties", {}), apiVersion={"const": api}, kind={"const": kind})
    required = sorted({"apiVersion", "kind", *schema.get("required", [])})
    parts = [kind, group.split(".")[0], version]
    name = "-".join(part for part in parts if part).lower() + ".json"
    (out / name).write_text(json.dumps(dict(schema, properties=properties, required=required)))


def main(swagger, out, *crds):
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    written = 0
    document = json.loads(pathlib.Path(swagger).read_text())["definitions"]
    types = {name: strict(schema) for name, schema in document.items()}
    types.update({name: {"type": kinds} for name, kinds in ALSO_NUMBERS.items()})
    (out / TYPES).write_text(json.dumps({"definitions": types}))
    for name, schema in document.items():
        kinds = schema.get("x-kubernetes-group-version-kind", [])
        if len(kinds) == 1:  # several: options of requests, which no manifest holds
            write(out, kinds[0]["kind"], kinds[0]["group"], kinds[0]["version"], types[name])
            written += 1
    for path in crds:
        spec = yaml.safe_load(pathlib.Path(path).read_text())["spec"]
        for version in spec["versions"]:
            schema = strict(version["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = OBJECT_META
            write(out, spec["names"]["kind"], spec["group"], version["name"], schema)
            written += 1
    print(f"{written} schemas in {out}", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
