"""ocifw, runc and crun in pairs: every verb of a container's life.

    python3 bench/verbs.py [--rounds N] [--only ocifw,runc] [--no-cgroups] [--write FILE]

Each round makes one container with each runtime, in random order, and times every command of its life from the spawn of
the process to its end; then one `run` of the same bundle. Needs root, busybox-static and the runtimes.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import machine

VERBS = ("run", "create", "start", "state", "exec", "pause", "resume", "kill", "delete")
PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWNS = 0x20000
MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE = 0x1000, 0x2000, 0x4000, 0x40000
MNT_DETACH = 2
CGROUPS = "/sys/fs/cgroup"
UNIFIED = f"{CGROUPS}/unified"

Times = dict[str, dict[str, list[float]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--only", default="ocifw,runc,crun")
    parser.add_argument("--no-cgroups", action="store_true", help="hide all cgroup hierarchies")
    parser.add_argument("--write", type=Path, help="the file to write the tables to")
    options = parser.parse_args()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    hide_unified(libc)
    beside = Path(sys.executable).parent / "ocifw"
    found = {"ocifw": str(beside) if beside.exists() else shutil.which("ocifw")}
    found |= {name: shutil.which(name) for name in ("runc", "crun")}
    runtimes = {name: path for name in options.only.split(",") if (path := found[name])}
    with tempfile.TemporaryDirectory() as folder:
        times, memory = measure(runtimes, Path(folder), options.rounds)
    text = report(runtimes, times, memory, options.rounds)
    print(text)
    if options.write:
        options.write.write_text(text)


def hide_unified(libc: ctypes.CDLL) -> None:
    """Show only the v1 controllers, in a mount namespace of our own: crun refuses a unified hierarchy beside them.

    A tmpfs of our own stands in for the host's, in which crun would make folders otherwise.
    """
    if not os.path.ismount(UNIFIED):
        return

    def mount(source: str, target: str, kind: str, flags: int) -> None:
        if libc.mount(source.encode(), target.encode(), kind.encode(), flags, None):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), target)

    if libc.unshare(CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "private mount namespace")
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    with tempfile.TemporaryDirectory() as folder:
        mount("tmpfs", folder, "tmpfs", 0)
        for name in os.listdir(CGROUPS):
            if name != "unified" and os.path.ismount(f"{CGROUPS}/{name}"):
                os.mkdir(f"{folder}/{name}")
                mount(f"{CGROUPS}/{name}", f"{folder}/{name}", "", MS_BIND)
        if libc.umount2(CGROUPS.encode(), MNT_DETACH):
            raise OSError(ctypes.get_errno(), f"unmount {CGROUPS}")
        mount(folder, CGROUPS, "", MS_MOVE)


def measure(
    runtimes: dict[str, str], folder: Path, rounds: int
) -> tuple[Times, dict[str, list[int]]]:
    """Seconds by runtime and verb, and the resident kilobytes of containers that wait in `created`."""
    bundle = make_bundle(folder)
    cgroup = f"/ocifw-bench-{os.getpid()}"
    times: Times = {name: {verb: [] for verb in VERBS} for name in runtimes}
    memory: dict[str, list[int]] = {name: [] for name in runtimes}
    try:
        for number in range(-2, rounds):
            order = list(runtimes)
            random.shuffle(order)
            for name in order:
                life = Life(
                    runtimes[name], folder / f"root-{name}", bundle, f"{name}-{number}", cgroup
                )
                try:
                    seconds = life.measure()
                except BaseException:
                    life.clean()
                    raise
                if number >= 0:  # the first rounds fill caches
                    for verb, value in seconds.items():
                        times[name][verb].append(value)
                    memory[name].append(life.created_kb)
    finally:
        for path in Path("/sys/fs/cgroup").glob(f"*{cgroup}"):
            for inside, _, _ in os.walk(path, topdown=False):
                os.rmdir(inside)
    return times, memory


class Life:
    """One container of one runtime, from create to delete."""

    def __init__(self, path: str, root: Path, bundle: Path, container_id: str, cgroup: str) -> None:
        self.command = [path, "--root", str(root)]
        self.bundle = bundle
        self.id = container_id
        self.created_kb = 0
        config = json.loads((bundle / "config.json").read_text())
        config["linux"]["cgroupsPath"] = f"{cgroup}/{container_id}"
        (bundle / "config.json").write_text(json.dumps(config))

    def measure(self) -> dict[str, float]:
        """Seconds by verb. Raises when a command fails."""
        seconds = {}
        self.program("/bin/true")
        seconds["run"] = self.time("run", "--bundle", self.bundle, self.id)
        self.program("/bin/sleep", "1000")
        seconds["create"] = self.time("create", "--bundle", self.bundle, self.id)
        state = json.loads(subprocess.check_output([*self.command, "state", self.id]))
        self.created_kb = resident_kb(state["pid"])
        seconds["start"] = self.time("start", self.id)
        seconds["state"] = self.time("state", self.id)
        seconds["exec"] = self.time("exec", self.id, "/bin/true")
        seconds["pause"] = self.time("pause", self.id)
        seconds["resume"] = self.time("resume", self.id)
        seconds["kill"] = self.time("kill", self.id, "KILL")
        os.waitpid(state["pid"], 0)
        seconds["delete"] = self.time("delete", self.id)
        return seconds

    def clean(self) -> None:
        """Leave nothing, whatever happened."""
        subprocess.call([*self.command, "delete", "--force", self.id])

    def program(self, *args: str) -> None:
        config: dict[str, Any] = json.loads((self.bundle / "config.json").read_text())
        config["process"]["args"] = args
        (self.bundle / "config.json").write_text(json.dumps(config))

    def time(self, *arguments: object) -> float:
        command = [*self.command, *map(str, arguments)]
        null = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        with tempfile.TemporaryFile() as errors:
            start = time.perf_counter()
            status = subprocess.call(command, stderr=errors, **null)
            seconds = time.perf_counter() - start
            if status:
                errors.seek(0)
                raise SystemExit(f"{command} failed with {status}: {errors.read().decode()}")
        return seconds


def resident_kb(pid: int) -> int:
    """The resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")))


