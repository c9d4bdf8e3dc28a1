"""ocifw-rdt: plans as values, and its steps on a folder with resctrl's files, for machines whose kernel has none."""

from __future__ import annotations

import os

import pytest

from ocifw.container import Container
from ocifw.context import Context
from ocifw.errors import OcifwError
from ocifw_rdt import groups, plugin
from ocifw_rdt.steps import CompareSchemata, JoinGroup, MakeGroup, WriteSchemata

ROOT = "/sys/fs/resctrl"
MOUNTED = b"25 30 0:23 / /sys rw - sysfs sysfs rw\n77 25 0:40 / /sys/fs/resctrl rw,nosuid - resctrl resctrl rw\n"
NOT_MOUNTED = {groups.MOUNTS: b"25 30 0:23 / /sys rw - sysfs sysfs rw\n"}
FULL = {
    groups.MOUNTS: MOUNTED,
    **{f"{ROOT}/info/{kind}": b"" for kind in ("L3", "MB", "L3_MON")},
    f"{ROOT}/schemata": b"L3:0=fff;1=fff\nMB:0=100;1=100\n",
}


def config(**rdt):
    return {"linux": {"intelRdt": rdt}}


@pytest.fixture
def steps(create_request, machine):
    """The steps of prepare and of attach: `steps(closID="a")`."""

    def plan(files=FULL, **rdt):
        request, host = create_request(), machine(files)
        prepare = list(plugin.ocifw_prepare(config(**rdt), request, host))
        return prepare, list(plugin.ocifw_attach(config(**rdt), request, host))

    return plan


@pytest.fixture
def problems(create_request, machine):
    def ask(files=FULL, **rdt):
        found = plugin.ocifw_validate(config(**rdt), create_request(), machine(files))
        return [(p.path, p.message) for p in found]

    return ask


def test_a_group_of_its_own(steps):
    """Without closID the group is called like the container; lines are written in the specification's order."""
    prepare, attach = steps(
        schemata=["L2:0=f"],
        memBwSchema="MB:0=20;1=70",
        l3CacheSchema="L3:0=7f0;1=1f\nMB:0=99",
    )
    folder = f"{ROOT}/box"
    assert prepare == [
        MakeGroup(folder, ("L3:0=7f0;1=1f", "MB:0=20;1=70", "L2:0=f")),
        WriteSchemata(folder, ("L3:0=7f0;1=1f",)),
        WriteSchemata(folder, ("MB:0=20;1=70",)),
        WriteSchemata(folder, ("L2:0=f",)),
    ]
    assert attach == [JoinGroup(folder)]


def test_nothing_asked_for_is_still_a_group(steps):
    """An empty intelRdt asks for a group of the container's own."""
    assert steps() == ([MakeGroup(f"{ROOT}/box", ())], [JoinGroup(f"{ROOT}/box")])


def test_a_group_that_is_there(steps):
    """What a group that was there allows is compared, never changed; without schemata it is only joined."""
    files = FULL | {f"{ROOT}/gold/schemata": b""}
    folder = f"{ROOT}/gold"
    assert steps(files, closID="gold", memBwSchema="MB:0=20") == (
        [CompareSchemata(folder, ("MB:0=20",))],
        [JoinGroup(folder)],
    )
    assert steps(files, closID="gold") == ([], [JoinGroup(folder)])


def test_the_default_group(steps):
    """closID `/` is the group at the top, which everybody is in."""
    assert steps(closID="/") == ([], [JoinGroup(ROOT)])


def test_monitoring(steps):
    """With enableMonitoring the container gets a monitoring group below its group, and joins it second."""
    files = FULL | {f"{ROOT}/gold/schemata": b""}
    folder = f"{ROOT}/gold"
    monitor = f"{folder}/mon_groups/box"
    assert steps(files, closID="gold", enableMonitoring=True) == (
        [MakeGroup(monitor, ())],
        [JoinGroup(folder), JoinGroup(monitor)],
    )


def test_exec_joins(exec_request, machine):
    """A process that is added joins the container's groups."""
    asked = config(enableMonitoring=True)
    request = exec_request(asked)
    assert plugin.ocifw_prepare(asked, request, machine(FULL)) == []
    folder = f"{ROOT}/box"
    assert list(plugin.ocifw_attach(asked, request, machine(FULL))) == [
        JoinGroup(folder),
        JoinGroup(f"{folder}/mon_groups/box"),
    ]


