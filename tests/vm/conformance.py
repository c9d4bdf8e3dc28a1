"""Tries the MUSTs of runtime-spec in the test machine, and writes them as JSON: `./dev test-vm conformance`.

It takes minutes a runtime: after each the file is written anew, with all that was tried by then.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

RUNTIMES = ("ocifw", "runc", "crun")


def tried(runtime: str, pattern: str) -> dict[str, Any]:
    """What `ocifw conformance --json` says about a runtime. Raises CalledProcessError when it says nothing."""
    only = ["--only", pattern] if pattern else []
    command = ["ocifw", "conformance", "--json", "--runtime", runtime, *only]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if not done.stdout:
        raise subprocess.CalledProcessError(done.returncode, command)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def merge(whole: dict[str, Any], part: dict[str, Any]) -> None:
    """Add a runtime's column to those in `whole`."""
    if not whole:
        whole.update(part)
        return
    whole["runtimes"] += part["runtimes"]
    cases = {case["name"]: case for case in whole["cases"]}
    for case in part["cases"]:
        cases[case["name"]]["verdicts"].update(case["verdicts"])


def main(target: str, pattern: str = "", *runtimes: str) -> int:
    """Returns 1 when ocifw fails in anything, else 0."""
    whole: dict[str, Any] = {}
    for runtime in runtimes or RUNTIMES:
        merge(whole, tried(runtime, pattern))
        Path(target).write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    for runtime in whole["runtimes"]:
        verdicts = [
            case["verdicts"].get(runtime["name"], {}).get("result") for case in whole["cases"]
        ]
        counts = {result: verdicts.count(result) for result in sorted({v for v in verdicts if v})}
        print(f"{runtime['name']}: {', '.join(f'{counts[one]} {one}' for one in counts)}")
    failed = [
        case for case in whole["cases"] if case["verdicts"].get("ocifw", {}).get("result") == "FAIL"
    ]
    for case in failed:
        print(f"FAIL {case['name']}: {case['verdicts']['ocifw']['reason']}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
