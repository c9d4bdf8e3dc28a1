"""config-linux.md: Namespaces, User namespace mappings, Time offsets, Network devices, Sysctl, personality, memory policy."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from ocifw_conformance.case import add_case, must, refuses, shows
from ocifw_conformance.trial import namespace

if TYPE_CHECKING:
    from ocifw_conformance.trial import Trial

NAMESPACES = "config-linux.md, Namespaces"
MAPPINGS = "config-linux.md, User namespace mappings"
TIME = "config-linux.md, Offset for time namespace"
DEVICES = "config-linux.md, Network devices"
SYSCTL = "config-linux.md, Sysctl"
OTHERS = "config-linux.md, Personality and memory policy"
OLD = "runc 1.1 does not know it"
KINDS = {
    "pid": "pid", "network": "net", "mount": "mnt", "ipc": "ipc", "uts": "uts", "cgroup": "cgroup", "user": "user",
    "time": "time",
}  # fmt: skip


def _add(trial: Trial, kind: str) -> None:
    if kind == "user":
        trial.user_namespace()
    else:
        trial.namespace(kind)


def _new(kind: str, name: str) -> None:
    def attempt(trial: Trial) -> None:
        _add(trial, kind)
        pid = trial.pid(trial.create())
        trial.demand(namespace(pid, name) != namespace("self", name), "it is the runtime's")

    demand = f"A {kind} namespace without path is a new one."
    add_case(f"namespace_{kind}_new", NAMESPACES, demand, attempt, OLD if kind == "time" else "")


def _absent(kind: str, name: str) -> None:
    def attempt(trial: Trial) -> None:
        trial.namespace(kind, keep=False)
        if kind == "uts":
            del trial.config["hostname"]
        mounts = {"network": "sysfs", "ipc": "mqueue", "pid": ""}.get(kind, "")
        trial.config["mounts"] = [m for m in trial.config["mounts"] if m["type"] != mounts]
        pid = trial.pid(trial.create())
        trial.same(namespace(pid, name) == namespace("self", name), True, "the runtime's own")

    demand = f"Without an entry of type {kind} the container has the runtime's."
    add_case(f"namespace_{kind}_absent", NAMESPACES, demand, attempt)


def _joined(kind: str, name: str) -> None:
    def attempt(trial: Trial) -> None:
        pod = trial.pid(trial.create())
        if kind == "uts":
            del trial.config["hostname"]
        trial.linux["cgroupsPath"] += "-2"
        trial.namespace(kind, f"/proc/{pod}/ns/{name}")
        pid = trial.pid(trial.create())
        trial.same(namespace(pid, name) == namespace(pod, name), True, "the same")

    demand = f"A {kind} namespace with a path is joined."
    add_case(f"namespace_{kind}_joined", NAMESPACES, demand, attempt)


for _kind, _name in KINDS.items():
    _new(_kind, _name)
for _kind in ("pid", "network", "ipc", "uts", "cgroup", "user", "time"):
    _absent(_kind, KINDS[_kind])
for _kind in ("pid", "network", "ipc", "uts", "cgroup"):
    _joined(_kind, KINDS[_kind])

refuses(
    "namespace_path_of_another_type", NAMESPACES, "A path to a namespace of another type is an error.",
    lambda t: t.namespace("network", "/proc/self/ns/uts"),
)  # fmt: skip
refuses(
    "namespace_path_of_a_file", NAMESPACES, "A path to what is no namespace is an error.",
    lambda t: t.namespace("network", "/dev/null"),
)  # fmt: skip
refuses(
    "namespace_path_missing", NAMESPACES, "A path to nothing is an error.",
    lambda t: t.namespace("network", "/nonexistent"),
)  # fmt: skip
refuses(
    "namespace_twice", NAMESPACES, "Two entries of one type are an error.",
    lambda t: t.linux["namespaces"].append({"type": "uts"}),
)  # fmt: skip


@must(NAMESPACES)
def namespace_pid_1(trial: Trial) -> None:
    """In a new pid namespace the program is process 1, and /proc shows no others."""
    out = trial.output("echo $$; ls -d /proc/[0-9]* | head -n1")
    trial.same(out, ["1", "/proc/1"])


@must(NAMESPACES)
def namespace_cgroup_root(trial: Trial) -> None:
    """In a new cgroup namespace the program is at the root of its cgroups."""
    lines = trial.output(
        "grep -E ':(pids|memory|cpu):' /proc/self/cgroup || grep ^0:: /proc/self/cgroup"
    )
    trial.demand(lines and all(line.endswith(":/") for line in lines), " ".join(lines))


@must(MAPPINGS)
def mappings(trial: Trial) -> None:
    """The maps of the user namespace are those of the config."""
    trial.user_namespace()
    out = trial.output("cat /proc/self/uid_map /proc/self/gid_map")
    trial.same(out, ["0", "100000", "65536"] * 2)


refuses(
    "mappings_missing", MAPPINGS, "A new user namespace without mappings is an error.",
    lambda t: t.namespace("user"),
)  # fmt: skip


def _mappings_alone(trial: Trial) -> None:
    trial.user_namespace()
    trial.namespace("user", keep=False)


refuses(
    "mappings_alone",
    MAPPINGS,
    "Mappings without a user namespace are an error.",
    _mappings_alone,
    "runc 1.1 ignores them",
)


def _mappings_and_path(trial: Trial) -> None:
    pid = trial.holder("--user")
    for name in ("uid_map", "gid_map"):
        Path(f"/proc/{pid}/{name}").write_text("0 0 65536")
    trial.user_namespace()
    trial.namespace("user", f"/proc/{pid}/ns/user")


refuses(
    "mappings_and_path", MAPPINGS, "Mappings other than those of a user namespace that is joined are an error.",
    _mappings_and_path, "runc 1.1 joins it",
)  # fmt: skip


@must(TIME, runc=OLD)
def time_offsets(trial: Trial) -> None:
    """A new time namespace has the offsets."""
    trial.namespace("time")
    trial.linux["timeOffsets"] = {"boottime": {"secs": 1000000, "nanosecs": 0}}
    before = float(Path("/proc/uptime").read_text().split()[0])
    inside = float(trial.output("cat /proc/uptime")[0])
    trial.demand(1000000 <= inside - before < 1000100, "no offset")


refuses(
    "time_offsets_alone", TIME, "Offsets without a new time namespace are an error.",
    lambda t: t.linux.update(timeOffsets={"boottime": {"secs": 1, "nanosecs": 0}}), OLD,
)  # fmt: skip

HOST_NET = (
    "unshare", "--net", "sh", "-c",
    'ip link add v0 type veth peer name v1 && ip addr add 192.0.2.5/24 dev v0 && ip link set v0 up && ip link set v1 up && '
    '"$@"; status=$?; ip -o link >&2; exit $status',
    "sh",
)  # fmt: skip


@must(DEVICES, runc=OLD)
def net_devices(trial: Trial) -> None:
    """A network device is moved under its new name, with its global addresses, and is up; it is not moved back."""
    trial.needs(shutil.which("ip") and shutil.which("unshare"), "ip(8), unshare(1)")
    trial.through = list(HOST_NET)
    trial.linux["netDevices"] = {"v0": {"name": "eth0"}}
    done = trial.run("ip addr show eth0", check=False)
    trial.demand("192.0.2.5/24" in done.out and "UP" in done.out, "no such device")
    trial.demand("v0" not in done.err, "it was moved back")


refuses(
    "net_devices_missing", DEVICES, "A network device that the host does not have is an error.",
    lambda t: t.linux.update(netDevices={"nope0": {}}), OLD,
)  # fmt: skip


@must(SYSCTL)
def sysctl(trial: Trial) -> None:
    """Kernel parameters of the container's namespaces are set, and the host's stay."""
    trial.linux["sysctl"] = {
        "net.ipv4.ip_forward": "1",
        "kernel.shmmni": "1234",
        "fs.mqueue.msg_max": "77",
    }
    before = Path("/proc/sys/kernel/shmmni").read_text()
    names = "net/ipv4/ip_forward kernel/shmmni fs/mqueue/msg_max"
    trial.same(trial.output(f"cd /proc/sys; cat {names}"), ["1", "1234", "77"])
    trial.same(Path("/proc/sys/kernel/shmmni").read_text(), before, "outside")


def _host_sysctl(key: str) -> None:
    demand = f"A parameter that is no namespace's is an error: {key}."
    refuses(f"sysctl_{key}", SYSCTL, demand, lambda t: t.linux.update(sysctl={key: "1"}))


for _key in ("kernel.panic", "vm.swappiness", "kernel.core_pattern"):
    _host_sysctl(_key)


def _net_of_the_host(trial: Trial) -> None:
    trial.namespace("network", "/proc/self/ns/net")
    trial.linux["sysctl"] = {
        "net.ipv4.ip_forward": Path("/proc/sys/net/ipv4/ip_forward").read_text().strip()
    }


refuses(
    "sysctl_of_the_host",
    SYSCTL,
    "A parameter of a namespace that is the runtime's is an error.",
    _net_of_the_host,
)


@must(OTHERS, runc="runc 1.1 leaves it out, though it is of 1.0.2")
def personality(trial: Trial) -> None:
    """personality.domain is the program's execution domain."""
    trial.needs(os.uname().machine in ("x86_64", "aarch64"), "a 64-bit machine")
    trial.linux["personality"] = {"domain": "LINUX32"}
    trial.demand(trial.output("uname -m")[0] in ("i686", "armv8l"), "it is not")


@must(OTHERS, runc=OLD)
def memory_policy(trial: Trial) -> None:
    """memoryPolicy is the program's."""
    trial.needs(os.path.exists("/proc/self/numa_maps"), "a kernel with CONFIG_NUMA")
    trial.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0"}
    trial.demand("bind:0" in trial.output("cat /proc/self/numa_maps"), "another one")


shows(
    "loopback", NAMESPACES, "In a new network namespace the loopback interface is there.",
    lambda t: None, "ip -o link show lo | cut -d: -f2", "lo",
)  # fmt: skip
