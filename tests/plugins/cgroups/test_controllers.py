"""linux.resources as writes to files, by controller: the tables of the conversions, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocifw_cgroups.controllers import (
    blkio,
    cpu,
    cpuset,
    devices,
    hugetlb,
    memory,
    net_cls,
    net_prio,
    pids,
    rdma,
    unified,
)
from ocifw_cgroups.files import NOTHING


def plain(writes):
    """Writes without alternatives, as pairs of file and value."""
    return [write[0] for write in writes]


# ---- cpu ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shares", "weight"),
    [
        *[(0, 0), (1, 1), (2, 1), (3, 2), (102, 17), (512, 59), (1024, 100), (2048, 174)],
        *[(10240, 639), (262144, 10000), (10**6, 10000)],
    ],
)
def test_shares_to_weight(shares, weight):
    """cpu.weight of well-known shares: the default 1024 is the default 100."""
    assert cpu.weight_of_shares(shares) == weight


@given(st.integers(2, 262143))
def test_weights_keep_the_order_of_shares(shares):
    """More shares never give less weight, and every weight is one that the kernel takes."""
    weight = cpu.weight_of_shares(shares)
    assert 1 <= weight <= cpu.weight_of_shares(shares + 1) <= 10000


@pytest.mark.parametrize(
    ("quota", "period", "content"),
    [
        (0, 0, ""),
        (50000, 100000, "50000 100000"),
        (50000, 0, "50000"),
        (-1, 0, "max"),
        (-1, 200000, "max 200000"),
        (0, 200000, "max 200000"),
    ],
)
def test_cpu_max(quota, period, content):
    """A quota alone leaves the period; without a limit it is `max`."""
    assert cpu.cpu_max(quota, period) == content


def test_cpu_v1():
    """Everything that is set is written, the burst before the quota; zeros are unset."""
    assert cpu.v1({"shares": 0, "quota": 0, "period": 0}) == []
    assert plain(
        cpu.v1({"shares": 512, "quota": 20000, "period": 100000, "burst": 1000, "idle": 0, "realtimeRuntime": 9})
    ) == [
        ("cpu.shares", "512"),
        ("cpu.rt_runtime_us", "9"),
        ("cpu.cfs_burst_us", "1000"),
        ("cpu.cfs_period_us", "100000"),
        ("cpu.cfs_quota_us", "20000"),
        ("cpu.idle", "0"),
    ]  # fmt: skip


def test_idle_has_no_weight():
    """The kernel refuses shares of an idle cgroup, so idle wins over them."""
    assert plain(cpu.v1({"shares": 512, "idle": 1})) == [("cpu.idle", "1")]
    assert plain(cpu.v2({"shares": 512, "idle": 1})) == [("cpu.idle", "1")]


def test_cpu_v2():
    """Weight, burst and then the maximum."""
    assert plain(cpu.v2({"shares": 1024, "quota": 20000, "period": 0, "burst": 1000})) == [
        ("cpu.weight", "100"),
        ("cpu.max.burst", "1000"),
        ("cpu.max", "20000"),
    ]


# ---- cpuset ------------------------------------------------------------------------------------------------------


def test_cpuset():
    """Lists are written as they are; an empty one, or a missing one, is not."""
    assert plain(cpuset.v1({"cpus": "0-1", "mems": "", "shares": 5})) == [("cpuset.cpus", "0-1")]
    assert cpuset.numbers("0-2,7, 9") == [0, 1, 2, 7, 9]
    assert cpuset.numbers("") == []


@pytest.mark.parametrize("text", ["a", "1-", "-1", "3-1", "1--2", "0x1", "0-999999999"])
def test_wrong_lists(text):
    """What is no list of CPUs is a problem before anything is made."""
    assert [path for path, _ in cpuset.problems({"cpus": text}, 1)] == ["cpu.cpus"]


# ---- memory ------------------------------------------------------------------------------------------------------


def test_memory_v1():
    """Limits, reservation, swappiness and the OOM killer; zeros, as engines send them, are unset."""
    assert (
        memory.v1({"limit": 0, "reservation": 0, "swap": 0, "kernel": 0, "disableOOMKiller": False})
        == []
    )
    assert plain(
        memory.v1(
            {"limit": 100, "swap": 200, "reservation": 50, "swappiness": 0, "disableOOMKiller": True}
        )
    ) == [
        ("memory.limit_in_bytes", "100"),
        ("memory.memsw.limit_in_bytes", "200"),
        ("memory.soft_limit_in_bytes", "50"),
        ("memory.oom_control", "1"),
        ("memory.swappiness", "0"),
    ]  # fmt: skip


def test_unlimited_memory_is_unlimited_swap():
    """A limit of -1 lifts the one of swap, too, where the kernel counts it."""
    assert memory.v1({"limit": -1}) == [
        (("memory.limit_in_bytes", "-1"),),
        (("memory.memsw.limit_in_bytes", "-1"), NOTHING),
    ]


@pytest.mark.parametrize(
    ("limit", "swap", "content"),
    [
        (100, 0, ""),
        (100, 100, "0"),
        (100, 250, "150"),
        (100, -1, "max"),
        (-1, 0, "max"),
        (-1, -1, "max"),
        (0, -1, "max"),
        (0, 0, ""),
    ],
)
def test_swap_max(limit, swap, content):
    """v2 counts swap alone, config.json memory and swap together."""
    assert memory.swap_max(limit, swap) == content


def test_memory_v2():
    """Swap is written before the limit; a kernel that does not count swap is fine when none or any is allowed."""
    assert memory.v2({"limit": 100, "swap": 150, "reservation": 50}) == [
        (("memory.swap.max", "50"),),
        (("memory.max", "100"),),
        (("memory.low", "50"),),
    ]
    assert memory.v2({"limit": -1}) == [
        (("memory.swap.max", "max"), NOTHING),
        (("memory.max", "max"),),
    ]


@pytest.mark.parametrize(
    ("value", "version", "message"),
    [
        ({"limit": 100, "swap": 99}, 1, "memory+swap limit should be >= memory limit"),
        ({"limit": 100, "swap": 99}, 2, "memory+swap limit should be >= memory limit"),
        ({"swap": 99}, 2, "without memory limit"),
        ({"limit": -1, "swap": 99}, 2, "unlimited memory"),
        ({"swappiness": 101}, 1, "invalid memory swappiness value: 101 (valid range is 0-100)"),
        ({"swappiness": 60}, 2, "no swappiness"),
        ({"disableOOMKiller": True}, 2, "OOM killer"),
        ({"limit": -2}, 1, "-2 is not a number of bytes"),
    ],
)
def test_wrong_memory(value, version, message):
    """Values that cannot be meant, and those that v2 has no file for, are problems."""
    [(path, text)] = memory.problems(value, version)
    assert path.startswith("memory.") and message in text


# ---- pids --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "content"), [(-1, "max"), (0, "1"), (1, "1"), (2048, "2048")])
def test_pids(limit, content):
    """0 is a limit, too: of one process."""
    assert plain(pids.v1({"limit": limit})) == [("pids.max", content)]


def test_pids_unset():
    """Without a limit nothing is written."""
    assert pids.v1({}) == []
    assert [pids.is_tight(p) for p in ({}, {"limit": -1}, {"limit": 0}, {"limit": 1}, {"limit": 2})] == [
        False, False, True, True, False
    ]  # fmt: skip


# ---- blkio -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weight", "converted"), [(0, 0), (10, 1), (100, 910), (500, 4950), (1000, 10000)]
)
def test_io_weight(weight, converted):
    """io.weight of a blkio weight."""
    assert blkio.io_weight(weight) == converted


BLOCK = {
    "weight": 100,
    "weightDevice": [{"major": 8, "minor": 0, "weight": 20}],
    "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 5}],
    "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 6}],
}


def test_blkio_v1():
    """Weights go to bfq's files or else the old ones; each throttle is a line."""
    assert blkio.v1({"weight": 0}) == []
    assert blkio.v1(BLOCK) == [
        (("blkio.bfq.weight", "100"), ("blkio.weight", "100")),
        (("blkio.bfq.weight_device", "8:0 20"), ("blkio.weight_device", "8:0 20")),
        (("blkio.throttle.read_bps_device", "8:0 5"),),
        (("blkio.throttle.write_iops_device", "8:16 6"),),
    ]


