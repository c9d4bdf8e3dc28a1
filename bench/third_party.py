"""What plugins that are not ocifw's own add to `create`, once linked: none, one and thirty with one hook each.

    python3 bench/third_party.py [--rounds N]

Works on a copy of the installed ocifw, with set files and a cache of its own, in a private mount namespace. Needs root,
busybox-static and runc (for the bundle). Each round creates one container with each set, in random order.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import random
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from verbs import (
    CLONE_NEWNS,
    MS_BIND,
    MS_PRIVATE,
    MS_REC,
    PR_SET_CHILD_SUBREAPER,
    Life,
    make_bundle,
)

COUNTS = (0, 1, 30)
BUDGET_MS = {1: 0.3, 30: 3.0}
CACHE = "/var/cache/ocifw"
PLUGIN = """
from ocifw import hookimpl

@hookimpl
def ocifw_enter(config, settings, request):
    return []
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60)
    rounds = parser.parse_args().rounds
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # One installation each: the image of modules is that of the set that was used last.
        programs = {count: install(folder / f"prefix{count}", count) for count in COUNTS}
        (folder / "cache").mkdir(mode=0o700)
        os.makedirs(CACHE, mode=0o700, exist_ok=True)
        for source, target, flags in (
            ("none", "/", MS_REC | MS_PRIVATE),
            (f"{folder}/cache", CACHE, MS_BIND),
        ):
            if source == "none" and libc.unshare(CLONE_NEWNS):
                raise OSError(ctypes.get_errno(), "private mount namespace")
            if libc.mount(source.encode(), target.encode(), b"", flags, None):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), target)
        times = measure(programs, folder, rounds)
    base = statistics.median(times[0])
    print(f"create: {base * 1000:.2f} ms with ocifw's own plugins, median of {rounds}")
    failed = False
    for count in COUNTS[1:]:
        added = statistics.median(a - b for a, b in zip(times[count], times[0], strict=True)) * 1000
        over = added > BUDGET_MS[count]
        failed |= over
        print(
            f"{count:2} more, one hook each: {added:+.2f} ms{f', over {BUDGET_MS[count]} ms' * over}"
        )
    return int(failed)


def install(prefix: Path, count: int) -> Path:
    """A copy of the installed ocifw with some more plugins in its set; its command."""
    import ocifw

    library = Path(ocifw.__file__).parents[1]
    target = prefix / f"lib/python3.{sys.version_info[1]}/site-packages"
    sets = prefix / "lib/ocifw/sets.d"
    for path in (target, sets, prefix / "bin"):
        path.mkdir(parents=True)
    shutil.copy2(Path(sys.executable).parent / "ocifw", prefix / "bin/ocifw")
    for path in library.iterdir():
        if path.name.startswith("ocifw"):
            shutil.copytree(path, target / path.name)
        elif path.suffix != ".pth":
            (target / path.name).symlink_to(path)
    for number in range(count):
        package = target / f"ocifw_bench{number}"
        information = target / f"ocifw_bench{number}-1.dist-info"
        package.mkdir()
        information.mkdir()
        (package / "__init__.py").write_text("")
        (package / "plugin.py").write_text(PLUGIN)
        (information / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: ocifw-bench{number}\nVersion: 1\n"
        )
        (information / "entry_points.txt").write_text(
            f"[ocifw]\nbench{number} = ocifw_bench{number}.plugin\n"
        )
    names = ", ".join(f"bench{number}: true" for number in range(count))
    (sets / "default.yaml").write_text(f"plugins: {{{names}}}\n")
    return prefix / "bin/ocifw"


def measure(programs: dict[int, Path], folder: Path, rounds: int) -> dict[int, list[float]]:
    """Seconds of `create` by the number of plugins."""
    bundle = make_bundle(folder)
    cgroup = f"/ocifw-bench-{os.getpid()}"
    times: dict[int, list[float]] = {count: [] for count in COUNTS}
    try:
        for number in range(-3, rounds):
            for count in random.sample(COUNTS, len(COUNTS)):
                life = Life(
                    str(programs[count]), folder / "state", bundle, f"c{count}-{number}", cgroup
                )
                life.program("/bin/true")
                try:
                    seconds = life.time("create", "--bundle", bundle, life.id)
                finally:
                    life.clean()
                if number >= 0:  # the first rounds fill caches
                    times[count].append(seconds)
    finally:
        for path in Path("/sys/fs/cgroup").glob(f"*{cgroup}"):
            for inside, _, _ in os.walk(path, topdown=False):
                os.rmdir(inside)
    return times


if __name__ == "__main__":
    sys.exit(main())
