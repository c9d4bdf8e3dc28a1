"""The fixtures of `ocifw.testing`, for pytest. Imports nothing of it before a test asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    from .recording import RecordingRuntime


@pytest.fixture
def plan_of() -> Callable[..., Any]:
    """`ocifw.testing.plan_of`: the plan for a config, as a value."""
    from .planning import plan_of

    return plan_of


@pytest.fixture
def recording_runtime() -> RecordingRuntime:
    """A runtime that writes down what it would do: `ocifw.testing.RecordingRuntime`."""
    from .recording import RecordingRuntime

    return RecordingRuntime()


@pytest.fixture
def bundles(tmp_path: Path) -> Callable[..., Path]:
    """`bundles(kind, source="host", **changes)` makes a bundle of one of `ocifw.testing.KINDS`; its folder is returned."""
    from .bundles import config_of, write_bundle

    def make(kind: str, source: str = "host", **changes: Any) -> Path:
        return write_bundle(tmp_path / f"bundle-{kind}", config_of(kind, **changes), source)

    return make


@pytest.fixture
def real_containers(tmp_path: Path) -> Iterator[Any]:
    """Real containers, with a plugin set that the test writes; skipped where there can be none."""
    from .real import RealContainers, missing

    reason = missing()
    if reason:
        pytest.skip(reason)
    made = RealContainers(tmp_path)
    yield made
    made.clean()