def test_blkio_v2():
    """bfq takes the weight as it is, io.weight converted; io.max takes one key a write."""
    assert blkio.v2(BLOCK) == [
        (("io.bfq.weight", "100"), ("io.weight", "default 910")),
        (("io.bfq.weight", "8:0 20"), ("io.weight", "8:0 102")),
        (("io.max", "8:0 rbps=5"),),
        (("io.max", "8:16 wiops=6"),),
    ]


@pytest.mark.parametrize(
    ("block", "path"),
    [
        ({"weight": 9}, "blockIO.weight"),
        ({"leafWeight": 1001}, "blockIO.leafWeight"),
        ({"weightDevice": [{"major": 8, "minor": 0}]}, "blockIO.weightDevice[0]"),
        (
            {"weightDevice": [{"major": 8, "minor": 0, "weight": 5}]},
            "blockIO.weightDevice[0].weight",
        ),
    ],
)
def test_wrong_weights(block, path):
    """Weights out of range, and devices without one, are problems."""
    assert [found for found, _ in blkio.problems(block, 1)] == [path]


# ---- the small ones ----------------------------------------------------------------------------------------------


def test_hugetlb(machine):
    """Pages in use are limited, and reservations where the kernel can; page sizes are checked."""
    limits = [{"pageSize": "2MB", "limit": 4194304}]
    assert hugetlb.v1(limits) == [
        (("hugetlb.2MB.limit_in_bytes", "4194304"),),
        (("hugetlb.2MB.rsvd.limit_in_bytes", "4194304"), NOTHING),
    ]
    assert hugetlb.v2(limits)[0] == (("hugetlb.2MB.max", "4194304"),)
    assert list(hugetlb.problems(limits, 1)) == []
    assert [path for path, _ in hugetlb.problems([{"pageSize": "2 MB", "limit": 1}], 1)] == [
        "hugepageLimits[0].pageSize"
    ]
    host = machine({"/sys/kernel/mm/hugepages/hugepages-2048kB": b""})
    assert list(hugetlb.host_problems(limits, host)) == []
    [(_, text)] = hugetlb.host_problems([{"pageSize": "3MB", "limit": 1}], host)
    assert "'3MB': this machine has no huge pages of this size" in text


