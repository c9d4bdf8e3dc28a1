"""What a container costs beside how many mounts it has, and beside how many containers there are already."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

from verbs import cgroup_parent, make_bundle, shuffled, timed

import ocifw

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path
    from typing import Any

Samples = dict[str, dict[int, list[float]]]


# ---- mounts --------------------------------------------------------------------------------------------------------


def by_mounts(
    runtimes: dict[str, str], folder: Path, counts: Iterable[int], rounds: int, limit_s: float
) -> Samples:
    """Seconds of `run`, by runtime and number of bind mounts beside the usual ones.

    In pairs, in random order; at least two rounds, and after `limit_s` seconds no more of one size.
    """
    samples: Samples = {name: {} for name in runtimes}
    source = folder / "source"
    source.mkdir()
    with cgroup_parent() as cgroup:
        for count in counts:

            def mounts(config: dict[str, Any], count: int = count) -> None:
                config["process"]["args"] = ["/bin/true"]
                config["linux"]["cgroupsPath"] = f"{cgroup}/mounts"
                config["mounts"] += [
                    {
                        "destination": f"/mnt/{number}",
                        "type": "bind",
                        "source": str(source),
                        "options": ["bind"],
                    }
                    for number in range(count)
                ]

            bundle = make_bundle(folder / f"mounts-{count}", [mounts])
            for number in range(count):
                (bundle / f"rootfs/mnt/{number}").mkdir(parents=True)
            began = time.monotonic()
            for turn in range(-1, rounds):
                if turn > 1 and time.monotonic() - began > limit_s:
                    break
                for name in shuffled(runtimes):
                    root = ["--root", str(folder / f"root-{name}")]
                    command = [runtimes[name], *root, "run", "--bundle", str(bundle), f"m{count}"]
                    seconds = timed(command)
                    if turn >= 0:
                        samples[name].setdefault(count, []).append(seconds)
    return samples


# ---- containers ----------------------------------------------------------------------------------------------------


def by_containers(
    runtimes: dict[str, str], folder: Path, counts: Sequence[int], repeats: int, limit_s: float
) -> tuple[Samples, Samples]:
    """Seconds of `run` and of `list`, by runtime and number of running containers below the same state root.

    One runtime after the other, each until it has made the largest number, or for `limit_s` seconds.
    """
    runs: Samples = {}
    lists: Samples = {}
    for name, path in runtimes.items():
        with cgroup_parent() as cgroup:
            crowd = _crowd(path, folder / f"crowd-{name}", cgroup, name == "ocifw")
            runs[name], lists[name] = {}, {}
            try:
                for count in counts:
                    if not crowd.grow(count, limit_s):
                        break
                    runs[name][count] = [crowd.time_run() for _ in range(repeats)]
                    lists[name][count] = [crowd.time_list() for _ in range(repeats)]
            finally:
                crowd.end()
    return runs, lists


class Crowd:
    """Running containers of one state root, made by commands."""

    def __init__(self, path: str, folder: Path, cgroup: str) -> None:
        self.command = [path, "--root", str(folder / "root")]
        self.folder = folder
        self.cgroup = cgroup
        self.size = 0
        self.seconds = 0.0
        self.bundle = make_bundle(folder, [_small])
        self.configure("/bin/sleep", "100000")

    def configure(self, *args: str, name: str = "one") -> None:
        """Write config.json for the next container."""
        path = self.bundle / "config.json"
        config = json.loads(path.read_text())
        config["process"]["args"] = args
        config["linux"]["cgroupsPath"] = f"{self.cgroup}/{name}"
        path.write_text(json.dumps(config))

    def grow(self, size: int, limit_s: float) -> bool:
        """Have this many. Returns False when it has taken more than `limit_s` seconds since the first."""
        began = time.monotonic()
        while self.size < size:
            if self.seconds + time.monotonic() - began > limit_s:
                return False
            self.configure("/bin/sleep", "100000", name=f"c{self.size}")
            self.add(f"c{self.size}")
            self.size += 1
        self.seconds += time.monotonic() - began
        return True

    def add(self, container_id: str) -> None:
        pid_file = str(self.folder / f"{container_id}.pid")
        options = ["--detach", "--pid-file", pid_file, "--bundle", str(self.bundle)]
        timed([*self.command, "run", *options, container_id])

    def time_run(self) -> float:
        """Seconds of one more container, which ends at once."""
        self.configure("/bin/true", name="more")
        return timed([*self.command, "run", "--bundle", str(self.bundle), "more"])

    def time_list(self) -> float:
        """Seconds of `list`, whose output is checked to name all."""
        began = time.perf_counter()
        listed = subprocess.check_output([*self.command, "list", "-q"])
        seconds = time.perf_counter() - began
        if len(listed.split()) != self.size:
            raise SystemExit(f"{self.command} list: {len(listed.split())} of {self.size}")
        return seconds

    def end(self) -> None:
        """Kill and delete all; their processes are children of this one."""
        for file in self.folder.glob("c*.pid"):
            pid = int(file.read_text())
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            timed([*self.command, "delete", file.stem])


class LibraryCrowd(Crowd):
    """The same, made by the library, which is faster; what is timed are still commands."""

    def __init__(self, path: str, folder: Path, cgroup: str) -> None:
        super().__init__(path, folder, cgroup)
        self.runtime = ocifw.Runtime(folder / "root", delete_on_exit=True)

    def add(self, container_id: str) -> None:
        self.runtime.create(
            self.bundle,
            container_id,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ).start()

    def end(self) -> None:
        self.runtime.close()


def _crowd(path: str, folder: Path, cgroup: str, library: bool) -> Crowd:
    return (LibraryCrowd if library else Crowd)(path, folder, cgroup)


def _small(config: dict[str, Any]) -> None:
    """No network namespace: what thousands of them cost is the kernel's, the same for all."""
    linux = config["linux"]
    linux["namespaces"] = [one for one in linux["namespaces"] if one["type"] != "network"]
    config["mounts"] = [one for one in config["mounts"] if one["type"] != "sysfs"]
