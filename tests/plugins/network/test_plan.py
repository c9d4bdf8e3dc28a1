"""The plans of ocifw-network, compared as values."""

from __future__ import annotations

import subprocess
import sys

from ocifw_network import plugin
from ocifw_network.devices import MoveDevice

# As the first user namespace has it.
ALL_IDS = {"/proc/self/uid_map": b"         0          0 4294967295\n"}


def config(devices, **network):
    namespaces = [{"type": "network", **network}]
    return {"linux": {"namespaces": namespaces, "netDevices": devices}}


def test_one_step_a_device(create_request):
    """Each device is moved by a step of its own, under its own name unless it gets another."""
    steps = list(
        plugin.ocifw_attach(config({"eth1": {"name": "eth0"}, "wg0": {}}), create_request())
    )
    assert steps == [MoveDevice("eth1", "eth0"), MoveDevice("wg0", "wg0")]
    assert [step.at for step in steps] == ["linux.netDevices.eth1", "linux.netDevices.wg0"]


def test_exec_moves_nothing(exec_request):
    """A process that is added finds the devices where they are."""
    asked = config({"eth1": {}})
    assert list(plugin.ocifw_attach(asked, exec_request(asked))) == []


def test_not_rootless(create_request, machine):
    """Who has no privileges over the host's network cannot give its devices away."""
    asked = config({"eth1": {}})
    for host in (machine(ALL_IDS, euid=1000), machine({"/proc/self/uid_map": b"0 1000 1"})):
        [problem] = plugin.ocifw_validate(asked, create_request(), host)
        assert problem.path == "linux.netDevices" and "rootless" in problem.message
    assert list(plugin.ocifw_validate(asked, create_request(), machine(ALL_IDS))) == []


def test_not_into_the_runtimes_own_namespace(create_request, machine):
    """A container that joins the runtime's own network namespace by path has the devices already."""
    asked = config({"eth1": {}}, path="/proc/self/ns/net")
    [problem] = plugin.ocifw_validate(asked, create_request(), machine(ALL_IDS))
    assert "without a private NET namespace" in problem.message
    asked = config({"eth1": {}}, path="/nonexistent")
    assert list(plugin.ocifw_validate(asked, create_request(), machine(ALL_IDS))) == []


def test_pyroute2_is_imported_only_when_a_device_moves():
    """Planning does without the half second that netlink's library takes."""
    script = (
        "import sys; from ocifw_network import plugin, devices; plugin.ocifw_features();"
        "devices.MoveDevice('a', 'b'); sys.exit('pyroute2' in sys.modules)"
    )
    subprocess.run(
        [sys.executable, "-c", script], check=True, env={"PYTHONPATH": ":".join(sys.path)}
    )
