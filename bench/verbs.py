"""Every verb of a container's life, in pairs: each round makes one container with each runtime, in random order.

What is timed is a whole command, from the spawn of the process to its end. `python3 bench/verbs.py --rounds N` measures and
prints the tables without writing any file; `bench/__main__.py` measures everything.
"""

from __future__ import annotations

import argparse
import contextlib
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
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import machine

VERBS = ("run", "create", "start", "state", "exec", "pause", "resume", "kill", "delete")
NO_FREEZER = ("pause", "resume")
PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWNS = 0x20000
MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE = 0x1000, 0x2000, 0x4000, 0x40000
MNT_DETACH = 2
CGROUPS = "/sys/fs/cgroup"
UNIFIED = f"{CGROUPS}/unified"
ROOT = Path(__file__).resolve().parents[1]
DOCKER_PROFILE = ROOT / "tests/plugins/seccomp/profiles/docker-28.5-v2-default.json"
OURS = ("ocifw", "native")
PATIENCE_S = 60

_hidden: list[str] = []
Times = dict[str, dict[str, list[float]]]
Change = Callable[[dict[str, Any]], None]


# ---- situations ----------------------------------------------------------------------------------------------------


def with_seccomp(config: dict[str, Any]) -> None:
    """Docker's default profile, as dockerd resolves it."""
    config["linux"]["seccomp"] = json.loads(DOCKER_PROFILE.read_text())


def without_cgroups(config: dict[str, Any]) -> None:
    """Nothing that asks for a cgroup."""
    linux = config["linux"]
    linux.pop("resources", None)
    linux.pop("cgroupsPath", None)
    linux["namespaces"] = [one for one in linux["namespaces"] if one["type"] != "cgroup"]
    config["mounts"] = [one for one in config["mounts"] if one["type"] != "cgroup"]


@dataclass(frozen=True)
class Situation:
    """What is the same for all runtimes in one comparison.

    changes: of config.json. options: further global options by runtime. at_once: how many containers live at a time.
    without: runtimes that cannot do it.
    """

    name: str
    changes: tuple[Change, ...] = ()
    options: tuple[tuple[str, tuple[str, ...]], ...] = ()
    at_once: int = 1
    without: tuple[str, ...] = ()
    cgroups: bool = True

    @property
    def verbs(self) -> tuple[str, ...]:
        return VERBS if self.cgroups else tuple(verb for verb in VERBS if verb not in NO_FREEZER)


_NONE = tuple((name, ("--cgroup-manager", "disabled")) for name in (*OURS, "crun"))
_HARDENED = tuple((name, ("--profile", "hardened")) for name in OURS)
_LACKING = {"without": ("runc",), "cgroups": False, "options": _NONE}

SITUATIONS = (
    Situation("with cgroups"),
    Situation("with cgroups, Docker's seccomp profile", (with_seccomp,)),
    Situation("without cgroups", (without_cgroups,), **_LACKING),
    Situation(
        "without cgroups, Docker's seccomp profile", (without_cgroups, with_seccomp), **_LACKING
    ),
    Situation("ocifw with --profile hardened", options=_HARDENED),
    Situation("4 at once", at_once=4),
    Situation("4 at once, Docker's seccomp profile", (with_seccomp,), at_once=4),
)


# ---- one container -------------------------------------------------------------------------------------------------


class Life:
    """One container of one runtime, from create to delete. config.json of `bundle` is written for it."""

    def __init__(
        self,
        path: str,
        root: Path,
        bundle: Path,
        container_id: str,
        cgroup: str,
        options: Sequence[str] = (),
        verbs: Sequence[str] = VERBS,
    ) -> None:
        self.command = [path, "--root", str(root), *options]
        self.bundle = bundle
        self.id = container_id
        self.verbs = verbs
        self.created_kb = 0
        config = json.loads((bundle / "config.json").read_text())
        if verbs == VERBS:
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
        for verb in ("start", "state", "exec", "pause", "resume"):
            if verb in self.verbs:
                arguments = ["/bin/true"] if verb == "exec" else []
                seconds[verb] = self.time(verb, self.id, *arguments)
        seconds["kill"] = self.time("kill", self.id, "KILL")
        os.waitpid(state["pid"], 0)
        seconds["delete"] = self.time("delete", self.id)
        return seconds

    def foreground_kb(self) -> int:
        """The resident memory of `run` while it waits for its program."""
        self.program("/bin/sleep", "1000")
        command = [*self.command, "run", "--bundle", str(self.bundle), self.id]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
            try:
                wait_until(lambda: self._status() == "running", process)
                return resident_kb(process.pid)
            finally:
                self.time("kill", self.id, "KILL")
                process.wait(PATIENCE_S)

    def _status(self) -> str:
        done = subprocess.run([*self.command, "state", self.id], capture_output=True, check=False)
        return "" if done.returncode else str(json.loads(done.stdout)["status"])

    def clean(self) -> None:
        """Leave nothing, whatever happened."""
        subprocess.call([*self.command, "delete", "--force", self.id])

    def program(self, *args: str) -> None:
        """Write the program's arguments into config.json."""
        config: dict[str, Any] = json.loads((self.bundle / "config.json").read_text())
        config["process"]["args"] = args
        (self.bundle / "config.json").write_text(json.dumps(config))

    def time(self, *arguments: object) -> float:
        """Seconds of one command. Raises SystemExit when it fails: a runtime that fails looks fast."""
        return timed([*self.command, *map(str, arguments)])


