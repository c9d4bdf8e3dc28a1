"""The log of one command: errors, warnings, and with --debug what else there is to say.

Without --log everything goes to standard error: on a terminal as `ocifw: …`, else as logfmt lines like runc's.
With --log FILE it is appended there, and an error is on standard error, too: engines read either.

With `--log-format json` the file is read by programs. podman takes the *whole* file for one object, and falls back to a
text of its own when there is anything beside the error; the file outlives the command, so even a warning of a
successful one would spoil the next error. Therefore warnings are written there with --debug only.

In a library nothing is written: what there is to say goes to whoever `listen`s in the thread that works.
"""

from __future__ import annotations

import os
from _thread import _local

from .errors import OcifwError, errno_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Listener = Callable[[str, str], object]

FORMATS = ("text", "json")

_fd = 2
_json = False
_debug = False


class _OfThread(_local):
    listener: Listener | None = None


_here = _OfThread()


def listen(listener: Listener | None) -> Listener | None:
    """Call this with the level and the message of whatever this thread logs; None writes again. Returns the one before."""
    before = _here.listener
    _here.listener = listener
    return before


def configure(path: str = "", log_format: str = "text", debug: bool = False) -> None:
    """Say where to log. Raises OcifwError for an unknown format or a file that cannot be written.

    path: "" is standard error. The file is made with mode 0644 when it is missing.
    """
    global _fd, _json, _debug  # noqa: PLW0603 -- one process runs one command, and has one log
    if log_format not in FORMATS:
        raise OcifwError(f"invalid log-format: {log_format}")
    if path:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            _fd = os.open(path, flags, 0o644)
        except OSError as error:
            raise OcifwError(f"open {path}: {errno_text(error.errno or 0)}") from error
    else:
        _fd = 2
    _json = log_format == "json"
    _debug = debug


def debugging() -> bool:
    """Whether --debug was given."""
    return _debug


def error(message: str) -> None:
    """Log why the command failed; once for each command."""
    _write("error", message)
    if _fd != 2 and _here.listener is None:
        _to("ocifw: " * _is_terminal() + message + "\n", 2)


def warning(message: str) -> None:
    """Log what the command survived. In the JSON format with --debug only: see above."""
    if _debug or not _json or _here.listener is not None:
        _write("warning", message)


def hint(message: str) -> None:
    """Say on standard error what may help with the error that was logged."""
    _to(f"ocifw: hint: {message}\n", 2)


def debug(message: str) -> None:
    """Log what only a search for a fault wants to know."""
    if _debug:
        _write("debug", message)


def _write(level: str, message: str) -> None:
    if _here.listener is not None:
        _here.listener(level, message)
        return
    if _json:
        from .document import dump

        line = dump({"level": level, "msg": message, "time": _now()})
    elif _fd == 2 and _is_terminal():
        line = f"ocifw: {message}" if level == "error" else f"ocifw: {level}: {message}"
    else:
        line = f"time={_quoted(_now())} level={level} msg={_quoted(message)}"
    _to(line + "\n", _fd)


def _to(text: str, fd: int) -> None:
    """Write; a log that cannot be written to must not change what the command does."""
    from .output import write

    try:
        write(text, fd)
    except OSError:
        pass


def _is_terminal() -> bool:
    return os.isatty(2)


def _now() -> str:
    from time import gmtime, strftime

    return strftime("%Y-%m-%dT%H:%M:%SZ", gmtime())


def _quoted(text: str) -> str:
    """In double quotes, on one line."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    escaped = escaped.replace("\n", "\\n").replace("\t", "\\t")
    return '"' + "".join([c if c.isprintable() else f"\\x{ord(c):02x}" for c in escaped]) + '"'
