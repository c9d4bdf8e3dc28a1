"""Limits, figures and delegation on cgroup v2, by cgroupfs and, with --systemd-cgroup, by systemd."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

FOREVER = "exec sleep 1000"
MB = 1 << 20

runc_agrees = pytest.mark.runc_agrees
pytestmark = pytest.mark.skipif(
    not os.path.exists("/sys/fs/cgroup/cgroup.controllers"), reason="needs cgroup v2"
)


@pytest.fixture
def limit(bundle):
    """Read a file of the container's cgroup."""
    return lambda name: (bundle.cgroup("") / name).read_text().strip()


@pytest.fixture
def shown(bundle, systemd):
    """Read properties of the container's unit: `shown("TasksMax")`."""
    if not systemd:
        pytest.skip("needs --systemd-cgroup")

    def show(*names):
        unit = bundle.cgroup_path.rpartition("/")[2]
        command = ["systemctl", "show", "--property", ",".join(names), unit]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = dict(line.split("=", 1) for line in done.stdout.splitlines())
        return [found[name] for name in names]

    return show


def limited(bundle):
    """The bundle with a limit of each kind."""
    bundle.linux["resources"] |= {
        "memory": {"limit": 64 * MB, "swap": 96 * MB, "reservation": 32 * MB},
        "cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0", "mems": "0"},
        "pids": {"limit": 33},
    }
    return bundle.sh(FOREVER)


@runc_agrees
def test_limits(runtime, bundle, limit):
    """What config.json says is what the kernel's files say, in v2's terms."""
    runtime.create(limited(bundle))
    assert limit("memory.max") == str(64 * MB)
    assert limit("memory.swap.max") == str(32 * MB)
    assert limit("memory.low") == str(32 * MB)
    assert limit("cpu.weight") == "59"
    assert limit("cpu.max") == "50000 100000"
    assert (limit("cpuset.cpus"), limit("cpuset.mems")) == ("0", "0")
    assert limit("pids.max") == "33"


@runc_agrees
def test_unified(runtime, bundle, limit):
    """Any file of the cgroup can be set by its name."""
    bundle.linux["resources"]["unified"] = {"memory.high": "50331648", "pids.max": "21"}
    runtime.create(bundle.sh(FOREVER))
    assert (limit("memory.high"), limit("pids.max")) == ("50331648", "21")


def test_unknown_file(runtime, bundle):
    """A file that is not there is an error that names it."""
    bundle.linux["resources"]["unified"] = {"memory.nonsense": "1"}
    done = runtime.run(bundle.sh(FOREVER), check=False)
    assert done.status == 1 and "memory.nonsense" in done.err


@runc_agrees
def test_update(runtime, bundle, limit):
    """What is given changes, and what is not given stays."""
    container_id = runtime.running(limited(bundle))
    runtime("update", "--memory", "80M", "--memory-swap", "100M", container_id)
    runtime("update", "--cpu-share", "1024", "--pids-limit", "44", container_id)
    runtime("update", "--cpu-quota", "60000", container_id)
    assert (limit("memory.max"), limit("memory.swap.max")) == (str(80 * MB), str(20 * MB))
    assert (limit("cpu.weight"), limit("cpu.max")) == ("100", "60000 100000")
    assert limit("pids.max") == "44" and limit("memory.low") == str(32 * MB)
    runtime("update", "--memory", "-1", "--pids-limit", "-1", container_id)
    assert limit("memory.max") == limit("memory.swap.max") == limit("pids.max") == "max"


@runc_agrees
def test_update_checks_usage(runtime, bundle, limit):
    """checkBeforeUpdate refuses a limit below what is used."""
    container_id = runtime.running(limited(bundle))
    document = {"memory": {"limit": 4096, "swap": 4096, "checkBeforeUpdate": True}}
    text = json.dumps(document).encode()
    done = runtime("update", "-r", "-", container_id, stdin=text, check=False)
    assert done.status == 1 and "memory" in done.err
    assert limit("memory.max") == str(64 * MB)


def test_a_failed_update_changes_nothing(runtime, bundle, limit, systemd):
    """When one value is refused, the others are as they were, systemd's properties too."""
    container_id = runtime.running(limited(bundle))
    done = runtime(
        "update", "--pids-limit", "50", "--cpuset-cpus", "4000", container_id, check=False
    )
    assert done.status == 1
    assert limit("pids.max") == "33" and limit("cpuset.cpus") == "0"
    if systemd:
        unit = bundle.cgroup_path.rpartition("/")[2]
        command = ["systemctl", "show", "--property", "TasksMax", "--value", unit]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "33"


