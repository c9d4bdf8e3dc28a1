"""The commands about profiles: explain, profile, render, plan and validate, from the command line."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

FOREVER = "exec sleep 1000"


@pytest.fixture
def profile(tmp_path):
    """Write a profile; returns its path."""

    def write(text, name="site"):
        path = tmp_path / f"{name}.yaml"
        path.write_text(text)
        path.chmod(0o644)
        return path

    return write


# ---- explain -----------------------------------------------------------------------------------------------------


def test_explain_a_bundle(runtime, bundle, profile):
    """A value has its line, in the profile or in config.json, its owner, its steps and its meaning."""
    path = profile("config:\n  hostname: other\n")
    bundle.write()
    out = runtime("explain", "-b", bundle.path, "--profile", path, "hostname").out
    assert 'hostname = "other"\n' in out
    assert f"{path}:2:3" in out and '"other" instead of "box"' in out
    assert "set hostname other" in out and "namespaces" in out
    out = runtime("explain", "-b", bundle.path, "root.readonly").out
    assert f"{bundle.path}/config.json:1:" in out


def test_explain_everything(runtime, bundle, profile):
    """Without a path, every value that is not config.json's has a line; without layers there is nothing."""
    bundle.write()
    assert runtime("explain", "-b", bundle.path).out == ""
    path = profile("config:\n  hostname: other\n  mounts-: [/sys]\n")
    lines = runtime("explain", "-b", bundle.path, "--profile", path).out.splitlines()
    assert lines[0] == f'hostname = "other"  {path}:2:3'
    found = json.loads(runtime("explain", "--json", "-b", bundle.path, "--set", "hostname=x").out)
    assert [(row["path"], row["origin"]["layer"]) for row in found] == [("hostname", "--set")]


def test_explain_a_container(runtime, bundle, profile):
    """A container is explained from its state: the bundle and the profile may be gone."""
    path = profile("config: {linux: {resources: {pids: {limit: 77}}}}\n")
    container = runtime.running(bundle.sh(FOREVER), "--profile", path)
    path.unlink()
    (bundle.path / "config.json").unlink()
    found = json.loads(runtime("explain", "--json", container, "linux.resources.pids.limit").out)
    assert found["value"] == 77 and found["origin"]["file"] == str(path)
    runtime("update", "--pids-limit", "66", container)
    found = json.loads(runtime("explain", "--json", container, "linux.resources.pids.limit").out)
    assert found["value"] == 66 and found["origin"]["layer"] == "update"
    assert "linux.resources.pids.limit = 66" in runtime("explain", container).out


def test_explain_a_container_of_another_config(runtime, bundle, profile):
    """Origins name the file that --config chose, for a bundle and for a container, whatever becomes of it."""
    bundle.sh(FOREVER)
    (bundle.path / "config.json").rename(bundle.path / "other.json")
    path = profile("config: {hostname: box2}\n")
    options = ["--config", "other.json", "--profile", path]
    out = runtime("explain", "-b", bundle.path, *options, "--json", "root").out
    assert json.loads(out)["origin"]["file"] == f"{bundle.path}/other.json"
    container = runtime.id()
    runtime("run", "-d", "-b", bundle.path, *options, container)
    (bundle.path / "other.json").unlink()
    found = json.loads(runtime("explain", "--json", container, "root").out)
    assert found["origin"]["file"] == f"{bundle.path}/other.json"


def test_explain_says_what_is_not_of_create(runtime, bundle):
    """The steps of a container are planned anew; that, and what has changed about its plugins since, is told."""
    container = runtime.running(bundle.sh(FOREVER))
    assert json.loads(runtime("explain", "--json", container, "hostname").out)["changed"] == []
    out = " ".join(runtime("explain", container, "hostname").out.split())
    assert "set hostname box" in out
    assert "planned anew from the stored config" in out and "differ" not in out
    path = Path(runtime.root, container, "state.json")
    state = json.loads(path.read_text())
    row = next(row for row in state["plugins"] if row[0] == "namespaces")
    row[2] = "0" * 64
    path.write_text(json.dumps(state))
    out = " ".join(runtime("explain", container, "hostname").out.split())
    assert "they may differ from those that made it: plugin namespaces was changed on disk" in out
    found = json.loads(runtime("explain", "--json", container, "hostname").out)
    assert found["changed"] == ["plugin namespaces was changed on disk"]
    out = runtime("explain", "-b", bundle.path, "hostname").out
    assert "planned anew" not in out


def test_explain_what_is_not_there(runtime, bundle):
    """A path that config.json has no place for is an error with a suggestion."""
    bundle.write()
    done = runtime("explain", "-b", bundle.path, "linux.resorces", check=False)
    assert done.status == 1 and "did you mean resources?" in done.err


