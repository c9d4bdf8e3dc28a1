"""What is wrong with a bundle or a command: one clear line that names it, runc's exit code, and nothing left behind.

That nothing is left is what the fixture `runtime` checks after each test: no state, no cgroup. The tests themselves check
that another container does not suffer.
"""

from __future__ import annotations

import json
import os

import pytest

FOREVER = "exec sleep 1000"


@pytest.fixture
def refused(runtime, bundle):
    """Try to create the bundle, which must fail in one line; returns the line."""

    def attempt(text=None):
        if text is None:
            bundle.write()
        else:
            (bundle.path / "config.json").write_bytes(text)
        container_id = runtime.id()
        done = runtime("create", "--bundle", bundle.path, container_id, check=False)
        assert done.status == 1 and done.out == "", done
        assert len(done.err.splitlines()) == 1, done
        assert "Traceback" not in done.err and "Error:" not in done.err, done
        assert runtime("list", "-q").out == ""
        return done.err

    return attempt


# ---- the file ----------------------------------------------------------------------------------------------------


FILES = {
    "empty": (b"", "expecting value"),
    "cut off": (b'{"ociVersion": "1.0.2", "process"', "config.json:1:"),
    "not JSON": (b"ociVersion: 1.0.2\n", "config.json:1:1: not JSON"),
    "after the end": (b"{} {}", "extra data"),
    "a list": (b"[]", "must be an object"),
    "not UTF-8": (b'{"ociVersion": "\xff"}', "not UTF-8"),
    "byte order mark": (b"\xef\xbb\xbf{}", "byte order mark"),
    "deep": (b"[" * 100000 + b"]" * 100000, "levels"),
    "deep object": (b'{"a":' * 5000 + b"1" + b"}" * 5000, "levels"),
    "not a number": (b'{"ociVersion": NaN}', "NaN"),
    "too large a number": (b'{"process": {"oomScoreAdj": 1e999}}', "1e999"),
    "a NUL": (b'{"ociVersion": "1.0.2", "hostname": "a\\u0000b"}', "hostname"),
    "half a surrogate": (b'{"ociVersion": "1.0.2", "hostname": "\\ud800"}', "hostname"),
}


def test_files_that_are_no_config(refused):
    """What is no JSON, or no JSON that can be used, is refused with the place where it is."""
    for name, (text, words) in FILES.items():
        line = refused(text)
        assert words in line and "config.json" in line, (name, line)


def test_a_huge_file(refused):
    """A file beyond the limit is refused, and not read to its end."""
    line = refused(b'{"annotations": {"a": "' + b"x" * (17 << 20) + b'"}}')
    assert "config.json: larger than" in line


def test_a_config_that_is_no_file(runtime, bundle):
    """A FIFO, a folder or a device as config.json is refused, and not waited for."""
    path = bundle.path / "config.json"
    for make in (os.mkfifo, os.mkdir, lambda p: os.symlink("/dev/zero", p)):
        make(path)
        done = runtime("create", "--bundle", bundle.path, runtime.id(), check=False)
        assert done.status == 1 and "config.json" in done.err and "regular file" in done.err, done
        path.rmdir() if path.is_dir() else path.unlink()


@pytest.mark.runc_agrees
def test_a_missing_config(runtime, bundle):
    """A bundle without config.json is refused in runc's words."""
    done = runtime("create", "--bundle", bundle.path, runtime.id(), check=False)
    assert done.status == 1 and "JSON specification file config.json not found" in done.err


# ---- values ------------------------------------------------------------------------------------------------------


def at(path, value):
    """A change of the config: put a value at a path."""

    def change(config):
        *above, last = path.split(".")
        for part in above:
            config = config[int(part)] if part.isdigit() else config.setdefault(part, {})
        if value is None:
            del config[last]
        elif last == "+":
            config.append(value)
        else:
            config[int(last) if last.isdigit() else last] = value

    return change


