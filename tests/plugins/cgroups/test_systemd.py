"""Cgroups made by systemd: names, properties and annotations as tables, and plans as values."""

from __future__ import annotations

import pytest

from ocifw.container import Container
from ocifw.errors import OcifwError
from ocifw.steps import Clone, JoinCgroup
from ocifw_cgroups import plugin
from ocifw_cgroups.create import CreateCgroup
from ocifw_cgroups.device_filter import SetDeviceFilter
from ocifw_cgroups.files import UpdateCgroup, WriteCgroup
from ocifw_cgroups.systemd import properties
from ocifw_cgroups.systemd.names import Unit, slice_path, unit_of
from ocifw_cgroups.systemd.properties import INFINITY
from ocifw_cgroups.systemd.steps import CreateUnit, EndPlaceholder, UpdateUnit, typed
from ocifw_cgroups.systemd.variants import annotated, parse

from .conftest import V1_MOUNTS, V1_OWN, V2_MOUNTS

CG = "/sys/fs/cgroup"
RUNNING = {"/run/systemd/system": b""}


# ---- names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "rootless", "unit"),
    [
        ("system.slice:t:box", False, ("t-box.scope", "system.slice", "/system.slice/t-box.scope")),
        ("", False, ("runc-id.scope", "system.slice", "/system.slice/runc-id.scope")),
        ("", True, ("runc-id.scope", "user.slice", "/user.slice/runc-id.scope")),
        (":t:box", True, ("t-box.scope", "user.slice", "/user.slice/t-box.scope")),
        ("-.slice:t:box", False, ("t-box.scope", "-.slice", "/t-box.scope")),
        ("a-b.slice::box", False, ("box.scope", "a-b.slice", "/a.slice/a-b.slice/box.scope")),
        ("a.slice:t:a-c.slice", False, ("a-c.slice", "a.slice", "/a.slice/a-c.slice")),
    ],
)  # fmt: skip
def test_names(path, rootless, unit):
    """SLICE:PREFIX:NAME names a scope, or a slice; what is left out has runc's values."""
    assert unit_of(path, "id", rootless) == Unit(*unit)


@pytest.mark.parametrize(
    "path", ["/a/b", "a:b", "a:b:c:d", "a:b:c", "a/b.slice:t:c", "a--b.slice:t:c", ".slice:t:c",
             "-a.slice:t:c", "a.slice:t:c/d", "a.slice:..:c/../d"],
)  # fmt: skip
def test_wrong_names(path):
    """What is no slice, prefix and name is refused."""
    with pytest.raises(OcifwError):
        unit_of(path, "id", False)


def test_a_path_for_cgroupfs():
    """The commonest mistake is told in runc's words."""
    with pytest.raises(OcifwError, match='to be of format "slice:prefix:name" .* got "/a/b"'):
        unit_of("/a/b", "id", False)


def test_slices_lie_in_each_other():
    """The dashes of a slice's name are its place (systemd.slice(5))."""
    assert slice_path("a-b-c.slice") == "/a.slice/a-b.slice/a-b-c.slice"


# ---- properties --------------------------------------------------------------------------------------------------

MB = 1 << 20


