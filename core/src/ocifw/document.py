"""JSON documents: read with limits and written, without importing `json` (7 ms, mostly `re` and `enum`).

What `json` does with them is done by the C module `_json`, which both share. Only an error to explain imports more.
"""

from __future__ import annotations

import os
from _json import encode_basestring_ascii, make_encoder, make_scanner

from .errors import ConfigError, Problem, errno_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

# The kernel takes at most 6 MiB of args and env (execve(2)), and JSON escapes may double them. Annotations, the other
# large part, are 256 KiB in Kubernetes.
LIMIT_BYTES = 16 << 20
# The deepest known field, a seccomp argument, stands 7 levels deep; the rest is for unknown properties.
LIMIT_DEPTH = 64

# Objects whose keys are names of the user's and not properties: an entry of these is never "not set".
_MAPS = frozenset({"annotations", "netDevices", "rdma", "sysctl", "unified"})
_WHITESPACE = " \t\n\r"
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b'[]{}"')


def read(path: str, what: str, limit_bytes: int = LIMIT_BYTES) -> Any:
    """The document in a regular file, which an engine or a user wrote; see `parse_foreign`.

    what: how the document is called in messages, as `config.json`. Raises ConfigError.
    """
    try:
        # Without O_NONBLOCK the open of a FIFO would wait for a writer.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    except FileNotFoundError:
        if what == "config.json":
            # runc's words, on which engines and people match.
            name = os.path.basename(path)
            text = f"JSON specification file {name} not found"
            raise ConfigError([Problem("", text, os.path.dirname(path))]) from None
        raise ConfigError([Problem("", f"open {path}: no such file or directory")]) from None
    except (OSError, ValueError) as error:
        text = errno_text(error.errno or 0) if isinstance(error, OSError) else str(error)
        raise ConfigError([Problem("", f"open {path}: {text}")]) from None
    try:
        if os.fstat(fd).st_mode & 0o170000 != 0o100000:
            raise ConfigError([Problem("", f"{what} is not a regular file", path)])
        data = _content(fd, path, limit_bytes)
    finally:
        os.close(fd)
    return parse_foreign(data, path)


def read_fd(fd: int, what: str, limit_bytes: int = LIMIT_BYTES) -> Any:
    """The document that an open file, pipe or socket gives until its end; see `parse_foreign`. Leaves `fd` open."""
    return parse_foreign(_content(fd, what, limit_bytes), what)


def parse_foreign(data: bytes, origin: str) -> Any:
    """A document that others wrote: `parse`, strings that the kernel can take, and no null for "not set".

    Members that are null are left out at every depth, as Go programs mean it, but for those of maps such as
    `annotations`. A string with a NUL, at which the kernel would end it, or with half of a surrogate pair, which is no
    text and which `os.fsencode` would make arbitrary bytes of, is refused. Raises ConfigError with all of them.
    """
    value = parse(data, origin)
    # The bytes can only hold these where one of the escapes is: the walks are for them alone.
    if b"\\u0000" in data or b"\\ud" in data or b"\\uD" in data:
        refuse_unusable_text(value, origin)
    if data.count(b"null") > data.count(b"/dev/null"):
        _drop_nulls(value)
    return value


