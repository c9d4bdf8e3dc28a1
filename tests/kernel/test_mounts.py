"""The plan of the plugin mounts on the real kernel: what the container's mount table and root look like at `created`."""

from __future__ import annotations

import os
import stat
import tempfile

import pytest
from baton import ERROR, PASS

from ocifw import phases
from ocifw import steps as s
from ocifw.context import Context, Host, Request
from ocifw.linux import mount as kernel
from ocifw.linux.namespaces import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
)
from ocifw_mounts import plugin
from ocifw_mounts.idmapping import make_user_namespace

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

KINDS = {
    "mount": CLONE_NEWNS,
    "network": CLONE_NEWNET,
    "pid": CLONE_NEWPID,
    "ipc": CLONE_NEWIPC,
    "user": CLONE_NEWUSER,
}
USUAL = ("mount", "network", "pid", "ipc")
SHIFT = 100_000
MAPPING = [{"containerID": 0, "hostID": SHIFT, "size": 1000}]
DEV = {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]}
PROC = {
    "destination": "/proc",
    "type": "proc",
    "source": "proc",
    "options": ["nosuid", "noexec", "nodev"],
}
SYS = {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "ro"]}
DOCKER = [
    PROC,
    DEV,
    {
        "destination": "/dev/pts",
        "type": "devpts",
        "source": "devpts",
        "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
    },
    SYS,
    {
        "destination": "/dev/mqueue",
        "type": "mqueue",
        "source": "mqueue",
        "options": ["nosuid", "noexec", "nodev"],
    },
    {
        "destination": "/dev/shm",
        "type": "tmpfs",
        "source": "shm",
        "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
    },
]


@pytest.fixture
def bundle():
    """A folder with an empty rootfs that a mapped root may search, too. Nothing is mounted in it outside of a test."""
    with tempfile.TemporaryDirectory(prefix="ocifw-mounts-") as folder:
        os.chmod(folder, 0o755)
        os.mkdir(f"{folder}/rootfs", 0o755)
        yield folder


@pytest.fixture
def create(spawn, bundle):
    """Go through the phases up to `created` with this plugin alone; the container process waits there.

    namespaces: the new ones. before: steps in the container process that stand for what the host's mounts are.
    fails: return the error's message, and the step that failed, instead.
    """

    def run(mounts=(), namespaces=USUAL, before=(), root=None, cwd="/", fails=False, **more):
        linux = {"namespaces": [{"type": kind} for kind in namespaces], **more.pop("linux", {})}
        config = {
            "root": {"path": "rootfs", **(root or {})},
            "process": {"cwd": cwd},
            "mounts": list(mounts),
            "linux": linux,
        }
        request = Request("create", "box", bundle, f"{bundle}/rootfs", f"{bundle}/state", **more)
        host = Host()
        assert [str(problem) for problem in plugin.ocifw_validate(config, request, host)] == []
        answers = [plugin.ocifw_mount(m, i, config, request) for i, m in enumerate(mounts)]
        user = "user" in namespaces
        program = [
            s.Clone(sum(KINDS[kind] for kind in namespaces)),
            s.PassBaton(phases.ATTACH.number),
            *([s.BecomeRoot()] if user else []),
            *before,
            *plugin.ocifw_rootfs(config, request, host, answers),
            *plugin.ocifw_pivot_root(config, request),
            *plugin.ocifw_finalize(config, request),
            s.PassBaton(phases.CREATED.number),
        ]
        context = Context("box", bundle, f"{bundle}/state")
        try:
            for step in plugin.ocifw_prepare(config, request):
                step.apply(context)
            slots = {name: fd for name, fd in context.fds.items() if name.startswith("mount:")}
            container = spawn(program, **slots)
            container.cloned()
        finally:
            context.close()
        container.expect(PASS)
        if user:
            for kind in ("uid_map", "gid_map"):
                with open(f"/proc/{container.pid}/{kind}", "w") as file:
                    file.write(f"0 {SHIFT} 1000\n")
        container.go()
        message = container.receive()
        if fails:
            assert message.kind == ERROR, message
            return program[message.step], message
        assert message.kind == PASS, (program[message.step], message)
        return container

    return run


