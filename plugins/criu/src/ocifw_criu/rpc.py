"""Talking with CRIU: `criu swrk FD`, a process of our own that serves one request over a socket. https://criu.org/RPC.

The messages are pycriu's, which is a package of the distribution and not on PyPI: it is looked for where Python looks, then
where Debian installs it.
"""

from __future__ import annotations

import os
import sys

from ocifw.errors import OcifwError, errno_text
from ocifw.linux.unix import receive_message, send_message, socketpair

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Notified = Callable[[str, int, list[int]], None]

OLDEST = (3, 11)
_DISTRIBUTION = "/usr/lib/python3/dist-packages"
_USUAL = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MESSAGE_LIMIT = 1 << 16
_SIGKILL = 9


class CriuError(OcifwError):
    """CRIU refused or failed. `answer` is its response, None when it ended without one."""

    def __init__(self, text: str, answer: Any = None) -> None:
        super().__init__(text)
        self.answer = answer


# ---- what is there -------------------------------------------------------------------------------------------------


def binary(settings: Mapping[str, Any]) -> str:
    """The path of the program: what the settings say, or the first in PATH; "" when there is none."""
    if settings.get("criu"):
        path = str(settings["criu"])
        return path if _is_program(path) else ""
    for folder in (os.environ.get("PATH") or _USUAL).split(":"):
        if folder.startswith("/") and _is_program(f"{folder}/criu"):
            return f"{folder}/criu"
    return ""


def _is_program(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)


def missing(settings: Mapping[str, Any]) -> list[str]:
    """The Debian packages that lack for checkpoint and restore; nothing is imported for the answer."""
    found = []
    if not binary(settings):
        found.append("criu")
    if not any(os.path.isfile(f"{folder}/pycriu/rpc_pb2.py") for folder in _search_path()):
        found.append("python3-pycriu")
    return found


def find(settings: Mapping[str, Any], verb: str) -> str:
    """The path of the program. Raises OcifwError that names the packages which are missing for `verb`."""
    lacking = missing(settings)
    if lacking and "criu" in lacking and settings.get("criu"):
        raise OcifwError(f"{verb}: settings.criu: {settings['criu']}: no such program")
    if lacking:
        raise OcifwError(
            f"{verb} needs CRIU and its Python module pycriu: missing Debian packages: {', '.join(lacking)}"
        )
    return binary(settings)


def messages() -> Any:
    """The module pycriu.rpc_pb2. Raises OcifwError that names the packages when it cannot be imported."""
    return _import("pycriu.rpc_pb2")


def core_entry() -> Any:
    """An empty entry of an image core-PID.img, as pycriu defines it."""
    return _import("pycriu.images.core_pb2").core_entry()


def pagemap(entries: list[bytes]) -> list[Any]:
    """The entries of an image pagemap-ID.img: its head, then one for each range of memory.

    Nothing when a newer CRIU wrote what this pycriu does not know.
    """
    module = _import("pycriu.images.pagemap_pb2")
    found = []
    for index, data in enumerate(entries):
        entry = module.pagemap_entry() if index else module.pagemap_head()
        try:
            entry.ParseFromString(data)
        except Exception:
            return []
        found.append(entry)
    return found


def _search_path() -> list[str]:
    from ocifw import plugins

    plugins.search_here()
    return [*sys.path, _DISTRIBUTION]


def _import(name: str) -> Any:
    added = [folder for folder in _search_path() if folder not in sys.path]
    # At the end: it may hide nothing of ours.
    sys.path += added
    try:
        return __import__(name, fromlist=["pycriu"])
    except Exception as error:
        raise OcifwError(
            f"cannot import {name}: {error} (Debian packages: criu, python3-pycriu, python3-protobuf)"
        ) from error
    finally:
        for folder in added:
            sys.path.remove(folder)


# ---- asking --------------------------------------------------------------------------------------------------------


def request(kind: str) -> Any:
    """An empty request of this type (DUMP, RESTORE, ...). The options stand in `.opts`."""
    module = messages()
    made = module.criu_req()
    made.type = getattr(module, kind)
    return made


