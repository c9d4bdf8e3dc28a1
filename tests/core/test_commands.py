"""What the verbs make of their options, as values."""

from __future__ import annotations

import json
import os

import pytest

from ocifw import cli, options, output, phases, signals
from ocifw.commands import events, plan, ps, spec, update
from ocifw.commands import exec as exec_
from ocifw.commands import list as list_
from ocifw.commands.checkpoint import OPTIONS as CHECKPOINT
from ocifw.commands.checkpoint import image_options
from ocifw.container import JOURNAL, Container
from ocifw.context import Request
from ocifw.errors import OcifwError
from ocifw.plan import Plan
from ocifw.steps import Execute, Mkdir

# ---- signals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("15", 15), ("TERM", 15), ("SIGTERM", 15), ("sigterm", 15), ("kill", 9), ("0", 0), ("64", 64),
        ("SIGRTMIN", 34), ("SIGRTMIN+3", 37), ("rtmax-1", 63), ("RTMAX", 64), ("IOT", 6),
    ],
)  # fmt: skip
def test_signals(text, number):
    """A signal is a number, or a name with or without SIG, in any case."""
    assert signals.parse(text) == number


@pytest.mark.parametrize(
    "text",
    ["", "FOO", "SIG", "65", "-9", "+9", "9 ", "٩", "RTMIN-1", "RTMIN+31", "RTMAX+1", "RTMIN+", "RTMINX", "9999999"],
)  # fmt: skip
def test_no_signals(text):
    """What is no signal is refused with its text."""
    with pytest.raises(OcifwError) as caught:
        signals.parse(text)
    assert str(caught.value) == f'unknown signal "{text}"'


def test_signal_numbers_are_the_kernels():
    """The table of names agrees with the C library's."""
    import signal

    for number in signal.valid_signals():
        if isinstance(number, signal.Signals):
            assert signals.parse(number.name) == number


# ---- exec --------------------------------------------------------------------------------------------------------

STORED = {
    "terminal": True,
    "args": ["sleep"],
    "cwd": "/srv",
    "env": ["A=1"],
    "user": {"uid": 1, "gid": 2, "additionalGids": [3], "umask": 18},
    "capabilities": {"bounding": ["CAP_KILL"], "inheritable": ["CAP_CHOWN"]},
    "noNewPrivileges": True,
}


def process(*words):
    values, arguments = options.parse(exec_.OPTIONS, [*words, "c", "ls", "-l"], rest=True)
    return exec_.changed(STORED, values, arguments[1:])


def test_exec_changes_nothing_else():
    """Without options the process is the container's own with other arguments and without a terminal."""
    before = json.dumps(STORED)
    assert process() == {**STORED, "args": ["ls", "-l"], "terminal": False}
    process("-c", "CAP_KILL", "-g", "9", "-e", "B=2")
    assert json.dumps(STORED) == before


def test_exec_options():
    """Each option changes its field; the environment and the groups grow."""
    made = process("-t", "--cwd", "/x", "-e", "B=2", "-e", "A=3", "-u", "10:20", "-g", "4", "--process-label", "l",
                   "--apparmor", "p", "--no-new-privs=false")  # fmt: skip
    assert made == {
        **STORED,
        "args": ["ls", "-l"],
        "cwd": "/x",
        "env": ["A=1", "B=2", "A=3"],
        "user": {"uid": 10, "gid": 20, "additionalGids": [3, 4], "umask": 18},
        "selinuxLabel": "l",
        "apparmorProfile": "p",
        "noNewPrivileges": False,
    }


def test_exec_user_without_group():
    """--user UID leaves the group as it is."""
    assert process("-u", "7")["user"]["uid"] == 7
    assert process("-u", "7")["user"]["gid"] == 2


@pytest.mark.parametrize(
    "user",
    ["root", "1x", "+1", "-1", " 1", "1:", ":1", "1:x", "1:2:3", "0x10", "١", "4294967295", "1_0", "9" * 20],
)  # fmt: skip
def test_exec_user_is_strictly_numeric(user):
    """Anything but decimal ids is refused, and never becomes 0 (CVE-2026-30892)."""
    with pytest.raises(OcifwError, match="parsing .* as int for [ug]id failed"):
        process("-u", user)