# Where in config.json, the value put there, and what the message must hold: the JSON path and the value.
VALUES = [
    ("ociVersion", None, ["ociVersion"]),
    ("ociVersion", 1, ["ociVersion"]),
    ("ociVersion", "2.0.0", ["ociVersion", "2.0.0"]),
    ("ociVersion", "latest", ["ociVersion", "latest"]),
    ("root", None, ["root"]),
    ("root.path", "/nonexistent/rootfs", ["root.path", "/nonexistent/rootfs", "no such file or directory"]),
    ("root.path", "/etc/passwd", ["root.path", "/etc/passwd", "not a directory"]),
    ("root.path", 5, ["root.path"]),
    ("process.args", [], ["process.args"]),
    ("process.args", "sh", ["process.args"]),
    ("process.args", [1], ["process.args[0]"]),
    ("process.cwd", "relative", ["process.cwd", "relative"]),
    ("process.env", ["A"], ["process.env[0]"]),
    ("process.env", {"A": "b"}, ["process.env"]),
    ("process.user.uid", -1, ["process.user.uid", "-1"]),
    ("process.user.uid", 2**32 - 1, ["process.user.uid", "4294967295"]),
    ("process.user.uid", 2**32, ["process.user.uid", "4294967296"]),
    ("process.user.uid", "root", ["process.user.uid"]),
    ("process.user.uid", 1.5, ["process.user.uid"]),
    ("process.user.umask", 0o10000, ["process.user.umask"]),
    ("process.user.additionalGids", [2**32], ["process.user.additionalGids[0]"]),
    ("process.terminal", "yes", ["process.terminal"]),
    ("process.oomScoreAdj", 1001, ["process.oomScoreAdj", "1001"]),
    ("process.rlimits", [{"type": "RLIMIT_X", "soft": 1, "hard": 1}], ["process.rlimits[0].type", "RLIMIT_X"]),
    ("process.rlimits", [{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}], ["process.rlimits[0]"]),
    ("process.rlimits", [{"type": "RLIMIT_CORE", "soft": 1, "hard": 1}] * 2, ["process.rlimits[1]"]),
    ("process.capabilities", ["CAP_KILL"], ["process.capabilities"]),
    ("hostname", "x" * 65, ["hostname"]),
    ("hostname", 7, ["hostname"]),
    ("mounts.0.destination", "", ["mounts[0].destination"]),
    ("mounts.1.options", "ro", ["mounts[1].options"]),
    ("mounts.1.type", "nonexistentfs", ["mounts[1]", "nonexistentfs"]),
    ("mounts.+", {"destination": "/tmp", "type": "bind", "source": "/nonexistent", "options": ["bind"]},
     ["mounts[6]", "/nonexistent", "no such file or directory"]),
    ("mounts.+", {"destination": "/tmp", "type": "tmpfs", "options": ["size=many"]}, ["mounts[6]", "/tmp"]),
    ("mounts.+", {"destination": "/proc/self/x", "type": "tmpfs"}, ["mounts[6]", "/proc/self/x"]),
    ("linux.namespaces.+", {"type": "unknown"}, ["linux.namespaces[6].type", "unknown"]),
    ("linux.namespaces.+", {"type": "pid"}, ["linux.namespaces[6]", "pid"]),
    ("linux.namespaces.+", {"path": "/x"}, ["linux.namespaces[6]"]),
    ("linux.namespaces.+", {"type": "user"}, ["linux.uidMappings"]),
    ("linux.namespaces.1.path", "/nonexistent/ns", ["linux.namespaces[1]", "/nonexistent/ns"]),
    ("linux.namespaces.1.path", "relative", ["linux.namespaces[1].path", "relative"]),
    ("linux.uidMappings", [{"containerID": 0, "hostID": 0, "size": 1}], ["linux.uidMappings"]),
    ("linux.devices", [{"path": "/dev/x", "type": "x"}], ["linux.devices[0].type", "x"]),
    ("linux.devices", [{"path": "x", "type": "c", "major": 1, "minor": 3}], ["linux.devices[0].path"]),
    ("linux.devices", [{"path": "/dev/x", "type": "c", "major": -1, "minor": 3}], ["linux.devices[0].major"]),
    ("linux.sysctl", {"kernel.panic": "1"}, ["linux.sysctl", "kernel.panic"]),
    ("linux.sysctl", {"kernel.shmmni": 1}, ["linux.sysctl"]),
    ("linux.sysctl", {"net.core.nonexistent": "1"}, ["net.core.nonexistent", "no such file or directory"]),
    ("linux.seccomp", {"defaultAction": "SCMP_ACT_WHAT"}, ["linux.seccomp.defaultAction", "SCMP_ACT_WHAT"]),
    ("linux.seccomp", {}, ["linux.seccomp"]),
    ("linux.maskedPaths", ["relative"], ["linux.maskedPaths[0]", "relative"]),
    ("linux.rootfsPropagation", "weird", ["linux.rootfsPropagation", "weird"]),
    ("linux.cgroupsPath", "/a/../../b", ["linux.cgroupsPath"]),
    ("linux.resources.pids", {"limit": "many"}, ["linux.resources.pids.limit"]),
    ("linux.resources.cpu", {"cpus": "0-999999"}, ["linux.resources.cpu.cpus"]),
    ("linux.resources.memory", {"limit": 1 << 20, "swap": 1 << 19}, ["linux.resources.memory"]),
    ("linux.resources.devices", [{"access": "rwm"}], ["linux.resources.devices[0]"]),
    ("linux.resources.devices", [{"allow": True, "access": "xyz"}], ["linux.resources.devices[0].access"]),
    ("hooks", {"prestart": [{"path": "relative"}]}, ["hooks.prestart[0].path", "relative"]),
    ("hooks", {"prestart": [{"path": "/x", "timeout": -1}]}, ["hooks.prestart[0].timeout"]),
    ("annotations", {"a": 1}, ["annotations"]),
    ("annotations", ["a"], ["annotations"]),
]  # fmt: skip


