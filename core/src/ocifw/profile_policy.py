"""Compiling policy: the text of a rule, checked against the documents' schemas, so that no rule can fail to bite.

    deny: PATH contains VALUE | PATH is VALUE | PATH exists | PATH matches GLOB | PATH above N | PATH beyond PATH
    require: the same
    limit: {PATH: MAXIMUM}

A path names properties as config.json does; of lists every member counts, `mounts.options`, or the one with a key in
brackets, `linux.namespaces[user]`, `process.env[PATH]`, `annotations[com.example/team]`. Roots beside config.json are
`exec`, `container` (a process, and a config), `update` (resources) and `plan`: `plan.steps` and `plan.plugins` are lists
of names, `plan.step.Bind.source` is a field of all steps of a kind.

An unknown path, a value of another type than the property's, or an operator that can never hold there is an error. What
`deny` says counts when any value that a path leads to is so; `require` wants at least one value and all of them so.
"""

from __future__ import annotations

import json
from difflib import get_close_matches
from typing import TYPE_CHECKING

from . import steps as container_steps
from .explain import SCHEMAS
from .layers import KEYED
from .step import ContainerStep

if TYPE_CHECKING:
    from typing import Any

OPERATORS = ("contains", "is", "exists", "matches", "above", "beyond")
ROOTS = {"exec": "process", "container": "config", "update": "resources"}
_TYPES = {"boolean": bool, "integer": int, "string": str}
_ZERO: dict[str, Any] = {"boolean": False, "integer": 0, "string": ""}
_SUFFIXES = {"K": 10, "M": 20, "G": 30, "T": 40}


class Wrong(Exception):
    """What is wrong with a rule."""


def compile_rules(
    entry: dict[str, Any], layer: str, file: str, place: tuple[int, int]
) -> list[tuple[Any, ...]]:
    """The values of the `policy.Rule`s of one entry of `policy`; `limit` has one for each path. Raises Wrong."""
    kinds = [kind for kind in ("deny", "require", "limit") if kind in entry]
    if len(kinds) != 1:
        raise Wrong("must have exactly one of deny, require and limit")
    kind = kinds[0]
    made: list[tuple[Any, ...]] = []
    if kind == "limit":
        for path, maximum in entry["limit"].items():
            root, steps, schema = resolve(path)
            if schema["type"] != "integer":
                raise Wrong(f"{path} is {_name(schema)}, and has no limit")
            limit = _maximum(path, maximum)
            made.append((kind, f"{path}: {maximum}", root, steps, "limit", limit, None))
    else:
        text = " ".join(entry[kind].split())
        made.append((kind, text, *_condition(text)))
    name = entry.get("name")
    return [
        (*one, name or f"{kind} {one[1]}", entry["reason"], layer, file, *place) for one in made
    ]


def _condition(text: str) -> tuple[str, tuple[Any, ...], str, Any, Any]:
    """Root, steps, operator, operand and zero of a condition."""
    path, _, rest = text.partition(" ")
    operator, _, operand = rest.partition(" ")
    if operator not in OPERATORS:
        close = get_close_matches(operator, OPERATORS, 1)
        raise Wrong(
            f"{operator or text!r} is not an operator: expected PATH and one of"
            f" {', '.join(OPERATORS)}" + (f": did you mean {close[0]}?" if close else "")
        )
    root, steps, schema = resolve(path)
    if (operator == "exists") != (not operand):
        raise Wrong(f"{operator} takes {'no value' if operator == 'exists' else 'a value'}")
    kind = schema["type"]
    fits = {
        "contains": ("array", "object"),
        "is": ("boolean", "integer", "string"),
        "matches": ("string", "array"),
        "above": ("integer",),
        "beyond": ("array", "object"),
    }
    if operator in fits and kind not in fits[operator]:
        raise Wrong(f"{path} is {_name(schema)}: {operator} never holds for it")
    if operator == "above" and (root == "update" or steps[:2] == ("linux", "resources")):
        raise Wrong(
            f"{path}: 0 and -1 stand for no limit there, and are not above {operand}: use limit"
        )
    single = all(isinstance(step, str) for step in steps) and root != "plan"
    zero = _ZERO.get(kind) if single and operator in ("is", "above") else None
    return root, steps, operator, _operand(path, operator, operand, schema), zero


def _operand(path: str, operator: str, text: str, schema: dict[str, Any]) -> Any:
    if operator == "exists":
        return None
    if operator == "beyond":
        root, steps, other = resolve(text)
        if other["type"] not in ("array", "object"):
            raise Wrong(f"{text} is {_name(other)}, and has no members")
        return (root, steps)
    kind = schema["type"]
    if operator == "contains":
        kind = (
            _deref(schema.get("items") or {}).get("type", "string") if kind == "array" else "string"
        )
        if kind == "object":
            raise Wrong(f"the members of {path} are objects: name one of their properties")
    if operator == "above" or kind == "integer":
        return _maximum(path, text)
    if kind == "boolean":
        if text not in ("true", "false"):
            raise Wrong(f"{path} is true or false, and never {text}")
        return text == "true"
    values = schema.get("enum")
    if operator == "is" and values and text not in values:
        raise Wrong(f"{path} is never {text}: it is one of {', '.join(values)}")
    if path in ("plan.steps", "plan.plugins") and operator == "contains":
        if path == "plan.steps" and text not in _kinds():
            raise Wrong(_unknown(text, list(_kinds()), "step"))
        return text
    of_capabilities = operator == "contains" and "capabilities" in path.split(".")
    if of_capabilities and (not text.startswith("CAP_") or text != text.upper()):
        raise Wrong(f"{text} is not the name of a capability, as CAP_CHOWN")
    return text


