"""What the plugin refuses, and in which words: engines and people know runc's."""

from __future__ import annotations

import os

import pytest
from plans import OWN, config, mount, problems

from ocifw.context import Host
from ocifw_mounts.check import BELOW_PROC

MAPPING = [{"containerID": 0, "hostID": 1000, "size": 10}]


@pytest.fixture
def bundle(tmp_path):
    (tmp_path / "rootfs").mkdir()
    return {"bundle": str(tmp_path), "rootfs": str(tmp_path / "rootfs")}


# ---- root ----------------------------------------------------------------------------------------------------------


def test_nothing_wrong(bundle):
    """A usual config has no problems, whether the rootfs is named relative to the bundle or not."""
    entries = [
        mount("/proc", "proc"),
        mount("/proc/uptime", "bind", ["bind"], "/x"),
        mount("/dev", "tmpfs", ["mode=755", ""]),
        mount("/x", "bind", ["rbind", "rprivate", ""], "/srv"),
    ]
    document = config(entries, maskedPaths=["/proc/kcore"], rootfsPropagation="rslave")
    assert problems(document, **bundle) == []
    document["root"]["path"] = bundle["rootfs"] + "/."
    assert problems(document, **bundle) == []


def test_missing_rootfs(bundle):
    """A rootfs that is not there, or is no directory, is refused by its path."""
    os.rmdir(bundle["rootfs"])
    path = bundle["rootfs"]
    assert problems(config(), **bundle) == [
        f"root.path: invalid rootfs: stat {path}: no such file or directory"
    ]
    with open(path, "w"):
        pass
    assert problems(config(), **bundle) == [
        f"root.path: invalid rootfs: stat {path}: not a directory"
    ]


def test_rootfs_behind_a_link(bundle):
    """A rootfs that is reached through a symbolic link is refused; so is none at all."""
    link = f"{bundle['bundle']}/link"
    os.symlink("rootfs", link)
    text = "root.path: invalid rootfs: not an absolute path, or a symlink"
    for path in ("link", link):
        document = config()
        document["root"]["path"] = path
        assert problems(document, **bundle) == [text]
    assert problems({**config(), "root": {}}, **bundle) == ["root: root must be specified"]


def test_bundle_behind_a_link(bundle, tmp_path):
    """The bundle's own path may have symbolic links."""
    link = tmp_path / "bundle"
    link.symlink_to(bundle["bundle"])
    assert problems(config(), bundle=str(link), rootfs=bundle["rootfs"]) == []


# ---- mounts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (
            mount("/x", "bind", ["rbind", "size=1k", "mode=7"], "/y"),
            "mounts[0].options: bind mounts cannot have any filesystem-specific options applied: size=1k,mode=7",
        ),
        (mount("/x", "bind", ["bind"]), "mounts[0].source: a bind mount needs a source"),
        (mount("/x"), "mounts[0].type: a mount that is no bind needs a type"),
        (mount("", "tmpfs"), "mounts[0].destination: is empty"),
        (
            mount("/x/..", "tmpfs"),
            'mounts[0].destination: mountpoint "/" is on the top of rootfs "{rootfs}"',
        ),
        (
            mount("/proc", "tmpfs"),
            'mounts[0].destination: "/proc" cannot be mounted because it is not of type proc',
        ),
        (
            mount("//proc/", "bind", ["bind"], "/"),
            'mounts[0].destination: "/proc" cannot be mounted because it is not of type proc',
        ),
        (
            mount("/proc/sys/kernel", "proc"),
            'mounts[0].destination: "/proc/sys/kernel" cannot be mounted because it is inside /proc',
        ),
        (
            mount("proc/x/../version", "bind", ["bind"], "/x"),
            'mounts[0].destination: "/proc/version" cannot be mounted because it is inside /proc',
        ),
    ],
)
def test_mount_refused(bundle, entry, problem):
    """What cannot be mounted there, or at all, is refused with its place in config.json."""
    assert problems(config([entry]), **bundle) == [problem.format(**bundle)]


@pytest.mark.parametrize(
    "entry",
    [
        *[mount(path, "bind", ["bind"], "/x") for path in BELOW_PROC],
        mount("/proc", "bind", ["rbind"], "/proc"),
        mount("/proc", "bind", ["rbind"], "/nowhere"),
        mount("/process", "tmpfs"),
        mount("/proc", "", ["remount", "bind", "ro"]),
        mount("/", "", ["remount", "bind", "nodev"]),
    ],
)
def test_mount_allowed(bundle, entry):
    """The files below /proc that stand-ins cover, a procfs bound on /proc, and remounts are no problem."""
    assert problems(config([entry]), **bundle) == []


def test_relative_destination(bundle):
    """A relative destination is taken below the root; the core warns of it."""
    host = Host({}, euid=0)
    assert problems(config([mount("data", "tmpfs")]), host, **bundle) == []
    assert host.warnings == []


