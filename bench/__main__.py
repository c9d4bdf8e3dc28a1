"""`./dev bench`: ocifw beside runc and crun in everything that is measured, and docs/performance.md with the results.

    ./dev bench [--quick] [--rounds N] [--only ocifw,native,runc,crun] [--write FOLDER]

--quick takes less than two minutes, and is for seeing that it works: its figures are of few rounds, and it writes into
bench/quick/ unless told otherwise. All of it takes less than a quarter of an hour of a quiet machine.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

import heavy
import library
import report
import sizes
import verbs

DOCS = verbs.ROOT / "docs"


class Amount:
    """How much is measured."""

    def __init__(self, quick: bool) -> None:
        self.rounds = 3 if quick else 40
        self.foreground = 2 if quick else 7
        self.mounts = (1, 10, 100) if quick else (1, 10, 30, 100, 300, 1000)
        self.mount_rounds = 2 if quick else 12
        self.mount_limit_s = 2.0 if quick else 12.0
        self.containers = (1, 10, 40) if quick else (1, 10, 100, 300, 1000, 2000, 5000)
        self.repeats = 3 if quick else 7
        self.container_limit_s = 4.0 if quick else 50.0
        self.blocks = 2 if quick else 12
        self.each = 5 if quick else 25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few rounds, in less than two minutes")
    parser.add_argument("--only", default="ocifw,native,runc,crun", help="runtimes, ocifw first")
    parser.add_argument("--write", type=Path, help="folder for performance.md and plots/")
    parser.add_argument("--rounds", type=int, help="pairs of each situation")
    options = parser.parse_args()
    target = options.write or (verbs.ROOT / "bench" / "quick" if options.quick else DOCS)
    amount = Amount(options.quick)
    amount.rounds = options.rounds or amount.rounds
    verbs.prepare()
    runtimes = verbs.find_runtimes(options.only.split(","))
    commands = {name: path for name, path in runtimes.items() if name not in verbs.OURS}
    found = report.Results(runtimes, amount.rounds)
    began = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - began:4.0f} s  {what}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="ocifw-bench-") as name:
        folder = Path(name)
        for number, situation in enumerate(verbs.SITUATIONS):
            say(situation.name)
            place = folder / str(number)
            place.mkdir()
            times, memory = verbs.measure(runtimes, place, amount.rounds, situation)
            found.situations[situation.name] = times
            if number == 0:
                found.created_kb = memory
            # The next has a rootfs of its own; nothing is mounted there.
            shutil.rmtree(place)
        say(heavy.NAME)
        place = folder / "heavy"
        place.mkdir()
        found.heavy = heavy.measure(runtimes, place, amount.rounds)
        say("memory in the foreground")
        found.foreground_kb = verbs.measure_foreground(runtimes, folder, amount.foreground)
        say("containers per second")
        for at_once in (1, 4):
            found.rates[at_once] = library.rates(
                commands, folder, at_once, amount.blocks, amount.each
            )
        say("by number of mounts")
        found.mounts = sizes.by_mounts(
            runtimes, folder, amount.mounts, amount.mount_rounds, amount.mount_limit_s
        )
        say("by number of containers")
        single = {name: path for name, path in runtimes.items() if name != "native"}
        found.runs, found.lists = sizes.by_containers(
            single, folder, amount.containers, amount.repeats, amount.container_limit_s
        )
    say("done")
    print(report.write(found, target))


if __name__ == "__main__":
    main()
