"""Hooks for all containers, as layers and in a real container."""

from __future__ import annotations

import json
import os

import pytest

from ocifw.context import Host
from ocifw.errors import OcifwError
from ocifw.testing import PluginContract, config_of
from ocifw_hooks_d.folders import patches


class TestContract(PluginContract):
    """What every plugin of ocifw keeps to."""

    plugin = "ocifw_hooks_d.plugin"


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "hooks.d"
    folder.mkdir()
    return folder


def write(folder, name, when, stages=("createRuntime",), **changes):
    entry = {
        "version": "1.0.0",
        "hook": {"path": f"/{name}"},
        "when": when,
        "stages": list(stages),
        **changes,
    }
    (folder / f"{name}.json").write_text(json.dumps(entry))


def hooks(folders, config=None, host=None):
    """Stage and path of each hook, in order."""
    found = patches(
        [str(folder) for folder in folders], config or config_of("plain"), host or Host()
    )
    return [(stage, entry["path"]) for patch in found for stage, (entry,) in patch["hooks"].items()]


@pytest.mark.parametrize(
    ("when", "applies"),
    [
        ({"always": True}, True),
        ({"always": False}, False),
        ({}, False),
        ({"commands": ["^sh$"]}, True),
        ({"commands": ["^bash$"]}, False),
        ({"annotations": {"^a\\.b$": "^x"}}, True),
        ({"annotations": {"^a\\.b$": "^y"}}, False),
        ({"annotations": {"^a\\.b$": "x", "^c$": ".*"}}, False),
        ({"hasBindMounts": True}, False),
        ({"always": True, "commands": ["^bash$"]}, False),
    ],
)
def test_when(folder, when, applies):
    """A hook is for a container when all its conditions hold, and it has one."""
    write(folder, "hook", when)
    config = config_of("plain", annotations={"a.b": "xyz"})
    assert bool(hooks([folder], config)) is applies


def test_bind_mounts(folder):
    """hasBindMounts holds when something of the host is mounted."""
    write(folder, "hook", {"hasBindMounts": True})
    config = config_of("plain")
    config["mounts"].append({"destination": "/x", "source": "/usr", "options": ["rbind"]})
    assert hooks([folder], config) == [("createRuntime+", "/hook")]


def test_order_and_folders(folder, tmp_path):
    """Hooks come in order of the files' names; a file counts instead of one of the same name before."""
    other = tmp_path / "other"
    other.mkdir()
    write(folder, "b", {"always": True})
    write(folder, "a", {"always": True}, ["poststop", "createRuntime"])
    write(other, "b", {"always": False})
    write(other, "c", {"always": True})
    found = hooks([folder, tmp_path / "absent", other])
    assert found == [("poststop+", "/a"), ("createRuntime+", "/a"), ("createRuntime+", "/c")]


def test_the_engines_stage(folder):
    """precreate is no stage of a runtime: a warning that names the file."""
    write(folder, "hook", {"always": True}, ["precreate"])
    host = Host()
    assert hooks([folder], host=host) == []
    assert "hook.json: stage precreate is not the runtime's" in host.warnings[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "2.0.0"}, "expected version 1.0.0"),
        ({"hook": {"path": "relative"}}, "hook.path must be an absolute path"),
        ({"stages": []}, "stages must be a list"),
        ({"when": {"commands": ["("]}}, "is no regular expression"),
    ],
)
def test_mistakes_in_files(folder, change, message):
    """What a file says wrong is an error that names it."""
    write(folder, "hook", {"always": True})
    entry = json.loads((folder / "hook.json").read_text()) | change
    (folder / "hook.json").write_text(json.dumps(entry))
    with pytest.raises(OcifwError, match=f"hook.json: .*{message}"):
        hooks([folder])


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file away")
def test_files_of_others_are_refused(folder):
    """A file that somebody else could have written is refused."""
    write(folder, "hook", {"always": True})
    os.chown(folder / "hook.json", 1234, 1234)
    with pytest.raises(OcifwError, match="hook.json belongs to user 1234"):
        hooks([folder])


def test_in_a_real_container(real_containers, folder, tmp_path):
    """A hook that is configured for all containers runs, with the state document."""
    script = tmp_path / "hook.sh"
    script.write_text(f"#!/bin/sh\ncat > {tmp_path}/seen\n")
    script.chmod(0o755)
    write(folder, "hook", {"always": True}, hook={"path": str(script)})
    real_containers.set("mine", {"hooks-d": True})
    profile = tmp_path / "profile.yaml"
    profile.write_text(json.dumps({"plugins": {"hooks-d": {"folders": [str(folder)]}}}))
    done = real_containers.run("true", None, "--set", "mine", "--profile", profile)
    assert done.status == 0, done.err
    assert json.loads((tmp_path / "seen").read_text())["id"] == real_containers.ids[0]
