"""The JSON Schema of profiles as editors want it: what stands under `config` is told field by field.

ocifw itself checks a profile in two steps, its structure by profile.schema.json and its layers when they are compiled,
which gives better errors. This schema puts both in one document: the fields of config.json, none of them required, with
what a layer may say instead of a value.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .explain import SCHEMAS
from .layers import CAPABILITIES, KEYED, SECCOMP

if TYPE_CHECKING:
    from typing import Any

    Schema = dict[str, Any]
    Path = tuple[str, ...]

_KEPT = ("type", "description", "enum", "minimum", "maximum", "pattern", "propertyNames")


def published() -> Schema:
    """One schema without references to others."""
    schema: Schema = json.loads((SCHEMAS / "profile.schema.json").read_text())
    config = schema["properties"]["config"]
    items = config["items"]
    items["properties"]["config"] = _Layer(schema["$defs"]).reference(
        {"$ref": "urn:ocifw:config"}, "", ()
    )
    schema["properties"]["config"] = {
        "description": config["description"],
        # Not anyOf: an editor shows what is wrong with the one that the type says.
        "if": {"type": "array"},
        "then": {"items": items},
        "else": items["properties"]["config"],
    }
    return schema


class _Layer:
    """Makes the definitions of a layer, one for each field that has members: `config.linux.resources`."""

    def __init__(self, definitions: Schema) -> None:
        self.definitions = definitions

    def reference(self, schema: Schema, home: str, path: Path) -> Schema:
        """What a layer may say of a field, by reference when it has members. home: the document it is of."""
        schema, home = _followed(schema, home)
        made: Schema = {name: schema[name] for name in _KEPT if name in schema}
        if made.get("type") == "integer":
            # A number can be one of the caller's, as ${euid}.
            made.update(type=["integer", "string"], pattern=r"^\$\{[a-z]+\}$")
        if not {"properties", "additionalProperties", "items"} & schema.keys():
            return made
        if "properties" in schema:
            made.update(self._object(schema, home, path))
        elif "additionalProperties" in schema:
            member = self.reference(schema["additionalProperties"], home, (*path, "*"))
            made["additionalProperties"] = _or_null(member)
        if "items" in schema:
            made["items"] = self.reference(schema["items"], home, (*path, "[]"))
            if KEYED.get(path):
                made["items"] = {**made["items"], "required": [KEYED[path]]}
        name = ".".join(("config", *path)).replace(".[]", "[]")
        self.definitions[name] = {**made, "type": [made["type"], "null"]} if path else made
        return {"description": made.get("description", ""), "$ref": f"#/$defs/{name}"}

    def _object(self, schema: Schema, home: str, path: Path) -> Schema:
        properties: Schema = {}
        edits: Schema = {}
        for name, own in schema["properties"].items():
            field = self.reference(own, home, (*path, name))
            kind = _followed(own, home)[0].get("type")
            text = field.get("description", "")
            properties[name] = _or_null(field)
            edits[rf"^{name}\?$"] = {**field, "description": f"Where it is not set: {text}"}
            if kind == "array":
                edits[rf"^{name}\+$"] = {**field, "description": f"Appended: {text}"}
                edits[f"^{name}-$"] = {"type": "array", "description": f"Removed: {text}"}
            elif kind == "integer":
                edits[f"^{name}<$"] = {"type": "integer", "description": f"At most: {text}"}
        properties.update(_algebra(path))
        return {"properties": properties, "patternProperties": edits, "additionalProperties": False}


def _algebra(path: Path) -> Schema:
    """What capabilities and filters have beside their fields."""
    if path == CAPABILITIES:
        names = {"type": "array", "items": {"type": "string", "pattern": "^(CAP_[A-Z_]+|ALL)$"}}
        return {
            "keep": {**names, "description": "Of all sets, only these stay."},
            "drop": {**names, "description": "Taken from all sets; ALL empties them."},
            "add": {
                **names,
                "description": "Added to the bounding, effective and permitted sets.",
            },
        }
    if path == SECCOMP:
        strings = {"type": "array", "items": {"type": "string"}}
        named = {"type": "object", "required": ["names"], "properties": {"names": strings}}
        call = {**named, "type": ["string", "object"]}
        return {
            "base": {
                "description": "The filter to begin with: keep, a shipped one, or a path; of a list, the first that is there.",
                "type": ["string", "array"],
                "items": {"type": "string"},
            },
            "deny": {
                "description": "System calls that fail.",
                "type": "array",
                "items": {**call, "additionalProperties": False},
            },
            "allow": {
                "description": "System calls that are let through, with these args.",
                "type": "array",
                "items": {
                    **call,
                    "properties": {"names": strings, "args": {"type": "array"}},
                    "additionalProperties": False,
                },
            },
        }
    return {}


def _or_null(field: Schema) -> Schema:
    """null takes the field away."""
    made = dict(field)
    if "type" in made:
        kinds = made["type"]
        made["type"] = [*([kinds] if isinstance(kinds, str) else kinds), "null"]
    if "enum" in made:
        made["enum"] = [*made["enum"], None]
    return made


# ---- references --------------------------------------------------------------------------------------------------


def _followed(schema: Schema, home: str) -> tuple[Schema, str]:
    while "$ref" in schema:
        document, _, pointer = schema["$ref"].partition("#")
        home = document.removeprefix("urn:ocifw:") or home
        found: Any = json.loads((SCHEMAS / f"{home}.schema.json").read_text())
        for part in filter(None, pointer.split("/")):
            found = found[part]
        schema = {**found, **{name: value for name, value in schema.items() if name != "$ref"}}
    return schema, home