def test_no_resctrl(problems):
    """Where resctrl is not mounted, everything about it is an error."""
    [(path, message)] = problems(NOT_MOUNTED, closID="gold")
    assert path == "linux.intelRdt" and "resctrl is not mounted" in message


@pytest.mark.parametrize(
    ("asked", "field", "text"),
    [
        ({"l3CacheSchema": "L3:0=f"}, "l3CacheSchema", "Intel RDT/CAT is not enabled"),
        ({"memBwSchema": "MB:0=10"}, "memBwSchema", "Intel RDT/MBA is not enabled"),
        ({"enableMonitoring": True}, "enableMonitoring", "monitoring is not enabled"),
        ({"closID": "gold"}, "closID", "clos 'gold' does not exist"),
    ],
)
def test_what_the_machine_lacks(problems, asked, field, text):
    """What the kernel cannot limit, or a group that must be there and is not, is an error that names the field."""
    [(path, message)] = problems({groups.MOUNTS: MOUNTED}, **asked)
    assert path == f"linux.intelRdt.{field}" and text in message


def test_mountpoint(machine):
    """The filesystem is found wherever it is mounted, with blanks in its path."""
    line = b"77 25 0:40 / /a\\040b rw,nosuid shared:1 - resctrl none rw\n"
    assert groups.mountpoint(machine({groups.MOUNTS: line})) == "/a b"
    assert groups.mountpoint(machine(NOT_MOUNTED)) == ""


# ---- update --------------------------------------------------------------------------------------------------------


def container(made, rdt):
    state = {"id": "box", "pid": 1, "bundle": "/", "notes": {"rdt": {"made": made}}}
    state["config"] = {"linux": {} if rdt is None else {"intelRdt": rdt}}
    return Container("/run/ocifw/box", state)


def test_update(machine):
    """`update` writes to the group that was made for the container."""
    own = container([f"{ROOT}/box"], {})
    changes = {"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=10"}
    assert list(plugin.ocifw_update(own, changes, machine(FULL))) == [
        WriteSchemata(f"{ROOT}/box", ("L3:0=f",)),
        WriteSchemata(f"{ROOT}/box", ("MB:0=10",)),
    ]
    assert list(plugin.ocifw_update(own, {}, machine(NOT_MOUNTED))) == []


@pytest.mark.parametrize(
    ("made", "rdt", "text"),
    [([], None, "has no RDT group"), ([], {"closID": "gold"}, "was not made for container box")],
)
def test_update_refuses(machine, made, rdt, text):
    """A group that is not the container's is not changed."""
    with pytest.raises(OcifwError, match=text):
        list(plugin.ocifw_update(container(made, rdt), {"memBwSchema": "MB:0=1"}, machine(FULL)))


# ---- steps ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def context(tmp_path):
    return Context("box", "/", str(tmp_path), pid=4711)


@pytest.fixture
def resctrl(tmp_path):
    """A folder with the files of resctrl's top, and what the kernel says about the last write."""
    (tmp_path / "info").mkdir()
    (tmp_path / "info/last_cmd_status").write_text("ok\n")
    (tmp_path / "schemata").write_text("    L3:0=00fff;1=00fff\n    MB:0=100;1=100\n")
    (tmp_path / "tasks").touch()
    return tmp_path


def test_only_what_was_made_is_removed(resctrl, context):
    """A group that was made goes with the container, whoever takes it back; one that was found stays."""
    made, found = MakeGroup(f"{resctrl}/made", ()), MakeGroup(f"{resctrl}/found", ())
    (resctrl / "found").mkdir()
    (resctrl / "found/schemata").write_text("")
    for step in (made, found):
        step.apply(context)
    later = Context("box", "/", "/", notes=context.notes)
    for step in (MakeGroup(*made.values()), MakeGroup(*found.values())):
        step.undo(later)
        step.undo(later)
    assert not (resctrl / "made").exists() and (resctrl / "found").exists()


@pytest.mark.parametrize("applied", [True, False])
def test_a_killed_create(resctrl, applied):
    """Of a `create` that was killed, a group goes that its step is known to have made."""
    (resctrl / "box").mkdir()
    step = MakeGroup(f"{resctrl}/box", ())
    if applied:
        object.__setattr__(step, "was_applied", True)
    step.undo(Context("box", "/", "/"))
    assert (resctrl / "box").exists() is not applied