@pytest.mark.parametrize(
    ("entry", "euid", "expected"),
    [
        (mount("/v", "bind", ["bind"], "/v", uidMappings=MAPPING, gidMappings=MAPPING), 0, []),
        (
            mount("/v", "bind", ["bind"], "/v", uidMappings=MAPPING),
            0,
            [
                "mounts[0].gidMappings: id-mapped mounts must have both uid and gid mappings specified"
            ],
        ),
        (
            mount("/v", "tmpfs", [], "v", uidMappings=MAPPING, gidMappings=MAPPING),
            1000,
            [
                "mounts[0]: id-mapped mounts are only supported for bind-mounts",
                "mounts[0]: id-mapped mounts are not supported for rootless containers",
            ],
        ),
        (
            mount("/v", "bind", ["bind", "idmap"], "/v"),
            0,
            [
                "mounts[0].options: option 'idmap' needs mappings, of the mount or of a user namespace"
            ],
        ),
    ],
)
def test_idmapping(bundle, entry, euid, expected):
    """Id-mapped mounts need both mappings and root, and are binds."""
    assert problems(config([entry]), Host({}, euid=euid), **bundle) == expected


def test_idmapping_of_the_user_namespace(bundle):
    """The option idmap is content with the mappings of a user namespace, new or joined."""
    entry = mount("/v", "bind", ["bind", "idmap"], "/v")
    user = [*OWN, {"type": "user"}]
    assert problems(config([entry], user), **bundle) != []
    assert problems(config([entry], user, uidMappings=MAPPING, gidMappings=MAPPING), **bundle) == []
    user = [*OWN, {"type": "user", "path": "/proc/9/ns/user"}]
    assert problems(config([entry], user), **bundle) == []


def test_no_mount_namespace(bundle):
    """Without a new mount namespace nothing that mounts is accepted."""
    document = config(
        [mount("/x", "tmpfs")],
        [],
        rootfsPropagation="slave",
        maskedPaths=["/a"],
        readonlyPaths=["/b"],
    )
    document["root"]["readonly"] = True
    needs = "needs a mount namespace of the container's own: a new one in linux.namespaces"
    restrict = "unable to restrict sys entries without a private MNT namespace"
    expected = [
        f"mounts: {needs}",
        f"root.readonly: {needs}",
        f"linux.rootfsPropagation: {needs}",
        f"linux.readonlyPaths: {restrict}",
        f"linux.maskedPaths: {restrict}",
    ]
    assert problems(document, **bundle) == expected
    document["linux"]["namespaces"] = [{"type": "mount", "path": "/proc/1/ns/mnt"}]
    assert problems(document, **bundle) == expected
    assert problems(config(namespaces=[]), **bundle) == []
    assert problems(config(namespaces=[]), notify_socket="/n", **bundle) == [
        f"NOTIFY_SOCKET in the environment {needs}"
    ]


# ---- linux ---------------------------------------------------------------------------------------------------------


def test_propagation(bundle):
    """An unknown propagation is refused; so is a private one with --no-pivot."""
    found = problems(config(rootfsPropagation="ro"), **bundle)
    assert found == ["linux.rootfsPropagation: rootfsPropagation=ro is not supported"]
    for name in ("private", "rprivate"):
        assert problems(config(rootfsPropagation=name), **bundle) == []
        assert problems(config(rootfsPropagation=name), no_pivot=True, **bundle) == [
            "linux.rootfsPropagation: rootfsPropagation of [r]private is not safe without pivot_root"
        ]


def test_paths(bundle):
    """Masked and read-only paths are absolute."""
    found = problems(config(maskedPaths=["/a", "b"], readonlyPaths=[""]), **bundle)
    assert found == [
        "linux.readonlyPaths[0]: '' is not an absolute path",
        "linux.maskedPaths[1]: 'b' is not an absolute path",
    ]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"type": "x"}, 'type: invalid device type "x"'),
        ({"path": "dev/x"}, "path: 'dev/x' is not the absolute path of a device"),
        ({"path": "/x/.."}, "path: '/x/..' is not the absolute path of a device"),
        ({"major": None}, "major: None is not a number from 0 to 4095"),
        ({"major": 4096}, "major: 4096 is not a number from 0 to 4095"),
        ({"minor": -1}, "minor: -1 is not a number from 0 to 1048575"),
        ({"uid": 2**32 - 1}, "uid: 4294967295 is not an id from 0 to 4294967294"),
        ({"gid": -1}, "gid: -1 is not an id from 0 to 4294967294"),
        ({"fileMode": 1 << 16}, "fileMode: 65536 is not a file mode"),
    ],
)
def test_device(bundle, changes, problem):
    """Devices need a known type, an absolute path, and numbers that a kernel can have."""
    device = {"path": "/dev/x", "type": "b", "major": 7, "minor": 0, **changes}
    assert problems(config(devices=[device]), **bundle) == [f"linux.devices[0].{problem}"]
    pipe = {"path": "/dev/x", "type": "p"}
    assert problems(config(devices=[pipe]), **bundle) == []
