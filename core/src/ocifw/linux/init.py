"""ocifw-init as the file that is executed: a sealed copy in memory, never the installed file itself.

A process of the container may reach the file behind its own first process by /proc/PID/exe and, once that file is
executed no more, open it for writing (CVE-2019-5736). What it finds is a copy that cannot be written to, that
belongs to one container, and that is gone with it.
"""

from __future__ import annotations

import os

from .memfd import sealed

PATH = os.path.join(os.path.dirname(os.path.dirname(__file__)), "bin", "ocifw-init")


def init_fd(path: str = PATH) -> int:
    """The file descriptor, close-on-exec, of a sealed copy of ocifw-init, for `_kernel.spawn`.

    FileNotFoundError: ocifw-core was not built.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = os.read(fd, os.fstat(fd).st_size)
    finally:
        os.close(fd)
    return sealed("ocifw-init", content, executable=True)
