"""Documents for tests: those that engines wrote, one with every property of a schema, and mutations of both."""

from __future__ import annotations

import copy
import json
import os
import random
from pathlib import Path

ENGINES = Path(__file__).parent / "engines"
KINDS = ("config", "process", "resources")

# Of each type, at the limits of each range, in and out of enumerations, and null.
VALUES = [
    None, True, False, 0, 1, -1, 5, 6, 7, 8, 511, 512, 1000, 1001, -1001, 65535, 65536, 2**31, -(2**31) - 1, 2**32 - 1,
    2**32, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64 - 1, 2**64, 1.0, 1.5, "", "x", "/", "a", "c", "rwm", "rwx",
    "1GB", "01GB", "2MB\n", "GB", "MB:0=1", "MB:\n", "0-3,7", "0-3\n", "RLIMIT_CORE", "SCMP_ACT_ERRNO", "rslave",
    "time", "SCHED_RR", [], {}, [None], [1], [""], [[]], [{}], {"": ""}, {"a": None}, {"a": "b"}, {"a": {}}, {"a": 1},
]  # fmt: skip


def engine_files() -> list[Path]:
    """The documents of engines, those of OCIFW_FIXTURES included."""
    folders = [ENGINES, *map(Path, filter(None, [os.environ.get("OCIFW_FIXTURES")]))]
    return sorted(
        path for folder in folders for kind in KINDS for path in folder.glob(f"*.{kind}.json")
    )


def kind_of(path: Path) -> str:
    return path.name.split(".")[-2]


def full_document(kind: str, schemas: dict[str, dict]) -> dict:
    """A document with every property that the schema knows, and every array with one item."""

    def instance(schema, home):
        while "$ref" in schema:
            document, _, pointer = schema["$ref"].partition("#/$defs/")
            home = document.removeprefix("urn:ocifw:") or home
            schema = schemas[home]["$defs"][pointer]
        match schema["type"]:
            case "object" if "properties" in schema:
                return {name: instance(value, home) for name, value in schema["properties"].items()}
            case "object":
                return {"name": instance(schema["additionalProperties"], home)}
            case "array":
                return [instance(schema["items"], home)]
            case "integer":
                return max(schema["minimum"], 0)
            case "boolean":
                return False
        return schema["enum"][0] if "enum" in schema else {"^[1-9][0-9]*[KMG]B$": "2MB", "^MB:[^\\n]*$": "MB:0=1"}.get(
            schema.get("pattern"), "")  # fmt: skip

    return instance(schemas[kind], kind)


def load_schemas(folder: Path) -> dict[str, dict]:
    return {
        path.name.partition(".")[0]: json.loads(path.read_text())
        for path in folder.glob("*.schema.json")
    }


def mutated(document: dict, choice: random.Random) -> dict:
    """A copy with one to three changes: a value replaced, left out, or put where another name was."""
    document = copy.deepcopy(document)
    for _ in range(choice.randint(1, 3)):
        places = [
            (holder, key)
            for holder in _holders(document)
            for key in (holder if isinstance(holder, dict) else range(len(holder)))
        ]
        if not places:
            continue
        holder, key = choice.choice(places)
        kind = choice.random()
        if kind < 0.15:
            del holder[key]
        elif kind < 0.25:
            other, other_key = choice.choice(places)
            holder[key] = copy.deepcopy(other[other_key])
        elif kind < 0.3 and isinstance(holder, dict):
            holder[choice.choice(["", "unknown", "type", "path"])] = copy.deepcopy(
                choice.choice(VALUES)
            )
        else:
            holder[key] = copy.deepcopy(choice.choice(VALUES))
    return document


def _holders(value):
    if isinstance(value, (dict, list)):
        yield value
        for member in value.values() if isinstance(value, dict) else value:
            yield from _holders(member)