def test_write(resctrl, context):
    """Lines are written at once; an undo in the same process writes back what those resources had."""
    step = WriteSchemata(str(resctrl), ("MB:0=20;1=70",))
    step.apply(context)
    assert (resctrl / "schemata").read_text().startswith("MB:0=20;1=70\n")
    (resctrl / "schemata").write_text("")
    step.undo(context)
    assert (resctrl / "schemata").read_text() == "MB:0=100;1=100\n"


def test_a_refused_write_says_why(resctrl, context):
    """The kernel's reason is part of the error."""
    (resctrl / "info/last_cmd_status").write_text("Invalid L3 mask\n")
    (resctrl / "box").mkdir()
    (resctrl / "box/schemata").mkdir()
    with pytest.raises(OSError, match="schemata"):
        WriteSchemata(f"{resctrl}/box", ("L3:0=5",)).apply(context)
    os.rmdir(resctrl / "box/schemata")
    os.symlink("/dev/full", resctrl / "box/schemata")
    with pytest.raises(OcifwError, match=r"L3:0=5: no space left on device.*Invalid L3 mask"):
        WriteSchemata(f"{resctrl}/box", ("L3:0=5",)).apply(context)


@pytest.mark.parametrize(
    ("line", "same"),
    [
        ("L3:0=fff;1=fff", True),
        ("L3: 0 = fff ; 1 = 0fff", True),
        ("L3:1=fff", True),
        ("MB:0=100;1=100", True),
        ("L3:0=ff;1=fff", False),
        ("L3:2=fff", False),
        ("L2:0=f", False),
        ("MB:0=10", False),
    ],
)
def test_compare(resctrl, context, line, same):
    """A group that was there must allow exactly what is asked for, domain by domain, however it is written."""
    step = CompareSchemata(str(resctrl), (line,))
    if same:
        step.apply(context)
        return
    with pytest.raises(OcifwError, match="exists, but with other schemata"):
        step.apply(context)


def test_join(resctrl, context):
    """The container process is written into the group's tasks."""
    JoinGroup(str(resctrl)).apply(context)
    assert (resctrl / "tasks").read_text() == "4711"


def test_a_monitoring_group(resctrl, context):
    """A monitoring group is made below a group that was there, joined beside it, and alone taken back."""
    group, monitor = resctrl / "gold", resctrl / "gold/mon_groups/box"
    monitor.parent.mkdir(parents=True)
    made = MakeGroup(str(monitor), ())
    made.apply(context)
    for folder in (group, monitor):
        (folder / "tasks").touch()
        JoinGroup(str(folder)).apply(context)
        assert (folder / "tasks").read_text() == "4711"
        # In the kernel's filesystem, rmdir does not mind the files.
        (folder / "tasks").unlink()
    made.undo(context)
    assert not monitor.exists() and monitor.parent.exists()


# ---- stats ---------------------------------------------------------------------------------------------------------


def test_stats(resctrl, machine):
    """`events` tells what is possible, what the group allows and what the container uses, as runc does."""
    for path, content in {
        "info/L3/cbm_mask": "fff",
        "info/L3/min_cbm_bits": "1",
        "info/MB/bandwidth_gran": "10",
        "box/schemata": "L3:0=00f\n",
        "box/mon_groups/box/mon_data/mon_L3_00/llc_occupancy": "4096",
        "box/mon_groups/box/mon_data/mon_L3_00/mbm_total_bytes": "7",
        "box/mon_groups/box/mon_data/mon_L3_01/llc_occupancy": "Unavailable",
    }.items():
        (resctrl / path).parent.mkdir(parents=True, exist_ok=True)
        (resctrl / path).write_text(f"{content}\n")
    host = machine(
        {groups.MOUNTS: b"77 25 0:40 / %s rw - resctrl none rw\n" % str(resctrl).encode()}
    )
    assert plugin.ocifw_stats(container([], {"enableMonitoring": True}), host) == {
        "intel_rdt": {
            "l3_cache_info": {"cbm_mask": "fff", "min_cbm_bits": 1},
            "l3_cache_schema_root": "L3:0=00fff;1=00fff",
            "l3_cache_schema": "L3:0=00f",
            "mem_bw_info": {"bandwidth_gran": 10},
            "mem_bw_schema_root": "MB:0=100;1=100",
            "mem_bw_schema": "",
            "mbm_stats": [{"mbm_total_bytes": 7}],
            "cmt_stats": [{"llc_occupancy": 4096}],
        }
    }
    assert plugin.ocifw_stats(container([], None), host) is None
