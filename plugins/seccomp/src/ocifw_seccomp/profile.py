"""linux.seccomp of config.json (config-linux.md, Seccomp), read and checked."""

from __future__ import annotations

from ocifw.errors import ConfigError, Problem
from ocifw.record import Record

from . import PATH
from .architectures import KNOWN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Condition = tuple[int, str, int, int]
    """Argument's index, operator, value, second value."""

EPERM = 1
ERRNO = 0x00050000
TRACE = 0x7FF00000
NOTIFY = 0x7FC00000
DATA = 0xFFFF
MAX_ERRNO = 4095

# SECCOMP_RET_* of linux/seccomp.h
ACTIONS = {
    "SCMP_ACT_ALLOW": 0x7FFF0000,
    "SCMP_ACT_ERRNO": ERRNO,
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_NOTIFY": NOTIFY,
    "SCMP_ACT_TRACE": TRACE,
    "SCMP_ACT_TRAP": 0x00030000,
}
OPERATORS = (
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
)
# SECCOMP_FILTER_FLAG_* of linux/seccomp.h.
TSYNC = 1
SPEC_ALLOW = 4
WAIT_KILLABLE_RECV = 32
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": TSYNC,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": WAIT_KILLABLE_RECV,
}

_VALUE_LIMIT = 1 << 64
_ARGUMENTS = 6


class Rule(Record):
    """What happens to system calls of these names. action: a SECCOMP_RET_* value with its data.

    Each of the alternatives is a tuple of conditions that must all hold; with () the rule holds always.
    """

    names: tuple[str, ...]
    action: int
    alternatives: tuple[tuple[Condition, ...], ...]


class Profile(Record):
    """A checked linux.seccomp. default_action and the rules' actions are SECCOMP_RET_* values, flags are the kernel's.

    notifies: whether a listener is asked about some calls.
    """

    default_action: int
    architectures: tuple[str, ...]
    flags: int
    rules: tuple[Rule, ...]
    notifies: bool = False


def read_profile(seccomp: dict[str, Any]) -> Profile | None:
    """Check and translate linux.seccomp; None when it asks for no filter (no default action and no system calls).

    Raises ConfigError with every problem.
    """
    calls = seccomp.get("syscalls") or []
    if not seccomp.get("defaultAction") and not calls:
        return None
    found: list[Problem] = []
    default = _action(seccomp, "defaultAction", "defaultErrnoRet", PATH, found)
    for index, name in enumerate(seccomp.get("architectures") or []):
        if name not in KNOWN:
            found.append(
                Problem(
                    f"{PATH}.architectures[{index}]", f"{name!r} is not a valid arch for seccomp"
                )
            )
    flags = _flags(seccomp, found)
    if seccomp.get("listenerMetadata") and not seccomp.get("listenerPath"):
        found.append(Problem(f"{PATH}.listenerMetadata", "is set without listenerPath"))
    rules = [_rule(call, f"{PATH}.syscalls[{i}]", found) for i, call in enumerate(calls)]
    notifies = _notifies(seccomp, default, rules, found)
    if found:
        raise ConfigError(found)
    architectures = tuple(seccomp.get("architectures") or ())
    # The kernel takes the one flag only with a listener, the other only without (by default), where it does nothing:
    # the process has one thread.
    flags &= ~TSYNC if notifies else ~WAIT_KILLABLE_RECV
    return Profile(default, architectures, flags, tuple(rules), notifies)


def problems(seccomp: dict[str, Any]) -> list[Problem]:
    """What is wrong with linux.seccomp, as far as it can be said without compiling it."""
    try:
        read_profile(seccomp)
    except ConfigError as error:
        return error.problems
    return []


def _notifies(
    seccomp: dict[str, Any], default: int, rules: list[Rule], found: list[Problem]
) -> bool:
    """Whether a listener is asked. What it must not be asked about are calls that are made before it can answer.

    runc cannot do without write(2) there and refuses it; ocifw could, but a container should not work with one only.
    """
    if default == NOTIFY:
        text = "SCMP_ACT_NOTIFY cannot be used as default action"
        found.append(Problem(f"{PATH}.defaultAction", text))
    asked = [i for i, rule in enumerate(rules) if rule.action == NOTIFY]
    for index in asked:
        if "write" in rules[index].names:
            text = "SCMP_ACT_NOTIFY cannot be used for the write syscall"
            found.append(Problem(f"{PATH}.syscalls[{index}].action", text))
    if asked and not seccomp.get("listenerPath"):
        found.append(Problem(f"{PATH}.listenerPath", "seccomp listenerPath is not set"))
    return bool(asked)


def _flags(seccomp: dict[str, Any], found: list[Problem]) -> int:
    """The flags ORed. Not set, as opposed to empty, means SPEC_ALLOW, as it does in runc and crun."""
    names = seccomp.get("flags")
    if names is None:
        return SPEC_ALLOW
    flags = 0
    for index, name in enumerate(names):
        if name not in FLAGS:
            found.append(Problem(f"{PATH}.flags[{index}]", f"seccomp flag {name!r} is not known"))
        flags |= FLAGS.get(name, 0)
    return flags


def _action(
    holder: dict[str, Any], field: str, errno_field: str, path: str, found: list[Problem]
) -> int:
    name = holder.get(field) or ""
    action = ACTIONS.get(name)
    number = holder.get(errno_field)
    if action is None:
        found.append(Problem(f"{path}.{field}", f"{name!r} is not a valid action for seccomp"))
        return 0
    if action not in (ERRNO, TRACE):
        if number is not None:
            found.append(
                Problem(f"{path}.{errno_field}", f"is set, but {field} {name} takes no errno")
            )
        return action
    if number is None:
        return action | EPERM
    if not isinstance(number, int) or not 0 <= number <= (MAX_ERRNO if action == ERRNO else DATA):
        found.append(Problem(f"{path}.{errno_field}", f"{number!r} is out of range"))
        return action
    return action | number


def _rule(call: dict[str, Any], path: str, found: list[Problem]) -> Rule:
    names = call.get("names") or []
    if not names:
        found.append(Problem(f"{path}.names", "names no system call"))
    for index, name in enumerate(names):
        if not name:
            found.append(Problem(f"{path}.names[{index}]", "empty string is not a valid syscall"))
    action = _action(call, "action", "errnoRet", path, found)
    conditions = [
        _condition(argument, f"{path}.args[{index}]", found)
        for index, argument in enumerate(call.get("args") or [])
    ]
    # As in runc and crun: an argument that is named twice makes every condition a rule of its own.
    if len({condition[0] for condition in conditions}) < len(conditions):
        alternatives = [(condition,) for condition in conditions]
        return Rule(tuple(names), action, tuple(alternatives))
    return Rule(tuple(names), action, (tuple(conditions),))


def _condition(argument: dict[str, Any], path: str, found: list[Problem]) -> Condition:
    index, operator = argument.get("index", 0), argument.get("op")
    value, value_two = argument.get("value", 0), argument.get("valueTwo", 0)
    if not isinstance(index, int) or not 0 <= index < _ARGUMENTS:
        found.append(Problem(f"{path}.index", f"{index!r}: system calls have arguments 0 to 5"))
        index = 0
    if operator not in OPERATORS:
        found.append(Problem(f"{path}.op", f"{operator!r} is not a valid operator for seccomp"))
        operator = ""
    for name, number in (("value", value), ("valueTwo", value_two)):
        if not isinstance(number, int) or not 0 <= number < _VALUE_LIMIT:
            found.append(Problem(f"{path}.{name}", f"{number!r} is no unsigned number of 64 bits"))
            value = value_two = 0
    return index, operator, value, value_two
