"""The entries of `hooks` as steps: RunHook on the runtime's side, RunProgram in the container process."""

from __future__ import annotations

from ocifw import document
from ocifw.context import SPEC_VERSION, oci_state
from ocifw.steps import RunProgram

from .run import RunHook

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocifw.context import Request

    Config = dict[str, Any]

KINDS = (
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
)

_PID = '"pid":'


def in_runtime(config: Config, kind: str, status: str) -> Iterator[RunHook]:
    """A RunHook for each entry of a kind, in order. Without `env` a hook has an empty environment."""
    for index, entry in enumerate(_entries(config, kind)):
        yield RunHook(
            entry["path"],
            arguments(entry),
            tuple(entry.get("env") or ()),
            entry.get("timeout") or 0,
            status,
            kind,
            index,
            at=f"hooks.{kind}[{index}]",
        )


def in_container(config: Config, request: Request, kind: str, status: str) -> Iterator[RunProgram]:
    """A RunProgram for each entry of a kind, in order.

    startContainer: runs in the container's root, with process.env where the entry has no `env` (runc's habit, which
    hooks rely on). createContainer: a host's program in the container's namespaces, which must never see the image's
    environment (CVE-2025-23266).
    """
    entered = kind == "startContainer"
    before, after = split_state(config, request, status)
    for index, entry in enumerate(_entries(config, kind)):
        env = entry.get("env")
        if env is None:
            env = (config.get("process") or {}).get("env") if entered else None
        yield RunProgram(
            entry["path"],
            arguments(entry),
            tuple(env or ()),
            before,
            after,
            entry.get("timeout") or 0,
            in_root=entered,
            at=f"hooks.{kind}[{index}]",
        )


def split_state(config: Config, request: Request, status: str) -> tuple[bytes, bytes]:
    """The state document (runtime.md, State) before and after its pid, which only the container process knows."""
    state = oci_state(
        SPEC_VERSION,
        request.id,
        status,
        0,
        request.bundle,
        config.get("annotations") or {},
    )
    # The first one is the key: quotes in the values that stand before it are escaped.
    head, _, tail = document.dump(state).partition(_PID)
    return (head + _PID).encode(), tail.lstrip(" ").removeprefix("0").encode()


def entry_of(config: Config, kind: str, index: int) -> dict[str, Any] | None:
    """One entry of config.json, None when it has none there."""
    found = _entries(config, kind)
    return found[index] if index < len(found) else None


def _entries(config: Config, kind: str) -> list[dict[str, Any]]:
    return (config.get("hooks") or {}).get(kind) or []


def arguments(entry: dict[str, Any]) -> tuple[str, ...]:
    """The whole argv; the specification leaves open what it is without `args`: the path, as in runc."""
    return tuple(entry.get("args") or (entry["path"],))
