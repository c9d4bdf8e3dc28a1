"""The plans of ocifw-capabilities, compared as values."""

from __future__ import annotations

import pytest

from ocifw.steps import DropBoundingSet, KeepCapabilities, SetAmbient, SetCapabilities, SetUid
from ocifw_capabilities import plugin
from ocifw_capabilities.sets import BITS, NAMES, Sets, wanted

KILL, CHOWN, ADMIN = BITS["CAP_KILL"], BITS["CAP_CHOWN"], BITS["CAP_SYS_ADMIN"]
KERNEL = {
    "/proc/sys/kernel/cap_last_cap": b"40\n",
    "/proc/self/status": b"CapBnd:\t000001ffffffffff\n",
}
KINDS = ("bounding", "effective", "permitted", "inheritable", "ambient")


def capabilities(*kinds, names=("CAP_KILL",), **others):
    return {"process": {"capabilities": {**{kind: list(names) for kind in kinds}, **others}}}


def wrapped(config, host, *answers):
    """What the wrapper of ocifw_credentials makes of the others' answers."""
    generator = plugin.ocifw_credentials(config, host)
    next(generator)
    with pytest.raises(StopIteration) as stop:
        generator.send(list(answers))
    return stop.value.value


def test_both_sides_of_setuid(machine):
    """The bounding set is dropped before setuid(2), the other sets are set after it."""
    assert wrapped(capabilities(*KINDS), machine(KERNEL), [SetUid(5)]) == [
        [DropBoundingSet(KILL), KeepCapabilities(True)],
        [SetUid(5)],
        [KeepCapabilities(False), SetCapabilities(KILL, KILL, KILL), SetAmbient(KILL)],
    ]


@pytest.mark.parametrize("config", [{}, {"process": {}}, {"process": {"capabilities": {}}}])
def test_without_capabilities_there_are_none(machine, config):
    """A process without capabilities, or with an empty object, has none, as in runc."""
    host = machine(KERNEL)
    assert wrapped(config, host) == [
        [DropBoundingSet(0), KeepCapabilities(True)],
        [KeepCapabilities(False), SetCapabilities(0, 0, 0)],
    ]
    assert host.warnings == []


def test_unknown_names_are_one_warning(machine):
    """Names that nobody knows, or only newer kernels, are ignored with one sorted warning."""
    host = machine({**KERNEL, "/proc/sys/kernel/cap_last_cap": b"37\n"})
    names = ["CAP_NOPE", "CAP_KILL", "CAP_BPF", "cap_chown"]
    config = capabilities("bounding", "permitted", names=names)
    assert wanted(config, host) == Sets(KILL, 0, KILL)
    assert host.warnings == [
        "ignoring unknown or unavailable capabilities: [CAP_BPF CAP_NOPE cap_chown]"
    ]


def test_what_the_runtime_lacks_is_dropped(machine):
    """Capabilities that the runtime does not have are dropped with a warning; in a user namespace all are there."""
    config = capabilities(*KINDS[:3], names=("CAP_KILL", "CAP_CHOWN"))
    poor = {**KERNEL, "/proc/self/status": b"CapAmb:\t0\nCapBnd:\t%x\n" % KILL}
    host = machine(poor)
    assert wanted(config, host) == Sets(KILL, KILL, KILL)
    assert host.warnings == [
        "ignoring capabilities that the runtime itself does not have: [CAP_CHOWN]"
    ]
    host = machine(poor)
    config["linux"] = {"namespaces": [{"type": "user"}]}
    assert wanted(config, host) == Sets(*[KILL | CHOWN] * 3)
    assert host.warnings == []


def test_what_the_kernel_would_refuse(machine):
    """Effective without permitted, and inheritable outside the bounding set, cannot be granted: dropped with a warning."""
    host = machine(KERNEL)
    config = capabilities(
        "effective", "inheritable", permitted=["CAP_CHOWN"], bounding=["CAP_CHOWN"]
    )
    assert wanted(config, host) == Sets(CHOWN, 0, CHOWN)
    assert host.warnings == [
        "ignoring capabilities that are effective but not permitted: [CAP_KILL]",
        "ignoring capabilities that are inheritable but not in the bounding set: [CAP_KILL]",
    ]


def test_ambient_needs_inheritable(machine):
    """An ambient set without an inheritable one, which buildah writes, has no effect, silently."""
    host = machine(KERNEL)
    assert wanted(capabilities("bounding", "effective", "permitted", "ambient"), host) == Sets(
        KILL, KILL, KILL
    )
    assert host.warnings == []


def test_the_table_is_the_kernels():
    """Names stand at their numbers in linux/capability.h."""
    numbers = {"CAP_CHOWN": 0, "CAP_KILL": 5, "CAP_SYS_ADMIN": 21, "CAP_SETFCAP": 31, "CAP_BPF": 39}
    assert {name: NAMES.index(name) for name in numbers} == numbers
    assert (len(NAMES), NAMES[-1], BITS["CAP_SYS_ADMIN"]) == (41, "CAP_CHECKPOINT_RESTORE", ADMIN)
    assert plugin.ocifw_features() == {"linux": {"capabilities": list(NAMES)}}
