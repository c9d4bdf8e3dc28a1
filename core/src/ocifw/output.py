"""What commands write: to standard output by file descriptor, and in columns."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def write(text: str, fd: int = 1) -> None:
    """Write all of the text, whatever the locale says, in UTF-8. OSError(EPIPE): nobody reads it any more."""
    rest = memoryview(text.encode("utf-8", "surrogateescape"))
    while rest:
        rest = rest[os.write(fd, rest) :]


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns at least 12 characters wide with three spaces between, as runc's `list` has them; a line for each row."""
    widths = [max(12, *[len(cell) + 3 for cell in column]) for column in list(zip(*rows))[:-1]]
    lines = ["".join([c.ljust(w) for c, w in zip(row, widths)]) + row[-1] for row in rows]
    return "".join([line + "\n" for line in lines])