def make_bundle(folder: Path) -> Path:
    """A busybox bundle with the configuration that `runc spec` writes."""
    bundle = folder / "bundle"
    rootfs = bundle / "rootfs"
    for name in ("bin", "dev", "proc", "sys", "tmp", "etc"):
        (rootfs / name).mkdir(parents=True)
    busybox = shutil.which("busybox")
    if busybox is None:
        raise SystemExit("needs busybox: install busybox-static")
    shutil.copy(busybox, rootfs / "bin/busybox")
    for name in ("true", "sleep", "sh"):
        (rootfs / "bin" / name).symlink_to("busybox")
    subprocess.run(["runc", "spec"], cwd=bundle, check=True)
    config = json.loads((bundle / "config.json").read_text())
    config["process"]["terminal"] = False
    # Beyond what this user may set, the comparison would be one of errors.
    config["process"].pop("rlimits", None)
    (bundle / "config.json").write_text(json.dumps(config))
    return bundle


def ratios(times: Times, one: str, other: str, verb: str) -> list[float]:
    return [a / b for a, b in zip(times[one][verb], times[other][verb], strict=True)]


def quartiles(values: list[float]) -> tuple[float, float, float]:
    low, middle, high = statistics.quantiles(values, n=4)
    return low, middle, high


def report(
    runtimes: dict[str, str], times: Times, memory: dict[str, list[int]], rounds: int
) -> str:
    """The tables in Markdown."""
    first, *others = runtimes
    lines = ["# Performance", ""]
    lines += [f"{line}  " for line in machine.describe(runtimes)]
    lines += [
        "",
        f"{rounds} rounds of `./dev bench`; each runs every runtime once, in random order, on the configuration",
        "that `runc spec` writes. Milliseconds are medians of whole processes; a ratio is the median of the pairs of",
        "one round, with the middle half of them in brackets. Below 1, the first is faster.",
        "",
        "| verb | " + " | ".join(f"{name} ms" for name in runtimes) + " | "
        + " | ".join(f"{first} / {name}" for name in others) + " |",
        "|---" * (1 + len(runtimes) + len(others)) + "|",
    ]  # fmt: skip
    for verb in VERBS:
        cells = [f"{statistics.median(times[name][verb]) * 1000:.1f}" for name in runtimes]
        for name in others:
            low, middle, high = quartiles(ratios(times, first, name, verb))
            cells.append(f"{middle:.2f} ({low:.2f}–{high:.2f})")
        lines.append(f"| {verb} | " + " | ".join(cells) + " |")
    cells = [f"{statistics.median(memory[name]):.0f} kB" for name in runtimes]
    lines += ["", "Resident memory of the process of a container that waits in `created`:", ""]
    lines += ["| " + " | ".join(runtimes) + " |", "|---" * len(runtimes) + "|"]
    lines += ["| " + " | ".join(cells) + " |", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
