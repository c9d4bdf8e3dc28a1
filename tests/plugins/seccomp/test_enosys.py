"""System calls that are newer than a profile give ENOSYS, as with runc, so that programs fall back to older ones."""

from __future__ import annotations

from errno import ENOSYS
from typing import Any

import pytest
from filter_simulator import load, run, seccomp_data
from random_profiles import EDGES, EVERY_ARCHITECTURE, TABLES, numbers

from ocifw_seccomp.architectures import ARCHITECTURES
from ocifw_seccomp.compiler import compile_filter

X86_64, X86 = 0xC000003E, 0x40000003
X32_BIT = 0x40000000
NEWER = 0x00050000 | ENOSYS
ERRNO, KILL, ALLOW = 0x00050001, 0, 0x7FFF0000


def decide(seccomp: dict[str, Any], token: int, number: int, machine: str = "x86_64") -> int:
    program, _ = compile_filter(seccomp, machine)
    return run(load(program), seccomp_data(token, number))


def profile(action: str, names: list[str], *architectures: str) -> dict[str, Any]:
    return {
        "defaultAction": action,
        "architectures": list(architectures),
        "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}],
    }


def test_newer_than_named_is_enosys() -> None:
    """Up to the highest number that is named the default action holds, beyond it ENOSYS."""
    seccomp = profile("SCMP_ACT_ERRNO", ["read", "openat"], "SCMP_ARCH_X86_64")
    last = numbers("x86_64")["openat"]
    assert decide(seccomp, X86_64, numbers("x86_64")["read"]) == ALLOW
    assert decide(seccomp, X86_64, last - 1) == ERRNO
    assert decide(seccomp, X86_64, last) == ALLOW
    assert decide(seccomp, X86_64, last + 1) == NEWER
    assert decide(seccomp, X86_64, 0x80000000) == NEWER


def test_names_count_that_say_nothing() -> None:
    """A rule with the default action still says that the profile knows the call."""
    seccomp = profile("SCMP_ACT_ERRNO", ["read"], "SCMP_ARCH_X86_64")
    seccomp["syscalls"].append({"names": ["clone3", "no_such_call"], "action": "SCMP_ACT_ERRNO"})
    assert decide(seccomp, X86_64, numbers("x86_64")["clone3"]) == ERRNO
    assert decide(seccomp, X86_64, numbers("x86_64")["clone3"] + 1) == NEWER


@pytest.mark.parametrize(
    ("action", "stubbed"),
    [
        ("SCMP_ACT_ALLOW", False),
        ("SCMP_ACT_LOG", False),
        ("SCMP_ACT_TRACE", False),
        ("SCMP_ACT_ERRNO", True),
        ("SCMP_ACT_KILL", True),
        ("SCMP_ACT_KILL_THREAD", True),
        ("SCMP_ACT_KILL_PROCESS", True),
        ("SCMP_ACT_TRAP", True),
    ],
)
def test_permissive_defaults_stay(action: str, stubbed: bool) -> None:
    """ALLOW, LOG and TRACE hold for newer calls too: a tracer decides on its own."""
    seccomp = profile(action, ["read", "openat"], "SCMP_ARCH_X86_64")
    assert (decide(seccomp, X86_64, 1000) == NEWER) == stubbed


def test_architectures_that_are_not_listed_keep_the_default() -> None:
    """runc makes stubs only for the listed architectures, the native one no exception."""
    assert decide(profile("SCMP_ACT_ERRNO", ["read"]), X86_64, 1000) == ERRNO
    other = profile("SCMP_ACT_ERRNO", ["read"], "SCMP_ARCH_X86")
    assert decide(other, X86_64, 1000) == ERRNO
    assert decide(other, X86, 1000) == NEWER


def test_x32_is_told_from_x86_64() -> None:
    """Numbers with x32's bit have a limit of their own, or stay forbidden when x32 is not listed."""
    without = profile("SCMP_ACT_ERRNO", ["read"], "SCMP_ARCH_X86_64")
    assert decide(without, X86_64, X32_BIT) == KILL
    assert decide(without, X86_64, 0xC0000000) == KILL
    assert decide(without, X86_64, 0xFFFFFFFF) == ERRNO
    both = profile("SCMP_ACT_ERRNO", ["read", "preadv"], "SCMP_ARCH_X86_64", "SCMP_ARCH_X32")
    assert decide(both, X86_64, X32_BIT) == ALLOW
    assert decide(both, X86_64, numbers("x32")["preadv"]) == ALLOW
    assert decide(both, X86_64, numbers("x32")["preadv"] + 1) == NEWER
    assert decide(both, X86_64, 0xFFFFFFFF) == NEWER
    only = profile("SCMP_ACT_ERRNO", ["read"], "SCMP_ARCH_X32")
    assert decide(only, X86_64, 1000) == ERRNO
    assert decide(only, X86_64, 0x80000000) == ERRNO
    assert decide(only, X86_64, X32_BIT + 1000) == NEWER


def test_multiplexed_calls_do_not_count() -> None:
    """On x86, socket calls have no number of their own to runc: they neither raise the limit nor escape it."""
    seccomp = profile("SCMP_ACT_ERRNO", ["read", "socket"], "SCMP_ARCH_X86")
    assert decide(seccomp, X86, numbers("x86")["read"]) == ALLOW
    assert decide(seccomp, X86, numbers("x86")["socket"]) == NEWER


def limits(seccomp: dict[str, Any], token: int) -> dict[str, int]:
    """The highest number that runc finds named, for each listed architecture with this token."""
    found = {}
    for name in seccomp.get("architectures") or []:
        architecture = ARCHITECTURES[name]
        table = architecture.numbers()
        known = [
            table[call]
            for rule in seccomp["syscalls"]
            for call in rule["names"]
            if call in table and call not in architecture.multiplexed
        ]
        if architecture.token == token and known:
            found[name] = max(known)
    return found


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_stub_changes_newer_calls_only(profiles: dict[str, dict[str, Any]], machine: str) -> None:
    """With the profiles of engines, a program is the one without ENOSYS, but for newer calls."""
    for seccomp in profiles.values():
        if seccomp["defaultAction"] == "SCMP_ACT_ALLOW":
            continue
        whole = {**seccomp, "architectures": EVERY_ARCHITECTURE[machine]}
        plain = load(compile_filter(whole, machine, enosys=False)[0])
        program = load(compile_filter(whole, machine)[0])
        for token in {table[0] for table in TABLES[machine]} | {0x1234}:
            highest = limits(whole, token)
            for number in (*range(500), *range(X32_BIT, X32_BIT + 560), *EDGES):
                if token == X86_64:
                    name = "SCMP_ARCH_X32" if number & X32_BIT else "SCMP_ARCH_X86_64"
                    newer = number > highest[name]
                else:
                    newer = number > min(highest.values(), default=1 << 32)
                data = seccomp_data(token, number)
                assert run(program, data) == (NEWER if newer else run(plain, data))
