"""What the plugin plans: mounts, the rootfs, devices, entering the root, closing it."""

from __future__ import annotations

import pytest
from plans import OWN, config, finalize_steps, mount, mount_steps, request, rootfs_steps

from ocifw import steps as s
from ocifw.context import Host
from ocifw.linux.mount import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_STRICTATIME,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_SHARED,
    MS_SLAVE,
    MS_SYNCHRONOUS,
    MS_UNBINDABLE,
)
from ocifw_mounts import plugin

RDONLY = MOUNT_ATTR_RDONLY
SAFE = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
ATIME = 0x70
CHAR, BLOCK, FIFO = 0o020000, 0o060000, 0o010000

DEFAULT_DEVICES = [
    ("/dev/null", 1, 3),
    ("/dev/random", 1, 8),
    ("/dev/full", 1, 7),
    ("/dev/tty", 5, 0),
    ("/dev/zero", 1, 5),
    ("/dev/urandom", 1, 9),
]
LINKS = [
    s.Symlink("pts/ptmx", "/dev/ptmx", replace=True),
    s.Symlink("/proc/self/fd", "/dev/fd"),
    s.Symlink("/proc/self/fd/0", "/dev/stdin"),
    s.Symlink("/proc/self/fd/1", "/dev/stdout"),
    s.Symlink("/proc/self/fd/2", "/dev/stderr"),
]
USER = [*OWN, {"type": "user"}]


def default_devices(bind=False, source=True):
    return [
        s.MakeDevice(path, CHAR, major, minor, source=path if source else "", bind=bind)
        for path, major, minor in DEFAULT_DEVICES
    ]


# ---- mounts --------------------------------------------------------------------------------------------------------


def test_proc():
    """proc and sysfs are mounted on real directories only, read-only as filesystems, too."""
    entry = mount("/proc", "proc", ["nosuid", "noexec", "nodev"], "proc")
    assert mount_steps(entry) == [s.Mount("proc", "proc", "/proc", 0, SAFE, real_directory=True)]
    entry = mount("/sys", "sysfs", ["nosuid", "noexec", "nodev", "ro"], "sysfs")
    assert mount_steps(entry) == [
        s.Mount("sysfs", "sysfs", "/sys", MS_RDONLY, SAFE | RDONLY, real_directory=True)
    ]


def test_tmpfs():
    """A tmpfs takes over the covered directory's mode, and stays writable until everything is made."""
    options = ["nosuid", "strictatime", "mode=755", "size=65536k", "ro"]
    assert mount_steps(mount("/run", "tmpfs", options, "tmpfs")) == [
        s.Mount(
            "tmpfs",
            "tmpfs",
            "/run",
            0,
            MOUNT_ATTR_NOSUID | MOUNT_ATTR_STRICTATIME,
            "mode=755,size=65536k",
            0,
            0,
            copy_mode=True,
        )
    ]
    [step] = mount_steps(mount("/run", "tmpfs", ["tmpcopyup", "rro"]))
    assert step.copy_up and not step.all_set


def test_other_filesystems():
    """Any other filesystem is mounted as it is, with its own options and flags."""
    for kind in ("devpts", "mqueue", "overlay", "ext4"):
        [step] = mount_steps(mount("/x", kind, ["sync", "a=b", "tmpcopyup"], "/dev/sdz"))
        assert step == s.Mount(kind, "/dev/sdz", "/x", MS_SYNCHRONOUS, 0, "a=b")


def test_cgroups_are_not_ours():
    """Cgroup filesystems are left to the plugin for cgroups; a bind of that type is a bind."""
    assert mount_steps(mount("/sys/fs/cgroup", "cgroup")) is None
    assert mount_steps(mount("/sys/fs/cgroup", "cgroup2")) is None
    [step] = mount_steps(mount("/x", "cgroup", ["bind"], "/y"))
    assert isinstance(step, s.Bind)


def test_bind():
    """Only the attributes that are named change; propagation follows, one step each, in order."""
    entry = mount("/data", "none", ["rbind", "ro", "dev", "rslave", "shared"], "/srv/data")
    assert mount_steps(entry) == [
        s.Bind("/srv/data", "/data", set=RDONLY, clear=MOUNT_ATTR_NODEV),
        s.SetPropagation("/data", MS_SLAVE | MS_REC),
        s.SetPropagation("/data", MS_SHARED),
    ]
    assert mount_steps(mount("/data", "", ["bind"], "/a")) == [
        s.Bind("/a", "/data", recursive=False)
    ]