def test_exec_capabilities():
    """Added capabilities are never inheritable (CVE-2022-29162), and ambient only where they were inheritable."""
    made = process("-c", "CAP_CHOWN", "-c", "CAP_KILL")["capabilities"]
    assert made == {
        "bounding": ["CAP_KILL", "CAP_CHOWN"],
        "effective": ["CAP_CHOWN", "CAP_KILL"],
        "permitted": ["CAP_CHOWN", "CAP_KILL"],
        "inheritable": ["CAP_CHOWN"],
        "ambient": ["CAP_CHOWN"],
    }


def test_exec_cgroups():
    """--cgroup is a path for all controllers, or for those it names."""
    assert exec_.cgroups([]) == ()
    assert exec_.cgroups(["a/b"]) == (("", "a/b"),)
    assert exec_.cgroups(["cpu,cpuacct:x", "pids:y"]) == (
        ("cpu", "x"),
        ("cpuacct", "x"),
        ("pids", "y"),
    )


@pytest.mark.parametrize(
    "given", [["../x"], ["a/../.."], ["cpu:.."], ["a:b:c"], ["x", "cpu:y"], ["cpu:"], ["/"]]
)
def test_exec_cgroups_refused(given):
    """A path out of the container's cgroup, and a mixture of forms, are refused."""
    with pytest.raises(OcifwError, match="invalid --cgroup argument"):
        exec_.cgroups(given)


# ---- update ------------------------------------------------------------------------------------------------------


def resources(*words):
    values, _ = options.parse(update.OPTIONS, words)
    return update.from_options(values)


def test_update_options():
    """Options become linux.resources with what was given and nothing else."""
    assert resources() == {}
    assert resources("--memory", "-1", "--memory-swap=1.5g", "--cpu-quota", "-1", "--cpu-period", "1000", "--cpuset-cpus",
                     "0-1", "--pids-limit", "-1", "--blkio-weight", "100", "--cpu-share", "5") == {
        "memory": {"limit": -1, "swap": 1610612736},
        "cpu": {"quota": -1, "period": 1000, "cpus": "0-1", "shares": 5},
        "pids": {"limit": -1},
        "blockIO": {"weight": 100},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "size"),
    [("1024", 1024), ("1k", 1024), ("1KiB", 1024), ("2 MB", 2 << 20), ("1.5g", 3 << 29), ("0", 0), ("10b", 10), ("-1", -1)],
)  # fmt: skip
def test_update_sizes(text, size):
    """Sizes have suffixes that are powers of 1024."""
    assert resources("--memory", text) == {"memory": {"limit": size}}


@pytest.mark.parametrize(
    "text", ["foo", "-2", "1x", "k", "1.", ".5", "1.5.5", "1e3", "9999999999999p", "١", "1kk"]
)
def test_update_wrong_sizes(text):
    """What is no size is refused with the option and the value."""
    with pytest.raises(OcifwError, match="invalid value for memory: .*size"):
        resources("--memory", text)


def test_update_wrong_numbers():
    """Numbers are decimal, and negative only where that means no limit."""
    for option in ("--cpu-quota", "--cpu-period", "--cpu-share"):
        with pytest.raises(OcifwError, match="invalid syntax"):
            resources(option, "x")
    with pytest.raises(OcifwError, match="cpu-share"):
        resources("--cpu-share", "-1")


def test_update_of_rdt(monkeypatch):
    """The schemata of Intel RDT are no resources of a cgroup: they are handed over apart."""
    given = []
    monkeypatch.setattr("ocifw.operations.update", lambda *values: given.append(values[1:]))
    words = [
        "--l3-cache-schema",
        "L3:0=f",
        "--mem-bw-schema",
        "MB:0=10",
        "--pids-limit",
        "5",
        "box",
    ]
    values, arguments = options.parse(update.OPTIONS, words)
    update.run(None, values, arguments)
    schemata = {"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=10"}
    assert given == [("box", {"pids": {"limit": 5}}, schemata)]


def test_what_an_update_leaves():
    """In the stored resources, a 0 that means "not given" leaves the old value; some zeros are meant."""
    from ocifw.operations import _updated

    old = {"cpu": {"quota": 50000, "period": 100000, "idle": 1}, "pids": {"limit": 9}}
    new = {
        "cpu": {"quota": 0, "period": 20000, "idle": 0},
        "pids": {"limit": 0},
        "memory": {"limit": 0},
    }
    assert _updated(old, new) == {
        "cpu": {"quota": 50000, "period": 20000, "idle": 0},
        "pids": {"limit": 0},
        "memory": {},
    }