class MountPoint:
    """The last line of mountinfo for a mount point: see proc_pid_mountinfo(5)."""

    def __init__(self, line):
        left, right = line.rstrip("\n").split(" - ")
        fields = left.split(" ")
        self.root, self.path, self.optional = fields[3], fields[4], fields[6:]
        self.options = set(fields[5].split(","))
        self.type, self.source, superblock = right.split(" ", 2)
        self.superblock = set(superblock.split(","))


def mount_table(container):
    with open(f"/proc/{container.pid}/mountinfo") as file:
        points = [MountPoint(line) for line in file]
    return {point.path: point for point in points}


def inside(container, path):
    return f"/proc/{container.pid}/root{path}"


def device(path):
    found = os.lstat(path)
    return (
        stat.S_IFMT(found.st_mode),
        os.major(found.st_rdev),
        os.minor(found.st_rdev),
        stat.S_IMODE(found.st_mode),
        found.st_uid,
        found.st_gid,
    )


# ---- the whole -----------------------------------------------------------------------------------------------------


def test_usual_container(create):
    """An engine's usual config gives exactly its mounts, the default devices and links, and nothing of the host."""
    container = create(
        DOCKER,
        cwd="/srv/here",
        linux={
            "readonlyPaths": ["/proc/sys", "/proc/nowhere"],
            "maskedPaths": ["/proc/keys", "/sys/firmware", "/nowhere"],
            "devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "uid": 7}],
        },
    )
    table = mount_table(container)
    masked = {"/proc/keys"} | ({"/sys/firmware"} if os.path.isdir("/sys/firmware") else set())
    assert set(table) == {
        "/",
        *[entry["destination"] for entry in DOCKER],
        "/proc/sys",
        *masked,
    }
    assert table["/proc"].options == {"rw", "nosuid", "nodev", "noexec", "relatime"}
    assert {"ro", "nosuid"} <= table["/sys"].options and table["/sys"].type == "sysfs"
    assert table["/dev/shm"].superblock >= {"size=65536k"}
    assert {"ro", "nosuid", "nodev", "noexec"} <= table["/proc/sys"].options
    assert device(inside(container, "/proc/keys"))[:3] == (stat.S_IFCHR, 1, 3)

    dev = inside(container, "/dev/")
    assert device(f"{dev}null") == (stat.S_IFCHR, 1, 3, 0o666, 0, 0)
    assert device(f"{dev}tty") == (stat.S_IFCHR, 5, 0, 0o666, 0, 0)
    assert device(f"{dev}fuse") == (stat.S_IFCHR, 10, 229, 0o666, 7, 0)
    links = ("ptmx", "fd", "stdin", "stdout", "stderr")
    assert [os.readlink(dev + name) for name in links] == [
        "pts/ptmx",
        "/proc/self/fd",
        *[f"/proc/self/fd/{number}" for number in range(3)],
    ]
    assert stat.S_IMODE(os.stat(inside(container, "/dev/shm")).st_mode) == 0o1777
    assert stat.S_IMODE(os.stat(inside(container, "/srv/here")).st_mode) == 0o755
    assert table["/"].root.endswith("/rootfs") and table["/"].options >= {"rw"}


def test_read_only(create):
    """The root, tmpfs and /dev are read-only in the end, and what they need was made before."""
    dev = {**DEV, "options": [*DEV["options"], "ro"]}
    inner = {"destination": "/run/inner", "type": "tmpfs", "source": "x", "options": []}
    run = {"destination": "/run", "type": "tmpfs", "source": "x", "options": ["ro", "noexec"]}
    table = mount_table(container := create([PROC, dev, run, inner], root={"readonly": True}))
    assert "ro" in table["/"].options
    assert {"ro", "nosuid"} <= table["/dev"].options
    assert {"ro", "noexec"} <= table["/run"].options
    assert "rw" in table["/run/inner"].options
    assert device(inside(container, "/dev/null"))[:3] == (stat.S_IFCHR, 1, 3)