def test_bind_attributes():
    """Recursive options and access times reach the bind as sets of attributes."""
    [step] = mount_steps(mount("/d", "bind", ["rbind", "rro", "rexec", "strictatime"], "/s"))
    assert step == s.Bind(
        "/s",
        "/d",
        set=MOUNT_ATTR_STRICTATIME,
        clear=ATIME,
        all_set=RDONLY,
        all_clear=MOUNT_ATTR_NOEXEC,
    )


def test_bind_source_in_bundle():
    """A relative source of a bind is in the bundle."""
    [step] = mount_steps(mount("/d", "bind", ["bind"], "data/x"))
    assert step.source == "/b/data/x"


def test_type_bind_is_a_bind():
    """The type alone makes a bind, too."""
    [step] = mount_steps(mount("/d", "bind", [], "/s"))
    assert step == s.Bind("/s", "/d", recursive=False)


def test_bind_of_proc():
    """A bind on /proc needs a real directory as a procfs does."""
    [step] = mount_steps(mount("/proc/", "bind", ["rbind"], "/proc"))
    assert step == s.Bind("/proc", "/proc", real_directory=True)


def test_remount():
    """remount changes what is mounted already: a mount's attributes with bind, else the filesystem."""
    assert mount_steps(mount("/d", "", ["remount", "bind", "ro", "exec"])) == [
        s.SetAttributes("/d", RDONLY, MOUNT_ATTR_NOEXEC)
    ]
    assert mount_steps(mount("/d", "tmpfs", ["remount", "ro", "nosuid", "size=1k"])) == [
        s.Remount("/d", MS_RDONLY | MS_NOSUID, "size=1k")
    ]


@pytest.mark.parametrize(
    ("destination", "target"),
    [
        ("/a/b", "/a/b"),
        ("a/b", "/a/b"),
        ("//a/./b/../c/", "/a/c"),
        ("/../../etc", "/etc"),
        ("/..a/.b", "/..a/.b"),
    ],
)
def test_destination(destination, target):
    """Destinations are taken below the root, cleaned as runc cleans them."""
    [step] = mount_steps(mount(destination, "tmpfs"))
    assert step.target == target


@pytest.mark.parametrize(
    ("namespaces", "own"),
    [
        (OWN, True),
        (USER, True),
        ([{"type": "mount"}, {"type": "user"}], False),
        ([{"type": "mount"}, {"type": "user"}, {"type": "network", "path": "/n"}], False),
        ([{"type": "mount"}, {"type": "user", "path": "/u"}], True),
        ([{"type": "mount"}], True),
    ],
)
def test_sysfs_needs_a_network_namespace(namespaces, own):
    """Where a new user namespace owns no network namespace, the host's /sys is bound, all of it read-only."""
    entry = mount("/sys", "sysfs", ["nosuid", "rprivate"], "sysfs")
    step, propagation = mount_steps(entry, config([entry], namespaces))
    assert propagation == s.SetPropagation("/sys", MS_PRIVATE | MS_REC)
    if own:
        assert step == s.Mount("sysfs", "sysfs", "/sys", 0, MOUNT_ATTR_NOSUID, real_directory=True)
    else:
        assert step == s.Bind("/sys", "/sys", all_set=SAFE | RDONLY, real_directory=True)


def test_origin():
    """Each step tells which entry of config.json asked for it."""
    document = config([mount("/a", "tmpfs"), mount("/b", "bind", ["bind", "slave"], "/s")])
    found = rootfs_steps(document)
    assert [step.at for step in found[:5]] == ["", "root.path", *["mounts[0]"], *["mounts[1]"] * 2]


# ---- rootfs --------------------------------------------------------------------------------------------------------


def test_rootfs():
    """The host's mounts become slaves, the rootfs is bound, then mounts, devices, links."""
    document = config([mount("/dev", "tmpfs", [], "tmpfs")])
    assert rootfs_steps(document) == [
        s.SetHostPropagation(MS_SLAVE | MS_REC),
        s.BindRootfs("/b/rootfs"),
        s.Mount("tmpfs", "tmpfs", "/dev", copy_mode=True),
        *default_devices(),
        *LINKS,
    ]


def test_core_link():
    """/dev/core is made where the host has /proc/kcore."""
    found = rootfs_steps(config(), Host({"/proc/kcore": b""}))
    assert found[-1] == s.Symlink("/proc/kcore", "/dev/core")


def test_notify_socket():
    """The folder of the notify socket is bound after all mounts, with nothing that could be abused."""
    document = config([mount("/run", "tmpfs")])
    found = rootfs_steps(document, notify_socket="/run/systemd/notify")
    assert found[3] == s.Bind(
        "/run/ocifw/box/notify", "/run/notify", recursive=False, set=SAFE | RDONLY
    )