@pytest.mark.parametrize(
    ("resources", "rows"),
    [
        ({}, []),
        ({"memory": {"limit": 0, "swap": 0}, "cpu": {"shares": 0, "quota": 0, "period": 0}}, []),
        ({"memory": {"limit": 64 * MB}}, [("MemoryMax", "t", 64 * MB, 0)]),
        ({"memory": {"limit": -1}}, [("MemoryMax", "t", INFINITY, 0),
                                     ("MemorySwapMax", "t", INFINITY, 0)]),
        ({"memory": {"limit": MB, "swap": MB}}, [("MemoryMax", "t", MB, 0),
                                                 ("MemorySwapMax", "t", 0, 0)]),
        ({"memory": {"limit": MB, "swap": 3 * MB, "reservation": 5}},
         [("MemoryMax", "t", MB, 0), ("MemoryLow", "t", 5, 0), ("MemorySwapMax", "t", 2 * MB, 0)]),
        ({"cpu": {"shares": 1024}}, [("CPUWeight", "t", 100, 0)]),
        ({"cpu": {"shares": 1024, "idle": 1}}, [("CPUWeight", "t", 0, 252)]),
        ({"cpu": {"quota": 50000}}, [("CPUQuotaPerSecUSec", "t", 500000, 0)]),
        ({"cpu": {"quota": -1}}, [("CPUQuotaPerSecUSec", "t", INFINITY, 0)]),
        ({"cpu": {"period": 200000}}, [("CPUQuotaPeriodUSec", "t", 200000, 242),
                                       ("CPUQuotaPerSecUSec", "t", INFINITY, 0)]),
        ({"cpu": {"quota": 12345, "period": 50000}}, [("CPUQuotaPeriodUSec", "t", 50000, 242),
                                                      ("CPUQuotaPerSecUSec", "t", 250000, 0)]),
        ({"cpu": {"cpus": "0-2,9", "mems": "0"}}, [("AllowedCPUs", "ay", [7, 2], 244),
                                                   ("AllowedMemoryNodes", "ay", [1], 244)]),
        ({"pids": {"limit": -1}}, [("TasksMax", "t", INFINITY, 0)]),
        ({"pids": {"limit": 0}}, [("TasksMax", "t", 1, 0)]),
        ({"pids": {"limit": 7}}, [("TasksMax", "t", 7, 0)]),
        ({"blockIO": {"weight": 100}, "hugepageLimits": [{"pageSize": "2MB", "limit": 1}]}, []),
    ],
)  # fmt: skip
def test_limits_on_v2(resources, rows):
    """Each limit that systemd knows, in its units."""
    assert list(properties.limits(resources, 2)) == rows


@pytest.mark.parametrize(
    ("resources", "rows"),
    [
        ({"memory": {"limit": -1, "swap": 5}}, [("MemoryLimit", "t", INFINITY, 0)]),
        ({"cpu": {"shares": 512, "cpus": "0"}}, [("CPUShares", "t", 512, 0)]),
        ({"blockIO": {"weight": 100}}, [("BlockIOWeight", "t", 100, 0)]),
    ],
)
def test_limits_on_v1(resources, rows):
    """v1's limits have v1's names."""
    assert list(properties.limits(resources, 1)) == rows


def test_a_quota_is_rounded_up():
    """systemd keeps whole percents of a CPU: what is written to the file is the same, and never less than asked for."""
    assert properties.rounded({"cpu": {"quota": 12345, "period": 50000}})["cpu"]["quota"] == 12500
    assert properties.rounded({"cpu": {"quota": 50000}})["cpu"]["quota"] == 50000
    assert properties.rounded({"cpu": {"quota": -1}, "pids": {}}) == {
        "cpu": {"quota": -1},
        "pids": {},
    }


def test_devices():
    """What systemd can allow is allowed by its own filter, too; a minor of any major it cannot tell."""
    rules = ["c *:* m", "b *:* m", "c 1:3 rwm", "c 136:* rw", "c *:5 r"]
    assert list(properties.devices(False, rules)) == [
        ("DevicePolicy", "s", "strict", 0),
        ("DeviceAllow", "a(ss)", [["char-*", "m"], ["block-*", "m"], ["/dev/char/1:3", "rwm"]], 0),
        ("DeviceAllow", "a(ss)", [["char-136", "rw"]], 240),
    ]
    assert list(properties.devices(True, ["c 1:3 w"])) == [("DevicePolicy", "s", "auto", 0)]


def test_what_systemd_is_too_old_for_is_left_out():
    """A property that this systemd does not know would make it refuse all of them."""
    rows = [
        ("AllowedCPUs", "ay", [7, 2], 244),
        ("TasksMax", "t", 5, 0),
        ("DeviceAllow", "a(ss)", [["a", "r"]], 0),
    ]
    assert typed(rows, 243) == [("TasksMax", ("t", 5)), ("DeviceAllow", ("a(ss)", [("a", "r")]))]
    assert typed(rows, 244)[0] == ("AllowedCPUs", ("ay", b"\x07\x02"))