def _maximum(path: str, value: Any) -> int:
    text = str(value)
    shift = _SUFFIXES.get(text[-1:], 0)
    digits = text[:-1] if shift else text
    if isinstance(value, bool) or not digits.lstrip("-").isdecimal():
        raise Wrong(f"{path}: {text} is not a number, as 512 or 64M")
    return int(digits) << shift


# ---- paths -------------------------------------------------------------------------------------------------------


def resolve(path: str) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    """Root, steps and schema of a path. Raises Wrong when there is no such property."""
    words = _split(path)
    root = "config"
    if words and words[0][0] in ROOTS:
        root = words.pop(0)[0]
    elif words and words[0] == ("plan", None):
        return _plan_path([word for word, _ in words])
    if not words:
        raise Wrong(f"{path}: names no property")
    schema = _load(ROOTS.get(root, root))
    steps: list[Any] = []
    walked: list[str] = []
    for name, key in words:
        schema = _deref(schema)
        if schema["type"] == "array":
            steps.append(("[]",))
            schema = _deref(schema["items"])
        properties = schema.get("properties")
        if properties is None or name not in properties:
            where = ".".join(walked) or {"config": "config.json"}.get(root, root)
            raise Wrong(
                f"{path}: " + _unknown(name, list(properties or ()), f"property of {where}")
            )
        steps.append(name)
        walked.append(name)
        schema = _deref(properties[name])
        if key is not None:
            if schema["type"] == "array":
                prefix = ("process",) if root == "exec" else ()
                field = KEYED.get((*prefix, *walked))
                if field is None:
                    raise Wrong(f"{path}: members of {'.'.join(walked)} have no key")
                steps.append((key, field))
                schema = _deref(schema["items"])
            elif "additionalProperties" in schema:
                steps.append(key)
                schema = _deref(schema["additionalProperties"])
            else:
                raise Wrong(f"{path}: {name} has no members with a key")
    return root, tuple(steps), schema


def _split(path: str) -> list[tuple[str, str | None]]:
    """Pairs of name and key in brackets."""
    words: list[tuple[str, str | None]] = []
    rest = path
    while rest:
        end = next((i for i, c in enumerate(rest) if c in ".["), len(rest))
        name, key, rest = rest[:end], None, rest[end:]
        if rest[:1] == "[":
            inner, closed, rest = rest[1:].partition("]")
            if not closed or not inner:
                raise Wrong(f"{path}: expected a key in brackets")
            key = inner
        if rest[:1] == ".":
            rest = rest[1:] or " "
        elif rest:
            raise Wrong(f"{path}: expected a dot after ]")
        if not name.strip():
            raise Wrong(f"{path}: has an empty name")
        words.append((name, key))
    return words


def _plan_path(words: list[str]) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    names = {"type": "array", "items": {"type": "string"}}
    if words[1:] in (["steps"], ["plugins"]):
        return "plan", (words[1],), names
    if len(words) != 4 or words[1] != "step":
        raise Wrong("of a plan there are plan.steps, plan.plugins and plan.step.KIND.FIELD")
    kinds = _kinds()
    if words[2] not in kinds:
        raise Wrong(_unknown(words[2], list(kinds), "step"))
    annotations = kinds[words[2]].__annotations__
    fields = kinds[words[2]]._fields
    if words[3] not in fields:
        raise Wrong(_unknown(words[3], list(fields), f"field of {words[2]}"))
    kind = str(annotations[words[3]])
    types = {"Number": "integer", "Flag": "boolean", "Vector": "array", "Numbers": "array"}
    schema: dict[str, Any] = {"type": types.get(kind, "string")}
    if kind == "Numbers":
        schema["items"] = {"type": "integer"}
    return "plan", tuple(words[1:]), schema


def _kinds() -> dict[str, type[ContainerStep]]:
    # Of a module from the image, classes are made when they are asked for.
    names = {*vars(container_steps), *vars(container_steps).get("_classes", ())}
    found = {name: getattr(container_steps, name) for name in sorted(names)}
    return {
        name: kind
        for name, kind in found.items()
        if isinstance(kind, type) and issubclass(kind, ContainerStep) and kind is not ContainerStep
    }


def _load(kind: str) -> dict[str, Any]:
    return _deref({"$ref": f"urn:ocifw:{kind}"})


_schemas: dict[str, dict[str, Any]] = {}


def _deref(schema: dict[str, Any], home: str = "") -> dict[str, Any]:
    """A schema with its references followed, and all its own references absolute."""
    while "$ref" in schema:
        reference = schema["$ref"]
        document, _, pointer = reference.partition("#")
        name = document.removeprefix("urn:ocifw:") or home
        if name not in _schemas:
            text = (SCHEMAS / f"{name}.schema.json").read_text()
            # References within a document, which are followed from elsewhere, too.
            _schemas[name] = json.loads(text.replace('"#/', f'"urn:ocifw:{name}#/'))
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        found: Any = _schemas[name]
        for part in filter(None, pointer.split("/")):
            found = found[part]
        schema = {**found, **rest}
        home = name
    return schema


def _name(schema: dict[str, Any]) -> str:
    names = {"boolean": "true or false", "integer": "a number", "string": "a text",
             "array": "a list", "object": "an object"}  # fmt: skip
    return names[schema["type"]]


def _unknown(name: str, known: list[str], what: str) -> str:
    close = get_close_matches(name, known, 1, 0.5)
    return f"{name!r} is not a {what}" + (f": did you mean {close[0]}?" if close else "")
