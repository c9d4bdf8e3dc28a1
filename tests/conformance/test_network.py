"""Network devices of the host that a container gets (linux.netDevices)."""

from __future__ import annotations

import shutil

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("ip") and shutil.which("unshare")), reason="needs ip, unshare"
    ),
]

# A network namespace that stands for the host's, with a device that is given away.
HOST = (
    "unshare", "--net", "sh", "-c",
    'ip link add v0 type veth peer name v1 && ip addr add 192.0.2.5/24 dev v0 && ip link set v0 up && ip link set v1 up && '
    '"$@"; status=$?; ip -o link >&2; exit $status',
    "sh",
)  # fmt: skip


def test_a_device_is_given_away(runtime, bundle):
    """The container has the device under its new name, with its address, and up; the host has it no more."""
    bundle.linux["netDevices"] = {"v0": {"name": "eth0"}}
    done = runtime.run(bundle.sh("ip addr show eth0"), through=HOST)
    assert "192.0.2.5/24" in done.out and "UP" in done.out
    # Its peer went with it when the container's network namespace ended: it was not moved back.
    assert "v0" not in done.err


def test_a_device_comes_back_when_create_fails(runtime, bundle):
    """An error leaves the machine as it was: the device is the host's again."""
    bundle.linux["netDevices"] = {"v0": {"name": "eth0"}}
    bundle.process["args"] = ["/nonexistent"]
    done = runtime.run(bundle.write(), through=HOST, check=False)
    assert done.status == 1 and "no such file or directory" in done.err
    assert ": v0@" in done.err and "eth0" not in done.err


def test_a_device_that_is_missing(runtime, bundle):
    """A device that the host does not have is an error that names it."""
    bundle.linux["netDevices"] = {"nope0": {}}
    done = runtime.run(bundle.write(), check=False)
    assert done.status == 1 and "nope0" in done.err
    assert runtime("list", "-q").out == ""


def test_needs_a_network_namespace(runtime, bundle):
    """Without a network namespace of the container's there is nowhere to move a device."""
    bundle.linux["netDevices"] = {"v0": {}}
    bundle.linux["namespaces"] = [n for n in bundle.linux["namespaces"] if n["type"] != "network"]
    done = runtime.run(bundle.write(), check=False)
    assert done.status == 1 and "NET namespace" in done.err