def test_no_pivot(create, bundle):
    """--no-pivot ends in the same root, where no other procfs or sysfs of the host can be seen."""
    with open(f"{bundle}/rootfs/here", "w"):
        pass
    container = create([PROC, DEV], no_pivot=True)
    assert os.path.exists(inside(container, "/here"))
    procs = [point for point in mount_table(container).values() if point.type in ("proc", "sysfs")]
    assert [point.path for point in procs] == ["/proc"]


def test_no_mount_namespace(create, bundle):
    """Without a mount namespace the root is changed and nothing is mounted."""
    container = create(namespaces=("pid",))
    own = os.stat("/proc/self/ns/mnt")
    assert os.stat(f"/proc/{container.pid}/ns/mnt").st_ino == own.st_ino
    assert os.path.samefile(f"/proc/{container.pid}/root", f"{bundle}/rootfs")
    assert device(f"{bundle}/rootfs/dev/null")[:3] == (stat.S_IFCHR, 1, 3)


def test_notify_socket(create, bundle):
    """The folder of the notify socket is on /run/notify, read-only."""
    os.makedirs(f"{bundle}/state/notify")
    run = {"destination": "/run", "type": "tmpfs", "source": "x"}
    table = mount_table(create([run], notify_socket="/run/systemd/notify"))
    assert {"ro", "nosuid", "nodev", "noexec"} <= table["/run/notify"].options


# ---- binds ---------------------------------------------------------------------------------------------------------


def hosted(bundle):
    """Steps after which the container process finds a tmpfs, noexec, and another below it at BUNDLE/source."""
    os.mkdir(f"{bundle}/source")
    return [
        s.SetHostPropagation(kernel.MS_PRIVATE | kernel.MS_REC),
        s.OpenRootfs(bundle),
        s.Mount("tmpfs", "outer", "/source", attributes=kernel.MOUNT_ATTR_NOEXEC),
        s.Mount("tmpfs", "inner", "/source/below"),
    ]


def test_bind_attributes(create, bundle):
    """A bind gets what its options name and keeps what else its source is; below it only r-options count."""
    before = hosted(bundle)
    binds = [
        {"destination": "/a", "source": "source", "options": ["rbind", "nosuid", "ro", "rw"]},
        {"destination": "/b", "source": "source", "options": ["bind", "exec", "noatime"]},
        {"destination": "/c", "source": "source", "options": ["rbind", "ro", "rnodev"]},
        {"destination": "/d", "source": "source", "options": ["rbind", "rro", "rnoatime"]},
    ]
    table = mount_table(create(binds, before=before))
    assert table["/a"].options == {"rw", "nosuid", "noexec", "relatime"}
    assert table["/a/below"].options == {"rw", "relatime"}
    assert table["/b"].options == {"rw", "noatime"} and "/b/below" not in table
    assert table["/c"].options == {"ro", "nodev", "noexec", "relatime"}
    assert table["/c/below"].options == {"rw", "nodev", "relatime"}
    assert table["/d"].options == {"ro", "noexec", "noatime"}
    assert table["/d/below"].options == {"ro", "noatime"}


def test_propagation(create, bundle):
    """Propagation options are applied after the mount, each on its own; without one a bind is no peer of the host's."""
    before = [*hosted(bundle), s.SetPropagation("/source", kernel.MS_SHARED | kernel.MS_REC)]
    options = {
        "/default": ["rbind"],
        "/private": ["rbind", "rprivate"],
        "/slave": ["rbind", "rslave"],
        "/both": ["rbind", "slave", "shared"],
        "/unbindable": ["bind", "unbindable"],
    }
    binds = [
        {"destination": path, "source": "source", "options": names}
        for path, names in options.items()
    ]
    table = mount_table(create(binds, before=before))
    kinds = {
        path: sorted(word.partition(":")[0] for word in table[path].optional) for path in options
    }
    # /source became a slave without a master when the rest of the host's mounts became slaves.
    assert kinds["/default"] == kinds["/private"] == []
    assert kinds["/both"] == ["shared"]
    assert kinds["/unbindable"] == ["unbindable"]