def test_update_document():
    """In a document, zeros, empty texts and null say nothing, devices are left alone, and -1 and false count."""
    given = {
        "devices": [{"allow": False}],
        "memory": {"limit": 83886080, "reservation": 0, "swap": -1, "kernel": 0, "swappiness": 0},
        "cpu": {"shares": 0, "quota": 50000, "cpus": "", "idle": 0, "burst": None},
        "blockIO": {"weight": 0},
        "pids": None,
        "hugepageLimits": [],
        "unified": {"memory.high": "0"},
    }
    assert update.given(given, "-") == {
        "memory": {"limit": 83886080, "swap": -1, "swappiness": 0},
        "cpu": {"quota": 50000, "idle": 0},
        "unified": {"memory.high": "0"},
    }
    with pytest.raises(OcifwError, match="expected an object"):
        update.given([], "-")


# ---- events, ps, list, spec --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [("5s", 5 * 10**9), ("500ms", 5 * 10**8), ("1m30s", 90 * 10**9), ("1.5h", 5400 * 10**9), ("1us", 1000), ("7ns", 7)],
)  # fmt: skip
def test_durations(text, nanoseconds):
    """The interval is a duration of Go."""
    assert events.duration_ns(text) == nanoseconds


@pytest.mark.parametrize("text", ["", "5", "s", "-5s", "0s", "5x", "5 s", "1..5s"])
def test_no_durations(text):
    """What is no duration, or none that passes, is refused."""
    with pytest.raises(OcifwError):
        events.duration_ns(text)


def test_ps_selects_lines():
    """The table keeps its header and the lines of the container's processes."""
    table = "UID        PID  PPID CMD\nroot         1     0 init\nroot        23     1 sh -c 1\nx  231 23 y\n"
    assert ps.select(table, [23]) == "UID        PID  PPID CMD\nroot        23     1 sh -c 1\n"
    with pytest.raises(OcifwError, match="couldn't find PID field in ps output"):
        ps.select("CMD\nx\n", [1])


def test_table_has_runcs_columns():
    """Columns are as wide as their widest cell and three spaces, at least 12 characters."""
    assert output.table([["ID", "STATUS"], ["0123456789abc", "running"]]) == (
        "ID              STATUS\n0123456789abc   running\n"
    )
    assert output.table([["ID", "PID"]]) == "ID          PID\n"


def make_container(root, name, **changes):
    state = {
        "version": 1,
        "id": name,
        "ociVersion": "1.3.0",
        "pid": 2**22 + 5,
        "startTime": 1,
        "bundle": "/b",
        "rootfs": "/b/rootfs",
        "created": 1_700_000_000_120_000_000,
        "config": {"annotations": {"k": "v"}},
        "notes": {},
        "owner": 0,
        **changes,
    }
    (root / name).mkdir()
    Container(str(root / name), state).save()


def test_state(tmp_path, capfd):
    """state prints runc's document, with pid 0 for a container that has ended."""
    make_container(tmp_path, "c")
    assert cli.main(["--root", str(tmp_path), "state", "c"]) == 0
    text = capfd.readouterr().out
    assert text.startswith('{\n  "ociVersion": "1.3.0",\n  "id": "c",\n  "pid": 0,\n')
    assert json.loads(text) == {
        "ociVersion": "1.3.0",
        "id": "c",
        "pid": 0,
        "status": "stopped",
        "bundle": "/b",
        "rootfs": "/b/rootfs",
        "created": "2023-11-14T22:13:20.12Z",
        "annotations": {"k": "v"},
        "owner": "",
    }


