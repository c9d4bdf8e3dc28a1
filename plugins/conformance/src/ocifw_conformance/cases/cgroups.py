"""config-linux.md: Control groups and their controllers, IntelRdt."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocifw_conformance import machine
from ocifw_conformance.case import add_case, must, refuses

if TYPE_CHECKING:
    from ocifw_conformance.trial import Trial

PATHS = "config-linux.md, Cgroups path"
RULES = "config-linux.md, Allowed device list"
LIMITS = "config-linux.md, Control groups"
RDT = "config-linux.md, IntelRdt"
MIB = 1 << 20
V1 = (
    # resources, controller, file, wanted content
    ({"memory": {"limit": 64 * MIB}}, "memory", "memory.limit_in_bytes", 64 * MIB),
    ({"memory": {"reservation": 32 * MIB}}, "memory", "memory.soft_limit_in_bytes", 32 * MIB),
    ({"memory": {"limit": 64 * MIB, "swap": 96 * MIB}}, "memory", "memory.memsw.limit_in_bytes", 96 * MIB),
    ({"memory": {"swappiness": 7}}, "memory", "memory.swappiness", 7),
    ({"memory": {"disableOOMKiller": True}}, "memory", "memory.oom_control", "oom_kill_disable 1"),
    ({"memory": {"limit": -1}}, "memory", "memory.limit_in_bytes", 9223372036854771712),
    ({"cpu": {"shares": 512}}, "cpu", "cpu.shares", 512),
    ({"cpu": {"quota": 50000, "period": 100000}}, "cpu", "cpu.cfs_quota_us", 50000),
    ({"cpu": {"quota": 25000, "period": 50000}}, "cpu", "cpu.cfs_period_us", 50000),
    ({"cpu": {"quota": 50000, "period": 100000, "burst": 10000}}, "cpu", "cpu.cfs_burst_us", 10000),
    ({"cpu": {"idle": 1}}, "cpu", "cpu.idle", 1),
    ({"cpu": {"realtimePeriod": 500000}}, "cpu", "cpu.rt_period_us", 500000),
    ({"cpu": {"cpus": "0"}}, "cpuset", "cpuset.cpus", 0),
    ({"cpu": {"mems": "0"}}, "cpuset", "cpuset.mems", 0),
    ({"pids": {"limit": 33}}, "pids", "pids.max", 33),
    ({"pids": {"limit": -1}}, "pids", "pids.max", "max"),
    ({"blockIO": {"weight": 200}}, "blkio", "blkio.bfq.weight", 200),
    ({"blockIO": {"leafWeight": 200}}, "blkio", "blkio.leaf_weight", 200),
    ({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]}, "hugetlb", "hugetlb.2MB.limit_in_bytes", 4 * MIB),
    ({"network": {"classID": 77}}, "net_cls", "net_cls.classid", 77),
    ({"network": {"priorities": [{"name": "lo", "priority": 5}]}}, "net_prio", "net_prio.ifpriomap", "lo 5"),
)  # fmt: skip
OLD = ("burst", "idle")


def _limit(resources: dict[str, Any], controller: str, file: str, wanted: object) -> None:
    key, value = next(iter(resources.items()))
    field = f"{key}.{list(value)[-1]}" if isinstance(value, dict) else key

    def attempt(trial: Trial) -> None:
        trial.resources.update(resources)
        folder = trial.cgroup(controller)
        there = Path(machine.CGROUPS, controller)
        # A file that not even a new group has is one that this kernel does not have.
        probe = there / f"{trial.cgroup_parent}"
        probe.mkdir(exist_ok=True)
        trial.needs((probe / file).exists(), file)
        trial.create()
        content = (folder / file).read_text().strip()
        found = content if content.isdigit() or content == "max" else content.splitlines()
        ok = str(wanted) == found or (isinstance(found, list) and str(wanted) in found)
        trial.demand(ok, f"{file} is {content.replace(chr(10), ' ')}")

    limit = "unlimited" if -1 in (value.values() if isinstance(value, dict) else ()) else "written"
    name = f"cgroup_{field}" + ("_unlimited" if limit == "unlimited" else "")
    if field == "cpu.period" and file == "cpu.cfs_quota_us":
        name, field = "cgroup_cpu.quota", "cpu.quota"
    demand = f"resources.{field} is {limit} to {file}."
    old = "runc 1.1 does not know it" if field.rpartition(".")[2] in OLD else ""
    add_case(name, LIMITS, demand, attempt, old)


@must(PATHS)
def cgroups_path(trial: Trial) -> None:
    """An absolute cgroupsPath is taken from the hierarchy's root, in every hierarchy."""
    pid = trial.pid(trial.create())
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in ("pids", "memory", "cpu", "devices") or machine.cgroup_v2():
            trial.demand(path.endswith(trial.linux["cgroupsPath"]), f"{controllers} is in {path}")


@must(PATHS)
def cgroups_path_is_stable(trial: Trial) -> None:
    """The same cgroupsPath leads to the same place again."""
    name = trial.create()
    first = Path(f"/proc/{trial.pid(name)}/cgroup").read_text()
    trial("delete", "--force", name)
    second = Path(f"/proc/{trial.pid(trial.create())}/cgroup").read_text()
    trial.same(second == first, True, "the same place")


@must(PATHS)
def cgroups_before_the_program(trial: Trial) -> None:
    """The process is in its cgroup, with its limits, before the program executes."""
    trial.resources["pids"] = {"limit": 44}
    name = trial.create()
    folder = trial.cgroup("pids")
    trial.demand(str(trial.pid(name)) in (folder / "cgroup.procs").read_text().split(), "it is not")
    trial.same((folder / "pids.max").read_text().strip(), "44")