# ---- annotations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", ("b", True)),
        ("15", ("i", 15)),
        ("-1", ("i", -1)),
        ("0x10", ("i", 16)),
        ("uint64 10000000", ("t", 10000000)),
        ("1.5", ("d", 1.5)),
        ("'a \\'b\\''", ("s", "a 'b'")),
        ('"text"', ("s", "text")),
        ("['a', 'b']", ("as", ["a", "b"])),
        ("[]", ("as", [])),
    ],
)
def test_values_of_annotations(text, value):
    """The text form of GVariant, as far as properties need it."""
    assert parse(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "yes", "uint64", "uint64 x", "'open", "['a'", "['a', 1]", "1 2", "{'a': 1}", "'\\x'"],
)
def test_wrong_values_of_annotations(text):
    """Anything else is refused."""
    with pytest.raises(ValueError):  # noqa: PT011
        parse(text)


def test_annotated_properties():
    """Time spans in seconds become microseconds; other annotations mean nothing here."""
    annotations = {
        "org.systemd.property.TimeoutStopSec": "2.5",
        "org.systemd.property.KillSignal": "15",
        "org.example": "x",
    }
    assert list(annotated(annotations)) == [
        ("TimeoutStopUSec", "t", 2500000),
        ("KillSignal", "i", 15),
    ]


@pytest.mark.parametrize(
    "name", ["ExecStop", "SuccessAction", "Wants", "DeviceAllow", "Slice", "PIDs", "Delegate"]
)
def test_dangerous_properties(name):
    """A property that runs programs, reboots the machine or loosens the container is refused (CVE-2024-3154)."""
    with pytest.raises(
        OcifwError, match=f"org.systemd.property.{name}: the property {name} may not"
    ):
        list(annotated({f"org.systemd.property.{name}": "'x'"}))


# ---- plans -------------------------------------------------------------------------------------------------------


@pytest.fixture
def systemd_v2(with_cgroups):
    return with_cgroups(
        V2_MOUNTS, "0::/user/session\n", RUNNING | {"/proc/1/cgroup": b"0::/init.scope\n"}
    )


@pytest.fixture
def ask(create_request):
    """A request for a cgroup of systemd."""
    return create_request(systemd_cgroup=True)


def config(path="system.slice:t:box", annotations=None, **resources):
    return {
        "linux": {"cgroupsPath": path, "resources": resources},
        "annotations": annotations or {},
    }


def problems(config, request, host):
    return [str(one) for one in plugin.ocifw_validate(config, request, host)]


def test_create(ask, systemd_v2):
    """The unit with its limits, then the files with all of them; the process joins the scope, whose placeholder ends."""
    wanted = config(memory={"limit": MB}, cpu={"quota": 12345, "period": 50000}, pids={"limit": 9},
                    annotations={"org.systemd.property.KillSignal": "15"})  # fmt: skip
    assert problems(wanted, ask, systemd_v2) == []
    unit, *files, restrict = plugin.ocifw_prepare(wanted, ask, systemd_v2)
    folder = f"{CG}/system.slice/t-box.scope"
    assert isinstance(unit, CreateUnit) and unit.unit == "t-box.scope" and not unit.user
    assert unit.folders == (("", CG, folder),) and unit.domain is True
    rows = {row[0]: row[2] for row in unit.properties}
    assert rows["Slice"] == "system.slice" and rows["Delegate"] is True
    assert rows["DefaultDependencies"] is False and rows["DevicePolicy"] == "strict"
    assert (rows["MemoryMax"], rows["TasksMax"], rows["CPUQuotaPerSecUSec"]) == (MB, 9, 250000)
    assert rows["KillSignal"] == 15
    assert files == [
        WriteCgroup(folder, "memory", ((("memory.max", str(MB)),),)),
        WriteCgroup(folder, "cpu", ((("cpu.max", "12500 50000"),),)),
        WriteCgroup(folder, "pids", ((("pids.max", "9"),),)),
    ]
    assert isinstance(restrict, SetDeviceFilter) and restrict.folder == folder
    wrapper = plugin.ocifw_clone(wanted, ask, systemd_v2)
    next(wrapper)
    with pytest.raises(StopIteration) as stop:
        wrapper.send([Clone()])
    assert stop.value.value == [JoinCgroup(f"{folder}/cgroup.procs"), Clone()]
    assert list(plugin.ocifw_attach(wanted, ask, systemd_v2)) == [EndPlaceholder("t-box.scope")]


