"""What a profile of a bundle may say. It came with the image, and may only tighten; what is not known to tighten is refused.

* `config`: `linux.maskedPaths+`, `linux.readonlyPaths+`; `keep` and `drop` of capabilities; `noNewPrivileges: true`;
  `root.readonly: true`; `deny` of seccomp; limits with `key<` of rlimits, pids, memory and CPU quota,
* `policy`, `when`, `requires`, `description`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .layers import CAPABILITY_SETS

if TYPE_CHECKING:
    from .errors import Problem
    from .layers import Path
    from .profile_yaml import Document

TRUSTED_KEYS = frozenset({"extends", "plugins", "policy-", "compat"})
LOOSENS = "is not allowed in a profile of the bundle, which is untrusted and may only tighten"

_LIMITS = frozenset(
    {
        ("linux", "resources", "pids", "limit"),
        ("linux", "resources", "memory", "limit"),
        ("linux", "resources", "memory", "swap"),
        ("linux", "resources", "cpu", "quota"),
        ("process", "rlimits", "hard"),
        ("process", "rlimits", "soft"),
    }
)
_APPENDED = frozenset({("linux", "maskedPaths"), ("linux", "readonlyPaths")})
_TRUE = frozenset({("process", "noNewPrivileges"), ("root", "readonly")})
_HOLDERS = frozenset(
    path[:length] for path in (*_LIMITS, *_APPENDED, *_TRUE) for length in range(len(path))
)


def loosening(document: Document, at: Path, patch: Any) -> list[Problem]:
    """Every part of an untrusted patch that is not known to tighten."""
    found: list[Problem] = []

    def refuse(written: Path, hint: str = "") -> None:
        found.append(document.problem((*at, *written), LOOSENS + hint))

    def walk(value: Any, written: Path, path: Path) -> None:
        if path == ("process", "rlimits") and isinstance(value, list):
            for index, member in enumerate(value):
                if isinstance(member, dict):
                    rest = {k: v for k, v in member.items() if k != "type"}
                    walk(rest, (*written, index), path)
            return
        if not isinstance(value, dict) or path not in _HOLDERS:
            refuse(written)
            return
        for key, member in value.items():
            below, own = (*written, key), (*path, key.rstrip("+-?<"))
            if own == ("process", "capabilities") and isinstance(member, dict):
                for name in member:
                    if name not in ("keep", "drop"):
                        hint = "; of capabilities there are keep and drop" * (
                            name in CAPABILITY_SETS
                        )
                        refuse((*below, name), hint)
            elif own == ("linux", "seccomp") and isinstance(member, dict):
                for name, base in member.items():
                    if name != "deny" and not (name == "base" and base == "keep"):
                        refuse((*below, name))
            elif own in _APPENDED:
                if not key.endswith("+"):
                    refuse(below, f"; write {own[-1]}+")
            elif own in _LIMITS:
                if not key.endswith("<"):
                    refuse(below, f"; write {own[-1]}<")
            elif own in _TRUE:
                if key[-1] in "+-?<" or member is not True:
                    refuse(below)
            elif key == own[-1]:
                walk(member, below, own)
            else:
                refuse(below)

    walk(patch, (), ())
    return found