@pytest.mark.parametrize(
    ("name", "host", "root"),
    [
        ("", MS_SLAVE | MS_REC, 0),
        ("slave", MS_SLAVE | MS_REC, MS_SLAVE),
        ("rslave", MS_SLAVE | MS_REC, MS_SLAVE | MS_REC),
        ("shared", MS_SHARED, MS_SHARED),
        ("rshared", MS_SHARED | MS_REC, MS_SHARED | MS_REC),
        ("private", MS_PRIVATE | MS_REC, 0),
        ("rprivate", MS_PRIVATE | MS_REC, 0),
        ("unbindable", MS_PRIVATE | MS_REC, MS_UNBINDABLE),
        ("runbindable", MS_PRIVATE | MS_REC, MS_UNBINDABLE | MS_REC),
    ],
)
def test_propagation(name, host, root):
    """rootfsPropagation decides what the host's mounts become first, and the root once it is entered."""
    document = config(rootfsPropagation=name)
    assert rootfs_steps(document)[0] == s.SetHostPropagation(host)
    entered = [s.PivotRoot(), *([s.SetPropagation("/", root)] if root else [])]
    assert plugin.ocifw_pivot_root(document, request()) == entered


def test_no_pivot():
    """--no-pivot moves the rootfs instead."""
    assert plugin.ocifw_pivot_root(config(), request(no_pivot=True)) == [s.MoveRoot()]


@pytest.mark.parametrize("namespaces", [[], [{"type": "mount", "path": "/proc/1/ns/mnt"}]])
def test_foreign_mount_namespace(namespaces):
    """Nothing is mounted in a mount namespace that is not new: the rootfs is only entered by chroot."""
    document = config(namespaces=namespaces)
    assert rootfs_steps(document) == [
        s.OpenRootfs("/b/rootfs"),
        *default_devices(source=False),
        *LINKS,
    ]
    for no_pivot in (False, True):
        assert plugin.ocifw_pivot_root(document, request(no_pivot=no_pivot)) == [s.ChangeRoot()]
    assert finalize_steps(document) == [s.ReopenDevNull()]


# ---- devices -------------------------------------------------------------------------------------------------------


def test_devices():
    """linux.devices follow the default ones and replace those of the same path; the type is taken out of the mode."""
    devices = [
        {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o20600},
        {"path": "/dev/null", "type": "u", "major": 1, "minor": 3, "uid": 5, "gid": 6},
        {"path": "/dev/sdz", "type": "b", "major": 65, "minor": 144, "fileMode": 0},
        {"path": "/dev/pipe", "type": "p", "major": 1, "minor": 1, "fileMode": 0o640},
    ]
    found = rootfs_steps(config(devices=devices))
    assert found[2:11] == [
        *default_devices()[1:],
        s.MakeDevice("/dev/fuse", CHAR, 10, 229, 0o600, source="/dev/fuse"),
        s.MakeDevice("/dev/null", CHAR, 1, 3, 0o666, 5, 6, "/dev/null"),
        s.MakeDevice("/dev/sdz", BLOCK, 65, 144, 0, source="/dev/sdz"),
        s.MakeDevice("/dev/pipe", FIFO, 0, 0, 0o640),
    ]
    assert found[7].at == "linux.devices[0]"


def test_devices_in_a_user_namespace():
    """A user namespace may not make nodes: the host's are bound. FIFOs need no privilege."""
    devices = [{"path": "/dev/pipe", "type": "p"}]
    found = rootfs_steps(config(namespaces=USER, devices=devices))
    assert found[2:9] == [*default_devices(bind=True), s.MakeDevice("/dev/pipe", FIFO, 0, 0)]


def test_bound_dev():
    """In a /dev that is bound from elsewhere nothing is made, outside of it linux.devices are."""
    devices = [
        {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229},
        {"path": "/opt/dev/fuse", "type": "c", "major": 10, "minor": 229},
    ]
    document = config([mount("/dev/", "bind", ["rbind"], "/dev")], devices=devices)
    assert rootfs_steps(document)[3:] == [
        s.MakeDevice("/opt/dev/fuse", CHAR, 10, 229, source="/opt/dev/fuse")
    ]
    assert finalize_steps(document) == []


# ---- finalize ------------------------------------------------------------------------------------------------------


