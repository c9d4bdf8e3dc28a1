"""Our programs decide as libseccomp's do, on the same system calls."""

from __future__ import annotations

import ctypes
import random
from pathlib import Path
from typing import Any

import libseccomp
import pytest
from filter_simulator import load, run, seccomp_data
from random_profiles import (
    EDGES,
    EVERY_ARCHITECTURE,
    TABLES,
    allowed_results,
    calls_of,
    numbers,
    plain_profile,
    profile,
    values_for,
)

from ocifw.errors import ConfigError
from ocifw_seccomp.compiler import compile_filter

ENGINES = sorted(path.stem for path in Path(__file__).parent.glob("profiles/*.json"))
MACHINES = ("x86_64", "aarch64")
X86_64, X86 = 0xC000003E, 0x40000003
X32_BIT = 0x40000000
OTHER_TOKEN = 0xC00000F3
KILL = 0

HAND_WRITTEN: dict[str, dict[str, Any]] = {
    "nothing but a default": {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": []},
    "allow all": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []},
    "one call": {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["read"], "action": "SCMP_ACT_KILL_PROCESS"}],
    },
    "trace and log": {
        "defaultAction": "SCMP_ACT_LOG",
        "syscalls": [
            {"names": ["ptrace", "socket"], "action": "SCMP_ACT_TRACE", "errnoRet": 4711},
            {"names": ["kill", "semop"], "action": "SCMP_ACT_TRAP"},
        ],
    },
    "the first unconditional rule wins": {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            {
                "names": ["ioctl"],
                "action": "SCMP_ACT_TRAP",
                "args": [{"index": 1, "op": "SCMP_CMP_EQ", "value": 7}],
            },
            {"names": ["ioctl"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["ioctl"], "action": "SCMP_ACT_KILL"},
        ],
    },
    "conditions on one argument are alternatives": {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 13,
        "syscalls": [
            {
                "names": ["personality", "socket"],
                "action": "SCMP_ACT_ALLOW",
                "args": [
                    {"index": 0, "op": "SCMP_CMP_EQ", "value": 8},
                    {"index": 0, "op": "SCMP_CMP_EQ", "value": 0},
                    {"index": 0, "op": "SCMP_CMP_EQ", "value": 0xFFFFFFFF},
                    {"index": 1, "op": "SCMP_CMP_GE", "value": 1 << 40},
                ],
            }
        ],
    },
}  # fmt: skip


def known_to(lib: ctypes.CDLL, seccomp: dict[str, Any]) -> dict[str, Any]:
    """The profile without names that libseccomp does not know on an architecture where we do."""

    unknown = set()
    for _, module, _ in (table for tables in TABLES.values() for table in tables):
        token = libseccomp.TOKENS[f"SCMP_ARCH_{module.upper()}"]
        for name in numbers(module):
            # Between -1 and -1000 are the calls that x86 multiplexes, below are those an architecture lacks.
            answer = lib.seccomp_syscall_resolve_name_arch(token, name.encode())
            if answer == libseccomp.UNKNOWN or answer <= -1000:
                unknown.add(name)
    calls = [
        {
            **call,
            "names": [name for name in call["names"] if name not in unknown] or ["no_such_call"],
        }
        for call in seccomp["syscalls"]
    ]
    return {**seccomp, "syscalls": calls}


def assert_equal(lib: ctypes.CDLL, seccomp: dict[str, Any], machine: str, tries: int) -> None:
    """Both programs return the same for every number up to 1100 of each architecture, and for the edges."""
    chance = random.Random(machine)
    theirs = load(libseccomp.program(lib, seccomp, machine))
    ours = load(compile_filter(seccomp, machine, enosys=False)[0])
    assert len(theirs) < 100 or len(ours) < len(theirs) / 3
    values = values_for(seccomp)
    bases = (0, 0x40000000) if machine == "x86_64" else (0,)
    every = [
        *(base + number for base in bases for number in range(1100)),
        *EDGES,
        *range(0xF0000, 0xF0008),
    ]
    for token in {table[0] for table in TABLES[machine]} | {OTHER_TOKEN}:
        for number in every:
            for _ in range(tries):
                arguments = tuple(chance.choices(values, k=6))
                data = seccomp_data(token, number, arguments)
                assert run(ours, data) == run(theirs, data), (hex(token), hex(number), arguments)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", HAND_WRITTEN)
def test_equal_on_hand_written_profiles(lib: ctypes.CDLL, name: str, machine: str) -> None:
    """Small profiles decide as with libseccomp, with and without further architectures."""
    assert_equal(lib, HAND_WRITTEN[name], machine, 2)
    every = {**HAND_WRITTEN[name], "architectures": EVERY_ARCHITECTURE[machine]}
    assert_equal(lib, every, machine, 2)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", ENGINES)
