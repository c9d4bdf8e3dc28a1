"""Why a schema refuses a document, asked of jsonschema. Only imported when the answer was no (60 ms)."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
from jsonschema import Draft202012Validator, validators
from referencing import Registry, Resource

from .document import child_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SCHEMAS = Path(__file__).parent / "schema"


def schema_problems(document: Any, kind: str) -> list[tuple[str, str]]:
    """Pairs of path and message, at least one; kind: "config", "process" or "resources"."""
    errors = sorted(validator(kind).iter_errors(document), key=_places)
    found = [pair for error in errors for pair in _pairs(error)]
    # Never reached while the generated acceptance is equal to the schema, which a test sees to.
    return found or [("", f"is not what {kind}.schema.json says")]


@cache
def validator(kind: str) -> Any:
    """The jsonschema validator of a kind, as strict as the generated acceptance and as lenient about null."""
    contents = {path.name: json.loads(path.read_text()) for path in SCHEMAS.glob("*.schema.json")}
    pairs = [(schema["$id"], Resource.from_contents(schema)) for schema in contents.values()]
    registry: Registry[Any] = Registry().with_resources(pairs)
    return _Validator(contents[f"{kind}.schema.json"], registry=registry)


# ---- JSON Schema, with what is ours ------------------------------------------------------------------------------


def _integer(_checker: object, value: object) -> bool:
    # 1.0 is an integer for JSON Schema, and none for Go and for us.
    return type(value) is int


def _properties(own: Any, properties: Any, value: Any, schema: Any) -> Iterator[Any]:
    # null is "not set", as Go programs write it.
    present = value
    if isinstance(value, dict):
        present = {name: member for name, member in value.items() if member is not None}
    yield from Draft202012Validator.VALIDATORS["properties"](own, properties, present, schema)


def _required(own: Any, required: Any, value: Any, schema: Any) -> Iterator[Any]:
    for name in required if isinstance(value, dict) else ():
        if value.get(name) is None:
            yield jsonschema.ValidationError(name)


def _pattern(_own: Any, pattern: str, value: Any, _schema: Any) -> Iterator[Any]:
    # `$` is the very end in ECMA-262, which JSON Schema means; for Python a newline may follow.
    if isinstance(value, str) and not re.search(pattern.replace("$", r"\Z"), value):
        yield jsonschema.ValidationError(pattern)


_Validator = validators.extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {"properties": _properties, "required": _required, "pattern": _pattern},
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _integer),
)


# ---- our words ---------------------------------------------------------------------------------------------------

_NAMES = {
    "string": "a string",
    "boolean": "true or false",
    "integer": "an integer",
    "array": "an array",
    "object": "an object",
}


def _places(error: Any) -> list[tuple[int, str]]:
    """The path as a key to sort by: array positions by number."""
    return [(part, "") if isinstance(part, int) else (-1, part) for part in error.absolute_path]


def _pairs(error: Any) -> Iterable[tuple[str, str]]:
    """The place and our words of one error of jsonschema."""
    parts = list(error.absolute_path)
    path = ""
    for part in parts:
        path = child_path(path, part)
    keyword, wanted, value = error.validator, error.validator_value, error.instance
    shown = _shown(value, parts)
    if keyword == "required":
        return [(child_path(path, error.message), "is required")]
    if keyword == "type":
        return [(path, f"must be {_NAMES[wanted]}, not {shown}")]
    refusal = error.schema.get("x-refusal")
    if refusal and isinstance(value, (str, int)):
        # Without the quotes, which the text has where it wants them, but on one line.
        return [(path, refusal.format(value=json.dumps(value).strip('"')[:60]))]
    if keyword == "enum":
        # A value of the wrong type has an error of its own.
        return [(path, f"{shown} is not one of {', '.join(wanted)}")] * isinstance(value, str)
    if keyword in ("minimum", "maximum"):
        limits = f"{error.schema['minimum']}..{error.schema['maximum']}"
        return [(path, f"{shown} is not in {limits}")]
    if keyword == "minItems":
        return [(path, "must not be empty")]
    if "propertyNames" in error.absolute_schema_path:
        return [(path, "has an empty name")]
    return [(path, f"{shown} is not of the form {wanted}")]


def _shown(value: Any, parts: list[str | int]) -> str:
    """A value for a message: short, and not what may be secret."""
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "an array"
    if "env" in parts:
        return f"a value of type {type(value).__name__}"
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