def test_shared_root(create, bundle):
    """rootfsPropagation shared lets mounts of the host and of the container reach each other's side of a volume."""
    before = [*hosted(bundle), s.SetPropagation("/source", kernel.MS_SHARED | kernel.MS_REC)]
    bind = {"destination": "/v", "source": "source", "options": ["rbind", "rshared"]}
    table = mount_table(create([bind], before=before, linux={"rootfsPropagation": "shared"}))
    assert [word[:7] for word in table["/v"].optional] == ["shared:"]
    assert [word[:7] for word in table["/"].optional] == ["shared:"]


def test_file_and_bundle_source(create, bundle):
    """A file is bound on a file that is made for it; a relative source is in the bundle."""
    with open(f"{bundle}/data", "w") as file:
        file.write("from the host")
    container = create([{"destination": "/etc/data", "source": "data", "options": ["bind", "ro"]}])
    with open(inside(container, "/etc/data")) as file:
        assert file.read() == "from the host"
    assert "ro" in mount_table(container)["/etc/data"].options


def test_missing_source(create, bundle):
    """A missing source fails with its path, and names the entry of config.json."""
    bind = {"destination": "/x", "source": "/nowhere", "options": ["bind"]}
    step, message = create([bind], fails=True)
    assert (step.at, message.error, message.detail) == ("mounts[0]", 2, "/nowhere")
    assert not os.path.exists(f"{bundle}/rootfs/x")


# ---- filesystems ---------------------------------------------------------------------------------------------------


def test_tmpfs(create, bundle):
    """A tmpfs takes over the mode of a directory that it covers, unless told another, and its content with tmpcopyup."""
    for name in ("mode", "told", "copy"):
        os.mkdir(f"{bundle}/rootfs/{name}")
        os.chmod(f"{bundle}/rootfs/{name}", 0o2710)
    with open(f"{bundle}/rootfs/copy/file", "w") as file:
        file.write("content")
    tmpfs = {"type": "tmpfs", "source": "tmpfs"}
    container = create(
        [
            {**tmpfs, "destination": "/mode"},
            {**tmpfs, "destination": "/told", "options": ["mode=0700"]},
            {**tmpfs, "destination": "/copy", "options": ["tmpcopyup", "ro"]},
            {**tmpfs, "destination": "/new/deep"},
        ]
    )
    modes = [
        stat.S_IMODE(os.stat(inside(container, path)).st_mode)
        for path in ("/mode", "/told", "/copy", "/new/deep")
    ]
    assert modes == [0o2710, 0o700, 0o2710, 0o1777]
    with open(inside(container, "/copy/file")) as file:
        assert file.read() == "content"
    assert mount_table(container)["/copy"].type == "tmpfs"


def test_overlay(create, bundle):
    """Any filesystem of the kernel can be mounted with its own options."""
    for name in ("lower", "upper"):
        os.mkdir(f"{bundle}/{name}")
    # An overlay's upper folder must not be on an overlay itself, which /tmp may be.
    before = [
        s.OpenRootfs(bundle),
        s.Mount("tmpfs", "tmpfs", "/upper"),
        s.Mkdir("/upper/data"),
        s.Mkdir("/upper/work"),
    ]
    options = [f"lowerdir={bundle}/lower", f"upperdir={bundle}/upper/data"]
    entry = {
        "destination": "/merged",
        "type": "overlay",
        "source": "overlay",
        "options": [*options, f"workdir={bundle}/upper/work"],
    }
    assert mount_table(create([entry], before=before))["/merged"].type == "overlay"