def test_network():
    """Class and priorities are v1's; v2 refuses them."""
    network = {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 5}]}
    assert plain(net_cls.v1(network)) == [("net_cls.classid", "1048577")]
    assert plain(net_prio.v1(network)) == [("net_prio.ifpriomap", "eth0 5")]
    assert net_cls.v1({"classID": 0}) == []
    assert [p for p, _ in [*net_cls.problems(network, 2), *net_prio.problems(network, 2)]] == [
        "network.classID",
        "network.priorities",
    ]


def test_rdma():
    """A line for each device, with `max` for what is not limited."""
    limits = {"mlx5_1": {"hcaHandles": 3}}
    assert plain(rdma.v1(limits)) == [("rdma.max", "mlx5_1 hca_handle=3 hca_object=max")]
    assert [path for path, _ in rdma.problems({"x": {}}, 1)] == ["rdma.x"]


def test_unified():
    """Files by name are v2's alone; names cannot lead to another folder."""
    assert plain(unified.v2({"memory.high": "5", "io.max": "8:0 rbps=1\n8:16 rbps=2\n"})) == [
        ("memory.high", "5"),
        ("io.max", "8:0 rbps=1"),
        ("io.max", "8:16 rbps=2"),
    ]
    [(_, text)] = unified.problems({"memory.high": "5"}, 1)
    assert text == "invalid configuration: cannot use unified on cgroup v1"
    assert [path for path, _ in unified.problems({"../x": "1", "a/b": "1"}, 2)] == [
        "unified.../x",
        "unified.a/b",
    ]


@pytest.mark.parametrize(
    ("value", "version", "path"),
    [
        ({"quota": 100, "burst": 101}, 1, "cpu.burst"),
        ({"shares": 1}, 1, "cpu.shares"),
        ({"shares": 262145}, 1, "cpu.shares"),
        ({"idle": 2}, 1, "cpu.idle"),
        ({"realtimeRuntime": 5}, 2, "cpu.realtimeRuntime"),
    ],
)
def test_wrong_cpu(value, version, path):
    """What the kernel would refuse or change silently is a problem."""
    assert [found for found, _ in cpu.problems(value, version)] == [path]