def test_finalize():
    """Read-only tmpfs and /dev, the root, read-only paths, masked paths: in this order, after the last directory."""
    document = config(
        [
            mount("/dev", "devtmpfs", ["ro"]),
            mount("/run", "tmpfs", ["ro"]),
            mount("/tmp", "tmpfs", ["rw"]),
            mount("/sys", "sysfs", ["ro"]),
            mount("/b", "bind", ["bind", "ro"], "/b"),
            mount("/all", "tmpfs", ["rro"]),
        ],
        readonlyPaths=["/proc/sys"],
        maskedPaths=["/proc/kcore", "/proc/keys"],
    )
    document["root"]["readonly"] = True
    document["process"] = {"cwd": "/srv/x"}
    found = finalize_steps(document)
    assert found == [
        s.ReopenDevNull(),
        s.Mkdir("/srv/x"),
        s.SetAttributes("/dev", RDONLY),
        s.SetAttributes("/run", RDONLY),
        s.SetAttributes("/all", RDONLY, recursive=True),
        s.SetAttributes("/", RDONLY),
        s.ReadonlyPath("/proc/sys"),
        s.MaskPath("/proc/kcore"),
        s.MaskPath("/proc/keys"),
    ]
    assert [step.at for step in found[1:3]] == ["process.cwd", "mounts[0]"]


def test_covered_read_only_mount():
    """A later mount on the same destination does not become read-only for the earlier one."""
    document = config([mount("/x", "tmpfs", ["ro"]), mount("/x/", "bind", ["bind", "rw"], "/srv")])
    assert finalize_steps(document) == [s.ReopenDevNull()]


def test_exec():
    """exec has nothing to do with the root."""
    document = config(maskedPaths=["/proc/kcore"])
    asked = request(operation="exec")
    assert plugin.ocifw_validate(document, asked, Host({})) is None
    assert plugin.ocifw_prepare(document, asked) is None
    assert plugin.ocifw_finalize(document, asked) is None


def test_null_lists():
    """Lists that are null, as some engines write them, are empty."""
    document = {
        "root": {"path": "rootfs"},
        "mounts": None,
        "linux": {"namespaces": OWN, "devices": None, "maskedPaths": None, "readonlyPaths": None},
    }
    assert plugin.ocifw_prepare(document, request()) == []
    steps = list(plugin.ocifw_rootfs(document, request(), Host({}), []))
    assert steps[2:] == [*default_devices(), *LINKS]
    assert finalize_steps(document) == [s.ReopenDevNull()]


def test_features():
    """The features document names every mount option, and that mounts can be id-mapped."""
    features = plugin.ocifw_features()
    assert {"rro", "idmap", "tmpcopyup", "bind"} < set(features["mountOptions"])
    assert features["mountOptions"] == sorted(features["mountOptions"])
    assert features["linux"] == {"mountExtensions": {"idmap": {"enabled": True}}}


# ---- id-mapped mounts ----------------------------------------------------------------------------------------------

MAPPING = [{"containerID": 0, "hostID": 1000, "size": 10}]
OTHER = [{"containerID": 0, "hostID": 7, "size": 1}, {"containerID": 1, "hostID": 9, "size": 2}]


def opened(entry, document=None):
    document = document or config([entry])
    [step] = plugin.ocifw_prepare(document, request())
    [bind, *_] = mount_steps(entry, document)
    assert bind.tree == step.slot == "mount:0"
    return step


def test_idmapped_by_its_mappings():
    """A mount's mappings are given to the step that opens its source, and the bind takes what that provides."""
    entry = mount("/v", "bind", ["rbind"], "v", uidMappings=MAPPING, gidMappings=OTHER)
    step = opened(entry)
    assert (step.source, step.recursive, step.map_all) == ("/b/v", True, False)
    assert (step.uid_map, step.gid_map, step.userns) == ("0 1000 10\n", "0 7 1\n1 9 2\n", "")
    assert (step.propagation, step.at) == (MS_SLAVE, "mounts[0]")


def test_idmapped_by_the_user_namespace():
    """The option alone means the container's own mappings, or those of the namespace that it joins."""
    entry = mount("/v", "bind", ["bind", "ridmap"], "/v")
    document = config([entry], USER, uidMappings=MAPPING, gidMappings=OTHER)
    step = opened(entry, document)
    assert (step.recursive, step.map_all) == (False, True)
    assert (step.uid_map, step.gid_map, step.userns) == ("0 1000 10\n", "0 7 1\n1 9 2\n", "")
    document = config([entry], [*OWN, {"type": "user", "path": "/proc/9/ns/user"}])
    step = opened(entry, document)
    assert (step.uid_map, step.gid_map, step.userns) == ("", "", "/proc/9/ns/user")


def test_not_idmapped():
    """Without mappings or option nothing is opened beforehand."""
    document = config([mount("/v", "bind", ["bind"], "/v", uidMappings=[], gidMappings=None)])
    assert plugin.ocifw_prepare(document, request()) == []
