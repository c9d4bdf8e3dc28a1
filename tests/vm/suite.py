"""What `./dev test-vm` runs: the parts of the test suite that need another machine than this one may be.

    ./dev test-vm [PART...]

Each part is a variant of the machine with some runs of pytest, one after the other. What does not fit the machine is
skipped by the tests themselves. The exit status is 0 when all runs pass.
"""

from __future__ import annotations

import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
TIMEOUT_S = 3600
PATIENCE_S = 120


class Run(NamedTuple):
    """One run of pytest, or of `program` when there is one. arguments: as on its command line."""

    label: str
    arguments: str
    program: str = "python -m pytest -q -p no:cacheprovider --durations=5"


class Part(NamedTuple):
    """A variant of the machine, by the options of `./dev vm`, and what runs in it.

    result: the file of the checkout that becomes what the runs write to $RESULT.
    """

    options: str
    runs: tuple[Run, ...]
    result: str = ""


C = "tests/conformance/test_"
PARTS = {
    # The whole command line on cgroup v2, with both drivers, in parts of some minutes each.
    "v2-lifecycle": Part(
        "--cgroup v2",
        (
            Run(
                "cgroup v2, cgroupfs, life cycle",
                f"{C}{{bad_input,exec,lifecycle,operations,robustness,terminal}}.py tests/kernel/test_device_filter.py",
            ),
        ),
    ),
    "v2-isolation": Part(
        "--cgroup v2",
        (
            Run(
                "cgroup v2, cgroupfs, isolation",
                f"{C}{{isolation,lsm,rootfs,rootless,seccomp_notify}}.py",
            ),
        ),
    ),
    "v2-spec": Part(
        "--cgroup v2",
        (
            Run(
                "cgroup v2, cgroupfs, specification",
                f"{C}{{cgroup_v2,compat,hooks,musts,network,profiles,profile_commands}}.py",
            ),
        ),
    ),
    "v2-criu": Part(
        "--cgroup v2", (Run("cgroup v2, cgroupfs, CRIU", f"{C}criu.py {C}criu_workloads.py"),)
    ),
    "systemd-lifecycle": Part(
        "--cgroup v2",
        (
            Run(
                "cgroup v2, systemd, life cycle",
                f"--systemd-cgroup {C}{{bad_input,exec,lifecycle,operations,robustness,terminal}}.py",
            ),
        ),
    ),
    "systemd-isolation": Part(
        "--cgroup v2",
        (
            Run(
                "cgroup v2, systemd, isolation",
                f"--systemd-cgroup {C}{{isolation,lsm,rootfs,rootless,seccomp_notify}}.py",
            ),
        ),
    ),
    "systemd-spec": Part(
        "--cgroup v2",
        (
            Run(
                "cgroup v2, systemd, specification",
                f"--systemd-cgroup {C}{{cgroup_v2,compat,hooks,musts,network,profiles,profile_commands}}.py",
            ),
        ),
    ),
    "systemd-criu": Part(
        "--cgroup v2",
        (Run("cgroup v2, systemd, CRIU", f"--systemd-cgroup {C}criu.py {C}criu_workloads.py"),),
    ),
    # The MUSTs of runtime-spec on cgroup v2, as JSON: minutes a runtime.
    "conformance": Part(
        "--cgroup v2",
        (Run("conformance", "tests/vm/conformance.py $RESULT", "python"),),
        "docs/spec-conformance-v2.json",
    ),
    # The systemd driver, checkpoint and restore, beside runc.
    "bench": Part(
        "--cgroup v2",
        (Run("bench", "tests/vm/bench.py $RESULT", "python"),),
        "docs/performance-vm.md",
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
GROUPS = {
    "v2": ("v2-lifecycle", "v2-isolation", "v2-spec", "v2-criu"),
    "systemd": ("systemd-lifecycle", "systemd-isolation", "systemd-spec", "systemd-criu"),
}
"""Names for several parts."""
DEFAULT = ("rootless", "v1", "hybrid", "v2", "systemd")


def script(runs: tuple[Run, ...]) -> str:
    """A shell script that executes the runs, and ends with the worst status."""
    # The first command of all writes the image of modules, which takes an emulated machine 15 s.
    lines = ["worst=0", f"export OCIFW_TEST_PATIENCE_S={PATIENCE_S}", "ocifw --version"]
    for run in runs:
        lines += [
            f"{run.program} {run.arguments}",
            "status=$?",
            f"echo '==> {run.label}: exit status' $status",
            "[ $status -le $worst ] || worst=$status",
        ]
    return "\n".join([*lines, "exit $worst"])


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in PARTS and name not in GROUPS]
    if unknown:
        known = ", ".join([*GROUPS, *PARTS])
        print(f"vm: no part {unknown[0]!r}: there are {known}", file=sys.stderr)
        return 2
    # A machine ends with who started it, which an exception makes subprocess.run see to.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    worst = 0
    for name in (part for one in names or DEFAULT for part in GROUPS.get(one, (one,))):
        began = time.monotonic()
        status = execute(PARTS[name])
        print(f"==> {name}: {time.monotonic() - began:.0f} s, exit status {status}", flush=True)
        worst = max(worst, status)
    return worst


def execute(part: Part) -> int:
    """Run a part in a machine, and put its result into the checkout, unless it wrote none. Returns its exit status."""
    with tempfile.TemporaryDirectory(prefix="ocifw-result-") as folder:
        result = Path(folder, "result")
        options = [*part.options.split(), "--timeout", str(TIMEOUT_S), "--share", folder]
        text = f"export RESULT={shlex.quote(str(result))}\n{script(part.runs)}"
        command = [sys.executable, HERE, *options, "--", "bash", "-c", text]
        status = subprocess.run(command, check=False).returncode
        if part.result and result.exists() and result.stat().st_size:
            shutil.copyfile(result, HERE.parents[1] / part.result)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