def test_list(tmp_path, capfd):
    """list prints a table, JSON or ids, and names what it cannot read on standard error."""
    make_container(tmp_path, "c")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/state.json").write_text("{")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / JOURNAL).write_text("")
    root = ["--root", str(tmp_path), "list"]
    assert cli.main([*root, "-q"]) == 0
    out, err = capfd.readouterr()
    assert out == "c\nhalf\n"
    assert err.startswith("load container broken: ")
    assert cli.main([*root, "-f", "json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert [(one["id"], one["status"], one["owner"]) for one in found] == [
        ("c", "stopped", "root"),
        ("half", "creating", "root"),
    ]
    assert cli.main(root) == 0
    header, first, _ = capfd.readouterr().out.splitlines()
    assert header.split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert first.split()[:3] == ["c", "0", "stopped"]
    assert cli.main([*root, "--format", "xx"]) == 1
    assert "invalid format option" in capfd.readouterr().err


def test_list_of_nothing(tmp_path, capfd):
    """Without a state root there are no containers; as JSON that is Go's empty list."""
    assert cli.main(["--root", str(tmp_path / "none"), "list", "-f", "json"]) == 0
    assert capfd.readouterr().out == "null\n"


def test_owner_without_a_name():
    """A user without a name is shown by number."""
    assert list_._owner(0) == "root"
    assert list_._owner(4_000_000_001) == "#4000000001"


def test_spec(tmp_path, capfd, monkeypatch):
    """spec writes a config.json with tabs, and never over one that is there."""
    assert cli.main(["spec", "-b", str(tmp_path)]) == 0
    text = (tmp_path / "config.json").read_text()
    assert '\n\t"process": {\n\t\t"terminal": true,' in text
    assert json.loads(text) == spec.default()
    assert cli.main(["spec", "-b", str(tmp_path)]) == 1
    assert "File config.json exists. Remove it first" in capfd.readouterr().err
    monkeypatch.chdir(tmp_path)
    assert cli.main(["spec"]) == 1
    assert cli.main(["spec", "-b", str(tmp_path / "none")]) == 1
    assert "no such file or directory" in capfd.readouterr().err


def test_spec_rootless():
    """The rootless config maps the caller to root of a user namespace, and asks for nothing that a user cannot have."""
    made = spec.rootless(spec.default())
    assert {"type": "user"} in made["linux"]["namespaces"]
    assert {"type": "network"} not in made["linux"]["namespaces"]
    assert "resources" not in made["linux"]
    assert made["linux"]["uidMappings"] == [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
    mounts = {entry["destination"]: entry for entry in made["mounts"]}
    assert "gid=5" not in mounts["/dev/pts"]["options"]
    assert mounts["/sys"]["source"] == "/sys" and "rbind" in mounts["/sys"]["options"]


# ---- plan --------------------------------------------------------------------------------------------------------


def made_plan():
    long = Execute(("sh",), ("SECRET=hunter2",), at="process.args")
    folder = Mkdir("/" + "d" * 30 + "/\x1b[2J " + "words " * 20, 0o755, at="mounts[3]")
    for step, phase in ((folder, phases.ROOTFS), (long, phases.SEAL)):
        step.stamp("mounts", phase.name)
    request = Request("create", "c", "/b", "/b/rootfs", "/s/c")
    return Plan(
        request, {}, [(phases.ROOTFS, [folder]), (phases.PIVOT_ROOT, []), (phases.SEAL, [long])]
    )


def test_plan_fits_a_terminal():
    """The text has a line for each phase that does something, names plugin and origin, and fits into 80 columns."""
    lines = list(plan.as_lines(made_plan()))
    assert lines[0] == " 5 rootfs (container)"
    assert lines[1].startswith("    mounts        ")
    assert "[mounts[3]]" in " ".join(lines) and "\x1b" not in "".join(lines)
    assert lines[-2:] == ["13 seal (container)", "    mounts        execute sh [process.args]"]
    assert all(len(line) <= 80 for line in lines)


def test_plan_as_json():
    """As JSON the plan has all fields, but of the environment the names only."""
    rootfs, pivot, seal = plan.as_document(made_plan())
    assert (rootfs["phase"], rootfs["side"]) == ("rootfs", "container")
    assert pivot["steps"] == []
    (step,) = seal["steps"]
    assert step["step"] == "Execute" and step["side"] == "container"
    assert step["fields"] == {"args": ("sh",), "env": ["SECRET"]}
    assert "hunter2" not in json.dumps([rootfs, pivot, seal])


# ---- checkpoint --------------------------------------------------------------------------------------------------


def images(*words):
    return image_options(options.parse(CHECKPOINT, words)[0])


def test_checkpoint_options(monkeypatch, tmp_path):
    """Paths are made absolute; the images are in ./checkpoint by default."""
    monkeypatch.chdir(tmp_path)
    made = images("--work-path", "w", "--leave-running")
    assert made["image-path"] == str(tmp_path / "checkpoint")
    assert made["work-path"] == str(tmp_path / "w")
    assert made["leave-running"] is True and "help" not in made


@pytest.mark.parametrize(
    "words",
    [
        ["--manage-cgroups-mode", "x"], ["--network-lock", "x"], ["--empty-ns", "pid"], ["--page-server", "x"],
        ["--page-server", "1.2.3.4:0"], ["--parent-path", "/x"],
    ],
)  # fmt: skip
def test_checkpoint_wrong_values(words):
    """Values that an option cannot have are refused before anything is dumped."""
    with pytest.raises(OcifwError):
        images(*words)
