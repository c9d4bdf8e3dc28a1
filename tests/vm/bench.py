"""Measures ocifw beside runc in the test machine, and writes a document: `./dev test-vm bench`.

Each pair runs both on the same bundle, one right after the other, in random order; what is compared is the ratio of a pair.
The machine is emulated: its milliseconds are not those of any hardware, and starting an interpreter weighs more than there.
"""

from __future__ import annotations

import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PAIRS = 11
SLICE = "ocifwbench.slice"
PATIENCE_S = 60


class Tested:
    """A runtime with a state root of its own; its times in seconds, by what was measured."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.root = name, folder / name
        self.times: dict[str, list[float]] = {}

    def __call__(self, *words: str, systemd: bool = True) -> float:
        """Run a command; returns how long it took. Raises CalledProcessError."""
        driver = ["--systemd-cgroup"] if systemd else []
        began = time.perf_counter()
        subprocess.run(
            [self.name, "--root", str(self.root), *driver, *words],
            check=True,
            timeout=PATIENCE_S,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return time.perf_counter() - began

    def note(self, what: str, seconds: float) -> None:
        self.times.setdefault(what, []).append(seconds)


def make_bundle(folder: Path, name: str, systemd: bool) -> Path:
    """A bundle of busybox whose program sleeps, with a tmpfs on /tmp."""
    bundle = folder / name
    (bundle / "rootfs/bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", bundle / "rootfs/bin/busybox")
    (bundle / "rootfs/bin/sh").symlink_to("busybox")
    for one in ("proc", "dev", "sys", "tmp"):
        (bundle / "rootfs" / one).mkdir()
    subprocess.run(["runc", "spec"], cwd=bundle, check=True)
    path = bundle / "config.json"
    config = json.loads(path.read_text())
    config["process"]["terminal"] = False
    quiet = "exec </dev/null >/tmp/log 2>&1; while :; do busybox sleep 1; done"
    config["process"]["args"] = ["/bin/sh", "-c", quiet]
    config["linux"]["cgroupsPath"] = f"{SLICE}:bench:{name}" if systemd else f"/ocifw-bench/{name}"
    config["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"})
    path.write_text(json.dumps(config))
    return bundle


def creation(tested: Tested, bundle: Path, systemd: bool) -> None:
    """create, start and delete, with a driver."""
    driver = "systemd" if systemd else "cgroupfs"
    words = ("create", "--bundle", str(bundle), "box")
    tested.note(f"create, {driver}", tested(*words, systemd=systemd))
    tested.note(f"start, {driver}", tested("start", "box", systemd=systemd))
    tested.note(f"delete --force, {driver}", tested("delete", "--force", "box", systemd=systemd))


def checkpoint(tested: Tested, bundle: Path, folder: Path) -> None:
    """checkpoint and restore."""
    tested("create", "--bundle", str(bundle), "box")
    tested("start", "box")
    images = Path(tempfile.mkdtemp(dir=folder))
    where = ("--image-path", str(images / "images"), "--work-path", str(images / "work"))
    tested.note("checkpoint", tested("checkpoint", *where, "box"))
    words = ("restore", "--detach", "--bundle", str(bundle), *where, "box")
    tested.note("restore", tested(*words))
    tested("delete", "--force", "box")


def document(runtimes: list[Tested]) -> str:
    """The document. Raises AssertionError when a runtime was measured in less than the others."""
    ours, theirs = runtimes
    rows = []
    for what, times in ours.times.items():
        pairs = list(zip(times, theirs.times[what], strict=True))
        ratio = statistics.median(mine / other for mine, other in pairs)
        mine, other = (1000 * statistics.median(one.times[what]) for one in runtimes)
        rows.append(f"| {what} | {mine:.0f} | {other:.0f} | {ratio:.2f} | {len(pairs)} |\n")
    versions = ", ".join(
        subprocess.run(
            [name, "--version"], capture_output=True, text=True, check=True
        ).stdout.splitlines()[0]
        for name in ("ocifw", "runc", "criu")
    )
    return f"""\
# Performance in the test machine

Made by `./dev test-vm bench`: do not edit. Medians in milliseconds, and the median ratio of pairs: below 1, ocifw is the
faster one.

Measured in an emulated machine (QEMU's TCG, {os.cpu_count()} CPUs, Linux {platform.release()}, cgroup v2, systemd,
Python {platform.python_version()}): its milliseconds are 10 to 20 times those of hardware; only ratios of one run count.
Both runtimes drive the same CRIU. {versions.replace("Version:", "CRIU")}.

| | ocifw ms | runc ms | ratio | pairs |
|---|---|---|---|---|
{"".join(rows)}"""


def main(target: str, pairs: int = PAIRS) -> int:
    with tempfile.TemporaryDirectory(prefix="ocifw-bench-") as name:
        folder = Path(name)
        runtimes = [Tested("ocifw", folder), Tested("runc", folder)]
        bundles = {
            systemd: make_bundle(folder, f"b{systemd:d}", systemd) for systemd in (True, False)
        }
        for number in range(pairs + 1):
            for systemd, bundle in bundles.items():
                for tested in random.sample(runtimes, 2):
                    creation(tested, bundle, systemd)
            if number == 0:
                for tested in runtimes:
                    tested.times.clear()
        for _ in range(pairs):
            for tested in random.sample(runtimes, 2):
                checkpoint(tested, bundles[True], folder)
        Path(target).write_text(document(runtimes))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *map(int, sys.argv[2:])))
