"""Random profiles, system calls that try their edges, and what config-linux.md says about each."""

from __future__ import annotations

import importlib
import random
from typing import Any

import libseccomp

Call = tuple[int, int, str, bool]
"""Audit token, number, name, whether arguments have 64 bits."""

OPERATORS = tuple(libseccomp.OPERATORS)
ACTIONS: tuple[tuple[str, int | None], ...] = (
    ("SCMP_ACT_ERRNO", None),
    ("SCMP_ACT_ERRNO", 38),
    ("SCMP_ACT_ALLOW", None),
    ("SCMP_ACT_KILL", None),
    ("SCMP_ACT_KILL_PROCESS", None),
    ("SCMP_ACT_TRAP", None),
    ("SCMP_ACT_LOG", None),
    ("SCMP_ACT_TRACE", 7),
)
NAMES = (
    "read write openat socket connect accept4 semop shmat clone clone3 personality ioctl mmap socketcall ipc prctl"
    " ptrace futex_waitv getpid kill sendto recv _llseek cacheflush rt_sigaction execve no_such_call"
).split()
# Not reached through another call on x86: what a rule says about them is all that is said.
DIRECT = "read write openat clone personality ioctl mmap prctl ptrace kill getpid execve".split()
VALUES = (0, 1, 2, 3, 5, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 32, (1 << 32) + 5, 1 << 33,
          0xFFFFFFFF00000000, (1 << 64) - 1, 0x7E020000)  # fmt: skip
LIMIT = 1 << 64

# machine: audit token, module of numbers, whether arguments have 64 bits
TABLES = {
    "x86_64": (
        (0xC000003E, "x86_64", True),
        (0x40000003, "x86", False),
        (0xC000003E, "x32", False),
    ),
    "aarch64": ((0xC00000B7, "aarch64", True), (0x40000028, "arm", False)),
}
EVERY_ARCHITECTURE = {
    "x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "aarch64": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
}
ARCHITECTURES: dict[str, list[list[str]]] = {
    "x86_64": [
        [],
        ["SCMP_ARCH_X86_64"],
        EVERY_ARCHITECTURE["x86_64"],
        ["SCMP_ARCH_X86"],
        ["SCMP_ARCH_X32"],
    ],
    "aarch64": [[], EVERY_ARCHITECTURE["aarch64"]],
}
EDGES = (
    0x3FFFFFFF,
    0x40000000,
    0x40000400,
    0x7FFFFFFF,
    0x80000000,
    0xBFFFFFFF,
    0xC0000000,
    0xFFFFFFFE,
    0xFFFFFFFF,
)


def numbers(module: str) -> dict[str, int]:
    found: dict[str, int] = importlib.import_module(f"ocifw_seccomp.numbers.{module}").NUMBERS
    return found


def with_action(
    entry: dict[str, Any], action: tuple[str, int | None], *, default: bool = False
) -> dict[str, Any]:
    entry["defaultAction" if default else "action"] = action[0]
    if action[1] is not None:
        entry["defaultErrnoRet" if default else "errnoRet"] = action[1]
    return entry


def condition(
    chance: random.Random, index: int, operators: tuple[str, ...] = OPERATORS
) -> dict[str, Any]:
    return {
        "index": index,
        "op": chance.choice(operators),
        "value": chance.choice(VALUES),
        "valueTwo": chance.choice(VALUES),
    }


def profile(chance: random.Random, machine: str, *, actions: int) -> dict[str, Any]:
    """Rules that overlap in every way; with one action libseccomp's order plays no part."""
    chosen = chance.sample(ACTIONS, actions)
    calls = []
    for _ in range(chance.randint(1, 10)):
        call = with_action(
            {"names": chance.sample(NAMES, chance.randint(1, 4))}, chance.choice(chosen)
        )
        if chance.random() < 0.75:
            count = chance.choice((1, 1, 2, 2, 3))
            distinct = chance.random() < 0.8
            indexes = (
                chance.sample(range(4), count)
                if distinct
                else [chance.randrange(4) for _ in range(count)]
            )
            call["args"] = [condition(chance, index) for index in indexes]
        calls.append(call)
    whole = {"architectures": chance.choice(ARCHITECTURES[machine]), "syscalls": calls}
    return with_action(whole, chance.choice(ACTIONS), default=True)


def plain_profile(chance: random.Random) -> dict[str, Any]:
    """One rule a system call, with up to three conditions on different arguments."""
    chosen = chance.sample(ACTIONS, 3)
    calls = [
        with_action(
            {
                "names": [name],
                "args": [
                    condition(chance, index)
                    for index in chance.sample(range(6), chance.randint(0, 3))
                ],
            },
            chance.choice(chosen),
        )
        for name in DIRECT
    ]
    return with_action({"syscalls": calls}, chance.choice(ACTIONS), default=True)


def calls_of(machine: str, names: list[str] | tuple[str, ...]) -> list[Call]:
    return [
        (token, numbers(module)[name], name, wide)
        for token, module, wide in TABLES[machine]
        for name in names
        if name in numbers(module)
    ]


def values_for(seccomp: dict[str, Any]) -> list[int]:
    """Arguments at, beside and a high bit away from every number that the profile compares with."""
    values = {0, 1, LIMIT - 1}
    for call in seccomp["syscalls"]:
        for argument in call.get("args") or []:
            value, other = argument["value"], argument.get("valueTwo", 0)
            for edge in (value, other, value & other):
                near = (edge, edge + 1, edge - 1, edge ^ 1 << 32, edge ^ 1 << 63, edge & 0xFFFFFFFF)
                values.update(number % LIMIT for number in near)
    return sorted(values)


def holds(argument: dict[str, Any], arguments: tuple[int, ...], wide: bool) -> bool:
    """A condition, as config-linux.md describes it, on arguments of 64 or 32 bits."""
    width = LIMIT - 1 if wide else 0xFFFFFFFF
    actual = arguments[argument["index"]] & width
    value, other = argument["value"] & width, argument.get("valueTwo", 0) & width
    return {
        "SCMP_CMP_NE": actual != value,
        "SCMP_CMP_LT": actual < value,
        "SCMP_CMP_LE": actual <= value,
        "SCMP_CMP_EQ": actual == value,
        "SCMP_CMP_GE": actual >= value,
        "SCMP_CMP_GT": actual > value,
        "SCMP_CMP_MASKED_EQ": actual & value == other & value,
    }[argument["op"]]


def allowed_results(seccomp: dict[str, Any], call: Call, arguments: tuple[int, ...]) -> set[int]:
    """The actions of all rules that match a direct call, or the default action: one of them must be the result."""
    default = libseccomp.action(seccomp["defaultAction"], seccomp.get("defaultErrnoRet"))
    found = set()
    for rule in seccomp["syscalls"]:
        action = libseccomp.action(rule["action"], rule.get("errnoRet"))
        if call[2] not in rule["names"] or action == default:
            continue
        conditions = rule.get("args") or []
        separate = len({argument["index"] for argument in conditions}) < len(conditions)
        results = [holds(argument, arguments, call[3]) for argument in conditions]
        if any(results) if separate else all(results):
            found.add(action)
    return found or {default}
