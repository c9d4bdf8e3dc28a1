"""The rules of the spec, what the schema says in words, and warnings."""

from __future__ import annotations

import copy
import json
import random
import sys
from pathlib import Path

import pytest

from ocifw import acceptance, validate
from ocifw.errors import ConfigError

sys.path.insert(0, str(Path(__file__).parent))
import documents

ALL_NAMESPACES = ("mount", "pid", "network", "uts", "ipc", "cgroup")
CONFIG = {
    "ociVersion": "1.3.0",
    "root": {"path": "rootfs"},
    "process": {"cwd": "/", "args": ["sh"], "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}},
    "linux": {"namespaces": [{"type": kind} for kind in ALL_NAMESPACES]},
}
ID_MAPPING = {"containerID": 0, "hostID": 1000, "size": 10}


def changed(changes, document=CONFIG):
    """A copy with values put at dotted paths; `...` takes what is there away."""
    document = copy.deepcopy(document)
    for path, value in changes.items():
        *holders, name = path.split(".")
        holder = document
        for part in holders:
            holder = holder.setdefault(part, {})
        if value is ...:
            del holder[name]
        else:
            holder[name] = value
    return document


def problems(document, kind="config"):
    """The problems as pairs of path and message."""
    try:
        validate.check(document, kind, "config.json")
    except ConfigError as error:
        found, text = error.problems, str(error)
    else:
        return []
    assert {problem.origin for problem in found} == {"config.json"}
    assert "\n" not in text
    return [(problem.path, problem.message) for problem in found]


def namespaces(*kinds, **paths):
    return [{"type": kind} for kind in kinds] + [{"type": k, "path": p} for k, p in paths.items()]


@pytest.mark.parametrize("path", documents.engine_files(), ids=lambda path: path.name)
def test_documents_of_engines_are_valid(path):
    """What engines write has no problem, and no unknown property."""
    document, kind = json.loads(path.read_text()), documents.kind_of(path)
    assert problems(document, kind) == []
    assert validate.warnings(document, kind) == []


GOOD = [
    {},
    {"ociVersion": "1.0.2-dev"},
    {"ociVersion": "1.99.0+build.5"},
    {"process": ...},
    {"linux": ..., "hostname": ""},
    {"hostname": "h" * 64, "domainname": "d"},
    {"mounts": [{"destination": "/m", "uidMappings": [ID_MAPPING], "gidMappings": [ID_MAPPING]}]},
    {"process.rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 2**64 - 1}]},
    {"process.scheduler": {"policy": "SCHED_FIFO", "priority": 1}},
    {"process.scheduler": {"policy": "SCHED_OTHER", "nice": -20}},
    {"process.scheduler": {"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2}},
    {"process.consoleSize": {"height": 2**20, "width": 1}},
    {"linux.namespaces": namespaces("user", "mount"), "linux.uidMappings": [ID_MAPPING], "linux.gidMappings": [ID_MAPPING]},
    {"linux.namespaces": namespaces("mount", user="/proc/1/ns/user")},
    {"linux.namespaces": namespaces("time"), "linux.timeOffsets": {"boottime": {"secs": -1, "nanosecs": 999_999_999}}},
    {"linux.devices": [{"type": "p", "path": "/f", "major": -5}, {"type": "c", "path": "/dev/c", "major": 4095}]},
    {"linux.netDevices": {"eth0": {"name": "a"}, "eth1": {}}},
    {"linux.cgroupsPath": "system.slice:a:..b"},
    {"linux.seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4095, "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_TRACE", "errnoRet": 65535}]}},
    {"linux.sysctl": {"net.ipv4.conf.eno2/100.rp_filter": "1", "net/ipv4/conf/eno2.100/rp_filter": "1"}},
    {"linux.sysctl": {"kernel.domainname": "d", "kernel.sem": "1 2 3 4", "fs.mqueue.msg_max": "9"}},
    {"linux.namespaces": namespaces(user="/n"), "linux.sysctl": {"user.max_user_namespaces": "0"}},
    {"linux.intelRdt": {"closID": "/", "schemata": ["L3:0=f"]}},
    {"linux.memoryPolicy": {"mode": "MPOL_PREFERRED"}},
    {"linux.resources": {"cpu": {"quota": -1, "burst": 5}, "devices": [{"allow": False, "access": "r", "major": -1}]}},
    {"linux.resources.pids": {}},
    {"hooks": {"prestart": [{"path": "/x", "env": ["A="]}], "unknown": 5}},
]  # fmt: skip


@pytest.mark.parametrize("changes", GOOD, ids=str)
def test_valid(changes):
    """What the spec allows is no problem."""
    assert problems(changed(changes)) == []


BAD = [
    ({"ociVersion": "2.0.0"}, "ociVersion", "'2.0.0' is not supported"),
    ({"ociVersion": "1.0"}, "ociVersion", "'1.0' is not a semantic version"),
    ({"ociVersion": ...}, "ociVersion", "is required"),
    ({"root": ...}, "root", "root must be specified"),
    ({"root.path": ""}, "root.path", "must not be empty"),
    ({"hostname": 5}, "hostname", "must be a string, not 5"),
    ({"hostname": "h", "linux": ...}, "hostname", "unable to set hostname without a private UTS namespace"),
    ({"domainname": "h", "linux": ...}, "domainname", "unable to set domainname without a private UTS namespace"),
    ({"hostname": "é" * 33}, "hostname", "is longer than 64 bytes"),
    ({"annotations": {"": "x"}}, "annotations", "has an empty name"),
    ({"annotations": {"a": None}}, "annotations.a", "must be a string, not null"),
    ({"mounts": [{"destination": ""}]}, "mounts[0].destination", "must not be empty"),
    ({"mounts": [{"source": "/x"}]}, "mounts[0].destination", "is required"),
    ({"mounts": [{"destination": "/", "uidMappings": [ID_MAPPING]}]}, "mounts[0]", "id-mapped mounts must have both"),
    ({"hooks": {"poststop": [{"path": "x"}]}}, "hooks.poststop[0].path", "'x' is not an absolute path"),
    ({"hooks": {"poststop": [{"path": "/x", "timeout": 0}]}}, "hooks.poststop[0].timeout", "0 is not in 1.."),
    ({"hooks": {"poststop": [{"path": "/x", "env": ["SECRET"]}]}}, "hooks.poststop[0].env[0]", "invalid environment"),
    ({"process.args": []}, "process.args", "args must not be empty"),
    ({"process.args": ...}, "process.args", "args must not be empty"),
    ({"process.cwd": ""}, "process.cwd", "Cwd property must not be empty"),
    ({"process.cwd": "tmp"}, "process.cwd", "Cwd must be an absolute path"),
    ({"process.cwd": None}, "process.cwd", "is required"),
    ({"process.env": ["A=b", "SECRET"]}, "process.env[1]", "invalid environment variable"),
    ({"process.env": ["=SECRET"]}, "process.env[0]", "invalid environment variable"),
    ({"process.user.uid": 2**32}, "process.user.uid", "4294967296 is not in 0..4294967295"),
    ({"process.user.uid": -1}, "process.user.uid", "-1 is not in 0..4294967295"),
    ({"process.user.gid": 2**32 - 1}, "process.user.gid", "4294967295 is no gid"),
    ({"process.user.additionalGids": [1, 2**32 - 1]}, "process.user.additionalGids", "4294967295 is no gid"),
    ({"process.user.umask": 0o1000}, "process.user.umask", "512 is not in 0..511"),
    ({"process.user.uid": "0"}, "process.user.uid", 'must be an integer, not "0"'),
    ({"process.user.uid": 0.0}, "process.user.uid", "must be an integer, not 0.0"),
    ({"process.user.uid": True}, "process.user.uid", "must be an integer, not true"),
    ({"process.terminal": True, "process.consoleSize": {"height": 1, "width": 65536}}, "process.consoleSize.width",
     "65536 is above 65535"),
    ({"process.rlimits": [{"type": "RLIMIT_FOO", "soft": 1, "hard": 1}]}, "process.rlimits[0].type",
     "wrong rlimit value: RLIMIT_FOO"),
    ({"process.rlimits": [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2}, "process.rlimits[1].type",
     "duplicate rlimit RLIMIT_CPU"),
    ({"process.rlimits": [{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]}, "process.rlimits[0]",
     "the soft limit 2 is above the hard limit 1"),
    ({"process.scheduler": {"policy": "SCHED_OTHER", "nice": 20}}, "process.scheduler.nice", "invalid scheduler.nice: 20"),
    ({"process.scheduler": {"policy": "SCHED_OTHER", "priority": 1}}, "process.scheduler.priority",
     "scheduler.priority can only be specified for SchedFIFO or SchedRR policy"),
    ({"process.scheduler": {"policy": "SCHED_RR", "period": 1}}, "process.scheduler", "can only be specified for SchedDead"),
    ({"process.scheduler": {"policy": "SCHED_DEADLINE", "runtime": 3, "deadline": 2}}, "process.scheduler", "needs 0 < run"),
    ({"process.scheduler": {"nice": 1}}, "process.scheduler.policy", "is required"),
    ({"process.ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}}, "process.ioPriority.priority",
     "invalid ioPriority.Priority: 8"),
    ({"process.execCPUAffinity": {"initial": "a"}}, "process.execCPUAffinity.initial", '"a" is not of the form'),
    ({"process.oomScoreAdj": 1001}, "process.oomScoreAdj", "1001 is not in -1000..1000"),
    ({"linux.namespaces": namespaces("mount", "mount")}, "linux.namespaces[1].type", 'duplicated ns "mount"'),
    ({"linux.namespaces": namespaces("foo")}, "linux.namespaces[0].type", 'namespace "foo" does not exist'),
    ({"linux.namespaces": namespaces(pid="x")}, "linux.namespaces[0].path", "'x' is not an absolute path"),
    ({"linux.namespaces": namespaces("user")}, "linux.uidMappings", "no namespace path to join nor mappings to apply"),
    ({"linux.namespaces": namespaces("user"), "linux.uidMappings": [ID_MAPPING]}, "linux.gidMappings", "no gid mappings"),
    ({"linux.gidMappings": [ID_MAPPING]}, "linux.gidMappings", "but user namespace isn't enabled in the config"),
    ({"linux.timeOffsets": {"boottime": {"secs": 1}}}, "linux.timeOffsets", "but time namespace isn't enabled"),
    ({"linux.namespaces": namespaces(time="/t"), "linux.timeOffsets": {"boottime": {}}}, "linux.timeOffsets",
     "both namespace path and time offsets"),
    ({"linux.namespaces": namespaces("time"), "linux.timeOffsets": {"monotonic": {"nanosecs": 10**9}}},
     "linux.timeOffsets.monotonic.nanosecs", "1000000000 is above 999999999"),
    ({"linux.devices": [{"type": "x", "path": "/d"}]}, "linux.devices[0].type", 'invalid device type "x"'),
    ({"linux.devices": [{"type": "c", "path": "dev/d"}]}, "linux.devices[0].path", "'dev/d' is not an absolute path"),
    ({"linux.devices": [{"type": "c", "path": "/d", "minor": 2**20}]}, "linux.devices[0].minor", "1048576 is not in 0.."),
    ({"linux.devices": [{"type": "c", "path": "/d", "uid": 2**32 - 1}]}, "linux.devices[0].uid", "4294967295 is no uid"),
    ({"linux.netDevices": {"eth0": {}}, "linux.namespaces": []}, "linux.netDevices", "without a private NET namespace"),
    ({"linux.netDevices": {"eth0": {"name": "../x"}}}, "linux.netDevices", "invalid network device name '../x'"),
    ({"linux.netDevices": {"x" * 16: {}}}, "linux.netDevices", "invalid network device name"),
    ({"linux.netDevices": {"a": {"name": "b"}, "b": {}}}, "linux.netDevices", "two devices would be called 'b'"),
    ({"linux.cgroupsPath": "/a/../b"}, "linux.cgroupsPath", "'/a/../b' has a .. in it"),
    ({"linux.cgroupsPath": "a:..:b"}, "linux.cgroupsPath", "has a .. in it"),
    ({"linux.rootfsPropagation": "foo"}, "linux.rootfsPropagation", "rootfsPropagation=foo is not supported"),
    ({"linux.seccomp": {"defaultAction": "foo"}}, "linux.seccomp.defaultAction", "string foo is not a valid action for sec"),
    ({"linux.seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 0}}, "linux.seccomp.defaultErrnoRet",
     "must not be set with SCMP_ACT_ALLOW"),
    ({"linux.seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["a"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096}]}}, "linux.seccomp.syscalls[0].errnoRet",
     "4096 is not an errno"),
    ({"linux.seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": [], "action": "SCMP_ACT_LOG"}]}},
     "linux.seccomp.syscalls[0].names", "must not be empty"),
    ({"linux.seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a"], "action": "SCMP_ACT_LOG",
        "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}]}}, "linux.seccomp.syscalls[0].args[0].index",
     "6 is not in 0..5"),
    ({"linux.seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "m"}}, "linux.seccomp.listenerMetadata",
     "must not be set without listenerPath"),
    ({"linux.maskedPaths": ["a"]}, "linux.maskedPaths[0]", "'a' is not an absolute path"),
    ({"linux.readonlyPaths": ["/a"], "linux.namespaces": []}, "linux.readonlyPaths",
     "unable to restrict sys entries without a private MNT namespace"),
    ({"linux.intelRdt": {"closID": ".."}}, "linux.intelRdt.closID", "invalid intelRdt.ClosID '..'"),
    ({"linux.intelRdt": {"closID": "a/b"}}, "linux.intelRdt.closID", "invalid intelRdt.ClosID 'a/b'"),
    ({"linux.intelRdt": {"l3CacheSchema": "L3:0=f\nMB:0=1"}}, "linux.intelRdt.l3CacheSchema", "more than one line"),
    ({"linux.intelRdt": {"memBwSchema": "MB:0=1\n"}}, "linux.intelRdt.memBwSchema", "is not of the form"),
    ({"linux.memoryPolicy": {"mode": "MPOL_BIND"}}, "linux.memoryPolicy.nodes", "MPOL_BIND needs at least one node"),
    ({"linux.memoryPolicy": {"mode": "MPOL_LOCAL", "nodes": "0"}}, "linux.memoryPolicy.nodes", "MPOL_LOCAL takes no nodes"),
    ({"linux.memoryPolicy": {"nodes": "0"}}, "linux.memoryPolicy.mode", "is required"),
    ({"linux.resources": {"devices": [{"allow": True}]}}, "linux.resources.devices[0].access",
     "device access at 0 field cannot be empty"),
    ({"linux.resources": {"devices": [{"allow": True, "access": "r", "type": "q"}]}}, "linux.resources.devices[0].type",
     'invalid cgroup device type "q"'),
    ({"linux.resources": {"devices": [{"allow": True, "access": "r", "minor": -2}]}}, "linux.resources.devices[0].minor",
     "-2 is no device number"),
    ({"linux.resources": {"cpu": {"burst": 2, "quota": 1}}}, "linux.resources.cpu.burst", "2 is above the quota 1"),
    ({"linux.resources": {"unified": {"../x": "1"}}}, "linux.resources.unified", "must be a file name (no slashes)"),
    ({"linux.resources": {"hugepageLimits": [{"pageSize": "64kB", "limit": 1}]}},
     "linux.resources.hugepageLimits[0].pageSize", '"64kB" is not of the form'),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "path", "message"), BAD, ids=lambda value: str(value)[:60])
def test_problem(changes, path, message):
    """What the spec forbids is one problem, at its path, with the value in it."""
    found = problems(changed(changes))
    assert [found_path for found_path, _ in found] == [path]
    assert message in found[0][1]


def test_everything_at_once():
    """Problems of the schema and of the rules come together, but not those that follow from one another."""
    changes = {"hostname": "h", "linux.namespaces": namespaces("foo"), "process.cwd": "", "root": ...,
               "process.rlimits": 5, "linux.cgroupsPath": "..", "linux.sysctl": {"net.x": "1"}}  # fmt: skip
    paths = [path for path, _ in problems(changed(changes))]
    # Whether there is a UTS or network namespace is not known.
    assert sorted(paths) == [
        "linux.cgroupsPath",
        "linux.namespaces[0].type",
        "process.cwd",
        "process.rlimits",
        "root",
    ]


@pytest.mark.parametrize("document", [None, [], "x", 5])
def test_not_an_object(document):
    """A document that is no object has just that problem."""
    (problem,) = problems(document)
    assert problem[0] == "" and problem[1].startswith("must be an object, not ")


@pytest.mark.parametrize("path", ["process.env", "hooks.prestart"])
def test_secrets_are_not_shown(path):
    """The values of env stand in no message, whatever is wrong with them."""
    for entry in ("SECRET", "=SECRET", 5318008, True, ["SECRET"], None):
        env = ["A=b", entry] if path == "process.env" else [{"path": "/x", "env": [entry]}]
        text = str(problems(changed({path: env})))
        assert "env[" in text and "SECRET" not in text and "5318008" not in text


ID_MAPPINGS = [
    ([(0, 0, 0)], "linux.uidMappings[0].size: must not be 0"),
    (
        [(0, 0, 2), (1, 10, 2)],
        "linux.uidMappings[1].containerID: overlaps with linux.uidMappings[0]",
    ),
    ([(0, 10, 2), (5, 11, 2)], "linux.uidMappings[1].hostID: overlaps with linux.uidMappings[0]"),
    ([(1, 2**32 - 2, 2)], "linux.uidMappings[0]: hostID 4294967294 + 2 is beyond the last id"),
    ([(n, n, 1) for n in range(341)], "linux.uidMappings: has 341 mappings: the kernel takes 340"),
    ([(0, 5, 1), (1, 6, 4), (5, 4, 1)], ""),
    ([(0, 0, 2**32 - 1)], ""),
    ([(n, n, 1) for n in range(340)], ""),
]


@pytest.mark.parametrize(("triples", "expected"), ID_MAPPINGS, ids=lambda value: str(value)[:40])
def test_id_mappings(triples, expected):
    """Id mappings that the kernel would refuse with EINVAL are named."""
    mappings = [dict(zip(("containerID", "hostID", "size"), triple)) for triple in triples]
    changes = {
        "linux.namespaces": namespaces("user"),
        "linux.uidMappings": mappings,
        "linux.gidMappings": [ID_MAPPING],
    }
    assert [f"{path}: {message}" for path, message in problems(changed(changes))] == [
        expected
    ] * bool(expected)


@pytest.mark.parametrize(
    ("key", "without", "message"),
    [
        ("net.ipv4.ip_forward", "network", "not allowed in host network namespace"),
        ("net/ipv4/ip_forward", "network", "not allowed in host network namespace"),
        ("kernel.shmmax", "ipc", "is not allowed in the hosts ipc namespace"),
        ("fs.mqueue.msg_max", "ipc", "is not allowed in the hosts ipc namespace"),
        ("kernel.domainname", "uts", "is not in a separate kernel namespace"),
        ("kernel.hostname", "uts", "is not in a separate kernel namespace"),
        ("kernel.hostname", "", 'is not allowed as it conflicts with the OCI "hostname" field'),
        ("kernel.core_pattern", "", "is not in a separate kernel namespace"),
        ("kernel/core_pattern", "", "is not in a separate kernel namespace"),
        ("vm.swappiness", "", "is not in a separate kernel namespace"),
        ("user.max_user_namespaces", "", "is not in a separate kernel namespace"),
        ("net", "", "is not in a separate kernel namespace"),
        ("fs.mqueue", "", "is not in a separate kernel namespace"),
        ("kernel.shmmax+kernel.core_pattern", "", "is not the name of a sysctl"),
        ("net.a=b", "", "is not the name of a sysctl"),
        ("net.a\nb", "", "is not the name of a sysctl"),
        ("net..kernel.core_pattern", "", "is not the name of a sysctl"),
        ("net.//.kernel.core_pattern", "", "is not the name of a sysctl"),
        ("net./.x", "", "is not the name of a sysctl"),
        ("net/../kernel/core_pattern", "", "is not the name of a sysctl"),
        ("net.x.", "", "is not the name of a sysctl"),
        (".net.x", "", "is not the name of a sysctl"),
        ("/net/x", "", "is not the name of a sysctl"),
    ],
)
def test_sysctl(key, without, message):
    """A sysctl that no namespace of the container holds, or whose name hides another, is refused in runc's words."""
    entries = namespaces(*[kind for kind in ALL_NAMESPACES if kind != without])
    changes = {"linux.sysctl": {key: "1"}, "linux.namespaces": entries}
    ((path, text),) = problems(changed(changes))
    assert path == "linux.sysctl" and json.dumps(key) in text and message in text


def test_sysctl_domainname_twice():
    """kernel.domainname and the field domainname exclude each other."""
    changes = {"linux.sysctl": {"kernel.domainname": "x"}, "domainname": "y"}
    ((_, text),) = problems(changed(changes))
    assert 'conflicts with the OCI "domainname" field' in text


def test_process_and_resources():
    """A process and resources on their own have paths of their own."""
    process = {"cwd": "x", "args": [], "env": ["A"]}
    assert [path for path, _ in problems(process, "process")] == ["args", "cwd", "env[0]"]
    resources = {"devices": [{"allow": True}], "pids": {"limit": "x"}}
    assert [path for path, _ in problems(resources, "resources")] == [
        "pids.limit",
        "devices[0].access",
    ]


def test_null_is_not_set():
    """Properties that are null, in a document that was layered, are not set."""
    document = changed(
        {"process.rlimits": None, "linux.cgroupsPath": None, "hooks": None, "mounts": None}
    )
    assert problems(document) == []


def test_rules_bear_what_the_schema_accepts():
    """Whatever the schema accepts, and whatever it refuses, the rules answer with paths and messages."""
    choice = random.Random(5)
    sources = [
        (documents.kind_of(path), json.loads(path.read_text()))
        for path in documents.engine_files()[:12]
    ]
    tried = 0
    for _ in range(400):
        kind, document = choice.choice(sources)
        document = documents.mutated(document, choice)
        if getattr(acceptance, f"accepts_{kind}")(document):
            tried += 1
            problems(document, kind)
            validate.warnings(document, kind)
    assert tried > 50


@pytest.mark.slow
def test_explanations_bear_anything():
    """Whatever the schema refuses is explained."""
    choice = random.Random(6)
    sources = [
        (documents.kind_of(path), json.loads(path.read_text())) for path in documents.engine_files()
    ]
    for _ in range(500):
        kind, document = choice.choice(sources)
        document = documents.mutated(document, choice)
        if not getattr(acceptance, f"accepts_{kind}")(document):
            assert problems(document, kind)


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({"hooks.postStop": []}, "hooks.postStop", "is not known, and ignored: did you mean poststop?"),
        ({"process.noNewPrivilege": True}, "process.noNewPrivilege", "did you mean noNewPrivileges?"),
        ({"linux.maskPaths": []}, "linux.maskPaths", "did you mean maskedPaths?"),
        ({"Process": {}}, "Process", "did you mean process?"),
        ({"linux.x": 1}, "linux.x", "is not known, and ignored"),
        ({"linux.somethingElse": 1}, "linux.somethingElse", "is not known, and ignored"),
        ({"windows": {"x": 1}}, "windows", "is ignored: it is for another platform than Linux"),
        ({"vm": {}}, "vm", "is ignored: it is for another platform than Linux"),
        ({"process.user.username": "x"}, "process.user.username", "is not known"),
        ({"mounts": [{"destination": "/a"}, {"destination": "/b", "option": []}]}, "mounts[1].option", "mean options?"),
        ({"linux.netDevices": {"eth0.1": {"nam": "x"}}}, 'linux.netDevices["eth0.1"].nam', "did you mean name?"),
        ({"linux.seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a"], "action": "SCMP_ACT_LOG",
          "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ", "comment": ""}]}]}},
         "linux.seccomp.syscalls[0].args[0].comment", "is not known"),
        ({"mounts": [{"destination": "proc"}]}, "mounts[0].destination", "mount destination 'proc' is not absolute"),
    ],
)  # fmt: skip
def test_warnings(changes, path, message):
    """Unknown properties are ignored with a warning that says what may have been meant; nothing else is warned of."""
    document = changed(changes)
    assert problems(document) == []
    ((found_path, text),) = validate.warnings(document, "config")
    assert found_path == path and message in text


def test_maps_have_no_unknown_names():
    """Names in maps are the user's, and not warned of."""
    changes = {"annotations": {"x": "y"}, "linux.sysctl": {"net.x": "1"}, "linux.resources": {
        "unified": {"memory.high": "1"}, "rdma": {"mlx": {"hcaHandles": 1}}}, "linux.netDevices": {"eth0": {}}}  # fmt: skip
    assert validate.warnings(changed(changes), "config") == []
