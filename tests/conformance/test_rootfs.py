"""What files a container finds: its root, mounts with their options, devices, and what is covered or read-only."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

pytestmark = pytest.mark.runc_agrees

ALL = ["CAP_SYS_ADMIN", "CAP_MKNOD", "CAP_DAC_OVERRIDE", "CAP_CHOWN"]


class Mount:
    """A line of /proc/self/mountinfo."""

    def __init__(self, line):
        left, _, right = line.partition(" - ")
        _, _, _, self.root, self.path, options, *fields = left.split(" ")
        self.type, self.source, superblock = right.split(" ")
        self.options = set(options.split(","))
        self.superblock = set(superblock.split(","))
        self.propagation = {field.split(":")[0] for field in fields}


@pytest.fixture
def output(runtime, bundle):
    """Run a script in the container to its end; returns what it wrote."""

    def run(script, **keywords):
        return runtime.run(bundle.sh(script), **keywords).out

    return run


@pytest.fixture
def mounts(output):
    """The container's mounts by path; of several on one path, the last."""

    def read():
        lines = output("cat /proc/self/mountinfo").splitlines()
        return {mount.path: mount for mount in map(Mount, lines)}

    return read


@pytest.fixture
def own(make_bundle):
    """A bundle with a writable root of its own: (bundle, path of the root)."""
    made = make_bundle(rootfs=True)
    made.config["root"]["readonly"] = False
    made.process["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), ALL)
    return made, Path(made.config["root"]["path"])


def mount(destination, kind="bind", source="", *options):
    return {
        "destination": destination,
        "type": kind,
        "source": str(source),
        "options": list(options),
    }


# ---- mounts ------------------------------------------------------------------------------------------------------


def test_mounts_of_the_default_config(mounts):
    """Each mount is there with its type and options."""
    found = mounts()
    assert found["/proc"].type == "proc"
    assert found["/dev"].type == "tmpfs" and {"nosuid"} <= found["/dev"].options
    assert {"size=65536k", "mode=755"} <= found["/dev"].superblock
    assert found["/dev/pts"].type == "devpts"
    assert {"nosuid", "noexec"} <= found["/dev/pts"].options
    assert {"gid=5", "mode=620", "ptmxmode=666"} <= found["/dev/pts"].superblock
    assert {"nosuid", "noexec", "nodev"} <= found["/dev/shm"].options
    assert found["/dev/mqueue"].type == "mqueue"
    assert found["/sys"].type == "sysfs"
    assert {"ro", "nosuid", "noexec", "nodev"} <= found["/sys"].options


def test_nothing_of_the_host_is_left(mounts):
    """The old root is gone: only the config's mounts and what covers and protects paths are seen."""
    known = ("/proc", "/dev", "/sys")
    others = [path for path in mounts() if not path.startswith(known)]
    assert others == ["/"]


def test_mounts_do_not_reach_the_host(runtime, own):
    """What the container mounts is not seen outside."""
    bundle, _ = own
    before = Path("/proc/self/mountinfo").read_text()
    done = runtime.run(
        bundle.sh("mount -t tmpfs mine /tmp && grep -c ' /tmp ' /proc/self/mountinfo")
    )
    assert done.out == "1\n"
    assert Path("/proc/self/mountinfo").read_text() == before


def test_bind_mounts(mounts, output, bundle, tmp_path):
    """Folders and files are bound, read-only where it is asked for, with their other options."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").write_text("content")
    os.chmod(folder, 0o777)
    bundle.config["mounts"] += [
        mount("/tmp", "bind", folder, "rbind", "rw", "nosuid", "nodev", "noexec"),
        mount("/run", "bind", folder, "bind", "ro"),
        mount("/etc/group", "bind", folder / "file", "bind", "ro"),
    ]
    found = mounts()
    assert {"rw", "nosuid", "nodev", "noexec"} <= found["/tmp"].options
    assert {"ro"} <= found["/run"].options
    script = "cat /etc/group; echo new >/tmp/new && cat /run/new; echo x >/run/new || echo refused"
    assert output(script) == "contentnew\nrefused\n"
    assert (folder / "new").read_text() == "new\n"


def test_bind_mount_targets_are_made(runtime, own, tmp_path):
    """A target that is missing is made: a folder for a folder, a file for a file."""
    bundle, root = own
    (tmp_path / "file").write_text("content")
    bundle.config["mounts"] += [
        mount("/new/folder", "bind", tmp_path, "bind"),
        mount("/new/also/file", "bind", tmp_path / "file", "bind"),
    ]
    assert runtime.run(bundle.sh("cat /new/folder/file /new/also/file")).out == "contentcontent"
    assert (root / "new/folder").is_dir() and (root / "new/also/file").is_file()


def test_relative_bind_sources(runtime, bundle):
    """The source of a bind mount that is relative is taken from the bundle."""
    (bundle.path / "data").write_text("of the bundle")
    bundle.config["mounts"].append(mount("/etc/group", "bind", "data", "bind"))
    assert runtime.run(bundle.sh("cat /etc/group"), cwd="/").out == "of the bundle"


def test_relative_root(runtime, own):
    """root.path that is relative is taken from the bundle."""
    bundle, root = own
    bundle.config["root"]["path"] = "rootfs"
    assert root == bundle.path / "rootfs"
    assert runtime.run(bundle.sh("echo works"), cwd="/").out == "works\n"


def test_tmpfs_options(mounts, bundle):
    """A tmpfs has the size and mode that were asked for."""
    bundle.config["mounts"].append(
        mount("/tmp", "tmpfs", "tmpfs", "size=1m", "mode=1770", "noexec", "noatime")
    )
    found = mounts()["/tmp"]
    assert {"size=1024k", "mode=1770"} <= found.superblock
    assert {"noexec", "noatime"} <= found.options


def test_later_mounts_cover_earlier_ones(output, bundle, tmp_path):
    """Mounts are made in the config's order."""
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/file").write_text("inner")
    bundle.config["mounts"] += [
        mount("/tmp", "tmpfs", "tmpfs"),
        mount("/tmp/below", "bind", tmp_path / "inner", "bind"),
    ]
    assert output("cat /tmp/below/file") == "inner"


def test_propagation(mounts, bundle):
    """Mounts of the container are private but where the config says otherwise."""
    bundle.config["mounts"].append(mount("/tmp", "tmpfs", "tmpfs", "rshared"))
    found = mounts()
    assert "shared" in found["/tmp"].propagation
    assert found["/dev"].propagation == {""} or "shared" not in found["/dev"].propagation


def test_unknown_options_go_to_the_filesystem(runtime, bundle):
    """An option that is no mount flag is the filesystem's, which refuses what it does not know."""
    bundle.config["mounts"].append(mount("/tmp", "tmpfs", "tmpfs", "nonsense"))
    done = runtime.run(bundle.write(), check=False)
    assert done.status == 1 and "/tmp" in done.err and "invalid argument" in done.err


def test_a_missing_source(runtime, bundle):
    """A bind source that is not there is an error that names it."""
    bundle.config["mounts"].append(mount("/tmp", "bind", "/nonexistent/source", "bind"))
    done = runtime.run(bundle.write(), check=False)
    assert done.status == 1
    assert "/nonexistent/source" in done.err and "no such file or directory" in done.err


def test_a_folder_on_a_file(runtime, bundle):
    """A folder bound on a file is `not a directory`, from which engines make a hint."""
    bundle.config["mounts"].append(mount("/etc/passwd", "bind", "/tmp", "bind"))
    done = runtime.run(bundle.write(), check=False)
    assert done.status == 1 and "not a directory" in done.err


def test_cgroup_mount(runtime, bundle):
    """A cgroup mount shows the container its own cgroups only, read-only where it is asked for."""
    bundle.config["mounts"].append(
        mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro")
    )
    bundle.linux["resources"]["pids"] = {"limit": 44}
    v1 = os.path.exists("/sys/fs/cgroup/pids/tasks")
    folder = "/sys/fs/cgroup/pids" if v1 else "/sys/fs/cgroup"
    script = f"cat {folder}/pids.max; mkdir {folder}/new || echo refused"
    assert runtime.run(bundle.sh(script)).out == "44\nrefused\n"


@pytest.mark.parametrize("private", [True, False])
def test_cgroup_mount_and_namespace(runtime, bundle, private):
    """A cgroup mount shows the container's own cgroup as its root, with a cgroup namespace and without."""
    v1 = os.path.exists("/sys/fs/cgroup/memory/tasks")
    folder = "/sys/fs/cgroup/memory" if v1 else "/sys/fs/cgroup"
    if not private:
        kept = [entry for entry in bundle.linux["namespaces"] if entry["type"] != "cgroup"]
        bundle.linux["namespaces"] = kept
    bundle.config["mounts"].append(mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro"))
    script = f"cat {folder}/cgroup.procs; ls -d {folder}/ocifw?test* 2>/dev/null"
    found = runtime.run(bundle.sh(script), check=False).out.split()
    assert found[0] == "1" and not [word for word in found if "/" in word]


@pytest.mark.usefixtures("only_ocifw")
def test_recursively_readonly(runtime, bundle, tmp_path):
    """rro makes what is mounted below a bind mount read-only, too; ro does not."""
    bundle.config["mounts"] += [
        mount("/tmp", "bind", "/dev", "rbind", "rro"),
        mount("/run", "bind", "/dev", "rbind", "ro"),
    ]
    script = "for d in /tmp/shm /run/shm; do grep \" $d \" /proc/self/mountinfo | tail -n1 | cut -d' ' -f6; done"
    recursive, alone = runtime.run(bundle.sh(script)).out.split()
    assert "ro" in recursive.split(",") and "rw" in alone.split(",")


@pytest.mark.usefixtures("only_ocifw")
def test_tmpcopyup(runtime, own):
    """tmpcopyup fills a tmpfs with what it covers; the image keeps its own."""
    bundle, root = own
    (root / "srv/below").mkdir(parents=True)
    (root / "srv/below/file").write_text("content")
    (root / "srv/link").symlink_to("below/file")
    bundle.config["mounts"].append(mount("/srv", "tmpfs", "tmpfs", "tmpcopyup"))
    out = runtime.run(bundle.sh("cat /srv/link; echo new >/srv/below/file; stat -f -c %T /srv")).out
    assert out == "contenttmpfs\n"
    assert (root / "srv/below/file").read_text() == "content"


@pytest.mark.usefixtures("only_ocifw")
def test_idmapped_mount(runtime, bundle, tmp_path):
    """An id-mapped mount shows files with other owners, and writes them back with their own."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").touch()
    os.chown(folder, 5000, 5000)
    os.chown(folder / "file", 5000, 5000)
    entry = mount("/tmp", "bind", folder, "bind")
    entry["uidMappings"] = entry["gidMappings"] = [{"containerID": 5000, "hostID": 1000, "size": 1}]
    bundle.config["mounts"].append(entry)
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    done = runtime.run(bundle.sh("stat -c %u:%g /tmp/file; touch /tmp/new"), check=False)
    if "does not support" in done.err or "invalid argument" in done.err:
        pytest.skip("needs a filesystem that can be id-mapped")
    assert done.out == "1000:1000\n"
    assert (folder / "new").stat().st_uid == 5000


def test_a_dev_of_its_own_is_readonly(mounts, bundle):
    """A /dev that is asked for read-only is it after devices were made in it."""
    for entry in bundle.config["mounts"]:
        if entry["destination"] == "/dev":
            entry["options"].append("ro")
    assert "ro" in mounts()["/dev"].options


@pytest.mark.usefixtures("only_ocifw")
@pytest.mark.parametrize("propagation", ["private", "slave", "shared", "unbindable"])
def test_rootfs_propagation(runtime, own, propagation):
    """linux.rootfsPropagation is that of the container's root."""
    bundle, _ = own
    bundle.linux["rootfsPropagation"] = propagation
    out = runtime.run(
        bundle.sh("grep ' / / ' /proc/self/mountinfo || grep ' / rw' /proc/self/mountinfo")
    ).out
    fields = out.split(" - ")[0].split()[6:]
    found = {field.split(":")[0] for field in fields}
    assert ("shared" in found) == (propagation == "shared")
    assert ("unbindable" in found) == (propagation == "unbindable")


# ---- root --------------------------------------------------------------------------------------------------------


def test_a_readonly_root(output, mounts):
    """A read-only root cannot be written to, not even by root."""
    assert "ro" in mounts()["/"].options
    assert output("echo x >/new || echo refused") == "refused\n"


def test_a_writable_root(runtime, own):
    """Without readonly the root can be written to."""
    bundle, root = own
    runtime.run(bundle.sh("echo x >/new"))
    assert (root / "new").read_text() == "x\n"


def test_no_pivot(runtime, own):
    """With --no-pivot the root is the container's, too."""
    bundle, _ = own
    script = "ls /; cd ..; pwd; grep -vc ' / \\| /proc\\| /dev\\| /sys' /proc/self/mountinfo"
    done = runtime.run(bundle.sh(script), "--no-pivot", check=False)
    assert done.out.split()[-2:] == ["/", "0"]


def test_the_old_root_is_not_reachable(runtime, own):
    """`..` of the root is the root: there is no way up."""
    bundle, root = own
    names = runtime.run(bundle.sh("cd /; ls -1 ../../../../../..")).out.split()
    assert sorted(names) == sorted(os.listdir(root))


# ---- devices -----------------------------------------------------------------------------------------------------


def test_default_devices(output):
    """The six default devices are there for everybody, and nothing else; so are the links."""
    script = """
        cd /dev
        stat -c '%n %t:%T %a %u:%g' null zero full random urandom tty
        ls -l fd stdin stdout stderr ptmx core
        ls
    """
    out = output(script)
    wanted = ["null 1:3", "zero 1:5", "full 1:7", "random 1:8", "urandom 1:9", "tty 5:0"]
    lines = out.splitlines()
    assert lines[:6] == [f"{line} 666 0:0" for line in wanted]
    links = {
        line.split(" -> ")[0].split()[-1]: line.split(" -> ")[1] for line in lines if " -> " in line
    }
    assert links.pop("core", "/proc/kcore") == "/proc/kcore"
    assert links == {
        "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
        "ptmx": "pts/ptmx",
    }  # fmt: skip
    names = {line for line in lines if " " not in line}
    assert names - {"core", "console"} == {
        "null", "zero", "full", "random", "urandom", "tty", "fd", "stdin", "stdout", "stderr", "ptmx", "pts", "shm",
        "mqueue",
    }  # fmt: skip


def test_devices_of_the_config(output, bundle):
    """Devices have the type, number, mode and owner of the config, whatever the umask is."""
    bundle.linux["devices"] = [
        {
            "path": "/dev/character",
            "type": "c",
            "major": 10,
            "minor": 229,
            "fileMode": 0o646,
            "uid": 3,
            "gid": 4,
        },
        {"path": "/dev/block", "type": "b", "major": 7, "minor": 0, "fileMode": 0o600},
        {"path": "/dev/sub/pipe", "type": "p", "fileMode": 0o622},
    ]
    out = output("cd /dev; stat -c '%n %F %t:%T %a %u:%g' character block sub/pipe")
    assert out.splitlines() == [
        "character character special file a:e5 646 3:4",
        "block block special file 7:0 600 0:0",
        "sub/pipe fifo 0:0 622 0:0",
    ]


def test_a_terminal_of_its_own(output):
    """The container's devpts is a new instance."""
    assert output("ls /dev/pts") == "ptmx\n"


# ---- covered and read-only ---------------------------------------------------------------------------------------


def test_masked_paths(output, bundle):
    """A masked file reads as empty, a masked folder is empty and read-only; a path that is missing is no error."""
    bundle.linux["maskedPaths"] = ["/etc/passwd", "/home", "/root", "/nonexistent"]
    script = "wc -c </etc/passwd; ls -A /home /root | grep -v :; mkdir /home/x || echo refused"
    assert output(script).split() == ["0", "refused"]


def test_readonly_paths(output, bundle, mounts):
    """A read-only path can be read and not written; one that is missing is no error."""
    bundle.linux["readonlyPaths"] = ["/proc/sys", "/dev/shm", "/nonexistent"]
    script = "cat /proc/sys/kernel/ostype; echo x >/proc/sys/kernel/domainname || echo one; echo x >/dev/shm/x || echo two"
    assert output(script).split() == ["Linux", "one", "two"]
    found = mounts()
    assert {"ro", "nosuid", "noexec", "nodev"} <= found["/dev/shm"].options


def test_proc_is_the_containers(output):
    """/proc shows the container's processes, and sysrq and the like cannot be written."""
    assert (
        output("ls -d /proc/[0-9]*; echo b >/proc/sysrq-trigger || echo refused")
        == "/proc/1\nrefused\n"
    )


def test_the_bundle_stays_as_it_is(runtime, own):
    """Running a container leaves nothing in its root but what the container wrote itself."""
    bundle, root = own

    def tree():
        return {
            str(path.relative_to(root)): stat.S_IFMT(path.lstat().st_mode)
            for path in root.rglob("*")
        }

    before = tree()
    runtime.run(bundle.sh("true"))
    assert tree() == before
