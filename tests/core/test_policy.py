"""Policy: what rules mean, at create, exec and update, and that a rule that could never bite is refused."""

from __future__ import annotations

import json

import pytest

from ocifw import phases, policy
from ocifw.context import Request
from ocifw.plan import Plan
from ocifw.policy import PolicyError, check_create, check_exec, check_update, glob_match
from ocifw.profile_policy import Wrong, compile_rules
from ocifw.steps import Bind, Execute

CONFIG = {
    "process": {
        "user": {"gid": 0},
        "args": ["sh"],
        "env": ["A=1", "SECRET=x", "A=2"],
        "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"]},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20}],
    },
    "mounts": [
        {"destination": "/proc", "type": "proc"},
        {
            "destination": "/data/",
            "type": "bind",
            "source": "/var/run/docker.sock",
            "options": ["ro"],
        },
    ],
    "annotations": {"com.example/team": "a"},
    "linux": {
        "namespaces": [{"type": "pid"}],
        "maskedPaths": ["/proc/kcore"],
        "resources": {"pids": {"limit": 100}, "memory": {"limit": -1}},
        "seccomp": {"defaultAction": "SCMP_ACT_ALLOW"},
    },
}


def plan():
    step = Bind("/src", "/dst")
    step.stamp("mounts", "rootfs")
    done = Execute(("sh",), ())
    done.stamp("core", "seal")
    request = Request("create", "c", "/b", "/r", "/s")
    return Plan(request, CONFIG, [(phases.ROOTFS, [step]), (phases.SEAL, [done])])


def rules(*entries):
    rows = [
        row
        for number, entry in enumerate(entries, 1)
        for row in compile_rules({"reason": "because", **entry}, "site", "site.yaml", (number, 5))
    ]
    # As they come out of a state.
    return policy.rules(json.loads(json.dumps(rows)))


def broken(*entries):
    """Whether each rule is broken by CONFIG."""
    found = []
    for rule in rules(*entries):
        try:
            check_create([rule], CONFIG, plan())
            found.append(False)
        except PolicyError:
            found.append(True)
    return found


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("process.capabilities contains CAP_KILL", True),
        ("process.capabilities contains CAP_CHOWN", False),
        ("process.capabilities.effective contains CAP_KILL", True),
        ("process.user.uid is 0", True),
        ("process.user.uid is 1", False),
        ("process.noNewPrivileges is false", True),
        ("process.noNewPrivileges is true", False),
        ("process.env[A] is 2", True),
        ("process.env[A] is 1", False),
        ("process.env[B] exists", False),
        ("process.env contains A=1", True),
        ("process.rlimits[RLIMIT_NOFILE].hard above 19", True),
        ("process.rlimits[RLIMIT_CORE] exists", False),
        ("linux.namespaces[pid] exists", True),
        ("linux.namespaces[user] exists", False),
        ("linux.namespaces.type is pid", True),
        ("linux.maskedPaths contains /proc/kcore", True),
        ("linux.seccomp exists", True),
        ("linux.seccomp.defaultAction is SCMP_ACT_ALLOW", True),
        ("linux.sysctl exists", False),
        ("mounts.source matches */docker.sock", True),
        ("mounts.type is bind", True),
        ("mounts[/data].options contains ro", True),
        ("annotations[com.example/team] is a", True),
        ("annotations contains com.example/team", True),
        ("plan.steps contains Bind", True),
        ("plan.steps contains LoadFilter", False),
        ("plan.plugins contains mounts", True),
        ("plan.step.Bind.source matches /s*", True),
        ("process.capabilities.effective beyond process.capabilities.bounding", False),
        ("process.capabilities beyond process.capabilities.ambient", True),
    ],
)
def test_conditions(text, holds):
    """deny is broken where the condition holds, require where it does not."""
    if "mounts.type is" in text or "mounts.source" in text:
        # require wants all of them so.
        assert broken({"deny": text}) == [holds]
        return
    assert broken({"deny": text}, {"require": text}) == [holds, not holds]


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ({"linux.resources.pids.limit": 100}, False),
        ({"linux.resources.pids.limit": 99}, True),
        ({"linux.resources.memory.limit": "1G"}, True),
        ({"linux.resources.cpu.quota": 1000}, True),
        ({"process.rlimits[RLIMIT_NOFILE].hard": "1K"}, False),
        ({"process.rlimits[RLIMIT_CORE].hard": 0}, True),
    ],
)
def test_limits(limit, expected):
    """A limit is broken by what is greater, by -1, and by what is not set, which are no limits."""
    assert broken({"limit": limit}) == [expected]


def test_all_violations_at_once():
    """The error names each rule, its place, the reason and what was found."""
    with pytest.raises(PolicyError) as caught:
        check_create(
            rules(
                {"deny": "process.capabilities contains CAP_KILL"},
                {"limit": {"linux.resources.memory.limit": "64M"}, "reason": "memory is small"},
                {"require": "linux.namespaces[user] exists"},
            ),
            CONFIG,
            plan(),
        )
    assert str(caught.value) == (
        "policy: site.yaml:1:5: deny process.capabilities contains CAP_KILL: because"
        " (process.capabilities.bounding, process.capabilities.effective has it)"
        "; site.yaml:2:5: limit linux.resources.memory.limit: 64M: memory is small"
        " (linux.resources.memory.limit is -1)"
        "; site.yaml:3:5: require linux.namespaces[user] exists: because (linux.namespaces[user] is not set)"
    )


