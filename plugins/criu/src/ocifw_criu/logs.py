"""CRIU's log: hundreds of lines, of which one says why."""

from __future__ import annotations

import os
import re

_ERROR = re.compile(r"Error \([^)]*\): (.*)")
_LIMIT_BYTES = 16 << 20
_HARMLESS = ("rlimit: Can't setup RLIMIT_NOFILE",)
"""Errors by which nothing fails."""
_HINTS = (
    ("tcp-established", "use --tcp-established"),
    ("connected TCP socket", "use --tcp-established"),
    ("In-flight connection", "use --tcp-skip-in-flight"),
    ("external socket is used", "use --ext-unix-sk"),
    ("External socket is used", "use --ext-unix-sk"),
    ("Some file locks are hold", "use --file-locks"),
    ("Some file locks are held", "use --file-locks"),
    ("can't dump ghost file", "use --link-remap"),
    ("Can't create link remap", "use --link-remap"),
    ("session leader", "use --shell-job"),
    ("without a pair", "use --shell-job"),
    ("No space left on device", "the disk of the images is full"),
)


def path(work: str, images: str, name: str) -> str:
    """Where CRIU wrote its log: in the work folder, by default that of the images."""
    return f"{work or images}/{name}"


def cause(file: str) -> str:
    """One sentence out of a log: the first error in it, which the others follow from, and the option that helps.

    "" when the log is not there or says nothing.
    """
    try:
        with open(file, encoding="utf-8", errors="replace") as log:
            size = os.fstat(log.fileno()).st_size
            log.seek(max(0, size - _LIMIT_BYTES))
            errors = [
                match[1].strip()
                for match in map(_ERROR.search, log)
                if match and not match[1].startswith(_HARMLESS)
            ]
    except OSError:
        return ""
    if not errors:
        return ""
    text = errors[0]
    for needle, hint in _HINTS:
        if any(needle in error for error in errors):
            return f"{text} ({hint})"
    return text


def described(error: BaseException, file: str) -> str:
    """The error of a command as runc words it, then the cause, then where the log is."""
    found = cause(file)
    parts = [str(error), *([found] if found else [])]
    if os.path.exists(file):
        parts.append(f"log file: {file}")
    return ": ".join(parts[:2]) + (f" ({parts[-1]})" if parts[-1].startswith("log file") else "")
