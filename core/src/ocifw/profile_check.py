"""What is wrong with a profile: its structure, the part of a config it has, and seccomp profiles that it names."""

from __future__ import annotations

import json
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import jsonschema
from jsonschema import Draft202012Validator, validators

from . import explain
from .errors import OcifwError, Problem
from .layers import Layering, path_text
from .profile_set import unknown_keys

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .layers import Path
    from .profile_yaml import Document


def profile_schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((explain.SCHEMAS / "profile.schema.json").read_text())
    return schema


def structure(document: Document, schema: dict[str, Any]) -> list[Problem]:
    return schema_problems(document, document.value, schema, ())


def schema_problems(
    document: Document, value: Any, schema: Any, path: Path, partial: bool = False
) -> list[Problem]:
    """What a schema says against a value that stands at a path of a document. partial: nothing is required."""
    kind = _Partial if partial else _Whole
    problems = []
    try:
        kind.check_schema(schema)
        errors = sorted(kind(schema).iter_errors(value), key=lambda e: str(e.absolute_path))
    except jsonschema.SchemaError as wrong:
        raise OcifwError(
            f"{path_text(path)}: the schema of its settings is wrong: {wrong.message}"
        ) from wrong
    for error in errors:
        own = (*path, *error.absolute_path)
        if error.validator == "additionalProperties" and isinstance(error.instance, dict):
            known = error.schema.get("properties", {})
            for name in error.instance:
                if name not in known:
                    message = f"is not known{close_to(name, known)}"
                    problems.append(document.problem((*own, name), message))
        else:
            problems.append(document.problem(own, _sentence(error)))
    return problems


def _sentence(error: Any) -> str:
    keyword, wanted = error.validator, error.validator_value
    if keyword == "type":
        kinds = [_KINDS[kind] for kind in ([wanted] if isinstance(wanted, str) else wanted)]
        return f"must be {' or '.join(kinds)}, not {_shown(error.instance)}"
    if keyword == "required":
        missing = [name for name in wanted if name not in error.instance]
        return f"lacks {', '.join(missing)}"
    if keyword == "enum":
        return f"{_shown(error.instance)} is not one of {', '.join(map(str, wanted))}"
    if keyword == "minLength":
        return "must not be empty"
    message: str = error.message
    return message


_KINDS = {
    "string": "a text",
    "boolean": "true or false",
    "integer": "an integer",
    "number": "a number",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}


def _shown(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    return json.dumps(value)[:80]


def _nothing(*_: Any) -> Iterable[Any]:
    return ()


_CHECKER = Draft202012Validator.TYPE_CHECKER.redefine(
    "integer", lambda _, value: type(value) is int
)
_Whole = validators.extend(Draft202012Validator, {}, type_checker=_CHECKER)  # type: ignore[no-untyped-call]
_Partial = validators.extend(_Whole, {"required": _nothing})  # type: ignore[no-untyped-call]


def config_problems(document: Document, path: Path, node: Any) -> list[Problem]:
    """What is wrong with a patch by itself: unknown keys and wrong types. What it lacks, config.json may have."""
    trial = Layering({})
    trial.apply(node, 0)
    if not isinstance(trial.value, dict):
        return []
    own = dict(trial.origins())
    written = {
        path_text(
            tuple([p.rstrip("+-?<") if isinstance(p, str) else p for p in at[len(path) :]])
        ): place
        for at, place in document.places.items()
        if at[: len(path)] == path
    }

    def problem(text: str, parts: Path, message: str) -> Problem:
        while parts and parts not in own:
            parts = parts[:-1]
        line, column = written.get(text) or own.get(parts, (0, document.place(path)))[1]
        return Problem(f"{path_text(path)}.{text}", message, f"{document.file}:{line}:{column}")

    found = [problem(unknown.path, (), unknown.message) for unknown in unknown_keys(trial.value)]
    partial = validators.extend(type(explain.validator("config")), {"required": _nothing})  # type: ignore[no-untyped-call]
    whole = explain.validator("config")
    checker = partial(whole.schema, registry=whole._registry)
    for error in checker.iter_errors(trial.value):
        for text, message in explain._pairs(error):
            found.append(problem(text, tuple(error.absolute_path), message))
    return found


def seccomp_problems(content: Any, origin: str) -> list[Problem]:
    """What is wrong with a seccomp profile in the spec's or Docker's form."""
    rule = {
        "type": "object",
        "required": ["action"],
        "properties": {
            "names": {"type": "array", "items": {"type": "string"}},
            "name": {"type": "string"},
            "action": {"type": "string"},
            "errnoRet": {"type": ["integer", "null"]},
            "args": {"type": ["array", "null"], "items": {"type": "object"}},
            "includes": {"$ref": "#/$defs/filter"},
            "excludes": {"$ref": "#/$defs/filter"},
        },
        "anyOf": [{"required": ["names"]}, {"required": ["name"]}],
    }
    strings = {"type": ["array", "null"], "items": {"type": "string"}}
    schema = {
        "$defs": {
            "filter": {
                "type": ["object", "null"],
                "properties": {
                    "caps": strings,
                    "arches": strings,
                    "minKernel": {"type": "string", "pattern": r"^[0-9]+\.[0-9]+"},
                },
                # What is not understood must not be passed over: it restricts where the rule counts.
                "additionalProperties": False,
            }
        },
        "type": "object",
        "required": ["defaultAction"],
        "properties": {
            "defaultAction": {"type": "string"},
            "defaultErrnoRet": {"type": ["integer", "null"]},
            "architectures": strings,
            "archMap": {
                "type": ["array", "null"],
                "items": {
                    "type": "object",
                    "required": ["architecture"],
                    "properties": {
                        "architecture": {"type": "string"},
                        "subArchitectures": strings,
                    },
                },
            },
            "syscalls": {"type": ["array", "null"], "items": rule},
        },
    }
    return [
        Problem(path_text(tuple(error.absolute_path)), _sentence(error), origin)
        for error in _Whole(schema).iter_errors(content)
    ]


def close_to(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, list(known), 1, 0.6)
    return f": did you mean {close[0]}?" if close else ""
