"""The controller devices on cgroup v2: a BPF program that the kernel asks before a device is made or opened.

It answers as the v1 controller would: the rules are those that `controllers.devices` worked out, a default and the
exceptions to it. Access is allowed by an exception that grants all of what is asked for, and denied by one that takes any of
it (security/device_cgroup.c).
"""

from __future__ import annotations

import os
from _struct import pack
from errno import EINVAL, EPERM

from ocifw.errors import StepFailed, errno_text
from ocifw.linux import bpf
from ocifw.step import RuntimeStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocifw.context import Context

BPF_DEVCG_DEV = {"b": 1, "c": 2}
BPF_DEVCG_ACC = {"m": 1, "r": 2, "w": 4}
_ALL_ACCESS = 7

# struct bpf_cgroup_dev_ctx: access << 16 | type, major, minor
_ACCESS_TYPE, _MAJOR, _MINOR = 0, 4, 8

_R0, _R1, _R2, _R3, _R4, _R5 = range(6)
_TYPE, _ACCESS, _MAJOR_OF, _MINOR_OF, _SCRATCH = _R2, _R3, _R4, _R5, _R1

# linux/bpf_common.h, linux/bpf.h: class | operation | source
_LDX_W = 0x61
_MOV32_IMM, _MOV32_REG = 0xB4, 0xBC
_AND32_IMM, _RSH32_IMM = 0x54, 0x74
_JEQ_IMM, _JNE_IMM, _JNE_REG = 0x15, 0x55, 0x5D
_EXIT = 0x95


def _instruction(
    code: int, target: int = 0, source: int = 0, offset: int = 0, value: int = 0
) -> bytes:
    return pack("<BBhi", code, target | source << 4, offset, value)


_PROLOGUE = b"".join(
    [
        _instruction(_LDX_W, _TYPE, _R1, _ACCESS_TYPE),
        _instruction(_AND32_IMM, _TYPE, value=0xFFFF),
        _instruction(_LDX_W, _ACCESS, _R1, _ACCESS_TYPE),
        _instruction(_RSH32_IMM, _ACCESS, value=16),
        _instruction(_LDX_W, _MAJOR_OF, _R1, _MAJOR),
        _instruction(_LDX_W, _MINOR_OF, _R1, _MINOR),
    ]
)


def assemble(allow: bool, exceptions: Iterable[str]) -> bytes:
    """The program: everything but `exceptions` (`c 1:* rw`) is allowed, or denied."""
    blocks = [_block(text, not allow) for text in exceptions]
    return b"".join([_PROLOGUE, *blocks, _answer(allow)])


def _answer(allow: bool) -> bytes:
    return _instruction(_MOV32_IMM, _R0, value=int(allow)) + _instruction(_EXIT)


def _block(text: str, allow: bool) -> bytes:
    """The instructions for one exception; what does not match it jumps behind them."""
    kind, numbers, letters = text.split(" ")
    access = sum([BPF_DEVCG_ACC[letter] for letter in letters])
    # Each test is an instruction without its offset: how far it jumps is known at the end.
    tests = [(_JNE_IMM, _TYPE, 0, BPF_DEVCG_DEV[kind])]
    for register, number in zip((_MAJOR_OF, _MINOR_OF), numbers.split(":")):
        if number != "*":
            tests.append((_JNE_IMM, register, 0, int(number)))
    if access != _ALL_ACCESS:
        tests.append((_MOV32_REG, _SCRATCH, _ACCESS, 0))
        tests.append((_AND32_IMM, _SCRATCH, 0, access))
        # Part of what is asked for is not enough to allow it, and enough to deny it.
        tests.append((_JNE_REG, _SCRATCH, _ACCESS, 0) if allow else (_JEQ_IMM, _SCRATCH, 0, 0))
    answer = _answer(allow)
    end = len(tests) + len(answer) // 8
    jumps = (_JNE_IMM, _JNE_REG, _JEQ_IMM)
    block = [
        _instruction(code, target, source, end - index - 1 if code in jumps else 0, value)
        for index, (code, target, source, value) in enumerate(tests)
    ]
    return b"".join([*block, answer])


class SetDeviceFilter(RuntimeStep):
    """Restrict devices of a v2 cgroup: everything but `exceptions` is allowed, or denied.

    It is the cgroup's only filter then: one that was there (systemd's, of a scope) is replaced, several are detached
    once this one is attached, so that at no time more is allowed than by one of them.
    """

    folder: str
    allow: bool
    exceptions: tuple[str, ...]

    def describe(self) -> str:
        default = "allow" if self.allow else "deny"
        except_ = f" except {', '.join(self.exceptions)}" if self.exceptions else ""
        return f"{default} all devices{except_} in cgroup {self.folder}"

    def apply(self, context: Context) -> None:
        call, cgroup, program = "open", -1, -1
        try:
            cgroup = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            call = "bpf BPF_PROG_LOAD"
            program = _load(assemble(self.allow, self.exceptions))
            call = "bpf BPF_PROG_QUERY"
            old = bpf.prog_query(cgroup, bpf.BPF_CGROUP_DEVICE)
            call = "bpf BPF_PROG_ATTACH"
            _attach(cgroup, program, old)
        except OSError as error:
            raise StepFailed(self, error.errno or EPERM, call, "") from error
        finally:
            for fd in (cgroup, program):
                if fd >= 0:
                    os.close(fd)

    def failure(self, number: int, call: str, detail: str) -> str:
        return f"failed to restrict the devices of {self.folder}: {call}: {errno_text(number)}"


def _load(instructions: bytes) -> int:
    """Load the filter; before Linux 5.11 its memory counts against RLIMIT_MEMLOCK, which is raised for that moment."""
    try:
        return bpf.prog_load(bpf.BPF_PROG_TYPE_CGROUP_DEVICE, instructions)
    except OSError as error:
        if error.errno != EPERM:
            raise
        from ocifw.linux.process import RLIM_INFINITY, get_prlimit, prlimit

        rlimit_memlock = 8
        before = get_prlimit(0, rlimit_memlock)
        try:
            prlimit(0, rlimit_memlock, RLIM_INFINITY, RLIM_INFINITY)
        except OSError:
            raise error from None
        try:
            return bpf.prog_load(bpf.BPF_PROG_TYPE_CGROUP_DEVICE, instructions)
        finally:
            prlimit(0, rlimit_memlock, *before)


def _attach(cgroup: int, program: int, old: list[int]) -> None:
    """Attach a program in the place of those with the ids `old`."""
    fds: list[int] = []
    try:
        fds.extend(map(bpf.prog_get_fd_by_id, old))
        if len(fds) == 1:
            try:
                flags = bpf.BPF_F_ALLOW_MULTI | bpf.BPF_F_REPLACE
                bpf.prog_attach(cgroup, program, bpf.BPF_CGROUP_DEVICE, flags, fds[0])
                return
            except OSError as error:
                # A kernel before 5.6 does not know BPF_F_REPLACE.
                if error.errno != EINVAL:
                    raise
        bpf.prog_attach(cgroup, program, bpf.BPF_CGROUP_DEVICE, bpf.BPF_F_ALLOW_MULTI)
        for fd in fds:
            bpf.prog_detach(cgroup, fd, bpf.BPF_CGROUP_DEVICE)
    finally:
        for fd in fds:
            os.close(fd)
