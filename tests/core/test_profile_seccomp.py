"""Seccomp in profiles: Docker's form resolved as Docker does, and what base, deny and allow come to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ocifw import profile, profile_check
from ocifw.context import Globals, Host, Request
from ocifw.errors import ConfigError
from ocifw.plugins import PluginSet
from ocifw.profile import Roots
from ocifw.seccomp_form import build, changed, resolve

ENGINES = Path(__file__).parent / "engines"
BASE = json.loads((Path(profile.SHIPPED) / "seccomp" / "docker-default.json").read_text())
CAPTURED = json.loads((ENGINES / "docker-28.5-v2-default.config.json").read_text())
BOUNDING = CAPTURED["process"]["capabilities"]["bounding"]
LATE = (6, 0)


def normal(seccomp):
    """A filter in which the order of names says nothing."""
    calls = [{**call, "names": sorted(call["names"])} for call in seccomp["syscalls"]]
    return {**seccomp, "syscalls": calls}


def allowed(seccomp):
    """The system calls that are let through whatever their arguments are."""
    names = set()
    for call in seccomp["syscalls"]:
        if call["action"] == "SCMP_ACT_ALLOW" and not call.get("args"):
            names |= set(call["names"])
    return names


def test_docker_default_is_dockers():
    """Resolved for the capabilities of a captured config.json of Docker, the base is the filter that stands there."""
    assert normal(resolve(BASE, BOUNDING, "x86_64", LATE)) == normal(CAPTURED["linux"]["seccomp"])


@pytest.mark.parametrize(
    ("capabilities", "machine", "kernel", "more", "less"),
    [
        (["CAP_SYS_ADMIN"], "x86_64", LATE, {"mount", "clone", "clone3", "setns"}, {"chroot"}),
        (["CAP_SYS_CHROOT"], "x86_64", LATE, {"chroot", "ptrace"}, {"mount", "clone"}),
        ([], "x86_64", (4, 7), {"arch_prctl", "modify_ldt"}, {"ptrace", "set_tls"}),
        (["CAP_SYS_PTRACE"], "x86_64", (4, 7), {"ptrace", "kcmp"}, set()),
        ([], "aarch64", LATE, {"set_tls", "breakpoint"}, {"arch_prctl", "modify_ldt"}),
        ([], "s390x", LATE, {"s390_runtime_instr"}, {"arch_prctl"}),
    ],
)
def test_conditions_of_rules(capabilities, machine, kernel, more, less):
    """Rules count by capability, architecture and kernel."""
    found = allowed(resolve(BASE, capabilities, machine, kernel))
    assert more <= found and not less & found


def test_architectures():
    """archMap gives the machine's own architecture and those that it can run."""
    assert resolve(BASE, [], "aarch64", LATE)["architectures"] == [
        "SCMP_ARCH_AARCH64",
        "SCMP_ARCH_ARM",
    ]
    assert "architectures" not in resolve(BASE, [], "unknown", LATE)
    clone = [
        call for call in resolve(BASE, [], "s390x", LATE)["syscalls"] if call["names"] == ["clone"]
    ]
    assert [call["args"][0]["index"] for call in clone] == [1]


