"""The hooks of ocifw-capabilities.

Always asked: as in runc, a process without `capabilities` has none.
"""

from __future__ import annotations

from ocifw import hookimpl
from ocifw.steps import DropBoundingSet, KeepCapabilities, SetAmbient, SetCapabilities

from .sets import NAMES, wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    from ocifw.context import Host
    from ocifw.steps import ContainerStep

    Answers = list[list[ContainerStep]]

owns = ("process.capabilities",)
always = True


@hookimpl(wrapper=True)
def ocifw_credentials(config: dict[str, Any], host: Host) -> Generator[None, Answers, Answers]:
    answers = yield
    sets = wanted(config, host)
    at = "process.capabilities"
    # The bounding set can only be dropped with CAP_SETPCAP, which setuid(2) to another user takes; the others can only
    # be set after it, from what KeepCapabilities kept.
    before: list[ContainerStep] = [
        DropBoundingSet(sets.bounding, at=f"{at}.bounding"),
        KeepCapabilities(True, at=at),
    ]
    after: list[ContainerStep] = [
        KeepCapabilities(False, at=at),
        SetCapabilities(sets.effective, sets.permitted, sets.inheritable, at=at),
    ]
    if sets.ambient:
        after.append(SetAmbient(sets.ambient, at=f"{at}.ambient"))
    return [before, *answers, after]


@hookimpl
def ocifw_features() -> dict[str, Any]:
    return {"linux": {"capabilities": list(NAMES)}}
