"""docs/performance.md and its plots, from what was measured."""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING

import heavy
import library
import machine
import plot
from verbs import ROOT, SITUATIONS, Times, pairs, ratios, spread, table, verbs_table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

INSTRUCTIONS = ROOT / "bench" / "instructions.json"
FIRST = SITUATIONS[0].name
SECCOMP = SITUATIONS[1].name
SUMMARY = ("run", "create", "exec")


class Results:
    """What was measured; the tables of what was not are left out."""

    def __init__(self, runtimes: dict[str, str], rounds: int) -> None:
        self.runtimes = runtimes
        self.rounds = rounds
        self.situations: dict[str, Times] = {}
        self.heavy: Times = {}
        self.created_kb: dict[str, list[int]] = {}
        self.foreground_kb: dict[str, list[int]] = {}
        self.rates: dict[int, library.Rates] = {}
        self.mounts: dict[str, dict[int, list[float]]] = {}
        self.runs: dict[str, dict[int, list[float]]] = {}
        self.lists: dict[str, dict[int, list[float]]] = {}


def write(found: Results, folder: Path) -> str:
    """Write performance.md and plots/*.svg into a folder. Returns the text."""
    plots = folder / "plots"
    plots.mkdir(parents=True, exist_ok=True)
    text = "\n".join(
        [
            *_introduction(found),
            *_targets(found),
            *_summary(found),
            *_situations(found),
            *_heavy(found),
            *_memory(found),
            *_rates(found),
            *_sizes(found, plots),
            *_instructions(),
        ]
    )
    (folder / "performance.md").write_text(text)
    return text


def _introduction(found: Results) -> list[str]:
    return [
        "# Performance",
        "",
        "Written by `./dev bench`; [how it measures](../bench/README.md). On this machine:",
        "",
        *[f"* {line}" for line in machine.describe(found.runtimes)],
        "",
        f"Each of {found.rounds} rounds makes one container with each runtime, in random order, with the configuration that",
        "`runc spec` writes. Milliseconds are medians of whole commands; a ratio is the median of the rounds' pairs, with the",
        "bounds of their middle half in brackets. Below 1, the first is faster. `ocifw` is the command with the installed",
        "interpreter, `native` the same with the interpreter inside.",
        "",
    ]


# ---- targets -------------------------------------------------------------------------------------------------------


def _targets(found: Results) -> list[str]:
    rows = [
        [
            what,
            f"≤ {limit:g}" if at_most else f"≥ {limit:g}",
            f"{value:.2f}",
            _verdict(value, limit, at_most),
        ]
        for what, value, limit, at_most in _measured(found)
    ]
    lines = ["## Targets", ""]
    return [*lines, *table(("target", "limit", "measured", ""), rows), ""] if rows else []


def _verdict(value: float, limit: float, at_most: bool) -> str:
    if value <= limit if at_most else value >= limit:
        return "met"
    return f"missed by {abs(value / limit - 1) * 100:.0f} %"


def _measured(found: Results) -> list[tuple[str, float, float, bool]]:
    """Target, measured value, limit, and whether the limit is the most that it may be."""
    rows: list[tuple[str, float, float, bool]] = []

    def verb(ours: str, other: str, name: str, limit: float, situation: str = FIRST) -> None:
        times = found.situations.get(situation, {})
        if ours in times and other in times:
            middle = statistics.median(ratios(times, ours, other, name))
            text = f"{ours} / {other}: {name}" + ("" if situation == FIRST else f", {situation}")
            rows.append((text, middle, limit, True))

    for name, limit in (("run", 0.6), ("create", 0.65), ("exec", 0.7)):
        verb("ocifw", "runc", name, limit)
    verb("ocifw", "runc", "run", 0.35, SECCOMP)
    for name, limit in (("run", 0.45), ("create", 0.5), ("exec", 0.45)):
        verb("native", "runc", name, limit)
    for name in ("start", "state", "kill", "delete"):
        verb("native", "runc", name, 1.1)
    verb("native", "crun", "run", 0.8)
    one = found.rates.get(1, {})
    if "crun" in one:
        middle = statistics.median(_quotients(one[library.NAME], one["crun"]))
        rows.append(("library: containers per second / crun's", middle, 3, False))
    if found.created_kb.get("ocifw"):
        middle = statistics.median(found.created_kb["ocifw"])
        rows.append(("kB resident in `created`", middle, 100, True))
    runs = found.runs.get("ocifw", {})
    if len(runs) > 1:
        growth = statistics.median(runs[max(runs)]) / statistics.median(runs[min(runs)])
        rows.append((f"run beside {max(runs)} containers / beside {min(runs)}", growth, 1.1, True))
    slopes = {name: _slope(samples) for name, samples in found.mounts.items() if len(samples) > 1}
    # With few and cheap mounts, noise may be more than what they cost.
    if min(slopes.get("ocifw", 0), slopes.get("crun", 0)) > 0:
        text = "cost of a mount / crun's"
        rows.append((text, slopes["ocifw"] / slopes["crun"], 1, True))
    return rows


