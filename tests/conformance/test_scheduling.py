"""What the kernel says of a container's scheduling, I/O and clocks: each policy and class, read from outside and inside."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.usefixtures("only_ocifw"),
    pytest.mark.skipif(not shutil.which("chrt"), reason="needs util-linux: chrt, ionice, nsenter"),
]

SCHED_DEADLINE = 6
MILLISECOND = 1_000_000


def sleeping(runtime, bundle):
    """The pid of a container that sleeps without making another process."""
    bundle.process["args"] = ["/bin/sleep", "1000"]
    return runtime.state(runtime.running(bundle.write()))["pid"]


def test_scheduler_deadline(runtime, bundle):
    """SCHED_DEADLINE has its runtime, deadline and period, in nanoseconds."""
    bundle.process["scheduler"] = {
        "policy": "SCHED_DEADLINE",
        "runtime": 5 * MILLISECOND,
        "deadline": 50 * MILLISECOND,
        "period": 100 * MILLISECOND,
    }
    pid = sleeping(runtime, bundle)
    assert os.sched_getscheduler(pid) == SCHED_DEADLINE
    said = subprocess.run(["chrt", "-p", str(pid)], capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[-1].endswith("5000000/50000000/100000000"), said.stdout


@pytest.mark.parametrize(
    ("policy", "priority"), [("SCHED_FIFO", 7), ("SCHED_RR", 99), ("SCHED_IDLE", 0)]
)
def test_scheduler_policies(runtime, bundle, policy, priority):
    """The other policies are those of the config, with the priority where there is one."""
    if priority and Path("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists():
        pytest.skip("needs real-time budget: a cpu cgroup of this kernel has none of its own")
    bundle.process["scheduler"] = {"policy": policy} | ({"priority": priority} if priority else {})
    pid = sleeping(runtime, bundle)
    assert os.sched_getscheduler(pid) == getattr(os, policy)
    assert os.sched_getparam(pid).sched_priority == priority


@pytest.mark.parametrize(
    ("name", "priority", "shown"),
    [
        ("IOPRIO_CLASS_RT", 2, "realtime: prio 2"),
        ("IOPRIO_CLASS_BE", 6, "best-effort: prio 6"),
        ("IOPRIO_CLASS_IDLE", 0, "idle"),
    ],
)
def test_io_priority(runtime, bundle, name, priority, shown):
    """Each class of I/O priority is that of the program."""
    bundle.process["ioPriority"] = {"class": name, "priority": priority}
    pid = sleeping(runtime, bundle)
    said = subprocess.run(["ionice", "-p", str(pid)], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == shown


def test_clocks(runtime, bundle):
    """CLOCK_MONOTONIC and CLOCK_BOOTTIME, read in the time namespace, are ahead of the host's by their offsets."""
    bundle.linux["namespaces"].append({"type": "time"})
    bundle.linux["timeOffsets"] = {"monotonic": {"secs": 5000}, "boottime": {"secs": 70000}}
    pid = sleeping(runtime, bundle)
    script = "import time; print(time.clock_gettime(time.CLOCK_MONOTONIC), time.clock_gettime(time.CLOCK_BOOTTIME))"
    command = ["nsenter", "-t", str(pid), "--time", sys.executable, "-I", "-c", script]
    host = time.clock_gettime(time.CLOCK_MONOTONIC), time.clock_gettime(time.CLOCK_BOOTTIME)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    monotonic, boottime = map(float, done.stdout.split())
    assert 5000 <= monotonic - host[0] < 5100 and 70000 <= boottime - host[1] < 70100


def disk():
    """Major and minor number of a block device that the kernel has; opening it is not needed."""
    for entry in sorted(Path("/sys/block").iterdir()):
        numbers = (entry / "dev").read_text().strip()
        if Path(f"/sys/dev/block/{numbers}").exists():
            return tuple(map(int, numbers.split(":")))
    pytest.skip("needs a block device")


@pytest.mark.parametrize(
    ("field", "file"),
    [
        ("throttleReadBpsDevice", "read_bps_device"),
        ("throttleWriteBpsDevice", "write_bps_device"),
        ("throttleReadIOPSDevice", "read_iops_device"),
        ("throttleWriteIOPSDevice", "write_iops_device"),
    ],
)
def test_block_io_throttle(runtime, bundle, field, file):
    """On cgroup v1 each throttle is in force for its device."""
    path = Path("/sys/fs/cgroup/blkio", f"blkio.throttle.{file}")
    if not path.exists():
        pytest.skip("needs the blkio controller of cgroup v1")
    major, minor = disk()
    bundle.linux["resources"]["blockIO"] = {field: [{"major": major, "minor": minor, "rate": 4096}]}
    sleeping(runtime, bundle)
    lines = (bundle.cgroup("blkio") / path.name).read_text().split("\n")
    assert f"{major}:{minor} 4096" in lines
