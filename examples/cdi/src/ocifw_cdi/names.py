"""Qualified names of devices, `vendor.com/class=name`, and the annotations that ask for them."""

from __future__ import annotations

from ocifw.errors import ConfigError, Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PREFIX = "cdi.k8s.io/"


def annotated(annotations: Mapping[str, str], allowed: Iterable[str]) -> list[str]:
    """The devices that annotations ask for, in order of the keys. Annotations may be the image's: only what is allowed.

    allowed: qualified names, where `*` at the end stands for anything. Raises ConfigError for one that is not allowed.
    """
    names = []
    problems = []
    for key in sorted(annotations):
        if key.startswith(PREFIX):
            for name in annotations[key].split(","):
                if not any(_matches(name.strip(), pattern) for pattern in allowed):
                    problems.append(
                        Problem(
                            f"annotations.{key}",
                            f"device {name.strip()!r} is not allowed by the settings of plugin cdi",
                        )
                    )
                names.append(name.strip())
    if problems:
        raise ConfigError(problems)
    return names


def _matches(name: str, pattern: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def split(name: str) -> tuple[str, str]:
    """Kind and name of a qualified name. Raises ConfigError when it is none."""
    kind, equals, device = name.partition("=")
    vendor, slash, class_ = kind.partition("/")
    if not (equals and slash and vendor and class_ and device):
        raise ConfigError(
            [Problem("", f"{name!r} is no device of CDI: expected vendor.com/class=name")]
        )
    return kind, device