def test_equal_on_profiles_of_engines(
    lib: ctypes.CDLL, profiles: dict[str, dict[str, Any]], name: str, machine: str
) -> None:
    """Docker's, containerd's, podman's and buildah's profiles decide as with libseccomp."""
    seccomp = known_to(lib, profiles[name])
    assert_equal(lib, {**seccomp, "architectures": EVERY_ARCHITECTURE[machine]}, machine, 1)


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES)
def test_equal_on_profiles_of_engines_at_length(
    lib: ctypes.CDLL, profiles: dict[str, dict[str, Any]], machine: str
) -> None:
    """The same with many arguments for each system call."""
    for seccomp in profiles.values():
        whole = {**known_to(lib, seccomp), "architectures": EVERY_ARCHITECTURE[machine]}
        assert_equal(lib, whole, machine, 30)


def is_filtered(seccomp: dict[str, Any], token: int, number: int) -> bool:
    """Whether calls of this architecture are decided by rules."""
    if token == X86_64 and number >= X32_BIT:
        return "SCMP_ARCH_X32" in seccomp["architectures"]
    name = {0x40000003: "SCMP_ARCH_X86", 0x40000028: "SCMP_ARCH_ARM"}.get(token)
    return name is None or name in seccomp["architectures"]


def compare(
    lib: ctypes.CDLL, seccomp: dict[str, Any], machine: str, chance: random.Random, *, strict: bool
) -> int:
    """Check our program against the rules and against libseccomp's; the number of differences.

    Where libseccomp's program is wrong (with some rules that overlap on one system call, it compares an argument other
    than the one meant) or the rules leave open which action comes first, and only there, ours may differ if not strict.
    """
    exported = libseccomp.program_or_none(lib, seccomp, machine)
    assert exported or not strict
    theirs = load(exported) if exported else None
    ours = load(compile_filter(seccomp, machine, enosys=False)[0])
    values = values_for(seccomp)
    names = sorted({name for rule in seccomp["syscalls"] for name in rule["names"]})
    certain = {
        name for rule in seccomp["syscalls"] if not rule.get("args") for name in rule["names"]
    }
    differences = 0
    for call in calls_of(machine, names):
        token, number, name, _ = call
        for _ in range(12):
            arguments = tuple(chance.choices(values, k=6))
            data = seccomp_data(token, number, arguments)
            mine = run(ours, data)
            his = run(theirs, data) if theirs else mine
            right = allowed_results(seccomp, call, arguments)
            if not is_filtered(seccomp, token, number):
                right = {KILL}
            elif token == X86 and name in ("socketcall", "ipc"):
                right = {mine, his}
            elif name not in certain:
                assert mine in right
            if mine != his:
                assert not strict
                assert his not in right or len(right) > 1
                differences += 1
    return differences


@pytest.mark.parametrize("machine", MACHINES)
def test_equal_with_one_rule_for_each_call(lib: ctypes.CDLL, machine: str) -> None:
    """Every operator, alone and with others, decides as with libseccomp."""
    chance = random.Random(7)
    native = (
        EVERY_ARCHITECTURE[machine][:1] if machine == "aarch64" else EVERY_ARCHITECTURE[machine]
    )
    for _ in range(10):
        seccomp = {**plain_profile(chance), "architectures": native}
        compare(lib, seccomp, machine, chance, strict=True)


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES)
def test_equal_with_one_rule_for_each_call_at_length(lib: ctypes.CDLL, machine: str) -> None:
    """The same with many more profiles."""
    chance = random.Random(8)
    native = (
        EVERY_ARCHITECTURE[machine][:1] if machine == "aarch64" else EVERY_ARCHITECTURE[machine]
    )
    for _ in range(200):
        seccomp = {**plain_profile(chance), "architectures": native}
        compare(lib, seccomp, machine, chance, strict=True)


@pytest.mark.parametrize("actions", [1, 3])
@pytest.mark.parametrize("machine", MACHINES)
def test_right_where_rules_overlap(lib: ctypes.CDLL, machine: str, actions: int) -> None:
    """Overlapping rules decide as the specification says, also where libseccomp's program does not."""
    overlap(lib, machine, actions, count=20)


@pytest.mark.slow
@pytest.mark.parametrize("actions", [1, 3])
@pytest.mark.parametrize("machine", MACHINES)
def test_right_where_rules_overlap_at_length(lib: ctypes.CDLL, machine: str, actions: int) -> None:
    """The same with many more profiles, of which libseccomp gets most right, too."""
    assert overlap(lib, machine, actions, count=500) < 75


def overlap(lib: ctypes.CDLL, machine: str, actions: int, count: int) -> int:
    """Compare random profiles; the number of those in which a difference was seen."""
    chance = random.Random(f"{machine} {actions}")
    different = 0
    for _ in range(count):
        seccomp = profile(chance, machine, actions=actions)
        try:
            different += compare(lib, seccomp, machine, chance, strict=False) > 0
        except ConfigError:
            # Equal conditions with different actions: libseccomp must not take them either.
            assert libseccomp.program_or_none(lib, seccomp, machine) is None
    return different