@runc_agrees
def test_figures(runtime, bundle):
    """`events --stats` has v2's figures under v1's names, and the pressure."""
    container_id = runtime.running(limited(bundle))
    data = json.loads(runtime("events", "--stats", container_id).out)["data"]
    assert data["memory"]["usage"]["limit"] == 64 * MB
    assert data["pids"] == {"current": 1, "limit": 33}
    assert data["cpu"]["usage"]["total"] > 0
    if os.path.exists("/proc/pressure/cpu"):
        assert set(data["cpu"]["psi"]["some"]) == {"avg10", "avg60", "avg300", "total"}
        assert {"some", "full"} <= set(data["memory"]["psi"])


def test_out_of_memory_is_told(runtime, bundle, limit):
    """`events` tells that the kernel killed a process for want of memory, and `memory.events` agrees."""
    bundle.linux["resources"]["memory"] = {"limit": 16 * MB, "swap": 16 * MB}
    script = "read go; head -c 67108864 /dev/zero | tail -c 67108864 >/dev/null; sleep 1000"
    fifo = bundle.path / "fifo"
    os.mkfifo(fifo)
    with open(fifo, "r+b", buffering=0) as stdin:
        container_id = runtime.running(bundle.sh(script), stdin=stdin)
        command = runtime.command("events", container_id)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as events:
            try:
                # The first figures come at once or after the interval; both begin after the watch does.
                stdin.write(b"go\n")
                kinds = (json.loads(line)["type"] for line in events.stdout)
                assert "oom" in kinds
            finally:
                events.kill()
    assert "oom_kill 1" in limit("memory.events").splitlines()


@runc_agrees
def test_pause(runtime, bundle, limit):
    """A paused container is frozen when `pause` returns, and `state` tells."""
    container_id = runtime.running(bundle.sh(FOREVER))
    runtime("pause", container_id)
    assert "frozen 1" in limit("cgroup.events").splitlines()
    assert runtime.status(container_id) == "paused"
    runtime("resume", container_id)
    assert "frozen 0" in limit("cgroup.events").splitlines()


@runc_agrees
def test_every_process_is_killed(runtime, bundle):
    """In a shared pid namespace SIGKILL reaches all processes, a frozen container's too."""
    bundle.linux["namespaces"] = [n for n in bundle.linux["namespaces"] if n["type"] != "pid"]
    container_id = runtime.running(bundle.sh("sleep 1001 & sleep 1002 & echo ready; wait"))
    runtime.wait_for_output("ready")
    pids = [int(pid) for pid in (bundle.cgroup("") / "cgroup.procs").read_text().split()]
    assert len(pids) == 3
    runtime("pause", container_id)
    runtime("kill", container_id, "KILL")
    runtime.wait_for(container_id, "stopped")
    runtime("delete", container_id)
    assert not bundle.cgroup("").exists()


@runc_agrees
def test_a_user_manages_its_own_cgroup(runtime, bundle):
    """With a cgroup namespace and a writable mount, the user of the process can make cgroups, and not change its limits."""
    bundle.config["mounts"].append(
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rw"]}
    )
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    script = (
        "cd /sys/fs/cgroup; mkdir own && echo 1 >own/cgroup.procs && cat /proc/1/cgroup;"
        "echo 5 >pids.max || echo refused; stat -c %u . cgroup.procs pids.max"
    )
    done = runtime.run(bundle.sh(script))
    assert done.out.split() == ["0::/own", "refused", "1000", "1000", "0"]


@runc_agrees
def test_exec_follows_an_init_that_moved(runtime, bundle):
    """When the container's first process has moved below and enabled controllers, `exec` joins it there."""
    bundle.config["mounts"].append(
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rw"]}
    )
    script = (
        "cd /sys/fs/cgroup; mkdir init; echo 1 >init/cgroup.procs; echo +pids >cgroup.subtree_control;"
        f"echo ready; {FOREVER}"
    )
    container_id = runtime.running(bundle.sh(script))
    runtime.wait_for_output("ready")
    assert runtime("exec", container_id, "cat", "/proc/self/cgroup").out == "0::/init\n"


def test_a_threaded_parent(runtime, bundle, systemd):
    """Below a threaded cgroup no limit of memory is possible: the error says so, and without one a container runs."""
    if systemd:
        pytest.skip("systemd makes no threaded cgroups")
    # Below the root: another parent would have domain controllers enabled.
    name = f"ocifw-test-threaded-{os.getpid()}"
    parent = Path("/sys/fs/cgroup", name)
    parent.mkdir()
    try:
        (parent / "cgroup.type").write_text("threaded")
        bundle.linux["cgroupsPath"] = f"/{name}/box"
        bundle.linux["resources"]["memory"] = {"limit": 64 * MB}
        done = runtime.run(bundle.sh("true"), check=False)
        assert done.status == 1 and "with domain controllers" in done.err
        del bundle.linux["resources"]["memory"]
        assert runtime.run(bundle.sh("echo runs")).out == "runs\n"
    finally:
        parent.rmdir()


