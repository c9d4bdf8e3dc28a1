"""The profiles that ocifw ships: what they come to over real engines' configs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ocifw import plugins, profile, profile_files
from ocifw.context import Globals, Host, Request
from ocifw.errors import OcifwError
from ocifw.layers import CAPABILITY_SETS
from ocifw.plan import make_plan
from ocifw.policy import PolicyError, check_create, check_exec
from ocifw.profile import Roots
from ocifw.seccomp_form import PERMISSIVE

ENGINES = Path(__file__).parent / "engines"
NAMES = ("ci", "default", "hardened", "legacy-docker", "rootless")
CONFIGS = sorted(ENGINES.glob("*.config.json"))
ROOTS = Roots(cached=False)
REQUEST = Request("create", "c", "/bundle", "/bundle/rootfs", "/run/ocifw/c")


def read(name):
    return json.loads((ENGINES / f"{name}.config.json").read_text())


@pytest.fixture
def planned(tmp_path):
    """Makes a plan with what a profile made, for a root filesystem that is there."""

    def plan(made_or_config):
        active, config = plugins.load(), made_or_config
        if isinstance(made_or_config, profile.Effective):
            active = active.limited(made_or_config.settings, made_or_config.disabled)
            config = made_or_config.config
        config = {**config, "root": {**config["root"], "path": str(tmp_path)}}
        request = REQUEST.changed(rootfs=str(tmp_path))
        return make_plan(active, config, request, Host())

    return plan


def lay(name, config, rootless=False, sets=()):
    return profile.effective(
        Globals("/r", profiles=(name,), sets=sets),
        config,
        REQUEST.changed(rootless=rootless),
        Host(),
        plugins.load(),
        ROOTS,
    )


def test_all_are_there():
    """The shipped profiles can be named, and each says what it is for."""
    found = {
        one.name for one in profile_files.available(ROOTS) if one.file.startswith(profile.SHIPPED)
    }
    assert found == set(NAMES)
    for name in NAMES:
        assert profile.load((name,), plugins.load(), "", ROOTS)["layers"][-1]["description"]


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_has_its_reason(name):
    """Beside each part of a shipped profile stands a comment; rules have a reason of their own."""
    text = (Path(profile.SHIPPED) / f"{name}.yaml").read_text()
    assert text.startswith("# ")
    if name != "default":
        assert "# Source" in text and text.count("#") > 5


def names(seccomp):
    """System calls that a filter lets through in some case."""
    if not seccomp:
        return None
    found = {
        n for call in seccomp["syscalls"] if call["action"] in PERMISSIVE for n in call["names"]
    }
    return found if seccomp["defaultAction"] not in PERMISSIVE else None


@pytest.mark.parametrize("file", CONFIGS, ids=lambda path: path.stem)
def test_hardened_only_tightens(file):
    """Over every engine's config: no capability, system call, path or limit more than before; nothing masked is shown."""
    config = json.loads(file.read_text())
    made = lay("hardened", config).config
    assert made["process"]["noNewPrivileges"] is True
    old, new = (c["process"].get("capabilities") or {} for c in (config, made))
    for kind in CAPABILITY_SETS:
        assert set(new.get(kind) or ()) <= set(old.get(kind) or ())
    before, after = names(config["linux"].get("seccomp")), names(made["linux"]["seccomp"])
    assert after is not None and (before is None or after <= before)
    assert not after & {
        "mount",
        "unshare",
        "setns",
        "bpf",
        "keyctl",
        "ptrace",
        "userfaultfd",
        "open_by_handle_at",
    }
    for paths in ("maskedPaths", "readonlyPaths"):
        assert set(config["linux"].get(paths) or ()) <= set(made["linux"][paths])
        assert {"maskedPaths": "/proc/kallsyms", "readonlyPaths": "/proc/sys"}[paths] in made[
            "linux"
        ][paths]
    limit = ((config["linux"].get("resources") or {}).get("pids") or {}).get("limit") or 0
    assert made["linux"]["resources"]["pids"]["limit"] == (limit if 0 < limit < 512 else 512)
    untouched = set(config) - {"process", "linux"}
    assert all(made[key] == config[key] for key in untouched)
    assert made["process"]["args"] == config["process"]["args"]