@must(PATHS, runc="runc 1.1 takes it")
def cgroups_that_is_in_use(trial: Trial) -> None:
    """A cgroup in which there are other processes is refused (SHOULD)."""
    folder = trial.cgroup("pids")
    folder.mkdir(parents=True)
    pid = trial.holder("--uts")
    (folder / "cgroup.procs").write_text(str(pid))
    try:
        trial.refused()
    finally:
        (Path(machine.CGROUPS, "pids/cgroup.procs")).write_text(str(pid))


for _resources, _controller, _file, _wanted in V1:
    _limit(_resources, _controller, _file, _wanted)


@must(LIMITS)
def cgroup_pids_limit_works(trial: Trial) -> None:
    """No more processes can be made than the limit allows."""
    trial.cgroup("pids")
    trial.resources["pids"] = {"limit": 5}
    script = "echo began; for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; echo unlimited; kill $(jobs -p)"
    trial.same(trial.run(script, check=False).out.split(), ["began"])


@must(LIMITS)
def cgroup_memory_limit_works(trial: Trial) -> None:
    """A process that needs more memory than the limit is ended."""
    trial.cgroup("memory")
    trial.resources["memory"] = {"limit": 16 * MIB, "swap": 16 * MIB}
    out = trial.run(
        "echo began; head -c 67108864 /dev/zero | tail -c 67108864 | wc -c", check=False
    ).out
    trial.demand("began" in out, "it does not run")
    trial.demand("67108864" not in out, "it does not count")


@must(RULES)
def device_rules(trial: Trial) -> None:
    """Device rules count, in order: what is not allowed cannot be opened, whatever its node says."""
    trial.cgroup("devices")
    trial.process["capabilities"] = {
        k: ["CAP_SYS_ADMIN"] for k in ("bounding", "effective", "permitted")
    }
    trial.linux["devices"] = [
        {"path": f"/dev/{name}", "type": "c", "major": 1, "minor": minor, "fileMode": 0o666}
        for name, minor in (("allowed", 11), ("denied", 12), ("taken-back", 4))
    ]
    rule = {"type": "c", "major": 1, "access": "rw"}
    trial.resources["devices"] += [
        {**rule, "allow": True, "minor": 11},
        {**rule, "allow": True, "minor": 4},
        {**rule, "allow": False, "minor": 4},
    ]
    out = trial.output(
        "for d in null allowed denied taken-back; do (: >/dev/$d) 2>/dev/null && echo $d; done"
    )
    trial.same(out, ["null", "allowed"])


@must(RULES)
def device_rules_wildcards(trial: Trial) -> None:
    """A rule without numbers is for all devices of its type."""
    trial.cgroup("devices")
    trial.resources["devices"].append({"allow": True, "type": "c", "access": "rwm"})
    trial.create()
    trial.demand("c *:* rwm" in (trial.cgroup("devices") / "devices.list").read_text(), "it is not")


@must("config-linux.md, Unified")
def unified(trial: Trial) -> None:
    """unified is written to the files of cgroup v2."""
    trial.needs(machine.cgroup_v2(), "cgroup v2")
    trial.resources["unified"] = {"pids.max": "77"}
    trial.create()
    path = Path(f"{machine.CGROUPS}{trial.linux['cgroupsPath']}/pids.max")
    trial.same(path.read_text().strip(), "77")


def _unified(trial: Trial) -> None:
    trial.needs(not machine.cgroup_v2(), "cgroup v1")
    trial.resources["unified"] = {"pids.max": "77"}


refuses("unified_on_v1", "config-linux.md, Unified", "On cgroup v1 unified is an error.", _unified)


@must("config-linux.md, RDMA")
def rdma(trial: Trial) -> None:
    """resources.rdma is written to rdma.max."""
    there = Path(machine.CGROUPS, "rdma")
    trial.needs(
        there.exists() and os.path.exists("/sys/class/infiniband"),
        "the rdma controller and a device",
    )
    device = os.listdir("/sys/class/infiniband")[0]
    trial.resources["rdma"] = {device: {"hcaHandles": 3}}
    trial.create()
    trial.demand("hca_handle=3" in (trial.cgroup("rdma") / "rdma.max").read_text(), "it is not")


@must(RDT)
def intel_rdt(trial: Trial) -> None:
    """intelRdt.closID is the group of the process."""
    trial.needs(machine.resctrl(), "resctrl")
    trial.linux["intelRdt"] = {"closID": trial.cgroup_parent}
    pid = trial.pid(trial.create())
    group = Path(f"/sys/fs/resctrl/{trial.cgroup_parent}/tasks")
    trial.demand(str(pid) in group.read_text().split(), "it is not")


def _rdt(trial: Trial) -> None:
    trial.needs(not machine.resctrl(), "a machine without resctrl")
    trial.linux["intelRdt"] = {"closID": "gold"}


refuses(
    "intel_rdt_without_resctrl",
    RDT,
    "intelRdt on a machine without it is an error.",
    _rdt,
    "runc 1.1 ignores it",
)


@must(LIMITS)
def cgroup_mount(trial: Trial) -> None:
    """A mount of type cgroup shows the container its own cgroups."""
    trial.mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "ro")
    trial.resources["pids"] = {"limit": 45}
    folder = "/sys/fs/cgroup" if machine.cgroup_v2() else "/sys/fs/cgroup/pids"
    trial.same(
        trial.output(f"cat {folder}/pids.max; mkdir {folder}/x || echo refused"), ["45", "refused"]
    )
