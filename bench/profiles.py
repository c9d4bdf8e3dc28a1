"""What a profile costs: `run` with and without one, in pairs.

    python3 bench/profiles.py [--rounds N] [--profile NAME]

Three commands in each round, in random order: `run` of a bundle, `run` of it with the profile, and `run` of a bundle whose
config.json is what the profile makes of it (`ocifw render`). The second less the third is the price of layering alone; the
third less the first that of the steps that the profile adds. Needs root, busybox-static and runc (for `runc spec`).
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import machine
import verbs

KINDS = ("none", "profile", "rendered")

Spent = tuple[float, float]
"""Seconds by the clock, and of processor time."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--profile", default="hardened")
    options = parser.parse_args()
    beside = Path(sys.executable).parent / "ocifw"
    path = str(beside) if beside.exists() else shutil.which("ocifw")
    if path is None:
        raise SystemExit("needs ocifw")
    with tempfile.TemporaryDirectory() as folder:
        times = measure(path, Path(folder), options.profile, options.rounds)
    print(report(path, options.profile, times))


def measure(path: str, folder: Path, profile: str, rounds: int) -> dict[str, list[Spent]]:
    """What `run` takes by kind, of as many rounds."""
    bundle = verbs.make_bundle(folder)
    rendered = folder / "rendered"
    rendered.mkdir()
    times: dict[str, list[Spent]] = {kind: [] for kind in KINDS}
    with verbs.cgroup_parent() as cgroup:
        for number in range(-3, rounds):
            for kind in random.sample(KINDS, len(KINDS)):
                life = verbs.Life(path, folder / "root", bundle, f"{kind}-{number}", cgroup)
                life.program("/bin/true")
                options = ["--profile", profile] if kind == "profile" else []
                if kind == "rendered":
                    render(path, profile, bundle, rendered)
                    life.bundle = rendered
                before = processor_s()
                try:
                    seconds = life.time("run", "--bundle", life.bundle, *options, life.id)
                except BaseException:
                    life.clean()
                    raise
                if number >= 0:  # the first rounds fill caches
                    times[kind].append((seconds, processor_s() - before))
    return times


def render(path: str, profile: str, bundle: Path, into: Path) -> None:
    """Write what the profile makes of the bundle's config, in as few bytes as an engine would."""
    command = [path, "render", "--bundle", str(bundle), "--profile", profile]
    config = json.loads(subprocess.check_output(command))
    config["root"]["path"] = str(bundle / "rootfs")
    (into / "config.json").write_text(json.dumps(config))


def processor_s() -> float:
    """Seconds of processor time that all commands so far took; on a busy machine what the clock says is mostly waiting."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def report(path: str, profile: str, times: dict[str, list[Spent]]) -> str:
    """Medians, and medians of the differences of one round with their quartiles: by the clock, and of the processor."""
    lines = machine.describe({"ocifw": path})
    for position, title in enumerate(("by the clock", "processor time")):
        lines += ["", title]
        own = {kind: [one[position] * 1000 for one in times[kind]] for kind in KINDS}
        lines += [
            f"  {kind:10}{statistics.median(own[kind]):7.2f} ms, at least {min(own[kind]):.2f} ms"
            for kind in KINDS
        ]
        for name, one, other in (
            (f"--profile {profile} in all", "profile", "none"),
            ("of it, layering", "profile", "rendered"),
            ("of it, the steps that it adds", "rendered", "none"),
        ):
            pairs = [a - b for a, b in zip(own[one], own[other], strict=True)]
            low, middle, high = statistics.quantiles(pairs, n=4)
            lines.append(f"  {name}: {middle:+.2f} ms ({low:+.2f} to {high:+.2f})")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