def test_hardened_is_enforced(planned):
    """What a later layer, config.json or the caller loosens is refused, with the rule's reason."""
    config = read("docker-28.5-v2-default")
    for sets, reason in [
        (("process.capabilities.add=[\"CAP_SYS_ADMIN\"]",), "with CAP_SYS_ADMIN a container can mount"),
        (("process.noNewPrivileges=false",), "must not give privileges"),
        (("linux.seccomp=null",), "offers the whole kernel"),
        (("linux.namespaces[pid]=null",), "with the host's processes in sight"),
        (('mounts+={"destination":"/s","type":"bind","source":"/run/docker.sock","options":["bind"]}',), "engine's socket"),
    ]:  # fmt: skip
        made = lay("hardened", config, sets=sets)
        plan = planned(made)
        with pytest.raises(PolicyError) as caught:
            check_create(made.policy, made.config, plan)
        assert reason in str(caught.value) and "hardened.yaml:" in str(caught.value)


def test_hardened_exec():
    """An engine's exec gets what the container has; what was asked for beyond it is refused."""
    config = read("docker-28.5-v2-default")
    made = lay("hardened", config)
    stored = profile.stored(
        json.loads(json.dumps({"config": made.config, "profile": made.document()}))
    )
    process = {**config["process"], "args": ["ps"]}
    fitted = profile.tightened(stored, process)
    assert fitted["capabilities"] == made.config["process"]["capabilities"]

    class NoPlan:
        steps = ()

    check_exec(stored.policy, made.config, fitted, NoPlan())
    with pytest.raises(PolicyError) as caught:
        check_exec(stored.policy, made.config, process, NoPlan())
    assert "exec.capabilities has CAP_" in str(caught.value)


def test_rootless_is_for_users_only():
    """For root the profile has no say; for a user it adds a user namespace in which the caller is root."""
    config = read("umoci-0.4-rootless-bundle")
    namespaces = [n for n in config["linux"]["namespaces"] if n["type"] != "user"]
    plain = {**config, "linux": {**config["linux"], "namespaces": namespaces}}
    for name in ("uidMappings", "gidMappings"):
        plain["linux"].pop(name, None)
    assert lay("rootless", plain).config == plain
    made = lay("rootless", plain, rootless=True).config["linux"]
    assert {"type": "user"} in made["namespaces"] and "resources" not in made
    assert made["uidMappings"] == [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
    assert (
        lay("rootless", config, rootless=True).config["linux"]["uidMappings"]
        == config["linux"]["uidMappings"]
    )


def test_legacy_docker_is_dockers():
    """Over a bare bundle it gives what Docker 20.10 gives: capabilities, mounts, paths and namespaces."""
    docker = read("docker-20.10-v1-net-bridge")
    bare = {
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "process": {
            "user": {"uid": 0, "gid": 0},
            "cwd": "/",
            "args": ["sh"],
            "noNewPrivileges": True,
        },
    }
    made = lay("legacy-docker", bare).config
    assert made["process"]["capabilities"] == docker["process"]["capabilities"]
    assert not made["process"]["noNewPrivileges"]
    for name in ("maskedPaths", "readonlyPaths", "sysctl"):
        assert made["linux"][name] == docker["linux"][name]
    wanted = {mount["destination"]: mount for mount in docker["mounts"] if mount["type"] != "bind"}
    wanted.pop("/sys/fs/cgroup", None)
    assert {mount["destination"]: mount for mount in made["mounts"]} == wanted
    assert {n["type"] for n in made["linux"]["namespaces"]} == {
        n["type"] for n in docker["linux"]["namespaces"]
    }


@pytest.mark.parametrize("file", CONFIGS, ids=lambda path: path.stem)
@pytest.mark.parametrize("name", [name for name in NAMES if name != "rootless"])
def test_all_lie_over_engines_configs(name, file, planned):
    """No shipped profile makes an engine's config invalid; a plan that could be made can still be made."""
    config = json.loads(file.read_text())
    made = lay(name, config)
    try:
        planned(config)
    except OcifwError:
        return
    planned(made)
