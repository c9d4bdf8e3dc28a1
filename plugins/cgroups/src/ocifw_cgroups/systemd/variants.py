"""Annotations `org.systemd.property.NAME`: properties of the unit, in the text form of GVariant values.

They may come from whoever may make a container, and some properties of units run programs as root or reboot the machine
(CVE-2024-3154): only those below are taken.
"""

from __future__ import annotations

from ocifw.errors import OcifwError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

PREFIX = "org.systemd.property."

ALLOWED = frozenset(
    (
        "AllowedCPUs AllowedMemoryNodes CPUAccounting CPUQuotaPerSecUSec CPUQuotaPeriodUSec CPUShares CPUWeight"
        " CollectMode DefaultMemoryLow DefaultMemoryMin Description DisableControllers Documentation FinalKillSignal"
        " IOAccounting IOWeight KillMode KillSignal ManagedOOMMemoryPressure ManagedOOMMemoryPressureLimit"
        " ManagedOOMPreference ManagedOOMSwap MemoryAccounting MemoryHigh MemoryLimit MemoryLow MemoryMax MemoryMin"
        " MemorySwapMax MemoryZSwapMax OOMPolicy RestartKillSignal RuntimeMaxUSec SendSIGHUP SendSIGKILL"
        " StartupCPUWeight StartupIOWeight TasksAccounting TasksMax TimeoutStopUSec WatchdogSignal"
    ).split()
)
"""Limits, how the unit is stopped, and what people read about it (systemd.kill(5), systemd.resource-control(5))."""

_NUMBERS = {
    "byte": "y", "int16": "n", "uint16": "q", "int32": "i", "uint32": "u", "handle": "h",
    "int64": "x", "uint64": "t", "double": "d",
}  # fmt: skip
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}


def annotated(annotations: Mapping[str, str]) -> Iterator[tuple[str, str, Any]]:
    """Name, D-Bus signature and value of each property that annotations ask for.

    Raises OcifwError, which names the annotation, for a property that is not allowed and a value that cannot be read.
    """
    for key, text in annotations.items():
        if not key.startswith(PREFIX):
            continue
        name = key[len(PREFIX) :]
        try:
            signature, value = parse(text)
            name, signature, value = _microseconds(name, signature, value)
        except ValueError as error:
            raise OcifwError(f"annotation {key}: {text!r}: {error}") from None
        if name not in ALLOWED:
            raise OcifwError(f"annotation {key}: the property {name} may not be set by a container")
        yield name, signature, value


def _microseconds(name: str, signature: str, value: Any) -> tuple[str, str, Any]:
    """On D-Bus, a time span that unit files call XSec is XUSec, in microseconds."""
    if not name.endswith("Sec") or name.endswith("USec"):
        return name, signature, value
    if signature not in _NUMBERS.values() or signature == "h":
        raise ValueError("not a number of seconds")
    return f"{name.removesuffix('Sec')}USec", "t", int(value * 10**6)


def parse(text: str) -> tuple[str, Any]:
    """Signature and value of a GVariant text: `true`, `15`, `uint64 10`, `'text'`, `['a', 'b']`. Raises ValueError."""
    signature, value, rest = _value(text.strip())
    if rest.strip():
        raise ValueError(f"unexpected {rest.strip()!r}")
    return signature, value


def _value(text: str) -> tuple[str, Any, str]:
    """Signature, value and what follows it."""
    if text[:1] in ("'", '"'):
        return _string(text)
    if text[:1] == "[":
        return _array(text[1:])
    word, rest = _word(text)
    if word in ("true", "false"):
        return "b", word == "true", rest
    if word in _NUMBERS:
        kind = _NUMBERS[word]
        word, rest = _word(rest.lstrip())
        return kind, float(word) if kind == "d" else int(word, 0), rest
    if word[:1].isalpha() or not word:
        raise ValueError("not a value such as true, 15, uint64 15 or 'text'")
    try:
        return "i", int(word, 0), rest
    except ValueError:
        return "d", float(word), rest


def _word(text: str) -> tuple[str, str]:
    end = next((i for i, c in enumerate(text) if c in " ,]\t"), len(text))
    return text[:end], text[end:]


def _string(text: str) -> tuple[str, str, str]:
    quote, index, parts = text[0], 1, []
    while index < len(text) and text[index] != quote:
        if text[index] == "\\":
            index += 1
            if text[index : index + 1] not in _ESCAPES:
                raise ValueError("unknown escape in a string")
            parts.append(_ESCAPES[text[index]])
        else:
            parts.append(text[index])
        index += 1
    if index >= len(text):
        raise ValueError("a string without an end")
    return "s", "".join(parts), text[index + 1 :]


def _array(text: str) -> tuple[str, list[Any], str]:
    values: list[Any] = []
    kind, rest = "", text.lstrip()
    while not rest.startswith("]"):
        signature, value, rest = _value(rest)
        if kind not in ("", signature):
            raise ValueError("an array of different types")
        kind = signature
        values.append(value)
        rest = rest.lstrip()
        if rest.startswith(","):
            rest = rest[1:].lstrip()
        elif not rest.startswith("]"):
            raise ValueError("an array without an end")
    return f"a{kind or 's'}", values, rest[1:]
