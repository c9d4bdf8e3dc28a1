"""For authors of plugins: plans as values, bundles of every kind, a recording runtime, real containers, and a contract.

    from ocifw.testing import plan_of, steps_of

    def test_binds_localtime():
        \"\"\"The container gets the host's time zone.\"\"\"
        assert steps_of("ocifw_timezone.plugin") == [Bind("/etc/localtime", to="/etc/localtime", read_only=True)]

Nothing here needs root but real containers (`real`). pytest finds the fixtures `plan_of`, `recording_runtime`, `bundles` and
`real_containers` by itself, as soon as ocifw-core is installed.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .bundles import KINDS, config_of
    from .contract import PluginContract
    from .planning import Rejected, linked, plan_of, steps_of
    from .recording import Event, RecordingRuntime

__all__ = [
    "KINDS",
    "Event",
    "PluginContract",
    "RecordingRuntime",
    "Rejected",
    "config_of",
    "linked",
    "plan_of",
    "steps_of",
]

_MODULES = {
    "KINDS": "bundles",
    "Event": "recording",
    "PluginContract": "contract",
    "RecordingRuntime": "recording",
    "Rejected": "planning",
    "config_of": "bundles",
    "linked": "planning",
    "plan_of": "planning",
    "steps_of": "planning",
}


def __getattr__(name: str) -> Any:
    # pytest imports this package in every run on a machine that has ocifw: what nobody asks for must cost nothing.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = __import__(f"{__name__}.{_MODULES[name]}", fromlist=[name])
    return getattr(module, name)