def version(path: str) -> tuple[int, int, int]:
    """CRIU's version. Raises OcifwError for a program that is no CRIU, or one that is older than OLDEST."""
    try:
        found = ask(path, request("VERSION")).version
    except CriuError as error:
        raise OcifwError(f"{path} does not answer as CRIU does: {error}") from error
    numbers = (found.major_number, found.minor_number, found.sublevel)
    if numbers[:2] < OLDEST:
        raise OcifwError(
            f"CRIU {'.'.join(map(str, numbers))} ({path}) is too old: {'.'.join(map(str, OLDEST))} is needed"
        )
    return numbers


def features(path: str, *names: str) -> dict[str, bool]:
    """Which of the features `mem_track`, `lazy_pages` and `pidfd_store` this machine and this CRIU have."""
    asked = request("FEATURE_CHECK")
    for name in names:
        setattr(asked.features, name, True)
    answer = ask(path, asked)
    return {name: bool(getattr(answer.features, name)) for name in names}


def ask(
    path: str,
    message: Any,
    notified: Notified | None = None,
    prepare: Callable[[], None] | None = None,
    started: Callable[[int], None] | None = None,
) -> Any:
    """Start CRIU, send the request, answer its notifications, and return its response.

    notified: called with each notification's script, pid and file descriptors, which are closed afterwards; an exception
    makes CRIU fail, and is raised. prepare: called in CRIU's process before it executes. started: called with its pid.
    Raises CriuError when CRIU says no, or nothing. CRIU has ended afterwards.
    """
    ours, theirs = socketpair()
    try:
        try:
            pid = _start(path, theirs, prepare)
        finally:
            os.close(theirs)
        try:
            if started:
                started(pid)
            answer = _converse(path, ours, message, notified)
        except BaseException:
            # It learns of the closed socket only when it has something to say.
            os.kill(pid, _SIGKILL)
            raise
        finally:
            os.close(ours)
            ours = -1
            os.waitpid(pid, 0)
    finally:
        if ours >= 0:
            os.close(ours)
    if not answer.success:
        raise CriuError(f"criu failed: type {_kind(message)} errno {answer.cr_errno}", answer)
    return answer


def _kind(message: Any) -> str:
    return str(messages().criu_req_type.Name(message.type))


def _start(path: str, channel: int, prepare: Callable[[], None] | None) -> int:
    """Start `criu swrk`, with our standard files and an empty signal mask. Raises what `prepare` or execve(2) raises."""
    import signal

    broken, told = os.pipe()
    pid = os.fork()
    if pid:
        os.close(told)
        try:
            text = b""
            while part := os.read(broken, 4096):
                text += part
        finally:
            os.close(broken)
        if text:
            os.waitpid(pid, 0)
            raise OcifwError(f"criu: {text.decode(errors='replace')}")
        return pid
    try:
        os.close(broken)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if prepare:
            prepare()
        os.set_inheritable(channel, True)
        environment = {"PATH": os.environ.get("PATH") or _USUAL}
        os.execve(path, ["criu", "swrk", str(channel)], environment)  # noqa: S606 -- no shell is wanted
    except OSError as error:
        name = f"{os.fsdecode(error.filename)}: " if error.filename else f"{path}: "
        os.write(told, f"{name}{errno_text(error.errno or 0)}".encode())
    except BaseException as error:
        os.write(told, str(error).encode())
    os._exit(1)


def _converse(path: str, channel: int, message: Any, notified: Notified | None) -> Any:
    module = messages()
    try:
        send_message(channel, message.SerializeToString())
        while True:
            data, fds = receive_message(channel, _MESSAGE_LIMIT)
            try:
                if not data:
                    raise CriuError(f"criu ended without an answer to {_kind(message)}")
                answer = module.criu_resp()
                try:
                    answer.ParseFromString(data)
                except Exception as error:
                    raise CriuError(f"{path}: no answer of CRIU: {error}") from error
                if answer.type != module.NOTIFY:
                    return answer
                if notified:
                    notified(answer.notify.script, answer.notify.pid, fds)
            finally:
                for fd in fds:
                    os.close(fd)
            reply = module.criu_req()
            reply.type = module.NOTIFY
            reply.notify_success = True
            send_message(channel, reply.SerializeToString())
    except (BrokenPipeError, ConnectionResetError):
        raise CriuError(f"criu ended without an answer to {_kind(message)}") from None