def test_a_rule_with_a_name():
    """The name of a rule, by which a profile can remove it, stands before its text."""
    with pytest.raises(PolicyError) as caught:
        check_create(rules({"deny": "process.user.uid is 0", "name": "no-root"}), CONFIG, plan())
    assert str(caught.value) == (
        "policy: site.yaml:1:5: no-root: deny process.user.uid is 0: because (process.user.uid is 0)"
    )


def test_secrets_are_not_shown():
    """A value of the environment may be a secret, and is in no error."""
    with pytest.raises(PolicyError) as caught:
        check_create(rules({"deny": "process.env[SECRET] exists"}), CONFIG, plan())
    assert "process.env[SECRET] is another value" in str(caught.value)


def test_exec():
    """Rules about processes hold for those that exec adds; those under exec for them alone."""
    process = {
        "user": {"uid": 0, "gid": 0},
        "noNewPrivileges": True,
        "capabilities": {"bounding": ["CAP_KILL", "CAP_CHOWN"]},
    }
    for entry, expected in [
        ({"deny": "exec.user.uid is 0"}, True),
        ({"deny": "process.user.uid is 0"}, True),
        ({"require": "process.noNewPrivileges is true"}, False),
        ({"deny": "exec.capabilities beyond container.process.capabilities"}, True),
        ({"deny": "exec.capabilities.bounding beyond container.process.capabilities"}, True),
        ({"deny": "container.mounts.type is bind"}, True),
        ({"deny": "mounts.type is bind"}, False),
        ({"deny": "plan.steps contains Bind"}, True),
        ({"require": "plan.steps contains LoadFilter"}, False),
    ]:
        if expected:
            with pytest.raises(PolicyError):
                check_exec(rules(entry), CONFIG, process, plan())
        else:
            check_exec(rules(entry), CONFIG, process, plan())
    check_create(rules({"deny": "exec.user.uid is 0"}), CONFIG, plan())


def test_update():
    """Rules about limits hold after an update; those under update for what it names."""
    resources = {"pids": {"limit": 500}}
    config = {**CONFIG, "linux": {"resources": resources}}
    for entry, expected in [
        ({"limit": {"linux.resources.pids.limit": 499}}, True),
        ({"limit": {"linux.resources.pids.limit": 500}}, False),
        ({"limit": {"update.pids.limit": 499}}, True),
        ({"limit": {"update.memory.limit": 1}}, False),
        ({"deny": "update.memory exists"}, False),
        ({"deny": "update.pids exists"}, True),
        ({"deny": "mounts.type is bind"}, False),
    ]:
        if expected:
            with pytest.raises(PolicyError):
                check_update(rules(entry), config, resources)
        else:
            check_update(rules(entry), config, resources)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"deny": "process.capabilties contains X"}, "did you mean capabilities?"),
        ({"deny": "process.user.uid is root"}, "root is not a number"),
        ({"deny": "foo exists"}, "'foo' is not a property of config.json"),
        ({"deny": "process.user.uid contain 0"}, "did you mean contains?"),
        ({"deny": "process.user.uid"}, "is not an operator"),
        ({"deny": ""}, "is not an operator"),
        ({"deny": "mounts contains x"}, "the members of mounts are objects"),
        ({"deny": "process.noNewPrivileges is yes"}, "is true or false, and never yes"),
        ({"deny": "process.noNewPrivileges contains x"}, "contains never holds for it"),
        ({"deny": "process.args above 3"}, "above never holds for it"),
        ({"deny": "linux.resources.pids.limit above 3"}, "use limit"),
        ({"deny": "plan.steps contains LoadFiltr"}, "did you mean LoadFilter?"),
        ({"deny": "plan.step.Bind.sorce exists"}, "did you mean source?"),
        ({"deny": "plan.step.Bnd.source exists"}, "did you mean Bind?"),
        ({"deny": "plan.nothing exists"}, "of a plan there are"),
        ({"deny": "process.capabilities contains sys_admin"}, "is not the name of a capability"),
        ({"deny": "linux.namespaces[usr exists"}, "expected a key in brackets"),
        ({"deny": "linux.maskedPaths[a] exists"}, "have no key"),
        ({"deny": "linux.namespaces.type is usr"}, "is never usr: it is one of pid"),
        ({"deny": "process.user. is 0"}, "has an empty name"),
        ({"deny": "process exists now"}, "exists takes no value"),
        ({"deny": "process.user.uid is"}, "is takes a value"),
        ({"deny": "exec exists"}, "names no property"),
        ({"deny": "process.env beyond process.cwd"}, "process.cwd is a text, and has no members"),
        ({"limit": {"process.cwd": 1}}, "process.cwd is a text, and has no limit"),
        ({"limit": {"linux.resources.pids.limit": "many"}}, "many is not a number"),
        ({"deny": "process exists", "limit": {}}, "exactly one of deny, require and limit"),
        ({}, "exactly one of deny, require and limit"),
    ],
)
def test_rules_that_cannot_bite(entry, message):
    """An unknown path, a wrong type or an impossible value is an error when the profile is read, not a rule that is passed."""
    with pytest.raises(Wrong) as caught:
        compile_rules({"reason": "r", **entry}, "l", "f", (1, 1))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("*", "", True), ("*", "a/b", True), ("a*", "abc", True), ("a*c", "abbc", True), ("a*c", "abcd", False),
        ("?", "a", True), ("?", "", False), ("a?c", "abc", True), ("*a*b", "xaxbxb", True), ("a", "ab", False),
        ("", "", True), ("", "a", False), ("**", "abc", True), ("*" * 30 + "b", "a" * 200, False),
    ],
)  # fmt: skip
def test_globs(pattern, text, expected):
    """`*` is any text and `?` one character, in time that does not explode."""
    assert glob_match(pattern, text) is expected
