"""The extension module built from native/kernel.c."""

from collections.abc import Sequence

from typing_extensions import Buffer

numbers: dict[str, int]

def syscall(nr: int, /, *args: int | Buffer | None) -> int: ...
def address(buffer: Buffer, /) -> int: ...
def spawn(
    init: int,
    baton: int,
    preserve_fds: int = 0,
    cgroup: int = -1,
    stdin: int = -1,
    stdout: int = -1,
    stderr: int = -1,
    /,
) -> int: ...
def send_message(fd: int, data: Buffer, fds: Sequence[int] = (), /) -> int: ...
def receive_message(fd: int, limit: int, flags: int = 0, /) -> tuple[bytes, list[int]]: ...