@pytest.mark.parametrize("group", sorted({path.split(".")[0] for path, _, _ in VALUES}))
def test_values(refused, bundle, group):
    """A value that cannot be is refused with its JSON path and itself."""
    config = json.dumps(bundle.config)
    for path, value, words in VALUES:
        if path.split(".")[0] != group:
            continue
        bundle.config = json.loads(config)
        at(path, value)(bundle.config)
        line = refused()
        for word in words:
            assert word in line, (path, value, line)


def test_all_problems_at_once(refused, bundle):
    """Every problem of a config.json is told, not just the first."""
    bundle.process["cwd"] = "relative"
    bundle.process["args"] = []
    bundle.linux["namespaces"].append({"type": "unknown"})
    bundle.config["mounts"][0]["destination"] = ""
    line = refused()
    for path in (
        "process.cwd",
        "process.args",
        "linux.namespaces[6].type",
        "mounts[0].destination",
    ):
        assert path in line


def test_secrets_are_not_shown(refused, bundle):
    """An entry of env that is wrong is named and not shown: it may be a secret."""
    bundle.process["env"] = ["hunter2"]
    line = refused()
    assert "process.env[0]" in line and "hunter2" not in line


def test_a_misspelt_property(runtime, bundle):
    """An unknown property is ignored, as the spec demands, with a warning that says what was meant."""
    bundle.config["hostnme"] = "x"
    done = runtime.run(bundle.sh("hostname"))
    assert done.out == "box\n"
    assert "level=warning" in done.err and "did you mean hostname" in done.err


def test_control_characters_do_not_reach_the_log(refused, bundle):
    """What an image's author wrote does not break lines of the log, nor control the terminal."""
    bundle.config["hostname"] = "a\n\x1b[31m" + "x" * 70
    line = refused()
    assert "\x1b" not in line


# ---- other containers --------------------------------------------------------------------------------------------


@pytest.mark.runc_agrees
def test_nothing_of_others_is_lost(runtime, bundle, make_bundle):
    """A create that fails with the id or the cgroup of another container leaves that one as it is."""
    container_id = runtime.running(bundle.sh(FOREVER))
    pid = runtime.state(container_id)["pid"]
    for change in (["nonexistent"], ["/etc"]):
        other = make_bundle()
        other.process["args"] = change
        assert (
            runtime("create", "--bundle", other.write().path, container_id, check=False).status == 1
        )
        assert runtime("create", "--bundle", other.path, runtime.id(), check=False).status == 1
    assert runtime.state(container_id)["pid"] == pid
    assert runtime.status(container_id) == "running"
    assert runtime("exec", container_id, "echo", "works").out == "works\n"


def test_a_cgroup_that_is_in_use(runtime, bundle, make_bundle):
    """A cgroup with processes in it is not taken for another container, whose limits it would have."""
    container_id = runtime.running(bundle.sh(FOREVER))
    other = make_bundle()
    other.linux["cgroupsPath"] = bundle.linux["cgroupsPath"]
    done = runtime("create", "--bundle", other.write().path, runtime.id(), check=False)
    assert done.status == 1 and "cgroup" in done.err and "not empty" in done.err
    assert runtime.status(container_id) == "running"


@pytest.mark.runc_agrees
def test_a_pid_file_that_cannot_be_written(runtime, bundle):
    """A pid file that cannot be written fails `create`, and nothing is left."""
    options = ["--bundle", bundle.write().path, "--pid-file", "/nonexistent/pid"]
    done = runtime("create", *options, runtime.id(), check=False)
    assert done.status == 1 and "/nonexistent" in done.err
    assert runtime("list", "-q").out == ""


def test_wrong_roots(runtime):
    """A state root that is `/`, or no folder, is refused."""
    for root in ("/", "/etc/passwd"):
        done = runtime("--root", root, "create", "--bundle", "/tmp", "x", check=False)
        assert done.status == 1 and len(done.err.splitlines()) == 1
