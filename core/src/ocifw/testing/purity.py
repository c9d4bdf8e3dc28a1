"""Planning in a world that cannot be changed: a program of its own, which gives up writing before it plans.

    python -m ocifw.testing.purity < {"modules": [...], "path": [...], "config": {...}, "settings": {...}}

Landlock (Linux 5.13) takes away every way to change a file, and an audit hook says which call tried to, with its arguments;
where there is no Landlock, the audit hook alone stops what goes through Python. Prints what was tried, or nothing.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_CREATE_RULESET, _RESTRICT_SELF = 444, 446
_SET_NO_NEW_PRIVS = 38
# linux/landlock.h: everything but EXECUTE, READ_FILE and READ_DIR, as far as each ABI knows it.
_WRITES = {1: 0x1FF2, 2: 0x3FF2, 3: 0x7FF2, 4: 0x7FF2, 5: 0xFFF2}
_CHANGES = {
    "os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate",
    "os.utime", "os.setxattr", "os.removexattr", "os.kill", "os.killpg", "os.fork", "os.forkpty", "os.exec", "os.posix_spawn",
    "os.system", "subprocess.Popen", "socket.connect", "socket.bind", "socket.sendto", "shutil.rmtree", "signal.pthread_kill",
    "os.putenv", "os.unsetenv", "os.chdir", "os.chroot", "os.mknod", "os.setuid", "os.setgid",
}  # fmt: skip
_WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Impure(BaseException):
    """Raised into a plugin that tries to change something."""


def changes_tried(
    modules: Sequence[str],
    config: dict[str, Any],
    settings: dict[str, Any] | None = None,
    without: Sequence[str] = (),
) -> str:
    """What the plugins with these modules tried to change while planning, and how it ended; "" when nothing was."""
    from .planning import bundle

    given = {
        "bundle": bundle(),
        "modules": list(modules),
        "path": sys.path,
        "config": config,
        "settings": settings,
        "without": list(without),
    }
    command = [sys.executable, "-I", "-B", "-c", "import sys, json; given = json.load(sys.stdin);"
               "sys.path[:] = given['path']; from ocifw.testing import purity; purity.main(given)"]  # fmt: skip
    done = subprocess.run(
        command, input=json.dumps(given), capture_output=True, text=True, check=False, timeout=120
    )
    return (done.stdout + done.stderr).strip()


def main(given: dict[str, Any]) -> None:
    """Plan, and print what was tried."""
    from ocifw.errors import OcifwError, PluginError
    from ocifw.testing.planning import plan_of

    tried: list[str] = []

    def plan() -> None:
        try:
            plan_of(
                given["config"],
                given["modules"],
                without=given["without"],
                settings=given["settings"],
                bundle=given["bundle"],
            )
        except PluginError as error:
            tried.append(str(error))
        except OcifwError:
            # That the config is refused is another test's business.
            pass

    for name in given["modules"]:
        __import__(name)
    _give_up_writing()
    armed = True

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        if not armed:
            return
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITE_FLAGS:
            tried.append(f"open({arguments[0]!r}) for writing")
        elif event in _CHANGES:
            tried.append(f"{event}({', '.join(map(repr, arguments))})")
        else:
            return
        raise Impure(tried[-1])

    sys.addaudithook(look)
    try:
        plan()
    except Impure:
        pass
    armed = False
    print("\n".join(dict.fromkeys(tried)))


def _give_up_writing() -> bool:
    """Let this process change no file any more. Returns False where the kernel has no Landlock."""
    libc = ctypes.CDLL(None, use_errno=True)
    abi = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    if abi < 1:
        return False
    handled = ctypes.c_uint64(_WRITES[min(abi, max(_WRITES))])
    fd = libc.syscall(
        _CREATE_RULESET, ctypes.byref(handled), ctypes.c_size_t(8), ctypes.c_uint32(0)
    )
    if fd < 0:
        return False
    libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    restricted: bool = libc.syscall(_RESTRICT_SELF, fd, ctypes.c_uint32(0)) == 0
    os.close(fd)
    return restricted
