"""Files in memory that nobody can change: memfd_create(2) and fcntl(2) seals."""

from __future__ import annotations

import os
from errno import EINVAL
from fcntl import fcntl

MFD_CLOEXEC = 0x1
MFD_ALLOW_SEALING = 0x2
MFD_NOEXEC_SEAL = 0x8
MFD_EXEC = 0x10

F_ADD_SEALS = 1033
F_GET_SEALS = 1034
F_SEAL_SEAL = 0x1
F_SEAL_SHRINK = 0x2
F_SEAL_GROW = 0x4
F_SEAL_WRITE = 0x8
F_SEAL_EXEC = 0x20

_SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE


def sealed(name: str, data: bytes, executable: bool = False) -> int:
    """A file descriptor, close-on-exec, of a file in memory with this content that can never change.

    name: shown in /proc/PID/fd. Kernels from 6.3 want to be told whether it is executable, and with
    vm.memfd_noexec=1 or 2 it is only when asked for; EACCES: vm.memfd_noexec=2 forbids it.
    """
    fd = _memfd(name, MFD_EXEC if executable else MFD_NOEXEC_SEAL)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        try:
            fcntl(fd, F_ADD_SEALS, _SEALS | F_SEAL_EXEC)
        except OSError as error:
            # Before 6.3 there is no seal on the mode.
            if error.errno != EINVAL:
                raise
            fcntl(fd, F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _memfd(name: str, execution: int) -> int:
    try:
        return os.memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | execution)
    except OSError as error:
        if error.errno != EINVAL:
            raise
    return os.memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING)
