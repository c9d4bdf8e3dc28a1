"""What `./dev test-vm` runs: the parts of the test suite that need another machine than this one may be.

    ./dev test-vm [PART...]

Each part is a variant of the machine with some runs of pytest, one after the other. What does not fit the machine is
skipped by the tests themselves. The exit status is 0 when all runs pass.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
TIMEOUT_S = 3600
PATIENCE_S = 120


class Run(NamedTuple):
    """One run of pytest. arguments: as on its command line."""

    label: str
    arguments: str


class Part(NamedTuple):
    """A variant of the machine, by the options of `./dev vm`, and what runs in it."""

    options: str
    runs: tuple[Run, ...]


PARTS = {
    # The whole command line on cgroup v2, with both drivers: half an hour.
    "v2": Part(
        "--cgroup v2",
        (
            Run("cgroup v2, cgroupfs", "tests/conformance tests/kernel/test_device_filter.py"),
            Run("cgroup v2, systemd", "--systemd-cgroup tests/conformance"),
        ),
    ),
    # What of it is about cgroups: a few minutes.
    "quick": Part(
        "--cgroup v2",
        (
            Run(
                "cgroup v2, cgroupfs, quick",
                "tests/conformance/test_cgroup_v2.py tests/conformance/test_lifecycle.py",
            ),
            Run(
                "cgroup v2, systemd, quick", "--systemd-cgroup tests/conformance/test_cgroup_v2.py"
            ),
        ),
    ),
    "v1": Part(
        "--cgroup v1",
        (
            Run(
                "cgroup v1, cgroupfs", "tests/kernel/test_cgroups.py tests/conformance/test_exec.py"
            ),
            Run(
                "cgroup v1, systemd",
                "--systemd-cgroup tests/conformance/test_operations.py tests/conformance/test_lifecycle.py",
            ),
        ),
    ),
    "hybrid": Part(
        "--cgroup hybrid",
        (Run("hybrid, systemd", "--systemd-cgroup tests/conformance/test_operations.py"),),
    ),
    "rootless": Part(
        "--cgroup v2 --user",
        (Run("cgroup v2, rootless", "tests/conformance/test_rootless_cgroups.py"),),
    ),
}
DEFAULT = ("rootless", "v1", "hybrid", "v2")


def script(runs: tuple[Run, ...]) -> str:
    """A shell script that executes the runs, and ends with the worst status."""
    # The first command of all writes the image of modules, which takes an emulated machine 15 s.
    lines = ["worst=0", f"export OCIFW_TEST_PATIENCE_S={PATIENCE_S}", "ocifw --version"]
    for run in runs:
        lines += [
            f"python -m pytest -q -p no:cacheprovider --durations=5 {run.arguments}",
            "status=$?",
            f"echo '==> {run.label}: exit status' $status",
            "[ $status -le $worst ] || worst=$status",
        ]
    return "\n".join([*lines, "exit $worst"])


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        print(f"vm: no part {unknown[0]!r}: there are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    worst = 0
    for name in names or DEFAULT:
        part, began = PARTS[name], time.monotonic()
        command = [sys.executable, HERE, *part.options.split(), "--timeout", str(TIMEOUT_S), "--"]
        done = subprocess.run([*command, "bash", "-c", script(part.runs)], check=False)
        print(
            f"==> {name}: {time.monotonic() - began:.0f} s, exit status {done.returncode}",
            flush=True,
        )
        worst = max(worst, done.returncode)
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
