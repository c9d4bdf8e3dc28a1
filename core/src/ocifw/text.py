"""Small conversions to text that the formats of the commands need."""

from __future__ import annotations

import time


def rfc3339(nanoseconds: int) -> str:
    """A point in time, in nanoseconds since the epoch, as `2026-01-31T12:00:00.123456789Z`.

    As Go's RFC3339Nano, which engines parse: trailing zeros of the fraction are left out.
    """
    seconds, rest = divmod(nanoseconds, 10**9)
    fraction = f".{rest:09}".rstrip("0").rstrip(".")
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + fraction + "Z"