STRICT = {
    "defaultAction": "SCMP_ACT_KILL_PROCESS",
    "syscalls": [
        {"names": ["read", "write", "clone"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
    ],
}
LOOSE = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [
        {"names": ["mount"], "action": "SCMP_ACT_KILL_PROCESS"},
        {"names": ["clone"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
    ],
}  # fmt: skip


def test_deny_never_loosens():
    """A call that is denied falls to what refuses; what refuses already, by killing or with an errno, stays as it is."""
    assert changed(STRICT, [("deny", ["write", "mount", "other"], None)])["syscalls"] == [
        {"names": ["read", "clone"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
    ]
    assert changed(LOOSE, [("deny", ["mount", "clone", "read"], None)])["syscalls"] == [
        {"names": ["mount"], "action": "SCMP_ACT_KILL_PROCESS"},
        {"names": ["clone", "read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
    ]


def test_allow():
    """A call that is allowed is not refused any more; with args only when they hold."""
    args = [{"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]
    made = changed(STRICT, [("allow", ["mount"], None), ("allow", ["clone"], args)])
    assert made["syscalls"] == [
        {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["mount"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": args},
    ]
    assert changed(LOOSE, [("allow", ["mount"], None)])["syscalls"] == LOOSE["syscalls"][1:]


def test_bases():
    """Of several bases the first that there is counts; denying without a filter makes one that allows the rest."""
    both = [("keep", "keep"), ("docker-default", BASE)]
    assert build([(both, [])], LOOSE, [], "x86_64", LATE) is LOOSE
    assert build([(both, [])], None, [], "x86_64", LATE)["defaultAction"] == "SCMP_ACT_ERRNO"
    assert build([([("keep", "keep")], [])], None, [], "x86_64", LATE) is None
    assert build([(None, [("allow", ["mount"], None)])], None, [], "x86_64", LATE) is None
    assert build([(None, [("deny", ["mount"], None)])], None, [], "x86_64", LATE) == {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
    }


# ---- in profiles -------------------------------------------------------------------------------------------------


@pytest.fixture
def lay(tmp_path):
    """Lays profiles, each the text of a `config`, over a config with these capabilities and filter."""

    def laid(*texts, capabilities=(), seccomp=None):
        files = []
        for number, text in enumerate(texts):
            path = tmp_path / f"{number}.yaml"
            path.write_text(text)
            path.chmod(0o644)
            files.append(str(path))
        config = {
            "ociVersion": "1.3.0",
            "root": {"path": "r"},
            "process": {
                "user": {"uid": 0, "gid": 0},
                "cwd": "/",
                "args": ["sh"],
                "capabilities": {"bounding": list(capabilities)},
            },
            "linux": {"seccomp": seccomp} if seccomp else {},
        }
        import os

        return profile.effective(
            Globals("/r", profiles=tuple(files)),
            config,
            Request("create", "c", "/bundle", "/r", "/s"),
            Host({}, euid=0),
            PluginSet([], {}, frozenset()),
            Roots(owners=(0, os.geteuid()), cached=False, settings=str(tmp_path / "none")),
        )

    return laid


DOCKER = "config: {linux: {seccomp: {base: docker-default}}}"


def test_conditions_see_the_final_capabilities(lay):
    """A later layer that drops a capability takes the system calls away that it would have let in."""
    drop = "config: {process: {capabilities: {drop: [CAP_SYS_ADMIN]}}}"
    given = ["CAP_SYS_ADMIN", "CAP_SYS_CHROOT"]
    assert "mount" in allowed(lay(DOCKER, capabilities=given).config["linux"]["seccomp"])
    found = allowed(lay(DOCKER, drop, capabilities=given).config["linux"]["seccomp"])
    assert "mount" not in found and "chroot" in found


def test_layers_add_up(lay, tmp_path):
    """Each layer changes what those before it made, and is the origin of what it changed."""
    made = lay(
        DOCKER,
        "config: {linux: {seccomp: {deny: [chmod, chown]}}}",
        "config: {linux: {seccomp: {allow: [chown]}}}",
    )
    found = allowed(made.config["linux"]["seccomp"])
    assert "chown" in found and "chmod" not in found and "read" in found
    assert [change.origin.layer for change in made.changes] == ["0", "1", "2"]
    assert made.origin_of(("linux", "seccomp")).layer == "2"


def test_the_specs_form_replaces(lay):
    """Without base, deny and allow it is a filter of its own; later changes are to that; null takes it away."""
    own = "config: {linux: {seccomp: {defaultAction: SCMP_ACT_ERRNO, syscalls: [{names: [read], action: SCMP_ACT_ALLOW}]}}}"
    made = lay(DOCKER, own, "config: {linux: {seccomp: {allow: [write]}}}", seccomp=LOOSE)
    assert allowed(made.config["linux"]["seccomp"]) == {"read", "write"}
    assert (
        "seccomp"
        not in lay(DOCKER, "config: {linux: {seccomp: null}}", seccomp=LOOSE).config["linux"]
    )
    again = lay("config: {linux: null}", DOCKER, seccomp=LOOSE).config["linux"]["seccomp"]
    assert again["defaultAction"] == "SCMP_ACT_ERRNO"


def test_base_by_path(lay, tmp_path):
    """A file in the spec's or Docker's form, beside the profile; it must be trusted, and be what it should."""
    file = tmp_path / "own.json"
    text = "config: {linux: {seccomp: {base: ./own.json}}}"
    file.write_text(json.dumps({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"name": "read", "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "3.0"}},
        {"names": ["write"], "action": "SCMP_ACT_ALLOW", "excludes": {"minKernel": "3.0"}}]}))  # fmt: skip
    assert allowed(lay(text).config["linux"]["seccomp"]) == {"read"}
    file.chmod(0o666)
    with pytest.raises(
        ConfigError, match="own.json: is not trusted: .*own.json is writable by others"
    ):
        lay(text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "own.json:1:2: not JSON"),
        ("[]", "own.json: must be a mapping, not a list"),
        ("{}", "own.json: lacks defaultAction"),
        ('{"defaultAction": "A", "syscalls": [{"names": ["a"]}]}', "syscalls[0]: lacks action"),
        ('{"defaultAction": "A", "syscalls": [{"names": ["a"], "action": "A", "includes": {"cap": []}}]}', "cap"),
        ('{"defaultAction": "A", "syscalls": [{"names": ["a"], "action": "A", "includes": {"minKernel": "x"}}]}', "minKernel"),
    ],
)  # fmt: skip
def test_wrong_bases(lay, tmp_path, content, message):
    """A base that is not understood as a whole is refused: what restricts a rule must not be passed over."""
    (tmp_path / "own.json").write_text(content)
    with pytest.raises(ConfigError) as caught:
        lay("config: {linux: {seccomp: {base: ./own.json}}}")
    assert message in str(caught.value)


def test_no_base_is_there(lay):
    """`base: keep` alone asks for nothing when config.json has no filter."""
    assert "seccomp" not in lay("config: {linux: {seccomp: {base: keep}}}").config["linux"]
    assert profile_check.seccomp_problems(BASE, "x") == []