def test_right_cpu():
    """v2 has a weight for every number of shares."""
    assert list(cpu.problems({"shares": 1, "quota": 100, "burst": 100}, 2)) == []


# ---- devices -----------------------------------------------------------------------------------------------------

DEFAULTS = (
    "b *:* m",
    "c *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:2 rwm",
    "c 10:200 rwm",
    "c 136:* rwm",
)


def deny(**rest):
    return {"allow": False, "access": "rwm", **rest}


def allow(**rest):
    return {"allow": True, "access": "rwm", **rest}


def test_default_devices():
    """Without rules, and with the usual denial of all, only runc's default devices are allowed."""
    for rules in ([], [deny()], [deny(type="a"), deny()], [allow(), deny()]):
        found = devices.rules_of(rules)
        assert (found.allow, found.lines()) == (False, DEFAULTS)


def test_allowed_devices():
    """Rules that allow more are added; accesses of one device are united, and taken away again."""
    rules = [
        deny(),
        allow(type="c", major=10, minor=229, access="r"),
        allow(type="c", major=10, minor=229, access="wm"),
    ]
    assert "c 10:229 rwm" in devices.rules_of(rules).lines()
    rules.append(deny(type="c", major=10, minor=229, access="w"))
    assert "c 10:229 rm" in devices.rules_of(rules).lines()


def test_privileged():
    """A rule that allows everything lifts all restrictions, and nothing is appended."""
    found = devices.rules_of([deny(), allow()])
    assert (found.allow, found.lines()) == (True, ())
    assert devices.is_open([allow()])


def test_everything_but():
    """Devices denied after everything was allowed are exceptions."""
    found = devices.rules_of([allow(), deny(type="b", major=8, minor=0)])
    assert (found.allow, found.lines()) == (True, ("b 8:0 rwm",))
    assert not devices.is_open([allow(), deny(type="b", major=8)])


def test_partial_rules_of_all_types():
    """A rule of type `a` with some accesses does not become one for all accesses, as it would in the kernel."""
    found = devices.rules_of([deny(), allow(access="r")])
    assert not found.allow
    assert "c *:* rm" in found.lines() and "b *:* rm" in found.lines()


def test_holes_in_wildcards():
    """A device cannot be taken out of a wildcard: the kernel would ignore it, so it is a problem."""
    rules = [deny(), allow(type="c", major=10), deny(type="c", major=10, minor=229)]
    [(path, text)] = devices.problems(rules, 1)
    assert path == "devices[2]"
    assert "cannot punch hole in existing wildcard rule [c 10:* rwm]" in text


@pytest.mark.parametrize(
    ("rule", "path", "message"),
    [
        ({"allow": True}, "devices[0]", "device access at 0 field cannot be empty"),
        (allow(type="p"), "devices[0].type", "only character and block devices"),
        (allow(type="c", major=-2), "devices[0].major", "-2 is not a number"),
    ],
)
def test_wrong_rules(rule, path, message):
    """Rules that mean nothing are problems."""
    [(found, text)] = devices.problems([rule], 1)
    assert found == path and message in text


def test_pressure(tmp_path):
    """Pressure stall information is in the figures as runc has it; where it is not counted, nothing is."""
    from ocifw_cgroups.figures import pressure

    lines = [
        "some avg10=0.10 avg60=2.00 avg300=0.33 total=8911",
        "full avg10=0.00 avg60=0.00 avg300=0.00 total=12",
    ]
    (tmp_path / "cpu.pressure").write_text("\n".join(lines) + "\n")
    assert pressure(str(tmp_path), "cpu") == {
        "psi": {
            "some": {"avg10": 0.1, "avg60": 2.0, "avg300": 0.33, "total": 8911},
            "full": {"avg10": 0.0, "avg60": 0.0, "avg300": 0.0, "total": 12},
        }
    }
    assert pressure(str(tmp_path), "io") == {}
