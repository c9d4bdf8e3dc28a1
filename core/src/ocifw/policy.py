"""Policy: rules of profiles over the final config and plan, checked after every plugin. What breaks one is not done.

A rule is compiled (profile_policy.py) into a tuple of plain values, which is checked here and kept in the container's
state, so that `exec` and `update` are held to what the container was made with. The language has no loops and calls
nothing: a path into a document, an operator, a constant.

Paths begin at config.json. At `exec`, `process` is the process to add, which `exec` also names, in rules that are for
it alone; `container` is the config of the container that is there. `update` is the document of `update`, whose limits
`linux.resources` has merged. `plan` has the steps.
"""

from __future__ import annotations

from .errors import OcifwError
from .record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from .plan import Plan

    Documents = dict[str, Any]
    Value = tuple[str, Any]


class Rule(Record):
    """One rule.

    kind: "deny", "require" or "limit". text: as it was written. root: config, exec, update, container or plan.
    steps: the path below it, each a name, ["[]"] for every member, or [KEY, FIELD] for the member whose FIELD is KEY.
    operator: contains, is, exists, matches, above, beyond or limit; operand: its constant, of `beyond` another path as
    [root, steps]. zero: what a scalar that is not set stands for, None where that is nothing. name: to remove it by.
    file, line, column, layer: where it comes from.
    """

    kind: str
    text: str
    root: str
    steps: tuple[Any, ...]
    operator: str
    operand: Any
    zero: Any
    name: str
    reason: str
    layer: str
    file: str
    line: int
    column: int

    @property
    def origin(self) -> str:
        """FILE:LINE:COLUMN."""
        return f"{self.file}:{self.line}:{self.column}"

    @property
    def path(self) -> str:
        """The path that it is about, as text, without the keys of list members."""
        return _text(self.root, self.steps)

    @property
    def title(self) -> str:
        """The rule as it was written, after the name that it was given, if any."""
        text = f"{self.kind} {self.text}"
        return text if self.name == text else f"{self.name}: {text}"


class Violation(Record):
    """A rule that does not hold. found: what was found instead, with its path."""

    rule: Rule
    found: str

    def __str__(self) -> str:
        rule = self.rule
        return f"{rule.origin}: {rule.title}: {rule.reason} ({self.found})"


class PolicyError(OcifwError):
    """What was asked for is against the policy; all violations at once."""

    def __init__(self, violations: Iterable[Violation]) -> None:
        self.violations = list(violations)
        super().__init__("policy: " + "; ".join([str(one) for one in self.violations]))


def rules(rows: Iterable[Sequence[Any]]) -> tuple[Rule, ...]:
    """Rules from their values, as they stand in a compiled profile and in a container's state."""
    return tuple([Rule(*[*row[:3], tuple(row[3]), *row[4:]]) for row in rows])


def check_create(active: Iterable[Rule], config: dict[str, Any], plan: Plan) -> None:
    """Raise PolicyError when a new container would break a rule."""
    _check(
        [rule for rule in active if rule.root not in ("exec", "update", "container")],
        {"config": config, "plan": plan},
    )


def check_exec(
    active: Iterable[Rule], container: dict[str, Any], process: dict[str, Any], plan: Plan
) -> None:
    """Raise PolicyError when a further process would break a rule. container: the config of the container."""
    _check(
        [
            rule
            for rule in active
            if rule.root in ("exec", "container")
            or (rule.root == "config" and rule.steps[0] == "process")
            or (rule.root == "plan" and rule.kind == "deny")
        ],
        {
            "config": {**container, "process": process},
            "exec": process,
            "container": container,
            "plan": plan,
        },
    )


def check_update(active: Iterable[Rule], config: dict[str, Any], resources: dict[str, Any]) -> None:
    """Raise PolicyError when an update would break a rule. config: with the limits as they would be."""
    _check(
        [
            rule
            for rule in active
            if rule.root == "update"
            or (rule.root == "config" and rule.steps[:2] == ("linux", "resources"))
        ],
        {"config": config, "update": resources},
    )


def _check(active: Iterable[Rule], documents: Documents) -> None:
    found = [one for rule in active if (one := violation(rule, documents)) is not None]
    if found:
        raise PolicyError(found)


def violation(rule: Rule, documents: Documents) -> Violation | None:
    """How documents, by root, break a rule; None when they do not."""
    values = _values(rule.root, rule.steps, documents)
    if not values and rule.zero is not None:
        values = [(_text(rule.root, rule.steps), rule.zero)]
    if rule.kind == "limit":
        return _limit(rule, values)
    holds = _OPERATORS[rule.operator]
    operand = rule.operand
    if rule.operator == "beyond":
        root, steps = operand
        operand = _members([value for _, value in _values(root, steps, documents)])
    if rule.kind == "deny":
        for path, value in values:
            if holds(value, operand):
                return Violation(rule, _found(rule, path, value, operand))
        return None
    if not values:
        return Violation(rule, f"{_text(rule.root, rule.steps)} is not set")
    for path, value in values:
        if not holds(value, operand):
            return Violation(rule, f"{path} is {_shown(path, value)}")
    return None


def _limit(rule: Rule, values: Sequence[Value]) -> Violation | None:
    if not values:
        if rule.root == "update":
            # What an update does not name stays as it is.
            return None
        return Violation(rule, f"{_text(rule.root, rule.steps)} is not set, which is no limit")
    # 0 and -1 are no limit for cgroups.
    least = 1 if rule.steps[-1] not in ("hard", "soft") else 0
    for path, value in values:
        if type(value) is not int or not least <= value <= rule.operand:
            return Violation(rule, f"{path} is {_shown(path, value)}")
    return None