def _slope(samples: dict[int, list[float]]) -> float:
    """Seconds for each mount, between the fewest and the most."""
    low, high = min(samples), max(samples)
    more = statistics.median(samples[high]) - statistics.median(samples[low])
    return more / (high - low)


def _quotients(ones: Sequence[float], others: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(ones, others, strict=True)]


# ---- verbs ---------------------------------------------------------------------------------------------------------


def _summary(found: Results) -> list[str]:
    rows = []
    for name, times in found.situations.items():
        for ours, other in pairs(times):
            cells = [spread(ratios(times, ours, other, verb)) for verb in SUMMARY]
            rows.append([name, f"{ours} / {other}", *cells])
    lines = ["## In short", ""]
    return [*lines, *table(("situation", "pair", *SUMMARY), rows), ""]


def _situations(found: Results) -> list[str]:
    lines = ["## Every verb", ""]
    for name, times in found.situations.items():
        lines += [f"### {name}", "", *verbs_table(times), ""]
    lines += [
        "Without cgroups there is no freezer; ocifw and crun are told so, and runc cannot be. The profile `hardened` is",
        "ocifw's alone: the others run what `runc spec` writes.",
        "",
    ]
    return lines


def _heavy(found: Results) -> list[str]:
    if not found.heavy:
        return []
    return [f"## {heavy.NAME}", "", *heavy.table(found.heavy), ""]


def _memory(found: Results) -> list[str]:
    names = list(found.created_kb)
    rows = [
        [what, *[f"{statistics.median(kilobytes[name]):.0f}" for name in names]]
        for what, kilobytes in (
            ("a container's process that waits in `created`", found.created_kb),
            ("`run`, while its program runs", found.foreground_kb),
        )
    ]
    return ["## Memory", "", "Resident kB (VmRSS):", "", *table(("", *names), rows), ""]


# ---- the library ---------------------------------------------------------------------------------------------------


def _rates(found: Results) -> list[str]:
    lines = [
        "## The library",
        "",
        "Containers per second that are made, run `/bin/true`, are waited for and deleted: by [the library](library.md), and",
        "by spawning `run` of each runtime.",
        "",
    ]
    rows = []
    names: list[str] = []
    for at_once, rates in found.rates.items():
        names = list(rates)
        cells = [f"{statistics.median(rates[name]):.0f}" for name in names]
        others = names[1:]
        cells += [spread(_quotients(rates[library.NAME], rates[name])) for name in others]
        rows.append([str(at_once), *cells])
    head = ["threads", *names, *[f"{library.NAME} / {name}" for name in names[1:]]]
    return [*lines, *table(head, rows), ""]


# ---- sizes ---------------------------------------------------------------------------------------------------------


def _sizes(found: Results, plots: Path) -> list[str]:
    lines = ["## By size", ""]
    for file, title, across, samples in (
        ("mounts", "run, by number of bind mounts", "bind mounts", found.mounts),
        ("containers", "run, beside running containers", "containers", found.runs),
        ("list", "list -q, by number of containers", "containers", found.lists),
    ):
        medians = {
            name: [(float(size), statistics.median(values) * 1000) for size, values in of.items()]
            for name, of in samples.items()
        }
        (plots / f"{file}.svg").write_text(plot.chart(title, across, "milliseconds", medians))
        all_sizes = sorted({size for of in samples.values() for size in of})
        rows = [
            [
                name,
                *[f"{statistics.median(of[s]) * 1000:.1f}" if s in of else "" for s in all_sizes],
            ]
            for name, of in samples.items()
        ]
        head = [f"ms, {across}:", *map(str, all_sizes)]
        lines += [f"![{title}](plots/{file}.svg)", "", *table(head, rows), ""]
    lines += [
        "An empty field was not reached in the time for it. The containers beside have no network namespaces, and those of",
        "ocifw were made by the library; what was timed is the command.",
        "",
    ]
    return lines


def _instructions() -> list[str]:
    if not INSTRUCTIONS.exists():
        return []
    records: dict[str, dict[str, int]] = json.loads(INSTRUCTIONS.read_text())
    verbs = list(next(iter(records.values())))
    rows = [[name, *[f"{of[v] / 1e6:.1f}" for v in verbs]] for name, of in records.items()]
    return [
        "## Instructions",
        "",
        "Millions executed by the command's own process, counted by callgrind; `./dev gate` compares them with a tolerance.",
        "",
        *table(("interpreter", *verbs), rows),
        "",
    ]
