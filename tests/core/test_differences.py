"""Differences between configs: capabilities and filters in their own terms."""

from __future__ import annotations

import pytest

from ocifw.differences import actions, differences

ALLOW = {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"}
FILTER = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "syscalls": [ALLOW]}


def shown(one, other):
    return [(d.sign, d.path, d.text) for d in differences(one, other)]


def test_nothing():
    """Equal configs have no differences."""
    assert shown({"a": 1}, {"a": 1}) == []


def test_actions():
    """Each system call has what happens to it, conditions included, and the rest the default."""
    conditional = {
        "names": ["socket"],
        "action": "SCMP_ACT_ALLOW",
        "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_NE"}],
    }
    found = actions({**FILTER, "syscalls": [ALLOW, conditional]})
    assert found == {
        "": "ENOSYS",
        "read": "allow",
        "write": "allow",
        "socket": "allow if arg0 != 0x28; else ENOSYS",
    }


def test_seccomp():
    """System calls whose action changes are named, together with those that change alike."""
    other = {
        **FILTER,
        "syscalls": [
            {"names": ["write"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["kill", "tkill"], "action": "SCMP_ACT_ALLOW"},
        ],
    }
    assert shown({"linux": {"seccomp": FILTER}}, {"linux": {"seccomp": other}}) == [
        ("~", "linux.seccomp.syscalls", "ENOSYS → allow: kill, tkill"),
        ("~", "linux.seccomp.syscalls", "allow → ENOSYS: read"),
    ]


def test_another_form_of_the_same_filter():
    """Rules that are written otherwise and do the same are no difference."""
    other = {
        **FILTER,
        "syscalls": [{"names": [name], "action": "SCMP_ACT_ALLOW"} for name in ("write", "read")],
    }
    assert shown({"linux": {"seccomp": FILTER}}, {"linux": {"seccomp": other}}) == []


def test_a_filter_that_comes():
    """Without a filter everything is allowed."""
    assert shown({}, {"linux": {"seccomp": FILTER}})
    assert ("~", "linux.seccomp.defaultAction", "allow → ENOSYS") in shown(
        {"linux": {}}, {"linux": {"seccomp": FILTER}}
    )


def test_capabilities():
    """Sets that change alike are named together."""
    one = {"process": {"capabilities": {"bounding": ["A", "B"], "effective": ["A", "B"]}}}
    other = {"process": {"capabilities": {"bounding": ["A"], "effective": ["A", "C"]}}}
    assert shown(one, other) == [
        ("-", "process.capabilities.bounding/effective", "B"),
        ("+", "process.capabilities.effective", "C"),
    ]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (
            {"mounts": [{"destination": "/a", "options": ["ro"]}, {"destination": "/b"}]},
            {"mounts": [{"destination": "/b"}, {"destination": "/a/", "options": ["rw"]}]},
            ("~", "mounts[/a].options", '["ro"] → ["rw"]'),
        ),
        (
            {"process": {"env": ["A=1"]}},
            {"process": {"env": ["A=2"]}},
            ("~", "process.env[A]", '"A=1" → "A=2"'),
        ),
        (
            {"linux": {"namespaces": [{"type": "pid"}]}},
            {"linux": {"namespaces": [{"type": "pid"}, {"type": "user"}]}},
            ("+", "linux.namespaces[user]", '{"type":"user"}'),
        ),
        (
            {"linux": {"maskedPaths": ["/x", "/y"]}},
            {"linux": {"maskedPaths": ["/y", "/z"]}},
            ("-", "linux.maskedPaths", "/x"),
        ),
        ({"hostname": "a"}, {}, ("-", "hostname", '"a"')),
        ({}, {"linux": {"resources": {"pids": {"limit": 1}}}}, ("+", "linux.resources.pids.limit", "1")),
    ],
)  # fmt: skip
def test_members(one, other, expected):
    """Lists with a natural key differ by it, sets by their members, values by value."""
    assert expected in shown(one, other)