def test_a_tight_limit_of_processes(ask, systemd_v2):
    """The placeholder needs room, too: a limit of two comes when it has ended."""
    wanted = config(pids={"limit": 2})
    unit, _ = plugin.ocifw_prepare(wanted, ask, systemd_v2)
    assert "TasksMax" not in [row[0] for row in unit.properties]
    end, update, write = plugin.ocifw_attach(wanted, ask, systemd_v2)
    assert isinstance(end, EndPlaceholder)
    assert update.properties == (("TasksMax", "t", 2, 0),)
    assert write.writes == ((("pids.max", "2"),),)


def test_a_slice(ask, systemd_v2):
    """A container can be a slice, which has no processes for systemd: nothing holds a place."""
    wanted = config("a.slice::a-b.slice")
    unit = next(iter(plugin.ocifw_prepare(wanted, ask, systemd_v2)))
    rows = {row[0]: row[2] for row in unit.properties}
    assert rows["Wants"] == ["a.slice"] and "Delegate" not in rows and "Slice" not in rows
    assert list(plugin.ocifw_attach(wanted, ask, systemd_v2)) == []


def test_v1(ask, with_cgroups):
    """On v1 the unit has a folder in every hierarchy; systemd makes those it knows."""
    host = with_cgroups(
        V1_MOUNTS, V1_OWN, RUNNING | {"/proc/1/cgroup": b"4:memory:/pod\n8:pids:/\n"}
    )
    unit = next(iter(plugin.ocifw_prepare(config(), ask, host)))
    assert ("memory", f"{CG}/memory", f"{CG}/memory/pod/system.slice/t-box.scope") in unit.folders
    assert ("pids", f"{CG}/pids", f"{CG}/pids/system.slice/t-box.scope") in unit.folders
    assert "BlockIOAccounting" in [row[0] for row in unit.properties]


def test_rootless(create_request, with_cgroups):
    """Without privileges it is the user's systemd, below whose cgroup the runtime runs."""
    own = "/user.slice/user-1000.slice/user@1000.service"
    host = with_cgroups(V2_MOUNTS, f"0::{own}/app.slice/run-1.scope\n", RUNNING, euid=1000)
    request = create_request(systemd_cgroup=True, rootless=True)
    assert problems(config(""), request, host) == []
    unit = next(iter(plugin.ocifw_prepare(config(""), request, host)))
    assert unit.user and unit.folders == (("", CG, f"{CG}{own}/user.slice/runc-box.scope"),)
    assert "DevicePolicy" not in [row[0] for row in unit.properties]


@pytest.mark.parametrize(
    ("own", "refused"),
    [
        ("/user.slice/user-1000.slice/session-3.scope", True),
        ("/system.slice/cron.service", True),
        ("/user.slice/user-1000.slice/user@1000.service/user.slice/a.scope", False),
        ("/", False),
    ],
)
def test_rootless_outside_of_the_users_systemd(create_request, with_cgroups, own, refused):
    """A user's session is no place to start a scope from: what helps is said. In a cgroup namespace nobody can tell."""
    host = with_cgroups(V2_MOUNTS, f"0::{own}\n", RUNNING, euid=1000)
    found = problems(config(""), create_request(systemd_cgroup=True, rootless=True), host)
    assert bool(found) is refused
    assert all(own in one and "`systemd-run --user --scope`" in one for one in found)


def test_problems(ask, create_request, systemd_v2, with_cgroups):
    """What systemd cannot do is said before anything is done, with the place in config.json."""
    [text] = problems(config("/a"), ask, systemd_v2)
    assert text.startswith("linux.cgroupsPath: expected cgroupsPath to be of format")
    [text] = problems(config(annotations={"org.systemd.property.ExecStop": "'x'"}), ask, systemd_v2)
    assert text.startswith("annotations: org.systemd.property.ExecStop: ")
    without = with_cgroups(V2_MOUNTS, "0::/\n")
    assert problems(config(), ask, without) == [
        "--systemd-cgroup: this machine does not run systemd"
    ]
    v1 = with_cgroups(V1_MOUNTS, V1_OWN, RUNNING)
    request = create_request(systemd_cgroup=True, rootless=True)
    assert problems(config(), request, v1) == [
        "--systemd-cgroup: without privileges it takes cgroup v2"
    ]


