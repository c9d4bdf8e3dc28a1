"""Programs loaded into the kernel: what they forbid really does not happen."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
from collections.abc import Callable
from errno import EBADF, ENOSYS, EPERM
from typing import Any

import pytest
from random_profiles import numbers

from ocifw_seccomp.compiler import compile_filter

MACHINE = os.uname().machine
pytestmark = pytest.mark.skipif(
    MACHINE not in ("x86_64", "aarch64"), reason="needs an x86_64 or aarch64 machine"
)
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_SET_MODE_FILTER = 1
X32_BIT = 0x40000000
NATIVE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}.get(MACHINE, "")

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


class Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def number(name: str) -> int:
    return numbers(MACHINE)[name]


def call(which: int, *arguments: int) -> int:
    """The errno of a system call, or 0."""
    ctypes.set_errno(0)
    result = libc.syscall(
        ctypes.c_long(which), *[ctypes.c_long(argument) for argument in arguments]
    )
    return ctypes.get_errno() if result == -1 else 0


def filtered(seccomp: dict[str, Any], action: Callable[[], int]) -> int:
    """Run `action` in a process under the filter: its result, or minus the signal that ended the process."""
    program, flags = compile_filter(seccomp, MACHINE)
    child = os.fork()
    if child == 0:
        result = 255
        try:
            libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            loaded = Program(len(program) // 8, program)
            arguments = (SECCOMP_SET_MODE_FILTER, flags, ctypes.byref(loaded))
            if libc.syscall(ctypes.c_long(number("seccomp")), *arguments) == 0:
                result = action()
        finally:
            os._exit(result)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def forbid(name: str, action: str = "SCMP_ACT_ERRNO", **fields: Any) -> dict[str, Any]:
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": [NATIVE],
        "syscalls": [{"names": [name], "action": action, **fields}],
    }


def test_errno_is_the_profiles() -> None:
    """A forbidden call fails with the errno of its rule, EPERM when it names none."""
    assert filtered(forbid("fchdir"), lambda: call(number("fchdir"), -1)) == EPERM
    assert filtered(forbid("fchdir", errnoRet=95), lambda: call(number("fchdir"), -1)) == 95
    assert filtered(forbid("mkdirat"), lambda: call(number("fchdir"), -1)) == EBADF


def test_killed() -> None:
    """KILL_PROCESS and KILL end the process with SIGSYS."""
    for action in ("SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL"):
        result = filtered(forbid("fchdir", action), lambda: call(number("fchdir"), -1))
        assert result == -signal.SIGSYS


def test_trapped() -> None:
    """TRAP raises SIGSYS, which a process may handle."""

    def action() -> int:
        seen: list[int] = []
        signal.signal(signal.SIGSYS, lambda signum, _frame: seen.append(signum))
        call(number("fchdir"), -1)
        return len(seen)

    assert filtered(forbid("fchdir", "SCMP_ACT_TRAP"), action) == 1


@pytest.mark.parametrize(
    ("operator", "value", "other", "forbidden", "allowed"),
    [
        ("SCMP_CMP_EQ", 1 << 32, 0, 1 << 32, 0),
        ("SCMP_CMP_NE", 1 << 32, 0, 0, 1 << 32),
        ("SCMP_CMP_LT", 1 << 32, 0, (1 << 32) - 1, 1 << 32),
        ("SCMP_CMP_LE", 1 << 32, 0, 1 << 32, (1 << 32) + 1),
        ("SCMP_CMP_GE", 1 << 32, 0, 1 << 32, (1 << 32) - 1),
        ("SCMP_CMP_GT", 1 << 32, 0, (1 << 32) + 1, 1 << 32),
        ("SCMP_CMP_MASKED_EQ", 0xF00000000, 0x500000000, 0x5000000AA, 0x6000000AA),
    ],
)
def test_arguments_of_64_bits(
    operator: str, value: int, other: int, forbidden: int, allowed: int
) -> None:
    """Each operator compares all 64 bits, on both sides of its edge."""
    condition = {"index": 3, "op": operator, "value": value, "valueTwo": other}
    seccomp = forbid("fchdir", errnoRet=95, args=[condition])
    assert filtered(seccomp, lambda: call(number("fchdir"), -1, 0, 0, forbidden)) == 95
    assert filtered(seccomp, lambda: call(number("fchdir"), -1, 0, 0, allowed)) == EBADF


def test_docker_profile(profiles: dict[str, dict[str, Any]]) -> None:
    """Under Docker's profile, namespaces are refused, unknown calls are missing and ordinary calls work."""
    seccomp = {**profiles["docker-28.5-v2-default"], "architectures": [NATIVE]}

    def action() -> int:
        wanted = [
            call(number("unshare"), 0x00020000) == EPERM,
            call(number("clone"), 0x10000000, 0) == EPERM,
            call(number("clone3"), 0, 0) == ENOSYS,
            call(number("personality"), 0x1234) == EPERM,
            call(number("personality"), 0xFFFFFFFF) == 0,
            call(number("socket"), 40, 1, 0) == EPERM,
            call(1000) == ENOSYS,
            call(number("fchdir"), -1) == EBADF,
        ]
        return sum(1 << place for place, right in enumerate(wanted) if not right)

    assert filtered(seccomp, action) == 0


def test_kernel_takes_the_profiles_of_engines(profiles: dict[str, dict[str, Any]]) -> None:
    """The kernel's checker accepts every program, with its flags."""
    for seccomp in profiles.values():
        assert filtered(seccomp, lambda: 42) == 42


@pytest.mark.skipif(MACHINE != "x86_64", reason="needs an x86_64 machine")
def test_x32_calls_are_killed_unless_listed() -> None:
    """A filter of x86_64 cannot be evaded through x32's numbers."""
    getpid = X32_BIT + number("getpid")
    assert filtered(forbid("fchdir"), lambda: call(getpid)) == -signal.SIGSYS
    listed = {**forbid("getpid", errnoRet=95), "architectures": [NATIVE, "SCMP_ARCH_X32"]}
    assert filtered(listed, lambda: call(getpid)) == 95


def getpid_32() -> int:
    """The errno of a 32-bit getpid(2), through int 0x80, or 0."""
    code = bytes.fromhex("b814000000 cd80 c3".replace(" ", ""))
    area = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    area.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(area))
    result = ctypes.CFUNCTYPE(ctypes.c_int)(address)()
    return -result if result < 0 else 0


@pytest.mark.skipif(MACHINE != "x86_64", reason="needs an x86_64 machine")
def test_32_bit_calls_are_killed_unless_listed() -> None:
    """A filter of x86_64 cannot be evaded through int 0x80; with x86 listed, rules hold there too."""
    if filtered({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"]}, getpid_32):
        pytest.skip("needs a kernel that runs 32-bit calls (CONFIG_IA32_EMULATION)")
    assert filtered(forbid("fchdir"), getpid_32) == -signal.SIGSYS
    listed = {**forbid("getpid", errnoRet=95), "architectures": [NATIVE, "SCMP_ARCH_X86"]}
    assert filtered(listed, getpid_32) == 95
