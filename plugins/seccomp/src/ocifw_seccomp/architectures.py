"""The architectures that filters can be made for, and the numbers of their system calls.

A machine runs programs of several architectures: its own, a 32-bit one, and x32, which the kernel tells from x86_64
only by a bit of the system call number. The kernel gives filters the audit token of the architecture (seccomp(2),
struct seccomp_data).
"""

from __future__ import annotations

from ocifw.record import Record

NATIVE = {
    "x86_64": "SCMP_ARCH_X86_64",
    "i386": "SCMP_ARCH_X86",
    "i486": "SCMP_ARCH_X86",
    "i586": "SCMP_ARCH_X86",
    "i686": "SCMP_ARCH_X86",
    "aarch64": "SCMP_ARCH_AARCH64",
    "armv6l": "SCMP_ARCH_ARM",
    "armv7l": "SCMP_ARCH_ARM",
    "armv8l": "SCMP_ARCH_ARM",
}
"""What each machine of uname(2) runs natively."""

X32_BIT = 0x40000000

KNOWN = (
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
)
"""Every name that config-linux.md, Seccomp, allows."""


class Architecture(Record):
    """One architecture. token: its AUDIT_ARCH_* (linux/audit.h). wide: its arguments have 64 bits.

    multiplexed: number and subcall by name, of system calls that programs also reach through another one.
    """

    name: str
    token: int
    wide: bool
    module: str
    multiplexed: dict[str, tuple[int, int]]

    def numbers(self) -> dict[str, int]:
        """The numbers of its system calls by name. Imports them."""
        numbers: dict[str, int] = __import__(
            f"ocifw_seccomp.numbers.{self.module}", fromlist=["NUMBERS"]
        ).NUMBERS
        return numbers


_X86_SOCKETCALL = (
    "socket bind connect listen accept getsockname getpeername socketpair send recv sendto recvfrom"
    " shutdown setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg"
)
# socketcall(2) and ipc(2): the first argument selects the call (linux/net.h, linux/ipc.h).
_X86_MULTIPLEXED = {
    **{name: (102, subcall) for subcall, name in enumerate(_X86_SOCKETCALL.split(), 1)},
    **{
        name: (117, 1 + subcall)
        for subcall, name in enumerate(("semop", "semget", "semctl", "semtimedop"))
    },
    **{
        name: (117, 11 + subcall)
        for subcall, name in enumerate(("msgsnd", "msgrcv", "msgget", "msgctl"))
    },
    **{
        name: (117, 21 + subcall)
        for subcall, name in enumerate(("shmat", "shmdt", "shmget", "shmctl"))
    },
}

ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        Architecture("SCMP_ARCH_X86_64", 0xC000003E, True, "x86_64", {}),
        # Like libseccomp, which compares 32 bits of the arguments of x32.
        Architecture("SCMP_ARCH_X32", 0xC000003E, False, "x32", {}),
        Architecture("SCMP_ARCH_X86", 0x40000003, False, "x86", _X86_MULTIPLEXED),
        Architecture("SCMP_ARCH_AARCH64", 0xC00000B7, True, "aarch64", {}),
        Architecture("SCMP_ARCH_ARM", 0x40000028, False, "arm", {}),
    )
}

# What the kernel of a machine can run beside its native architecture. Filters for others would never be asked.
_RUNS = {
    "SCMP_ARCH_X86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X32", "SCMP_ARCH_X86"),
    "SCMP_ARCH_X86": ("SCMP_ARCH_X86",),
    "SCMP_ARCH_AARCH64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
    "SCMP_ARCH_ARM": ("SCMP_ARCH_ARM",),
}


def filtered(native: str, wanted: tuple[str, ...]) -> list[Architecture]:
    """The architectures that a filter on this machine has rules for: the native one, and those wanted that it runs."""
    return [ARCHITECTURES[name] for name in _RUNS[native] if name == native or name in wanted]