# ---- operators ---------------------------------------------------------------------------------------------------


def _contains(value: Any, operand: Any) -> bool:
    if isinstance(value, dict):
        return operand in value or any(
            operand in member for member in value.values() if isinstance(member, (list, tuple))
        )
    return isinstance(value, (list, tuple)) and operand in value


def _is(value: Any, operand: Any) -> bool:
    return type(value) is type(operand) and bool(value == operand)


def _exists(value: Any, _operand: Any) -> bool:
    return value is not None and value not in ("", [], {}, ())


def _matches(value: Any, operand: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_matches(member, operand) for member in value)
    return isinstance(value, str) and glob_match(operand, value)


def _above(value: Any, operand: Any) -> bool:
    return type(value) is int and value > operand


def _beyond(value: Any, operand: Any) -> bool:
    return not _members([value]) <= operand


def _members(values: Iterable[Any]) -> set[Any]:
    """What lists, or the lists of mappings, hold."""
    found: set[Any] = set()
    for value in values:
        for one in value.values() if isinstance(value, dict) else (value,):
            if isinstance(one, (list, tuple)):
                found.update([member for member in one if isinstance(member, (str, int))])
    return found


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "contains": _contains,
    "is": _is,
    "exists": _exists,
    "matches": _matches,
    "above": _above,
    "beyond": _beyond,
}


def glob_match(pattern: str, text: str) -> bool:
    """Whether a text is of a pattern in which `*` stands for any text, slashes included, and `?` for one character."""
    at, position, star, mark = 0, 0, -1, 0
    while position < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, mark = at, position
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", text[position]):
            at += 1
            position += 1
        elif star >= 0:
            mark += 1
            at, position = star + 1, mark
        else:
            return False
    return not pattern[at:].strip("*")


# ---- values ------------------------------------------------------------------------------------------------------


def _values(root: str, steps: Sequence[Any], documents: Documents) -> list[Value]:
    """Pairs of path and value of everything that a path leads to. A root that is not there has nothing."""
    document = documents.get(root)
    if document is None:
        return []
    if root == "plan":
        return _plan_values(document, steps)
    current: list[Value] = [("" if root == "config" else root, document)]
    for step in steps:
        below: list[Value] = []
        for path, value in current:
            below += _step(path, value, step)
        current = below
    return current


def _step(path: str, value: Any, step: Any) -> list[Value]:
    if isinstance(step, str):
        member = value.get(step) if isinstance(value, dict) else None
        return [] if member is None else [(f"{path}.{step}" if path else step, member)]
    if not isinstance(value, (list, tuple)):
        return []
    if len(step) == 1:
        return [(f"{path}[{index}]", member) for index, member in enumerate(value)]
    key, field = step
    if not field:
        # Of a name that comes again the last one counts, as for the program.
        entries = [e.partition("=")[2] for e in value if e.partition("=")[0] == key and "=" in e]
        return [(f"{path}[{key}]", entry) for entry in entries[-1:]]
    return [
        (f"{path}[{key}]", member)
        for member in value
        if isinstance(member, dict) and _normal(member.get(field)) == _normal(key)
    ]


def _normal(key: Any) -> Any:
    """`/tmp/` is `/tmp`: destinations are compared as paths."""
    return key.rstrip("/") or key if isinstance(key, str) and key[:1] == "/" else key


def _plan_values(plan: Plan, steps: Sequence[Any]) -> list[Value]:
    what = steps[0]
    if what == "plugins":
        return [("plan.plugins", sorted({step.plugin for step in plan.steps}))]
    if what == "steps":
        return [("plan.steps", [type(step).__name__ for step in plan.steps])]
    _, kind, field = steps
    return [
        (f"plan.step.{kind}.{field}", getattr(step, field))
        for step in plan.steps
        if type(step).__name__ == kind
    ]


def _text(root: str, steps: Sequence[Any]) -> str:
    text = "" if root == "config" else root
    for step in steps:
        if isinstance(step, str):
            text = f"{text}.{step}" if text else step
        else:
            text += f"[{step[0]}]" if len(step) > 1 else ""
    return text


def _found(rule: Rule, path: str, value: Any, operand: Any) -> str:
    if rule.operator == "beyond":
        more = sorted(str(member) for member in _members([value]) - operand)
        return f"{path} has {', '.join(more)}"
    if rule.operator == "contains" and isinstance(value, dict):
        holders = [f"{path}.{name}" for name, member in value.items()
                   if isinstance(member, (list, tuple)) and operand in member]  # fmt: skip
        return f"{', '.join(holders) or path} has it"
    return f"{path} is {_shown(path, value)}"


def _shown(path: str, value: Any) -> str:
    """A value for a message: short, and not of the environment, which may hold secrets."""
    if "env" in path.replace("[", ".").split("."):
        return "another value"
    if isinstance(value, (dict, list, tuple)):
        return f"{'a mapping' if isinstance(value, dict) else 'a list'} of {len(value)}"
    text = (
        {True: "true", False: "false"}.get(value, repr(value))
        if type(value) is bool
        else repr(value)
    )
    return text if len(text) <= 80 else f"{text[:77]}..."
