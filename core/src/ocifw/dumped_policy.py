"""The policy of a container that was dumped: noted beside its images, so that a restore without it does not go unnoticed.

What restores decides, as what creates does: it may have other profiles than the machine of the dump. The note is no more
trusted than the images are: what it says is only shown.
"""

from __future__ import annotations

import os

from . import document
from .container import Container, write_file
from .errors import OcifwError, errno_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .effective import Effective

NAME = "ocifw-policy.json"
_LIMIT_BYTES = 1 << 20
_SHOWN = 3


def note(folder: str, container: Container) -> None:
    """Write the rules that a container is held to into the folder of its images: nothing when there are none.

    A folder that holds no images any more (a page server has them) gets no note, either.
    """
    from .policy import rules

    rows = (container.state.get("profile") or {}).get("policy") or []
    path = f"{folder}/{NAME}"
    if not rows or not os.path.isdir(folder):
        return
    titles = [[rule.title, rule.origin, rule.layer] for rule in rules(rows)]
    try:
        write_file(path, document.dump({"rules": titles}).encode())
    except OSError as error:
        raise OcifwError(f"write {path}: {errno_text(error.errno or 0)}") from error


def lost(folder: str, effective: Effective | None) -> list[str]:
    """A warning when rules that the dumped container was held to are not in effect now, in a list.

    Raises OcifwError on a note that ocifw has not written.
    """
    now = set() if effective is None else {rule.title for rule in effective.policy}
    missing = [row for row in _noted(folder) if row[0] not in now]
    if not missing:
        return []
    shown = "; ".join([f"{title} ({origin})" for title, origin, _ in missing[:_SHOWN]])
    more = f", and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
    layers = ", ".join(dict.fromkeys([layer for _, _, layer in missing]))
    return [
        f"the container was held to policy that does not count for this restore: {shown}{more}:"
        f" restore with --profile {layers}"
    ]


def _noted(folder: str) -> list[list[str]]:
    path = f"{folder}/{NAME}"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise OcifwError(f"open {path}: {errno_text(error.errno or 0)}") from error
    try:
        found: Any = document.parse_foreign(os.read(fd, _LIMIT_BYTES), path)
    except OSError as error:
        raise OcifwError(f"read {path}: {errno_text(error.errno or 0)}") from error
    finally:
        os.close(fd)
    rules = found.get("rules") if isinstance(found, dict) else None
    if not isinstance(rules, list) or not all(_is_rule(one) for one in rules):
        raise OcifwError(f"{path}: not what ocifw writes there")
    return rules


def _is_rule(row: Any) -> bool:
    return (
        isinstance(row, list)
        and len(row) == 3
        and all(isinstance(one, str) and one.isprintable() for one in row)
    )
