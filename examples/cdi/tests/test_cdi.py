"""Devices of CDI, as layers and in a real container."""

from __future__ import annotations

import json
import os

import pytest

from ocifw.errors import ConfigError, OcifwError
from ocifw.testing import PluginContract, config_of, linked
from ocifw_cdi.edits import patches
from ocifw_cdi.names import annotated
from ocifw_cdi.registry import Registry


class TestContract(PluginContract):
    """What every plugin of ocifw keeps to."""

    plugin = "ocifw_cdi.plugin"


SPEC = {
    "cdiVersion": "0.6.0",
    "kind": "vendor.com/gpu",
    "containerEdits": {"env": ["GPU=yes"], "mounts": [{"hostPath": "/usr", "containerPath": "/opt/gpu"}]},
    "devices": [
        {"name": "0", "containerEdits": {"deviceNodes": [{"path": "/dev/gpu0", "hostPath": "/dev/null"}]}},
        {"name": "1", "containerEdits": {
            "deviceNodes": [{"path": "/dev/gpu1", "type": "c", "major": 1, "minor": 5, "permissions": "r"}],
            "hooks": [{"hookName": "createContainer", "path": "/bin/true"}], "additionalGids": [0, 44]}},
    ],
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "cdi"
    folder.mkdir()
    (folder / "gpu.json").write_text(json.dumps(SPEC))
    return folder


def test_device_nodes(folder):
    """What a specification leaves out is the host's node's; the cgroup lets the device through."""
    found = list(patches(Registry([str(folder)]), ["vendor.com/gpu=0"]))
    device = {"path": "/dev/gpu0", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666}
    rule = {"allow": True, "access": "rwm", "type": "c", "major": 1, "minor": 3}
    assert found == [
        {"process": {"env": ["GPU=yes"]}},
        {"mounts": [{"destination": "/opt/gpu", "source": "/usr", "type": "bind",
                     "options": ["bind", "ro", "nosuid", "nodev"]}]},
        {"linux": {"devices": [device], "resources": {"devices+": [rule]}}},
    ]  # fmt: skip


def test_hooks_and_groups(folder):
    """Hooks are added to those of the config; group 0 is never one."""
    found = list(patches(Registry([str(folder)]), ["vendor.com/gpu=1"]))
    assert {"hooks": {"createContainer+": [{"path": "/bin/true"}]}} in found
    assert {"process": {"user": {"additionalGids+": [44]}}} in found


def test_common_edits_come_once(folder):
    """What a specification says for all its devices is done once."""
    found = list(
        patches(
            Registry([str(folder)]), ["vendor.com/gpu=0", "vendor.com/gpu=1", "vendor.com/gpu=0"]
        )
    )
    assert found.count({"process": {"env": ["GPU=yes"]}}) == 1
    assert sum("devices" in patch.get("linux", {}) for patch in found) == 2


def test_later_folders_count(folder, tmp_path):
    """A device of the second folder stands for one of the same name in the first; YAML is read, too."""
    other = tmp_path / "run"
    other.mkdir()
    (other / "gpu.yaml").write_text(
        "cdiVersion: 0.6.0\nkind: vendor.com/gpu\ndevices:\n- {name: '0', containerEdits: {env: [OTHER=1]}}\n"
    )
    found = list(patches(Registry([str(folder), str(other)]), ["vendor.com/gpu=0"]))
    assert found == [{"process": {"env": ["OTHER=1"]}}]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vendor.com/gpu=7", "described nowhere"),
        ("gpu0", "is no device of CDI"),
        ("vendor.com/gpu=", "is no device"),
    ],
)
def test_unknown_devices(folder, name, message):
    """A device that is not described, and what is no name, are errors."""
    with pytest.raises(ConfigError, match=message):
        list(patches(Registry([str(folder)]), [name]))


def test_a_device_described_twice(folder):
    """Two files of one folder that describe a device are an error that names both."""
    (folder / "again.json").write_text(json.dumps(SPEC))
    with pytest.raises(ConfigError, match=r"described twice, in .*again\.json and .*gpu\.json"):
        list(patches(Registry([str(folder)]), ["vendor.com/gpu=0"]))


def test_annotations_need_permission():
    """Annotations may be the image's: a device that the settings do not allow is an error, and not left out."""
    annotations = {"cdi.k8s.io/x": "vendor.com/gpu=0,vendor.com/gpu=1", "other": "a.com/b=c"}
    assert annotated(annotations, ["vendor.com/gpu=*"]) == ["vendor.com/gpu=0", "vendor.com/gpu=1"]
    with pytest.raises(
        ConfigError, match="annotations.cdi.k8s.io/x: device 'vendor.com/gpu=1' is not allowed"
    ):
        annotated(annotations, ["vendor.com/gpu=0"])


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file away")
def test_files_of_others_are_refused(folder):
    """A specification that somebody else could have written is refused."""
    os.chown(folder / "gpu.json", 1234, 1234)
    with pytest.raises(OcifwError, match="gpu.json belongs to user 1234"):
        Registry([str(folder)]).find("vendor.com/gpu=0")


def test_without_settings_nothing_is_asked(folder):
    """Without settings annotations mean nothing."""
    active = linked(["ocifw_cdi.plugin"], first_party=False)
    config = config_of("plain", annotations={"cdi.k8s.io/x": "vendor.com/gpu=0"})
    assert active.ask("ocifw_edits", {"config": config}) == [[]]


def test_in_a_real_container(real_containers, folder):
    """A container has the device node and may use it, the mount and the variable."""
    real_containers.set("mine", {"cdi": True})
    profile = real_containers.folder / "profile.yaml"
    profile.write_text(json.dumps(
        {"plugins": {"cdi": {"devices": ["vendor.com/gpu=0"], "folders": [str(folder)]}}}))  # fmt: skip
    done = real_containers.run(
        "echo x > /dev/gpu0 && test -e /opt/gpu/bin && echo $GPU",
        None,
        "--set",
        "mine",
        "--profile",
        profile,
    )
    assert (done.status, done.out) == (0, "yes\n"), done.err