def parse(data: bytes, origin: str) -> Any:
    """The value of a JSON text of UTF-8; origin: the file it came from, for messages.

    Raises ConfigError on what is not JSON (with line and column), on more than LIMIT_DEPTH levels, on NaN, Infinity and
    numbers that overflow. A name that is given twice keeps its last value, as in Go.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start]
        place = f"{origin}:{before.count(10) + 1}:{error.start - before.rfind(10)}"
        raise ConfigError([Problem("", "not UTF-8", place)]) from None
    if _depth_exceeds(data, LIMIT_DEPTH):
        raise _too_deep(origin)
    start = len(text) - len(text.lstrip(_WHITESPACE))
    try:
        value, end = _scan(text, start)
    except StopIteration as stop:
        raise _syntax_error(text, stop.value, "expecting value", origin) from None
    except RecursionError:
        raise _too_deep(origin) from None
    except SystemError:
        # The C code looks for the class of its exception among the imported modules, and json was not imported.
        if _json_is_imported():
            raise
        return parse(data, origin)
    except ValueError as error:
        raise _explained(text, start, error, origin) from None
    if text[end:].strip(_WHITESPACE):
        position = len(text) - len(text[end:].lstrip(_WHITESPACE))
        raise _syntax_error(text, position, "extra data after the document", origin)
    return value


def refuse_unusable_text(value: Any, origin: str) -> None:
    """Raise ConfigError with every string of a value that has a NUL or half of a surrogate pair."""
    problems = [
        Problem(path, message, origin)
        for path, text in _strings(value, "")
        if (message := _unusable(text))
    ]
    if problems:
        raise ConfigError(problems)


def dump(value: Any) -> str:
    """A value as JSON on one line, in ASCII. Raises TypeError or ValueError on what JSON has no form for."""
    return "".join(_encode(value, 0))


def dump_pretty(value: Any, indent: str = "\t") -> str:
    """A value as JSON in lines; indent: what each level is indented with. No newline at the end."""
    return "".join(_pretty(value, indent, "\n"))


def child_path(path: str, key: str | int) -> str:
    """The path of a member of an object or of an array: `a.b` or `a[2]`; `a["x.y"]` where the name is no word."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    if not key.replace("_", "a").replace("-", "a").isalnum():
        return f"{path}[{encode_basestring_ascii(key)}]"
    return f"{path}.{key}" if path else key


# ---- reading -----------------------------------------------------------------------------------------------------


class _UnusableNumber(ValueError):
    pass


def _float(text: str) -> float:
    value = float(text)
    if value - value != 0.0:
        raise _UnusableNumber(text)
    return value


def _constant(text: str) -> None:
    raise _UnusableNumber(text)