def existing(config_=None):
    notes = {"cgroups": {"": f"{CG}/box"}, "systemd": {"unit": "t-box.scope", "user": False}}
    return Container(
        "/run/ocifw/box", {"id": "box", "pid": 77, "config": config_ or {}, "notes": notes}
    )


def test_update(v2):
    """Properties first, then files; the old properties are what undo sets."""
    container = existing(config(cpu={"quota": 50000, "period": 100000}, memory={"limit": 5 * MB}))
    unit, memory, cpu = plugin.ocifw_update(
        container, {"memory": {"limit": 7 * MB}, "cpu": {"quota": 20100}}, v2
    )
    assert unit == UpdateUnit(
        "t-box.scope",
        (("MemoryMax", "t", 7 * MB, 0), ("CPUQuotaPeriodUSec", "t", 100000, 242),
         ("CPUQuotaPerSecUSec", "t", 210000, 0)),
        (("MemoryMax", "t", 5 * MB, 0), ("CPUQuotaPeriodUSec", "t", 100000, 242),
         ("CPUQuotaPerSecUSec", "t", 500000, 0)),
    )  # fmt: skip
    assert isinstance(memory, UpdateCgroup) and cpu.writes == ((("cpu.max", "21000 100000"),),)
    [only] = plugin.ocifw_update(
        existing(), {"hugepageLimits": []} | {"unified": {"memory.high": "9"}}, v2
    )
    assert isinstance(only, UpdateCgroup)


def test_undo_of_what_was_not_set():
    """A limit that the container did not have is taken away again."""
    rows = [("TasksMax", "t", 5, 0), ("AllowedCPUs", "ay", [1], 244)]
    assert properties.before(rows, []) == [
        ("TasksMax", "t", INFINITY, 0),
        ("AllowedCPUs", "ay", [], 244),
    ]


def test_no_cgroup_at_all(create_request, v2):
    """With the cgroup manager disabled there is no step, and a limit that has no effect is a warning."""
    request = create_request(no_cgroup=True)
    wanted = config("/a", pids={"limit": 5}, devices=[{"allow": False, "access": "rwm"}])
    assert problems(wanted, request, v2) == []
    assert v2.warnings == ["linux.resources.pids has no effect: --cgroup-manager is disabled"]
    assert list(plugin.ocifw_prepare(wanted, request, v2)) == []
    assert list(plugin.ocifw_attach(wanted, request, v2)) == []


def test_jeepney_is_imported_late():
    """Without --systemd-cgroup nothing of systemd's is imported, and planning does not need the bus."""
    import subprocess
    import sys

    code = (
        "from ocifw_cgroups import plugin, planning\n"
        "assert not [n for n in sys.modules if 'systemd' in n], sys.modules\n"
        "from ocifw_cgroups.systemd import planning\n"
        "assert 'jeepney' not in sys.modules and 'socket' not in sys.modules\n"
    )
    paths = [path for path in sys.path if path.endswith(("/src", "/site-packages"))]
    command = [sys.executable, "-ISc", f"import sys; sys.path[:0] = {paths!r}\n{code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_create_unit_is_a_create_cgroup():
    """delete undoes it from the journal, whose lists are as good as tuples."""
    import json

    from ocifw.step import from_document

    step = CreateUnit(
        (("", CG, f"{CG}/a"),), unit="a.scope", properties=(("AllowedCPUs", "ay", [1], 244),)
    )
    again = from_document(json.loads(json.dumps(step.document())))
    assert isinstance(again, CreateCgroup) and again.by_controller() == {"": f"{CG}/a"}
    assert typed(again.properties, 250) == [("AllowedCPUs", ("ay", b"\x01"))]
