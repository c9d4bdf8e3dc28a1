"""Landlock rulesets, as plans and in real containers."""

from __future__ import annotations

import ctypes
import json
from typing import ClassVar

import pytest

from ocifw.errors import ConfigError
from ocifw.steps import LoadFilter, RestrictByLandlock
from ocifw.testing import PluginContract, config_of, plan_of, steps_of

PLUGIN = "ocifw_landlock.plugin"


class TestContract(PluginContract):
    """What every plugin of ocifw keeps to."""

    plugin = PLUGIN
    settings: ClassVar = {"read": ["/etc"]}

    def _configs(self):
        return (config for config in super()._configs() if config["process"].get("noNewPrivileges"))


def test_without_settings_nothing_is_planned():
    """A profile without settings for it leaves a container as it is."""
    assert steps_of(PLUGIN) == []


def test_rights():
    """Rights of one path add up; ports and scopes are only handled when they are mentioned."""
    settings = {
        "landlock": {
            "execute": ["/usr"],
            "write": ["/usr"],
            "read": ["/etc"],
            "connect": [443],
            "bind": [],
        }
    }
    assert steps_of(PLUGIN, settings=settings) == [
        RestrictByLandlock(("/etc", "/usr"), (0xC, 0xFFFF), 0xFFFF, 3, (443,), (2,), 0, 1)
    ]


def test_before_the_seccomp_filter():
    """It stands before the filter, which may not know its system calls."""
    config = config_of("plain")
    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["reboot"], "action": "SCMP_ACT_ERRNO"}]}  # fmt: skip
    plan = plan_of(config, [PLUGIN], settings={"landlock": {"read": ["/"]}})
    kinds = [type(step) for step in plan.steps]
    assert kinds.index(RestrictByLandlock) < kinds.index(LoadFilter)


def test_exec_is_restricted_too():
    """A process that is added to the container is restricted the same."""
    config = config_of("plain")
    plan = plan_of(config, [PLUGIN], settings={"landlock": {"read": ["/"]}}, exec=config["process"])
    assert RestrictByLandlock in [type(step) for step in plan.steps]


def test_it_needs_no_new_privileges():
    """The kernel lets only a process that cannot gain privileges restrict itself: said before anything is created."""
    config = config_of("plain")
    config["process"]["noNewPrivileges"] = False
    with pytest.raises(ConfigError, match="process.noNewPrivileges: must be true"):
        plan_of(config, [PLUGIN], settings={"landlock": {"read": ["/"]}})


@pytest.fixture
def run(real_containers, tmp_path):
    """`run(script, **settings)` in a real container."""
    abi = ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    if abi < 1:
        pytest.skip("needs a kernel with Landlock")
    real_containers.set("mine", {"landlock": True})

    def run(script, **settings):
        profile = tmp_path / "profile.yaml"
        profile.write_text(json.dumps({"plugins": {"landlock": settings}}))
        config = config_of("plain")
        config["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"})
        return real_containers.run(script, config, "--set", "mine", "--profile", profile)

    return run


USR = ["/usr", "/bin", "/lib", "/lib64"]


def test_only_what_is_allowed(run):
    """A file that mounts and permissions let be written and read is neither, unless the ruleset allows it."""
    done = run(
        "echo x > /tmp/a && cat /tmp/a; cat /etc/passwd; echo $?",
        execute=USR,
        write=["/tmp", "/dev"],
    )
    assert done.out.startswith("x\n") and done.out.endswith("1\n"), done.err
    assert "/etc/passwd: Permission denied" in done.err
    done = run("echo x > /tmp/a", execute=USR, read=["/tmp"], write=["/dev"])
    assert done.status != 0 and "Permission denied" in done.err


def test_what_may_not_be_executed(run):
    """A program outside of what may be executed cannot be started: run says so."""
    done = run("true", read=["/"])
    assert done.status != 0 and "permission denied" in done.err.lower()


def test_files_and_what_is_not_there(run):
    """A rule may name a file; one for a path that is not there allows nothing, and is no error."""
    done = run("cat /etc/hosts", execute=USR, read=["/etc/hosts", "/absent/path"], write=["/dev"])
    assert (done.status, "localhost" in done.out) == (0, True), done.err


def test_the_abi_must_suffice(run):
    """A kernel whose ABI is too old is refused before the program runs."""
    done = run("true", execute=USR, **{"least-abi": 1000})
    assert done.status != 0
    assert "the kernel's Landlock has ABI" in done.err and "needed is 1000" in done.err
