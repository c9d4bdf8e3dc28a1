"""What is wrong with linux.seccomp is said with the place and the value."""

from __future__ import annotations

from typing import Any

import pytest
from filter_simulator import load, run, seccomp_data
from random_profiles import numbers

from ocifw.errors import ConfigError, PlanError, Problem
from ocifw_seccomp.compiler import compile_filter
from ocifw_seccomp.profile import problems

ALLOW_ALL: dict[str, Any] = {"defaultAction": "SCMP_ACT_ALLOW"}


def rule(**fields: Any) -> dict[str, Any]:
    return {**ALLOW_ALL, "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO", **fields}]}


def argument(**fields: Any) -> dict[str, Any]:
    return rule(args=[{"index": 0, "op": "SCMP_CMP_EQ", "value": 1, **fields}])


@pytest.mark.parametrize(
    ("seccomp", "path", "text"),
    [
        (
            {"defaultAction": "SCMP_ACT_MAYBE"},
            "defaultAction",
            "'SCMP_ACT_MAYBE' is not a valid action",
        ),
        (
            {"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]},
            "defaultAction",
            "'' is not",
        ),
        (
            {"defaultAction": "SCMP_ACT_NOTIFY"},
            "defaultAction",
            "SCMP_ACT_NOTIFY cannot be used as default action",
        ),
        ({**ALLOW_ALL, "defaultErrnoRet": 1}, "defaultErrnoRet", "SCMP_ACT_ALLOW takes no errno"),
        ({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096}, "defaultErrnoRet", "4096"),
        ({**ALLOW_ALL, "architectures": ["SCMP_ARCH_VAX"]}, "architectures[0]", "'SCMP_ARCH_VAX'"),
        ({**ALLOW_ALL, "flags": ["SECCOMP_FILTER_FLAG_X"]}, "flags[0]", "'SECCOMP_FILTER_FLAG_X'"),
        ({**ALLOW_ALL, "listenerMetadata": "x"}, "listenerMetadata", "without listenerPath"),
        (rule(action="SCMP_ACT_NOTIFY"), "listenerPath", "seccomp listenerPath is not set"),
        (rule(names=[]), "syscalls[0].names", "names no system call"),
        (rule(names=["read", ""]), "syscalls[0].names[1]", "empty string"),
        (rule(action="SCMP_ACT_KILL", errnoRet=5), "syscalls[0].errnoRet", "takes no errno"),
        (rule(errnoRet=-1), "syscalls[0].errnoRet", "-1 is out of range"),
        (argument(op="SCMP_CMP_IN"), "syscalls[0].args[0].op", "'SCMP_CMP_IN'"),
        (argument(index=6), "syscalls[0].args[0].index", "6"),
        (argument(value=1 << 64), "syscalls[0].args[0].value", str(1 << 64)),
        (argument(valueTwo=-1), "syscalls[0].args[0].valueTwo", "-1"),
    ],
)
def test_problems_name_place_and_value(seccomp: dict[str, Any], path: str, text: str) -> None:
    """Each mistake is one problem, at its path, and stops the compiler."""
    [problem] = problems(seccomp)
    assert problem.path == f"linux.seccomp.{path}" and text in problem.message
    with pytest.raises(ConfigError) as caught:
        compile_filter(seccomp, "x86_64")
    assert caught.value.problems == [problem]


def test_all_problems_at_once() -> None:
    """Two mistakes are two problems."""
    found = problems({**argument(op="no"), "flags": ["no"]})
    assert [problem.path.split(".")[2] for problem in found] == ["flags[0]", "syscalls[0]"]


def test_equal_conditions_with_different_actions_are_refused() -> None:
    """runc cannot load such a profile either (libseccomp says that the rule exists)."""
    seccomp = argument()
    seccomp["syscalls"].append({**seccomp["syscalls"][0], "action": "SCMP_ACT_KILL"})
    with pytest.raises(ConfigError) as caught:
        compile_filter(seccomp, "x86_64")
    assert caught.value.problems == [
        Problem(
            "linux.seccomp.syscalls[1]",
            "read: another rule with the same conditions on SCMP_ARCH_X86_64 has another action",
        )
    ]


@pytest.mark.parametrize(
    "seccomp", [{}, {"defaultAction": ""}, {"syscalls": []}, {"architectures": []}]
)
def test_no_default_action_and_no_calls_is_no_filter(seccomp: dict[str, Any]) -> None:
    """As in runc, such a profile disables seccomp."""
    assert problems(seccomp) == [] and compile_filter(seccomp, "x86_64") == (b"", 0)


@pytest.mark.parametrize(
    ("flags", "value"),
    [
        (None, 4),
        ([], 0),
        (["SECCOMP_FILTER_FLAG_LOG"], 2),
        (["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"], 5),
        (["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"], 0),
    ],
)
def test_flags(flags: list[str] | None, value: int) -> None:
    """Flags that are not set mean SPEC_ALLOW, empty ones nothing."""
    seccomp = ALLOW_ALL if flags is None else {**ALLOW_ALL, "flags": flags}
    assert compile_filter(seccomp, "x86_64")[1] == value


def test_default_errno_is_eperm() -> None:
    """ERRNO and TRACE without a number carry EPERM."""
    for action, value in (("SCMP_ACT_ERRNO", 0x00050001), ("SCMP_ACT_TRACE", 0x7FF00001)):
        program = load(compile_filter(rule(action=action), "x86_64")[0])
        assert run(program, seccomp_data(0xC000003E, numbers("x86_64")["read"])) == value


def test_architectures_of_other_machines_change_nothing() -> None:
    """A filter is never asked about an architecture that its machine does not run."""
    other = {**rule(), "architectures": ["SCMP_ARCH_S390X", "SCMP_ARCH_AARCH64"]}
    assert compile_filter(other, "x86_64") == compile_filter(rule(), "x86_64")


def test_unknown_machine_is_an_error() -> None:
    """Without numbers there is no filter, and no container without one."""
    with pytest.raises(PlanError, match="does not know the system calls of vax"):
        compile_filter(ALLOW_ALL, "vax")


def test_too_long_a_program_is_an_error() -> None:
    """The kernel takes 4096 instructions; more are refused before anything is created."""
    many = [{"index": i % 6, "op": "SCMP_CMP_GT", "value": (1 << 33) + 7 * i} for i in range(900)]
    with pytest.raises(PlanError, match="the kernel allows 4096"):
        compile_filter(rule(args=many), "x86_64")


def test_long_programs_jump_far() -> None:
    """Jumps over more than 255 instructions work: the last of many conditions decides as the first."""
    many = [{"index": 0, "op": "SCMP_CMP_GT", "value": (1 << 40) - (i << 33)} for i in range(60)]
    seccomp = {
        **ALLOW_ALL,
        "syscalls": [
            {"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": 10 + i, "args": many}
            for i, name in enumerate(("read", "write", "ioctl", "openat", "execve"))
        ],
    }
    program = load(compile_filter(seccomp, "x86_64")[0])
    assert len(program) > 1000
    lowest = min(condition["value"] for condition in many)
    for i, name in enumerate(("read", "write", "ioctl", "openat", "execve")):
        number = numbers("x86_64")[name]
        for value in (lowest + 1, 1 << 63):
            data = seccomp_data(0xC000003E, number, (value, 0, 0, 0, 0, 0))
            assert run(program, data) == 0x00050000 | 10 + i
        data = seccomp_data(0xC000003E, number, (lowest, 0, 0, 0, 0, 0))
        assert run(program, data) == 0x7FFF0000
