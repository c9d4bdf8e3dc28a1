"""The audit log: what a line says, and that every phase has one."""

from __future__ import annotations

import json

from ocifw import phases
from ocifw.context import Context
from ocifw.steps import Mkdir
from ocifw.testing import PluginContract
from ocifw_audit_log import lines


class TestContract(PluginContract):
    """What every plugin of ocifw keeps to."""

    plugin = "ocifw_audit_log.plugin"


def test_lines_tell_times():
    """A line tells the time since the first phase, and how long the one before took."""
    context = Context("timed", "/b", "/s")
    first = lines.entry(phases.PREPARE, "runtime", [], context, {})
    context.pid = 7
    step = Mkdir("/x")
    step.stamp("mine", "rootfs")
    second = lines.entry(phases.ROOTFS, "container", [step], context, {"steps": True})
    assert (first["offset_us"], "before" in first, "pid" in first) == (0, False, False)
    assert second["before"] == {"phase": "prepare", "took_us": second["offset_us"]}
    assert (second["pid"], second["steps"], second["does"]) == (7, 1, ["mine: make directory /x"])


def test_lines_are_appended(tmp_path):
    """A line is added to what is there; the file is root's alone."""
    path = tmp_path / "log"
    for number in range(2):
        lines.write(str(path), {"number": number})
    assert [json.loads(line)["number"] for line in path.read_text().splitlines()] == [0, 1]
    assert path.stat().st_mode & 0o777 == 0o600


def test_in_a_real_container(real_containers, tmp_path):
    """Every phase of a container has a line, in order, on both sides."""
    real_containers.set("mine", {"audit-log": True})
    profile = tmp_path / "profile.yaml"
    profile.write_text(json.dumps({"plugins": {"audit-log": {"file": str(tmp_path / "log")}}}))
    done = real_containers.run("true", None, "--set", "mine", "--profile", profile)
    assert done.status == 0, done.err
    found = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    names = [line["phase"] for line in found]
    assert names[0] == "prepare" and {"rootfs", "finalize", "created"} <= set(names)
    assert names == sorted(names, key=[phase.name for phase in phases.PHASES].index)
    assert {line["side"] for line in found} == {"runtime", "container"}
    offsets = [line["offset_us"] for line in found]
    assert offsets == sorted(offsets)


def test_failures_can_be_warnings(real_containers, tmp_path):
    """With failure: warn a log that cannot be written is a warning; without, the container is not made."""
    profile = tmp_path / "profile.yaml"
    profile.write_text(json.dumps({"plugins": {"audit-log": {"file": "/absent/log"}}}))
    real_containers.set("strict", {"audit-log": True})
    real_containers.set("mild", {"audit-log": {"failure": "warn"}})
    strict = real_containers.run("echo ran", None, "--set", "strict", "--profile", profile)
    mild = real_containers.run("echo ran", None, "--set", "mild", "--profile", profile)
    assert (
        strict.status != 0 and "plugin audit-log: ocifw_run_phase: FileNotFoundError" in strict.err
    )
    assert (mild.status, mild.out) == (0, "ran\n") and "failure: warn" in mild.err