class _Scanning:
    """The attributes that make_scanner asks for; what json.JSONDecoder is for `json`."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = staticmethod(_float)
    parse_int = int
    parse_constant = staticmethod(_constant)


# The type stubs want another scanner as the argument; the C code reads these attributes of anything.
_scan = make_scanner(_Scanning())  # type: ignore[arg-type]


def _content(fd: int, origin: str, limit_bytes: int) -> bytes:
    parts = []
    left = limit_bytes + 1
    try:
        while left and (part := os.read(fd, min(left, 1 << 18))):
            parts.append(part)
            left -= len(part)
    except OSError as error:
        raise ConfigError([Problem("", f"read: {errno_text(error.errno or 0)}", origin)]) from None
    if not left:
        raise ConfigError([Problem("", f"larger than {limit_bytes} bytes", origin)])
    return b"".join(parts)


def _depth_exceeds(data: bytes, limit: int) -> bool:
    """Whether objects and arrays are nested deeper than `limit`, told before the scanner recurses into them.

    Only brackets outside of strings are kept, then the innermost pairs are taken away, level by level.
    """
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Two quotes that follow each other keep inside and outside apart as well when both are gone.
    brackets = data.translate(_BRACKETS, _NOT_BRACKETS).replace(b'""', b"")
    if b'"' in brackets:
        brackets = b"".join(brackets.split(b'"')[::2])
    for _ in range(limit):
        inner = brackets.replace(b"[]", b"")
        if len(inner) == len(brackets):
            # Nothing is left, or what is left has no pair and is the scanner's to refuse.
            return len(brackets) > limit
        brackets = inner
    return bool(brackets)


def _drop_nulls(value: Any) -> None:
    if type(value) is dict:
        for name in [name for name, member in value.items() if member is None]:
            del value[name]
        for name, member in value.items():
            if name not in _MAPS:
                _drop_nulls(member)
    elif type(value) is list:
        for member in value:
            _drop_nulls(member)


# ---- explaining: may be slow -------------------------------------------------------------------------------------


def _strings(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if type(value) is str:
        yield path, value
    elif type(value) is dict:
        for name, member in value.items():
            below = child_path(path, name)
            yield below, name
            yield from _strings(member, below)
    elif type(value) is list:
        for index, member in enumerate(value):
            yield from _strings(member, child_path(path, index))


def _unusable(text: str) -> str:
    if "\0" in text:
        return "has a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "has half of a surrogate pair, which is not text"
    return ""


def _too_deep(origin: str) -> ConfigError:
    return ConfigError([Problem("", f"nested deeper than {LIMIT_DEPTH} levels", origin)])


def _syntax_error(text: str, position: int, message: str, origin: str) -> ConfigError:
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    if text.startswith("\ufeff"):
        message = "begins with a byte order mark"
    return ConfigError([Problem("", f"not JSON: {message}", f"{origin}:{line}:{column}")])


def _json_is_imported() -> bool:
    """Whether json was imported already; afterwards it is."""
    import sys

    before = "json.decoder" in sys.modules
    import json.decoder

    return before and json.decoder is not None


def _explained(text: str, start: int, error: ValueError, origin: str) -> ConfigError:
    """What a ValueError of the scanner means: json.JSONDecodeError, or a number that is none of ours."""
    position = getattr(error, "pos", None)
    if position is not None:
        message = getattr(error, "msg", "syntax error").removesuffix(" at")
        return _syntax_error(text, position, message[:1].lower() + message[1:], origin)

    _json_is_imported()
    try:
        value, _ = make_scanner(_Finding())(text, start)  # type: ignore[arg-type]
    except ValueError as again:
        return _explained(text, start, again, origin)
    except StopIteration as stop:
        return _syntax_error(text, stop.value, "expecting value", origin)
    return ConfigError(
        [
            Problem(path, f"{number.shown} is not a number that can be used", origin)
            for path, number in _numbers(value, "")
            if not number.usable
        ]
    )


class _AsWritten:
    """A number as it is written, and whether it can be used."""

    def __init__(self, text: str) -> None:
        self.shown = text if len(text) <= 40 else f"{text[:37]}..."
        try:
            value = float(text) if set(text) & set(".eEN") or text.endswith("y") else int(text)
            self.usable = value - value == 0
        except ValueError:
            self.usable = False


class _Finding(_Scanning):
    parse_float = parse_int = parse_constant = _AsWritten  # type: ignore[assignment]


def _numbers(value: Any, path: str) -> Iterator[tuple[str, _AsWritten]]:
    if isinstance(value, _AsWritten):
        yield path, value
    elif type(value) is dict:
        for name, member in value.items():
            yield from _numbers(member, child_path(path, name))
    elif type(value) is list:
        for index, member in enumerate(value):
            yield from _numbers(member, child_path(path, index))


# ---- writing -----------------------------------------------------------------------------------------------------


def _no_form(value: object) -> object:
    raise TypeError(f"JSON has no form for {value!r}")


# markers (for circular references, which recursion limits catch as well), default, encoder, indent, separators,
# sort_keys, skipkeys, allow_nan.
_encode = make_encoder(None, _no_form, encode_basestring_ascii, None, ":", ",", False, False, False)


def _pretty(value: Any, indent: str, newline: str) -> Iterator[str]:
    if not value or not isinstance(value, (dict, list, tuple)):
        yield dump(value)
        return
    below = newline + indent
    if isinstance(value, dict):
        separator = "{"
        for name, member in value.items():
            if not isinstance(name, str):
                raise TypeError(f"{name!r} is not a name of a JSON object")
            yield f"{separator}{below}{encode_basestring_ascii(name)}: "
            yield from _pretty(member, indent, below)
            separator = ","
        yield f"{newline}}}"
    else:
        separator = "["
        for member in value:
            yield f"{separator}{below}"
            yield from _pretty(member, indent, below)
            separator = ","
        yield f"{newline}]"
