"""What is different between two configs, in their own terms: system calls change their action, capabilities come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .display import value_text
from .layers import CAPABILITY_SETS, KEYED, MISSING, SETS, key_of, leaves, path_text
from .record import Record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .layers import Path


class Difference(Record):
    """One thing that is different. sign: "+" only the second has it, "-" only the first, "~" both, not the same."""

    path: str
    sign: str
    text: str


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[Difference]:
    """What must be done to the first config to make it the second."""
    return list(_between(one, other, ()))


def _between(one: Any, other: Any, path: Path) -> Iterator[Difference]:
    if one == other:
        return
    if path == ("linux", "seccomp"):
        yield from seccomp(one or {}, other or {})
    elif path == ("process", "capabilities"):
        yield from _capabilities(one or {}, other or {})
    elif _are(dict, one, other):
        one, other = one or {}, other or {}
        for name in dict.fromkeys((*one, *other)):
            yield from _between(one.get(name), other.get(name), (*path, name))
    elif path in KEYED and _are(list, one, other):
        yield from _members(one or [], other or [], path)
    elif path in SETS and _are(list, one, other):
        yield from _sets(path_text(path), one or [], other or [])
    else:
        yield from _values(one, other, path)


def _are(kind: type, one: Any, other: Any) -> bool:
    return all(value is None or isinstance(value, kind) for value in (one, other))


def _values(one: Any, other: Any, path: Path) -> Iterator[Difference]:
    name = path_text(path)
    if one is None:
        for own, value in leaves(other, path):
            yield Difference(path_text(own), "+", value_text(value))
    elif other is None:
        yield Difference(name, "-", value_text(one))
    else:
        yield Difference(name, "~", f"{value_text(one)} → {value_text(other)}")


def _members(one: list[Any], other: list[Any], path: Path) -> Iterator[Difference]:
    """Lists with a natural key: by it, not by position."""
    field = KEYED[path]
    first = {key_of(member, field): member for member in one}
    second = {key_of(member, field): member for member in other}
    for key in dict.fromkeys((*first, *second)):
        name = f"{path_text(path)}[{key}]"
        before, after = first.get(key, MISSING), second.get(key, MISSING)
        if before is MISSING or after is MISSING:
            yield Difference(
                name,
                "+" if before is MISSING else "-",
                value_text(after if before is MISSING else before),
            )
        elif before != after and isinstance(before, dict):
            for part in dict.fromkeys((*before, *after)):
                old, new = before.get(part), after.get(part)
                if old != new:
                    yield Difference(f"{name}.{part}", "~", f"{_text(old)} → {_text(new)}")
        elif before != after:
            yield Difference(name, "~", f"{value_text(before)} → {value_text(after)}")


def _text(value: Any) -> str:
    return "nothing" if value is None else value_text(value)


def _sets(name: str, one: list[Any], other: list[Any]) -> Iterator[Difference]:
    less = [member for member in one if member not in other]
    more = [member for member in other if member not in one]
    if less:
        yield Difference(name, "-", ", ".join(map(str, less)))
    if more:
        yield Difference(name, "+", ", ".join(map(str, more)))
    if not less and not more:
        yield Difference(name, "~", "another order")


# ---- capabilities ------------------------------------------------------------------------------------------------


def _capabilities(one: dict[str, Any], other: dict[str, Any]) -> Iterator[Difference]:
    """Which capabilities come and go; sets that change alike are named together."""
    groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for kind in CAPABILITY_SETS:
        before, after = one.get(kind) or [], other.get(kind) or []
        for sign, names in (
            ("-", [name for name in before if name not in after]),
            ("+", [name for name in after if name not in before]),
        ):
            if names:
                groups.setdefault((sign, tuple(sorted(names))), []).append(kind)
    for (sign, changed), kinds in groups.items():
        yield Difference(f"process.capabilities.{'/'.join(kinds)}", sign, ", ".join(changed))


# ---- seccomp -----------------------------------------------------------------------------------------------------

_NO_FILTER = "allow"


def seccomp(one: dict[str, Any], other: dict[str, Any]) -> Iterator[Difference]:
    """Which system calls change what happens to them, and what else of the filter is different."""
    name = "linux.seccomp"
    if not one or not other:
        yield Difference(name, "-" if one else "+", "a filter")
    for field in ("architectures", "flags"):
        if one.get(field) or other.get(field):
            yield from _sets_if_different(
                f"{name}.{field}", one.get(field) or [], other.get(field) or []
            )
    first, second = actions(one), actions(other)
    if first[""] != second[""]:
        yield Difference(f"{name}.defaultAction", "~", f"{first['']} → {second['']}")
    groups: dict[tuple[str, str], list[str]] = {}
    for call in sorted({*first, *second} - {""}):
        before, after = first.get(call, first[""]), second.get(call, second[""])
        if before != after:
            groups.setdefault((before, after), []).append(call)
    for (before, after), calls in sorted(groups.items()):
        yield Difference(f"{name}.syscalls", "~", f"{before} → {after}: {', '.join(calls)}")


def _sets_if_different(name: str, one: list[Any], other: list[Any]) -> Iterator[Difference]:
    if one != other:
        yield from _sets(name, one, other)


def actions(filter_: dict[str, Any]) -> dict[str, str]:
    """What happens to each system call that a filter names, in words; "" is what happens to all others."""
    if not filter_.get("defaultAction"):
        return {"": _NO_FILTER}
    default = _action(filter_["defaultAction"], filter_.get("defaultErrnoRet"))
    conditional: dict[str, list[str]] = {}
    found: dict[str, str] = {}
    for rule in filter_.get("syscalls") or ():
        action = _action(rule["action"], rule.get("errnoRet"))
        for name in rule["names"]:
            if rule.get("args"):
                conditions = " and ".join(map(_condition, rule["args"]))
                conditional.setdefault(name, []).append(f"{action} if {conditions}")
            else:
                found[name] = action
    for name, parts in conditional.items():
        found[name] = "; ".join([*sorted(parts), f"else {found.get(name, default)}"])
    return {**found, "": default}


def _action(action: str, number: int | None) -> str:
    import errno

    name = action.removeprefix("SCMP_ACT_").lower().replace("_", " ")
    if name in ("errno", "trace"):
        code = errno.errorcode.get(1 if number is None else number, str(number))
        return code if name == "errno" else f"trace {number or 0}"
    return name


_SIGNS = {"NE": "!=", "LT": "<", "LE": "<=", "EQ": "==", "GE": ">=", "GT": ">"}


def _condition(argument: dict[str, Any]) -> str:
    operator = argument["op"].removeprefix("SCMP_CMP_")
    if operator == "MASKED_EQ":
        return (
            f"arg{argument['index']} & {argument['value']:#x} == {argument.get('valueTwo', 0):#x}"
        )
    return f"arg{argument['index']} {_SIGNS[operator]} {argument['value']:#x}"
