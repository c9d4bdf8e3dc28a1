"""Lists of CPUs and memory nodes as the kernel spells them, `0-3,7`, and as its bit masks. cpuset(7), List format."""

from __future__ import annotations

LIMIT = 8192
"""More CPUs (and nodes) than any kernel is built for."""


def numbers(text: str) -> set[int]:
    """The numbers of a list. Raises ValueError, with the part that is wrong."""
    found: set[int] = set()
    for part in text.split(","):
        word = part.strip()
        if not word:
            continue
        first, dash, last = word.partition("-")
        first, last = first.strip(), (last if dash else first).strip()
        if not (_decimal(first) and _decimal(last)):
            raise ValueError(f"{word!r} is no number and no range")
        low, high = int(first), int(last)
        if low > high:
            raise ValueError(f"{word!r} is no range: it ends before it begins")
        if high >= LIMIT:
            raise ValueError(f"{word!r} is beyond {LIMIT - 1}")
        found.update(range(low, high + 1))
    return found


def mask(text: str) -> bytes:
    """The bit mask of a list, little-endian, a multiple of 8 bytes; of an empty list, no bytes."""
    bits = 0
    for number in numbers(text):
        bits |= 1 << number
    return bits.to_bytes(-(-bits.bit_length() // 64) * 8, "little")


def _decimal(word: str) -> bool:
    return word.isascii() and word.isdigit()