# ---- render ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hardened", "ci"])
def test_what_render_writes_runs_on_runc(runtime, bundle, name, cgroup_parent):
    """The effective config is one that runc runs unchanged, with the same result."""
    runc = shutil.which("runc")
    if runc is None:
        pytest.skip("needs runc")
    bundle.sh("grep -E '^(CapBnd|Seccomp|NoNewPrivs):' /proc/self/status")
    ours = runtime.run(bundle, "--profile", name).out
    rendered = runtime("render", "-b", bundle.path, "--profile", name).out
    (bundle.path / "config.json").write_text(rendered)
    done = subprocess.run(
        [runc, "--root", str(runtime.root) + "-runc", "run", "-b", bundle.path, runtime.id()],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ours and "Seccomp:\t2" in ours


def test_render_to_a_file(runtime, bundle, tmp_path):
    """With --output the file is written as a whole, and is config.json when nothing lies over it."""
    bundle.write()
    runtime("render", "-b", bundle.path, "-o", tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == bundle.config


# ---- profile -----------------------------------------------------------------------------------------------------


def test_profile_list(runtime):
    """Every profile that is shipped has a description."""
    rows = json.loads(runtime("profile", "list", "--json").out)
    found = {row["name"]: row["description"] for row in rows if row["trust"] == "distribution"}
    assert {"ci", "default", "hardened", "legacy-docker", "rootless"} <= set(found)
    assert all(found.values())
    assert "hardened" in runtime("profile", "list").out


def test_profile_show(runtime, profile):
    """A profile is shown with its files, its changes and its policy, each with its place."""
    path = profile(
        "description: Ours.\nextends: default\nconfig: {hostname: ours}\n"
        "policy:\n  - {deny: process.user.uid is 0, reason: nobody is root}\n"
    )
    out = runtime("profile", "show", path).out
    assert "Ours." in out and "default.yaml" in out
    assert 'hostname is "ours"' in out and f"{path}:3:10" in out
    assert "nobody is root" in out


def test_profile_diff(runtime, bundle, profile):
    """Two profiles differ in what comes out: system calls by action, capabilities by name, rules."""
    one = profile("config: {linux: {seccomp: {base: docker-default}}}\n", "one")
    two = profile("extends: ./one.yaml\nconfig: {linux: {seccomp: {deny: [bind]}}}\n", "two")
    bundle.write()
    out = runtime("profile", "diff", "-b", bundle.path, one, two).out
    assert out == "~ linux.seccomp.syscalls: allow → EPERM: bind\n"
    assert runtime("profile", "diff", one, one).out == ""


def test_profile_lint(runtime, profile):
    """What is right passes; what is wrong has its place and a suggestion, and the exit status says so."""
    assert runtime("profile", "lint", "hardened", "ci", "rootless", "legacy-docker").out == ""
    path = profile("config:\n  hostnam: x\n")
    done = runtime("profile", "lint", path, check=False)
    assert done.status == 1
    assert done.out == f"{path}:2:3: config.hostnam: is not known: did you mean hostname?\n"


def test_profile_which(runtime, bundle, profile):
    """Which profiles count, what chose them, and the files that they are."""
    bundle.write()
    path = profile("extends: default\nconfig: {hostname: x}\n")
    found = json.loads(
        runtime("profile", "which", "-b", bundle.path, "--profile", path, "--json").out
    )
    assert found["profiles"] == [str(path)] and found["chosen"] == "--profile"
    assert found["files"][-1] == str(path) and found["files"][0].endswith("/default.yaml")


def test_profile_usage(runtime):
    """What is no subcommand is an error of usage."""
    assert "expected list, show" in runtime("profile", "shwo", check=False).err


# ---- plan --------------------------------------------------------------------------------------------------------


def test_plan_diff(runtime, bundle, profile):
    """The steps that another profile adds and takes away, by phase."""
    path = profile("config: {hostname: other}\n")
    bundle.write()
    found = json.loads(runtime("plan", "-b", bundle.path, "--diff", path, "--json").out)
    assert [phase["phase"] for phase in found] == ["finalize"]
    assert [s["text"] for s in found[0]["removed"]] == ["set hostname box"]
    assert [s["text"] for s in found[0]["added"]] == ["set hostname other"]
    lines = runtime("plan", "-b", bundle.path, "--diff", path).out.splitlines()
    assert lines[1].startswith("  - namespaces") and lines[2].startswith("  + namespaces")
    assert runtime("plan", "-b", bundle.path, "--diff", "default").out == ""


def test_plan_graph(runtime, bundle, tmp_path):
    """The tree is of at most 80 columns, without colours in a file; the SVG is XML with every phase."""
    bundle.write()
    out = runtime("plan", "-b", bundle.path, "--graph").out
    assert "├─ 5 rootfs (container, create)" in out and "\x1b" not in out
    assert all(len(line) <= 80 or " " not in line.strip(" │├└─") for line in out.splitlines())
    path = tmp_path / "plan.svg"
    assert runtime("plan", "-b", bundle.path, "--graph", path).out == ""
    texts = [element.text for element in ET.parse(path).iter() if element.text]
    assert {"runtime", "container"} <= set(texts)
    assert any("pivot_root" in text for text in texts)


def test_colours(runtime, bundle):
    """On a terminal there are colours, unless NO_COLOR is set."""
    if shutil.which("script") is None:
        pytest.skip("needs script(1)")
    bundle.write()
    command = " ".join(runtime.command("plan", "--graph", "-b", bundle.path))
    for environment, expected in (({}, True), ({"NO_COLOR": "1"}, False)):
        done = subprocess.run(
            ["script", "-qec", command, "/dev/null"],
            env={"PATH": "/usr/bin:/bin", "TERM": "xterm", **environment},
            capture_output=True,
            check=True,
            stdin=subprocess.DEVNULL,
        )
        assert (b"\x1b[" in done.stdout) is expected


# ---- validate ----------------------------------------------------------------------------------------------------


def validate(runtime, bundle, *options):
    done = runtime("validate", "--json", *options, bundle.path, check=False)
    found = json.loads(done.out)
    assert found["ok"] is (done.status == 0)
    return done.status, [(f["severity"], f["kind"], f["path"]) for f in found["findings"]]


def test_validate_what_is_right(runtime, bundle):
    """A bundle that runs has no errors, with hardened neither."""
    bundle.write()
    assert validate(runtime, bundle) == (0, [])
    assert validate(runtime, bundle, "--profile", "hardened")[0] == 0
    assert runtime("validate", bundle.path).out == f"{bundle.path}: can be run\n"


def test_validate_the_config(runtime, bundle):
    """Everything that is wrong with config.json is told at once, with its line."""
    bundle.config["hostname"] = 5
    bundle.process["cwd"] = "relative"
    bundle.write()
    status, found = validate(runtime, bundle)
    assert status == 1
    assert {path for _, _, path in found} == {"hostname", "process.cwd"}
    out = runtime("validate", bundle.path, check=False).out
    assert f"{bundle.path}/config.json:1:" in out


def test_validate_unknown_properties(runtime, bundle):
    """An unknown property is a warning with a suggestion, and an error with --strict."""
    bundle.linux["maskedPath"] = []
    bundle.write()
    assert validate(runtime, bundle) == (0, [("warning", "unknown", "linux.maskedPath")])
    assert validate(runtime, bundle, "--strict")[0] == 1
    assert "did you mean maskedPaths?" in runtime("validate", bundle.path).out


def test_validate_profiles_and_policy(runtime, bundle, profile):
    """A wrong profile, and a policy that is broken, are told with the place in the profile."""
    bundle.write()
    wrong = profile("config:\n  hostnam: x\n", "wrong")
    assert validate(runtime, bundle, "--profile", wrong) == (
        1,
        [("error", "profile", "config.hostnam")],
    )
    strict = profile("policy:\n  - {deny: process.user.uid is 0, reason: no}\n", "strict")
    assert validate(runtime, bundle, "--profile", strict) == (1, [("error", "policy", "")])
    assert (
        f"{strict}:2:5: error"
        in runtime("validate", "--profile", strict, bundle.path, check=False).out
    )


def test_validate_the_machine(runtime, bundle):
    """What the machine cannot do is an error, with the line that asks for it."""
    bundle.config["root"]["path"] = "/nosuchthing"
    bundle.config["hooks"] = {"poststop": [{"path": "/nosuchprogram"}]}
    bundle.write()
    status, found = validate(runtime, bundle)
    assert status == 1
    assert {path for _, kind, path in found if kind == "host"} >= {
        "root.path",
        "hooks.poststop[0].path",
    }


def test_validate_goes_on(runtime, bundle, profile):
    """What is wrong at one stage does not hide what is at the next: schema, owners, policy, machine, unknown keys."""
    bundle.config["hostname"] = 5
    bundle.process["cwd"] = "relative"
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOSUCH", "hard": 1, "soft": 1}]
    bundle.config["hooks"] = {"poststop": [{"path": "/nosuchprogram"}]}
    bundle.config["mounts"].append({"destination": "/proc/x", "type": "tmpfs"})
    bundle.linux["maskedPath"] = []
    bundle.write()
    strict = profile("policy:\n  - {deny: process.user.uid is 0, reason: no}\n", "strict")
    status, found = validate(runtime, bundle, "--profile", strict)
    assert status == 1
    assert {("config", "hostname"), ("config", "process.cwd"), ("unknown", "linux.maskedPath"),
            ("policy", ""), ("host", "hooks.poststop[0].path")} <= {(k, p) for _, k, p in found}  # fmt: skip
    assert any("mounts[" in path for _, kind, path in found if kind == "plugin"), found


def test_validate_without_wrong_profiles(runtime, bundle, profile):
    """Beside what is wrong with a profile, what is wrong with config.json alone is told."""
    bundle.config["hooks"] = {"poststop": [{"path": "/nosuchprogram"}]}
    bundle.write()
    wrong = profile("config:\n  hostnam: x\n", "wrong")
    status, found = validate(runtime, bundle, "--profile", wrong)
    assert status == 1
    assert [(kind, path) for _, kind, path in found] == [
        ("profile", "config.hostnam"),
        ("host", "hooks.poststop[0].path"),
    ]


def test_validate_usage(runtime, bundle):
    """What cannot be understood has a status of its own."""
    assert runtime("validate", "--nosuch", bundle.path, check=False).status == 2
    assert runtime("validate", "a", "b", check=False).status == 2
