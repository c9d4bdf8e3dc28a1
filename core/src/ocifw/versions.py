"""Versions that a set file asks for: `==1.2.*`, `>=1.0,<2`, as far as plugins need them (PEP 440 without its corners)."""

from __future__ import annotations

import re

_CLAUSE = re.compile(r"\s*(==|!=|>=|<=|>|<|~=)?\s*(\d+(?:\.\d+)*)(\.\*)?\s*")


def release(version: str) -> tuple[int, ...]:
    """The numbers of a version without trailing zeros: (1, 2) of `1.2.0rc1`."""
    found = re.match(r"v?(\d+(?:\.\d+)*)", version)
    numbers = [int(part) for part in found[1].split(".")] if found else []
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def matches(version: str, wanted: str) -> bool:
    """Whether a version is one of those that are wanted; "" wants every one. Raises ValueError when it says nothing."""
    own = release(version)
    for clause in wanted.split(",") if wanted else ():
        found = _CLAUSE.fullmatch(clause)
        if found is None:
            raise ValueError(f"{clause.strip()!r} is no version: write ==1.2.*, >=1.0 or <2")
        operator, number, star = found[1] or "==", release(found[2]), bool(found[3])
        parts = len(found[2].split("."))
        if star and operator not in ("==", "!="):
            raise ValueError(f"{clause.strip()!r}: .* goes with == and != only")
        padded = (*own, *[0] * parts)[:parts]
        same = padded == (*number, *[0] * parts)[:parts] if star else own == number
        fits = {
            "==": same,
            "!=": not same,
            ">=": own >= number,
            "<=": own <= number,
            ">": own > number,
            "<": own < number,
            "~=": own >= number and padded[:-1] == (*number, *[0] * parts)[: parts - 1],
        }[operator]
        if not fits:
            return False
    return True