def test_unknown_option(create):
    """An option that the filesystem refuses fails, with what the kernel says about it."""
    entry = {"destination": "/x", "type": "tmpfs", "source": "x", "options": ["colour=red"]}
    step, message = create([entry], fails=True)
    assert (step.at, message.error) == ("mounts[0]", 22)
    assert "colour" in message.detail


@pytest.mark.parametrize("entry", [PROC, SYS], ids=["proc", "sysfs"])
def test_no_links(create, bundle, entry):
    """proc and sysfs are refused on a symbolic link (CVE-2023-28642)."""
    os.mkdir(f"{bundle}/rootfs/elsewhere")
    os.symlink("elsewhere", f"{bundle}/rootfs{entry['destination']}")
    step, message = create([entry], fails=True)
    assert step.target == entry["destination"]
    assert "ordinary directory" in message.detail


def test_image_cannot_lead_out(create, bundle):
    """Links of the image to the host end in the rootfs: mounts, devices and directories are made there."""
    os.mkdir(f"{bundle}/victim")
    for name in ("dev", "volume", "cwd"):
        os.symlink(f"../../../../../../..{bundle}/victim", f"{bundle}/rootfs/{name}")
    bind = {"destination": "/volume/x", "source": bundle, "options": ["bind"]}
    container = create([bind], cwd="/cwd/deep")
    assert os.listdir(f"{bundle}/victim") == []
    assert {"null", "ptmx", "x", "deep"} <= set(os.listdir(f"{bundle}/rootfs{bundle}/victim"))
    assert f"{bundle}/victim/x" in mount_table(container)


# ---- devices -------------------------------------------------------------------------------------------------------