def timed(command: Sequence[str]) -> float:
    """Seconds of a command. Raises SystemExit with what it said when its exit status is not 0."""
    with tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        status = subprocess.call(
            command, stderr=errors, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        seconds = time.perf_counter() - start
        if status:
            errors.seek(0)
            raise SystemExit(f"{command} failed with {status}: {errors.read().decode()}")
    return seconds


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Poll until it is so. Raises SystemExit when the process ends before, or it takes too long."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"{process.args!r}: ended with {process.poll()}, or does not start")
        time.sleep(0.01)


def resident_kb(pid: int) -> int:
    """The resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")))


# ---- measuring -----------------------------------------------------------------------------------------------------


def measure(
    runtimes: dict[str, str], folder: Path, rounds: int, situation: Situation = SITUATIONS[0]
) -> tuple[Times, dict[str, list[int]]]:
    """Seconds by runtime and verb, and the resident kilobytes of containers that wait in `created`.

    Of several at once, a round's figure is the median of them.
    """
    runtimes = able(runtimes, situation)
    options = dict(situation.options)
    places = [
        make_bundle(folder / f"place-{n}", situation.changes) for n in range(situation.at_once)
    ]
    times: Times = {name: {verb: [] for verb in situation.verbs} for name in runtimes}
    memory: dict[str, list[int]] = {name: [] for name in runtimes}
    with cgroup_parent() as cgroup, ThreadPoolExecutor(situation.at_once) as pool:

        def live(name: str, container_id: str, bundle: Path) -> tuple[dict[str, float], int]:
            life = Life(
                runtimes[name],
                folder / f"root-{name}",
                bundle,
                container_id,
                cgroup,
                options.get(name, ()),
                situation.verbs,
            )
            try:
                return life.measure(), life.created_kb
            except BaseException:
                life.clean()
                raise

        for number in range(-2, rounds):
            for name in shuffled(runtimes):
                ids = [f"{name}-{number}-{place}" for place in range(situation.at_once)]
                if situation.at_once == 1:
                    lives = [live(name, ids[0], places[0])]
                else:
                    lives = list(pool.map(live, [name] * len(ids), ids, places))
                if number < 0:  # the first rounds fill caches
                    continue
                for verb in situation.verbs:
                    times[name][verb].append(statistics.median([one[verb] for one, _ in lives]))
                memory[name] += [kilobytes for _, kilobytes in lives]
    return times, memory


def measure_foreground(runtimes: dict[str, str], folder: Path, rounds: int) -> dict[str, list[int]]:
    """Resident kilobytes of the process of a `run` in the foreground."""
    bundle = make_bundle(folder / "foreground")
    found: dict[str, list[int]] = {name: [] for name in runtimes}
    with cgroup_parent() as cgroup:
        for number in range(rounds):
            for name, path in runtimes.items():
                life = Life(path, folder / f"root-{name}", bundle, f"{name}-{number}", cgroup)
                try:
                    found[name].append(life.foreground_kb())
                except BaseException:
                    life.clean()
                    raise
    return found


def able(runtimes: dict[str, str], situation: Situation) -> dict[str, str]:
    """Those that can do it."""
    return {name: path for name, path in runtimes.items() if name not in situation.without}


def shuffled(names: Iterable[str]) -> list[str]:
    order = list(names)
    random.shuffle(order)
    return order


@contextlib.contextmanager
def cgroup_parent() -> Iterator[str]:
    """A name for a cgroup in which all others are made; what the runtimes left of it is removed."""
    cgroup = f"/ocifw-bench-{os.getpid()}"
    try:
        yield cgroup
    finally:
        for path in [
            *Path(CGROUPS).glob(f"*{cgroup}"),
            *[Path(f"{one}{cgroup}") for one in _hidden],
        ]:
            for inside, _, _ in os.walk(path, topdown=False):
                os.rmdir(inside)


# ---- what is measured ----------------------------------------------------------------------------------------------


def find_runtimes(only: Sequence[str]) -> dict[str, str]:
    """Paths by name. `native` is ocifw with the interpreter inside; it is made in .venv/native, where that can be.

    Raises SystemExit for a runtime that is not there.
    """
    beside = Path(sys.executable).parent / "ocifw"
    found: dict[str, str] = {}
    for name in only:
        if name == "native":
            path = native()
        elif name == "ocifw" and beside.exists():
            path = str(beside)
        else:
            path = shutil.which(name)
            if path is None:
                raise SystemExit(f"needs {name} in PATH")
        if path:
            found[name] = path
    return found


def native() -> str | None:
    """The native command, in a folder beside bin, from which it finds its package; None when it cannot be built here."""
    folder = Path(sys.prefix) / "native"
    build = [sys.executable, str(ROOT / "core/native/build_native.py"), "--launcher", str(folder)]
    folder.mkdir(exist_ok=True)
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        # The name of a program chooses a profile: it must be called ocifw.
        os.replace(folder / "ocifw-native", folder / "ocifw")
        works = [str(folder / "ocifw"), "--root", "/nonexistent", "list"]
        done = subprocess.run(works, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"no native command: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    return str(folder / "ocifw")


def prepare() -> None:
    """Be the parent of every container, and hide what crun refuses."""
    if os.geteuid() != 0:
        raise SystemExit("needs root: containers with cgroups are made")
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    hide_unified(libc)


def hide_unified(libc: ctypes.CDLL) -> None:
    """Show only the v1 controllers, in a mount namespace of our own: crun refuses a unified hierarchy beside them.

    A tmpfs of our own stands in for the host's, in which crun would make folders otherwise.
    """
    if not os.path.ismount(UNIFIED):
        return

    def mount(source: str, target: str, kind: str, flags: int) -> None:
        if libc.mount(source.encode(), target.encode(), kind.encode(), flags, None):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), target)

    # Some runtimes make cgroups there all the same: a way to remove them again.
    _hidden.append(f"/proc/self/fd/{os.open(UNIFIED, os.O_PATH | os.O_DIRECTORY)}")
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


def make_bundle(folder: Path, changes: Iterable[Change] = ()) -> Path:
    """A busybox bundle with the configuration that `runc spec` writes, and changes to it."""
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
    for change in changes:
        change(config)
    (bundle / "config.json").write_text(json.dumps(config))
    return bundle


# ---- tables --------------------------------------------------------------------------------------------------------


def ratios(times: Times, one: str, other: str, verb: str) -> list[float]:
    """Of each round, the first runtime's time by the second's."""
    return [a / b for a, b in zip(times[one][verb], times[other][verb], strict=True)]


def spread(values: Sequence[float]) -> str:
    """The median, and in brackets between which values the middle half of them lies."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} ({low:.2f}–{high:.2f})"


def pairs(names: Iterable[str]) -> list[tuple[str, str]]:
    """Ours with each of the others."""
    present = list(names)
    others = [name for name in present if name not in OURS]
    return [(ours, other) for ours in OURS if ours in present for other in others]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of Markdown."""
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return [*lines, *["| " + " | ".join(row) + " |" for row in rows]]


def verbs_table(times: Times) -> list[str]:
    """Milliseconds of every verb and runtime, and the ratios of pairs."""
    compared = pairs(times)
    head = ["verb", *[f"{name} ms" for name in times], *[f"{a} / {b}" for a, b in compared]]
    rows = []
    for verb in next(iter(times.values())):
        medians = [f"{statistics.median(times[name][verb]) * 1000:.1f}" for name in times]
        rows.append([verb, *medians, *[spread(ratios(times, a, b, verb)) for a, b in compared]])
    return table(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", default="ocifw,runc,crun")
    parser.add_argument("--situation", type=int, choices=range(len(SITUATIONS)), default=0)
    options = parser.parse_args()
    prepare()
    runtimes = find_runtimes(options.only.split(","))
    situation = SITUATIONS[options.situation]
    with tempfile.TemporaryDirectory() as folder:
        times, memory = measure(runtimes, Path(folder), options.rounds, situation)
    print("\n".join([*machine.describe(runtimes), "", situation.name, "", *verbs_table(times)]))
    print({name: f"{statistics.median(kilobytes):.0f} kB" for name, kilobytes in memory.items()})


if __name__ == "__main__":
    main()