# ---- systemd -----------------------------------------------------------------------------------------------------


@runc_agrees
def test_the_unit(runtime, bundle, shown):
    """systemd knows the limits, and that the cgroup is not its own to manage."""
    container_id = runtime.running(limited(bundle))
    slice_ = bundle.linux["cgroupsPath"].split(":")[0]
    assert shown("Slice", "Delegate", "ActiveState") == [slice_, "yes", "active"]
    names = "MemoryMax MemorySwapMax MemoryLow CPUWeight CPUQuotaPerSecUSec AllowedCPUs TasksMax"
    assert shown(*names.split()) == [
        str(64 * MB), str(32 * MB), str(32 * MB), "59", "500ms", "0", "33",
    ]  # fmt: skip
    assert shown("DevicePolicy") == ["strict"]
    runtime("update", "--memory", "80M", "--memory-swap", "80M", "--pids-limit", "44", container_id)
    assert shown("MemoryMax", "TasksMax") == [str(80 * MB), "44"]
    pid = runtime.state(container_id)["pid"]
    assert (bundle.cgroup("") / "cgroup.procs").read_text().split() == [str(pid)]


@runc_agrees
def test_the_unit_goes_with_the_container(runtime, bundle, shown):
    """After `delete` systemd has forgotten the unit."""
    container_id = runtime.running(bundle.sh(FOREVER))
    runtime("delete", "--force", container_id)
    assert shown("LoadState", "ActiveState") == ["not-found", "inactive"]


@runc_agrees
def test_exec_needs_no_option(runtime, bundle, systemd):
    """podman does not pass --systemd-cgroup to exec: the container's state remembers the driver."""
    if not systemd:
        pytest.skip("needs --systemd-cgroup")
    container_id = runtime.running(bundle.sh(FOREVER))
    runtime.options = []
    pid_file = bundle.path / "pid"
    runtime("exec", "--detach", "--pid-file", pid_file, container_id, "sleep", "1000")
    path = Path(f"/proc/{pid_file.read_text()}/cgroup").read_text()
    assert path == f"0::{bundle.cgroup_path}\n"


@runc_agrees
def test_properties_by_annotation(runtime, bundle, shown):
    """Annotations set properties of the unit, as podman has them."""
    bundle.config["annotations"] = {
        "org.systemd.property.TimeoutStopUSec": "uint64 7000000",
        "org.systemd.property.KillSignal": "10",
    }
    runtime.create(bundle.sh(FOREVER))
    assert shown("TimeoutStopUSec", "KillSignal") == ["7s", "10"]


def test_dangerous_annotations(runtime, bundle, systemd):
    """A property that runs programs is refused, and nothing is left."""
    if not systemd:
        pytest.skip("needs --systemd-cgroup")
    bundle.config["annotations"] = {"org.systemd.property.ExecStop": "'x'"}
    done = runtime.run(bundle.sh(FOREVER), check=False)
    assert done.status == 1 and "ExecStop" in done.err


def test_a_unit_that_is_there(runtime, make_bundle, systemd):
    """The unit of a running container is not taken for another, which fails and leaves it alone."""
    if not systemd:
        pytest.skip("needs --systemd-cgroup")
    first, second = make_bundle(), make_bundle()
    container_id = runtime.running(first.sh(FOREVER))
    second.linux["cgroupsPath"] = first.linux["cgroupsPath"]
    done = runtime.run(second.sh(FOREVER), check=False)
    assert done.status == 1 and "container's cgroup is not empty" in done.err
    assert runtime.status(container_id) == "running"


@runc_agrees
def test_a_unit_that_failed(runtime, bundle, systemd):
    """A failed unit of the name, which systemd keeps, is no obstacle."""
    if not systemd:
        pytest.skip("needs --systemd-cgroup")
    unit = bundle.cgroup_path.rpartition("/")[2]
    command = [
        "systemd-run",
        "--scope",
        f"--unit={unit}",
        "--property=RuntimeMaxSec=1ms",
        "sleep",
        "1000",
    ]
    subprocess.run(command, capture_output=True, check=False)
    shown = subprocess.run(["systemctl", "is-failed", unit], capture_output=True, check=False)
    assert shown.stdout == b"failed\n"
    assert runtime.run(bundle.sh("echo runs")).out == "runs\n"