def test_existing_device(create, bundle):
    """A matching node that is there is kept; anything else there is an error."""
    os.mkdir(f"{bundle}/rootfs/dev")
    os.mknod(f"{bundle}/rootfs/dev/null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    with open(f"{bundle}/rootfs/dev/fuse", "w"):
        pass
    container = create()
    assert device(inside(container, "/dev/null"))[3] == 0o600
    fuse = {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}
    step, message = create(linux={"devices": [fuse]}, fails=True)
    assert (step.at, message.error) == ("linux.devices[0]", 17)


def test_fifo(create):
    """A FIFO has the mode that was asked for, whatever the umask is."""
    pipe = {"path": "/dev/pipe", "type": "p", "fileMode": 0o622, "gid": 5}
    container = create([DEV], linux={"devices": [pipe]})
    assert device(inside(container, "/dev/pipe")) == (stat.S_IFIFO, 0, 0, 0o622, 0, 5)


# ---- user namespaces -----------------------------------------------------------------------------------------------


def shift(bundle):
    """Give the rootfs to the container's root."""
    os.chown(f"{bundle}/rootfs", SHIFT, SHIFT)


def test_user_namespace(create, bundle):
    """In a user namespace devices are the host's, bound, and the rest is as usual."""
    shift(bundle)
    pipe = {"path": "/dev/pipe", "type": "p"}
    container = create(
        DOCKER,
        (*USUAL, "user"),
        linux={
            "devices": [pipe],
            "maskedPaths": ["/proc/keys"],
            "readonlyPaths": ["/proc/sys"],
            "uidMappings": MAPPING,
            "gidMappings": MAPPING,
        },
    )
    table = mount_table(container)
    assert {"/dev/null", "/dev/tty", "/dev/pts", "/proc/keys", "/sys"} <= set(table)
    assert "/dev/pipe" not in table
    assert device(inside(container, "/dev/null"))[:3] == (stat.S_IFCHR, 1, 3)
    assert table["/sys"].type == "sysfs"


def test_sysfs_without_network_namespace(create, bundle):
    """Where sysfs cannot be mounted the host's is there, read-only with all below it (CVE-2023-25809)."""
    shift(bundle)
    container = create([{**SYS, "options": []}], ("mount", "pid", "user"))
    points = [
        point for path, point in mount_table(container).items() if (path + "/")[:5] == "/sys/"
    ]
    assert len(points) >= 1
    assert all({"ro", "nosuid", "nodev", "noexec"} <= point.options for point in points)


# ---- id-mapped mounts ----------------------------------------------------------------------------------------------


def takes_id_mapping(folder):
    """Whether the filesystem of the folder takes an id mapping."""
    tree = kernel.open_tree(kernel.AT_FDCWD, folder, kernel.OPEN_TREE_CLONE)
    userns = make_user_namespace("0 1 1\n", "0 1 1\n")
    try:
        kernel.mount_setattr(
            tree, "", kernel.AT_EMPTY_PATH, kernel.MOUNT_ATTR_IDMAP, userns_fd=userns
        )
    except OSError:
        return False
    finally:
        os.close(tree)
        os.close(userns)
    return True


@pytest.fixture
def installed_init(monkeypatch, init_path):
    """The step starts the ocifw-init of the checkout, as it would the installed one."""
    from ocifw.linux import init

    monkeypatch.setattr(init.init_fd, "__defaults__", (str(init_path),))


@pytest.fixture
def volume(bundle, installed_init):
    """A folder with a file of uid 0 and one of uid 3, on a filesystem that takes id mappings."""
    for parent in (None, "/dev/shm", "/var/tmp"):
        with tempfile.TemporaryDirectory(prefix="ocifw-volume-", dir=parent) as folder:
            os.chmod(folder, 0o755)
            if not takes_id_mapping(folder):
                continue
            for uid in (0, 3):
                with open(f"{folder}/{uid}", "w"):
                    pass
                os.chown(f"{folder}/{uid}", uid, uid + 1)
            yield folder
            return
    pytest.skip("needs a filesystem that supports id-mapped mounts in /tmp, /dev/shm or /var/tmp")


def owner(path):
    found = os.stat(path)
    return found.st_uid, found.st_gid


def test_idmapped(create, volume):
    """The mount's own mappings turn the ids of the filesystem into others, and its attributes are set, too."""
    entry = {
        "destination": "/v",
        "source": volume,
        "options": ["rbind", "ro", "ridmap"],
        "uidMappings": [{"containerID": 0, "hostID": 50, "size": 10}],
        "gidMappings": [{"containerID": 1, "hostID": 70, "size": 10}],
    }
    container = create([entry, {**entry, "destination": "/w", "options": ["bind"]}])
    for folder in ("/v", "/w"):
        assert owner(inside(container, f"{folder}/0")) == (50, 70)
        assert owner(inside(container, f"{folder}/3")) == (53, 73)
    table = mount_table(container)
    assert {"ro", "idmapped"} <= table["/v"].options
    assert {"rw", "idmapped"} <= table["/w"].options
    assert owner(f"{volume}/0") == (0, 1)


def test_idmapped_by_user_namespace(create, bundle, volume):
    """The option idmap makes the container's root own what belongs to root on the filesystem."""
    shift(bundle)
    entry = {"destination": "/v", "source": volume, "options": ["bind", "idmap"]}
    container = create(
        [entry],
        (*USUAL, "user"),
        linux={"uidMappings": MAPPING, "gidMappings": MAPPING},
    )
    assert owner(inside(container, "/v/3")) == (SHIFT + 3, SHIFT + 4)


def test_make_user_namespace(installed_init):
    """A user namespace is made with its mappings, no process stays, and a mapping that is refused is an error."""
    children = f"/proc/self/task/{os.getpid()}/children"
    with open(children) as file:
        before = file.read()
    fd = make_user_namespace("0 5 2\n", "0 6 2\n")
    os.close(fd)
    with pytest.raises(OSError, match="uid_map"):
        make_user_namespace("0 5 2\n1 6 2\n", "0 6 2\n")
    with open(children) as file:
        assert file.read() == before
