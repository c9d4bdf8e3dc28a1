"""`ocifw conformance`: the matrix of the specification's MUSTs, in which ocifw has no FAIL and runc only known ones."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ocifw_conformance.case import CASES
from ocifw_conformance.matrix import chosen

QUICK = "^(state_(fields|annotations)|hooks_(of_create|state|poststop_fails)|root_readonly|rlimits_twice|seccomp_errno_ret) "
KNOWN = {case.name: case.runc for case in CASES}


@pytest.fixture
def matrix(runtime_path, is_ocifw):
    """The verdicts of a runtime by case, and the exit status of the command."""
    if not is_ocifw:
        pytest.skip("ocifw's own command")

    def run(runtime, only, **environment):
        words = ["conformance", "--runtime", runtime, "--only", only, "--json"]
        command = [runtime_path, *words]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
            env={**os.environ, **environment},
        )
        document = json.loads(done.stdout)
        cases = document["cases"]
        name = document["runtimes"][0]["name"]
        assert {case["name"] for case in cases} == {case.name for case in chosen(only)}
        return {case["name"]: case["verdicts"][name] for case in cases}, done.returncode

    return run


def failed(verdicts):
    return {name: v["reason"] for name, v in verdicts.items() if v["result"] == "FAIL"}


@pytest.mark.slow
def test_ocifw_quick(matrix, runtime_path):
    """ocifw does what some cases of every kind demand."""
    verdicts, status = matrix(runtime_path, QUICK)
    assert (failed(verdicts), status) == ({}, 0)
    assert len(verdicts) == 8


@pytest.mark.slow
@pytest.mark.skipif(
    not os.environ.get("OCIFW_MATRIX"), reason="OCIFW_MATRIX=1 runs all cases, minutes"
)
def test_ocifw(matrix, runtime_path):
    """ocifw does everything that the specification demands and that this machine can show."""
    verdicts, status = matrix(runtime_path, "")
    assert (failed(verdicts), status) == ({}, 0)


@pytest.mark.slow
@pytest.mark.skipif(
    not os.environ.get("OCIFW_MATRIX"), reason="OCIFW_MATRIX=1 runs all cases, minutes"
)
def test_runc(matrix):
    """runc fails only where it is known to differ: all other cases are true of what everybody uses."""
    if shutil.which("runc") is None:
        pytest.skip("needs runc")
    verdicts, _ = matrix("runc", "")
    assert {name: why for name, why in failed(verdicts).items() if not KNOWN[name]} == {}


@pytest.fixture
def pretender(tmp_path):
    """A runtime that accepts everything and does nothing."""
    path = tmp_path / "pretender"
    path.write_text("#!/bin/sh\nexit 0\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.slow
def test_a_runtime_that_does_nothing(matrix, pretender):
    """Cases can fail: a runtime that only ends with success does not pass, and the exit status tells."""
    verdicts, status = matrix(pretender, QUICK)
    assert status == 1
    assert {v["result"] for v in verdicts.values()} == {"FAIL"}


@pytest.mark.slow
def test_nothing_is_left(matrix, runtime_path, tmp_path):
    """A run leaves no cgroup and no folder behind."""

    def left():
        """The cgroups whose names have the pid of a process that is gone."""
        paths = Path("/sys/fs/cgroup").glob("*/ocifw-conformance-*")
        return {str(p) for p in paths if not Path("/proc", p.name.split("-")[2]).exists()}

    before = left()
    matrix(runtime_path, "^cgroups_before_the_program ", TMPDIR=str(tmp_path))
    assert left() <= before
    assert list(tmp_path.glob("ocifw-conformance-*")) == []


def test_every_case_has_a_demand():
    """Each case cites a section of the specification and states its demand in a sentence."""
    for case in CASES:
        file, _, section = case.section.partition(".md, ")
        assert file and section and case.demand.endswith("."), case.name
