"""libseccomp as runc uses it, through ctypes: the reference that our compiler is compared with."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import resource
from typing import Any

TOKENS = {
    "SCMP_ARCH_X86_64": 0xC000003E,
    "SCMP_ARCH_X86": 0x40000003,
    "SCMP_ARCH_X32": 0x4000003E,
    "SCMP_ARCH_AARCH64": 0xC00000B7,
    "SCMP_ARCH_ARM": 0x40000028,
}
NATIVE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
ACTIONS = {
    "SCMP_ACT_KILL": 0,
    "SCMP_ACT_KILL_THREAD": 0,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
OPERATORS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}
ATTRIBUTE_OPTIMIZE = 8
EEXIST = 17
UNKNOWN = -1


class Comparison(ctypes.Structure):
    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


class Refused(Exception):
    """libseccomp did not take a rule; `number` is the errno."""

    def __init__(self, what: str, number: int) -> None:
        super().__init__(f"{what}: {os.strerror(number)}")
        self.number = number


def library() -> ctypes.CDLL | None:
    """libseccomp, or None when this machine has none."""
    name = ctypes.util.find_library("seccomp")
    if name is None:
        return None
    lib = ctypes.CDLL(name)
    lib.seccomp_init.restype = ctypes.c_void_p
    lib.seccomp_init.argtypes = [ctypes.c_uint32]
    lib.seccomp_release.argtypes = [ctypes.c_void_p]
    lib.seccomp_arch_native.restype = ctypes.c_uint32
    lib.seccomp_arch_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    lib.seccomp_arch_remove.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    lib.seccomp_attr_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
    lib.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p,
    ]  # fmt: skip
    lib.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
    lib.seccomp_syscall_resolve_name.argtypes = [ctypes.c_char_p]
    lib.seccomp_syscall_resolve_name_arch.argtypes = [ctypes.c_uint32, ctypes.c_char_p]
    return lib


def knows(lib: ctypes.CDLL, name: str) -> bool:
    return bool(lib.seccomp_syscall_resolve_name(name.encode()) != UNKNOWN)


def action(name: str, number: int | None) -> int:
    value = ACTIONS[name]
    if name in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"):
        value |= 1 if number is None else number
    return value


def program(lib: ctypes.CDLL, seccomp: dict[str, Any], machine: str) -> bytes:
    """The program that runc would load for linux.seccomp on `machine`, but for its ENOSYS stub."""
    default = action(seccomp["defaultAction"], seccomp.get("defaultErrnoRet"))
    context = lib.seccomp_init(default)
    assert context
    try:
        _add_architectures(lib, context, seccomp, machine)
        calls = seccomp.get("syscalls") or []
        if sum(len(call["names"]) for call in calls) > 32:
            assert lib.seccomp_attr_set(context, ATTRIBUTE_OPTIMIZE, 2) == 0
        for call in calls:
            _add_rules(lib, context, call, default)
        fd = os.memfd_create("bpf")
        try:
            result = lib.seccomp_export_bpf(context, fd)
            if result:
                raise Refused("export", -result)
            return os.pread(fd, 1 << 20, 0)
        finally:
            os.close(fd)
    finally:
        lib.seccomp_release(context)


def program_or_none(lib: ctypes.CDLL, seccomp: dict[str, Any], machine: str) -> bytes | None:
    """As `program`, but in a process of its own; None when libseccomp refuses the rules, or loses itself in them.

    With some sets of overlapping rules, libseccomp 2.5.4 never returns from seccomp_rule_add.
    """
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (1, 1))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.write(send, program(lib, seccomp, machine))
        except Refused:
            os._exit(1)
        except BaseException:
            os._exit(2)
        os._exit(0)
    os.close(send)
    with open(receive, "rb") as pipe:
        content = pipe.read()
    _, status = os.waitpid(child, 0)
    assert not os.WIFEXITED(status) or os.WEXITSTATUS(status) in (0, 1)
    return content if status == 0 else None


def _add_architectures(
    lib: ctypes.CDLL, context: int, seccomp: dict[str, Any], machine: str
) -> None:
    native = lib.seccomp_arch_native()
    wanted = [TOKENS[NATIVE[machine]]]
    wanted += [TOKENS[name] for name in seccomp.get("architectures") or []]
    for token in wanted:
        assert lib.seccomp_arch_add(context, token) in (0, -EEXIST)
    if native not in wanted:
        assert lib.seccomp_arch_remove(context, native) == 0


def _add_rules(lib: ctypes.CDLL, context: int, call: dict[str, Any], default: int) -> None:
    value = action(call["action"], call.get("errnoRet"))
    if value == default:
        return
    comparisons = [
        Comparison(
            argument["index"],
            OPERATORS[argument["op"]],
            argument["value"],
            argument.get("valueTwo", 0),
        )
        for argument in call.get("args") or []
    ]
    rules = [comparisons]
    if len({comparison.arg for comparison in comparisons}) < len(comparisons):
        rules = [[comparison] for comparison in comparisons]
    for name in call["names"]:
        number = lib.seccomp_syscall_resolve_name(name.encode())
        if number == UNKNOWN:
            continue
        for rule in rules:
            array = (Comparison * len(rule))(*rule)
            result = lib.seccomp_rule_add_array(context, value, number, len(rule), array)
            if result:
                raise Refused(name, -result)
