"""One test for each published vulnerability of a container runtime that this one could have had, too."""

from __future__ import annotations

import ctypes
import os
import re
import stat
import threading
from pathlib import Path

import pytest

AT_FDCWD = -100
RENAME_EXCHANGE = 2
FOREVER = "exec sleep 1000"
PRIVILEGED = [
    "CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_CHECKPOINT_RESTORE", "CAP_MKNOD",
    "CAP_FOWNER", "CAP_CHOWN", "CAP_SETUID", "CAP_SETGID",
]  # fmt: skip


def privileged(image):
    image.process["capabilities"] = dict.fromkeys(
        ("bounding", "effective", "permitted"), PRIVILEGED
    )
    image.process["noNewPrivileges"] = False
    image.linux["maskedPaths"] = image.linux["readonlyPaths"] = []
    return image


# ---- paths in an image's tree ------------------------------------------------------------------------------------


@pytest.mark.parametrize("readonly", [False, True])
def test_cve_2026_88264(runtime, image, victim, readonly):
    """CVE-2026-88264: a /dev/console of the image that is a link does not lead the terminal's bind out of the root."""
    image.without_mount("/dev")
    image.link("dev/console", victim.up / "file")
    image.config["root"]["readonly"] = readonly
    image.process["terminal"] = True
    done = runtime.run(image.sh("echo ran"), check=False)
    assert victim.untouched(), done


def test_cve_2026_88264_inside(runtime, image):
    """CVE-2026-88264: nor is the terminal bound on another file of the image."""
    image.without_mount("/dev")
    (image.root / "etc/secret").write_text("secret")
    image.link("dev/console", "../etc/secret")
    image.process["terminal"] = True
    done = runtime.run(image.sh("test -f /etc/secret && echo file"), check=False)
    assert done.status != 0 or "file" in done.out


@pytest.mark.parametrize("target", ["../etc/passwd", "VICTIM"])
def test_cve_2026_88265(runtime, image, victim, target):
    """CVE-2026-88265: a /dev/null of the image that is a link is neither opened in place of the device nor given away."""
    image.without_mount("/dev")
    image.link("dev/null", victim.up / "null" if target == "VICTIM" else target)
    image.process["user"] = {"uid": 1000, "gid": 1000}
    before = (image.root / "etc/passwd").stat()
    runtime.run(image.sh("echo overwritten >&0; true"), check=False)
    after = (image.root / "etc/passwd").stat()
    assert victim.untouched()
    assert (before.st_uid, before.st_size, before.st_ino) == (
        after.st_uid,
        after.st_size,
        after.st_ino,
    )


@pytest.mark.parametrize("mounted", [True, False])
def test_cve_2026_41579_and_47766(runtime, image, victim, mounted):
    """CVE-2026-41579, CVE-2026-47766: a /dev that is a link out of the root leads to no removal, link or device there."""
    if not mounted:
        image.without_mount("/dev")
    image.link("dev", victim.up)
    done = runtime.run(image.sh("true"), check=False)
    assert victim.untouched(), done


@pytest.mark.parametrize("name", ["proc", "sys"])
@pytest.mark.parametrize("kind", ["inside", "outside"])
def test_cve_2025_54867_and_2023_28642(runtime, image, victim, name, kind):
    """CVE-2025-54867, CVE-2023-28642, CVE-2023-27561: /proc or /sys that is a link is refused: LSM labels go there."""
    (image.root / "elsewhere").mkdir()
    image.link(name, "elsewhere" if kind == "inside" else victim.up / "below")
    done = runtime.run(image.sh("echo ran"), check=False)
    assert done.status == 1 and "ran" not in done.out, done
    assert victim.untouched()


def test_cve_2019_19921(runtime, image, tmp_path):
    """CVE-2019-19921, CVE-2019-16884: what an image or a volume puts into the place of /proc is not taken for it."""
    fake = tmp_path / "fake"
    (fake / "self/attr").mkdir(parents=True)
    for path in ("self/attr/exec", "self/uid_map"):
        (fake / path).write_text("fake")
    (fake / "sys/net/ipv4").mkdir(parents=True)
    (fake / "sys/net/ipv4/ip_forward").write_text("fake")
    image.mount("/proc", "bind", fake, "bind")
    image.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    done = runtime.run(image.sh("true"), check=False)
    written = [path for path in fake.rglob("*") if path.is_file() and path.read_text() != "fake"]
    assert written == [], done


@pytest.mark.parametrize("path", ["/proc/self/attr", "/proc/sys/net", "/proc/1", "/proc/sys"])
def test_cve_2025_52881(runtime, image, path):
    """CVE-2025-52881: a mount over part of /proc cannot redirect what the runtime writes there."""
    image.mount(path)
    done = runtime.run(image.sh("echo ran"), check=False)
    assert done.status == 1 and path in done.err, done


def test_cve_2025_52881_sysctl(runtime, image, tmp_path):
    """CVE-2025-52881: a sysctl reaches the kernel, whatever the image shows as /proc."""
    fake = tmp_path / "fake"
    (fake / "sys/net/ipv4").mkdir(parents=True)
    (fake / "sys/net/ipv4/ip_forward").write_text("fake")
    image.without_mount("/proc")
    image.mount("/tmp", "proc", "proc")
    (image.root / "proc/sys/net/ipv4").mkdir(parents=True)
    (image.root / "proc/sys/net/ipv4/ip_forward").write_text("fake")
    image.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    image.linux["maskedPaths"] = image.linux["readonlyPaths"] = []
    assert runtime.run(image.sh("cat /tmp/sys/net/ipv4/ip_forward")).out == "1\n"
    assert (image.root / "proc/sys/net/ipv4/ip_forward").read_text() == "fake"


@pytest.mark.parametrize("target", ["../etc/passwd", "/proc/sysrq-trigger", "VICTIM"])
def test_cve_2025_31133(runtime, image, victim, target):
    """CVE-2025-31133: a masked file is covered by the real null device, never by what a link at /dev/null leads to."""
    image.without_mount("/dev")
    image.link("dev/null", victim.up / "file" if target == "VICTIM" else target)
    image.linux["maskedPaths"] = ["/etc/group"]
    script = "stat -c '%F %t:%T' /etc/group; echo overwritten >>/etc/group"
    done = runtime.run(image.sh(script), check=False)
    assert done.status == 1 or done.out == "character special file 1:3\n", done
    assert victim.untouched()
    assert "overwritten" not in (image.root / "etc/passwd").read_text()


def test_cve_2024_45310(runtime, image, victim):
    """CVE-2024-45310: what is made for a mount's target is made inside the root, though links lead out of it."""
    (image.root / "data").mkdir()
    image.link("data/up", victim.up)
    image.mount("/data/up/new/folder")
    runtime.run(image.sh("true"), check=False)
    assert victim.untouched()


@pytest.mark.parametrize("kind", ["bind", "tmpfs"])
def test_cve_2021_30465(runtime, image, victim, kind, tmp_path):
    """CVE-2021-30465: a mount's target that is a link out of the root is looked up inside it."""
    source = tmp_path / "source"
    source.mkdir()
    image.link("mnt", victim.up)
    image.mount(
        "/mnt", kind, source if kind == "bind" else "tmpfs", "bind" if kind == "bind" else "rw"
    )
    before = Path("/proc/self/mountinfo").read_text()
    runtime.run(image.sh("touch /mnt/x"), check=False)
    assert victim.untouched()
    assert Path("/proc/self/mountinfo").read_text() == before


@pytest.mark.slow
def test_cve_2021_30465_race(runtime, image, victim, tmp_path):
    """CVE-2021-30465: nor does a target that changes between folder and link while it is mounted on lead out."""
    shared = tmp_path / "shared"
    (shared / "target").mkdir(parents=True)
    (shared / "other").symlink_to(victim.up)
    image.mount("/shared", "bind", shared, "rbind")
    image.mount("/shared/target/below")
    image.mount("/shared/target/below/deeper", "bind", tmp_path / "shared", "bind")
    image.sh("true")
    stop = threading.Event()
    libc = ctypes.CDLL(None)
    one, other = (os.fsencode(shared / name) for name in ("target", "other"))

    def exchange():
        while not stop.is_set():
            libc.renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE)

    attacker = threading.Thread(target=exchange)
    attacker.start()
    try:
        for _ in range(12):
            runtime.run(image.bundle, check=False)
            assert victim.untouched()
    finally:
        stop.set()
        attacker.join()


def test_cve_2019_18837(runtime, image, victim):
    """CVE-2019-18837: links in the root are resolved inside it for each kind of thing that is made there."""
    for name in ("a", "b", "c"):
        image.link(name, victim.up)
    image.mount("/a/below")
    image.linux["devices"] = [{"path": "/b/file", "type": "c", "major": 1, "minor": 3}]
    image.linux["maskedPaths"] = ["/c/file"]
    image.linux["readonlyPaths"] = ["/c/below"]
    image.process["cwd"] = "/c/made"
    runtime.run(image.sh("true"), check=False)
    assert victim.untouched()
    assert not (victim.folder / "made").exists()


def test_an_executable_that_links_outside(runtime, image, tmp_path):
    """A program is looked up inside the root: a link to the host's leads nowhere."""
    (tmp_path / "host-only").write_text("#!/bin/sh\necho escaped\n")
    (tmp_path / "host-only").chmod(0o755)
    image.link("bin/tool", "../" * 30 + str(tmp_path / "host-only")[1:])
    image.process["args"] = ["tool"]
    done = runtime.run(image.write(), check=False)
    assert done.status == 1 and "escaped" not in done.out


# ---- descriptors, working directory, environment -----------------------------------------------------------------


def test_cve_2024_21626(runtime, image):
    """CVE-2024-21626 "Leaky Vessels": no descriptor of the runtime is a working directory on the host."""
    image.linux["maskedPaths"] = image.linux["readonlyPaths"] = []
    for fd in range(3, 20):
        image.process["cwd"] = f"/proc/self/fd/{fd}"
        done = runtime.run(image.sh("ls -d ../../../../boot ../../../../opt; pwd -P"), check=False)
        assert done.status == 1 and done.out == "", (fd, done)


def test_cve_2024_21626_exec(runtime, image):
    """CVE-2024-21626: nor for `exec`, neither as its directory nor on the way to its program."""
    container_id = runtime.running(image.sh(FOREVER))
    for fd in range(3, 20):
        done = runtime("exec", "--cwd", f"/proc/self/fd/{fd}", container_id, "pwd", check=False)
        assert done.status == 255 and done.out == "", (fd, done)
    for fd in range(3, 12):
        path = f"/proc/self/fd/{fd}/../../../../../../usr/bin/env"
        done = runtime("exec", container_id, path, check=False)
        assert done.status == 255 and done.out == "", (fd, done)


def test_cve_2024_21626_descriptors_of_the_caller(runtime, image):
    """CVE-2024-21626: folders that the caller has open and did not ask to pass on are closed, for hooks, too."""
    log = image.bundle.path / "log"
    hook = {
        "path": "/bin/sh",
        "args": ["sh", "-c", f"ls -l /proc/self/fd >>{log}"],
        "env": ["PATH=/bin"],
    }
    kinds = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    image.config["hooks"] = {kind: [hook] for kind in kinds}
    through = ["sh", "-c", 'exec "$@" 3</etc 7</ 8</boot', "sh"]
    done = runtime.run(image.sh("ls -l /proc/self/fd"), through=through)
    for text in (done.out, log.read_text()):
        targets = [line.split(" -> ")[1] for line in text.splitlines() if " -> " in line]
        assert not {"/etc", "/", "/boot"} & set(targets), text


def test_cve_2025_23266(runtime, image):
    """CVE-2025-23266 "NVIDIAScape": hooks on the host have nothing of the image's environment, nor its folder as theirs."""
    log = image.bundle.path / "log"
    image.process["env"] += ["LD_PRELOAD=/evil.so", "PYTHONPATH=.", "LD_LIBRARY_PATH=."]
    script = f"/usr/bin/env >>{log}; echo cwd=$(pwd) >>{log}"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", script]}
    kinds = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    image.config["hooks"] = {kind: [hook] for kind in kinds}
    runtime.run(
        image.sh("true"), env={**os.environ, "LD_LIBRARY_PATH": "/nonexistent", "PYTHONPATH": "/x"}
    )
    text = log.read_text()
    assert text.count("cwd=") == len(kinds)
    assert "evil" not in text and "PYTHON" not in text and "LD_" not in text
    assert str(image.root) not in re.sub(r"^OLDPWD.*$", "", text, flags=re.MULTILINE)


def test_the_callers_python_environment(runtime, image, tmp_path):
    """Neither PYTHON* variables nor modules in the bundle have a say in what the runtime runs."""
    evil = tmp_path / "evil"
    evil.mkdir()
    marker = tmp_path / "marker"
    code = f"open({str(marker)!r}, 'a').write(__name__)\n"
    for folder in (evil, image.bundle.path):
        for name in (
            "ocifw",
            "sitecustomize",
            "usercustomize",
            "json",
            "posixpath",
            "os",
            "pluggy",
        ):
            (folder / f"{name}.py").write_text(code)
    env = {
        **os.environ,
        "PYTHONPATH": str(evil),
        "PYTHONSTARTUP": str(evil / "os.py"),
        "PYTHONHOME": "",
    }
    env.pop("PYTHONHOME")
    done = runtime.run(image.sh("echo ran"), env=env, cwd=image.bundle.path)
    assert done.out == "ran\n"
    runtime("list", env=env, cwd=evil)
    runtime("state", "unknown", env=env, cwd=evil, check=False)
    assert not marker.exists()
    assert not (evil / "__pycache__").exists() and not (image.bundle.path / "__pycache__").exists()


# ---- the runtime's own program -----------------------------------------------------------------------------------


def mapped_files(pid):
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {line.split(maxsplit=5)[5] for line in lines if len(line.split(maxsplit=5)) == 6}


def test_cve_2019_5736(runtime, image):
    """CVE-2019-5736: the process that waits in the container runs from a sealed memfd, and maps no file of the host."""
    container_id, _ = runtime.create(privileged(image).sh(FOREVER))
    pid = runtime.state(container_id)["pid"]
    assert os.readlink(f"/proc/{pid}/exe").startswith("/memfd:")
    files = {name for name in mapped_files(pid) if not name.startswith("[")}
    assert all(name.startswith("/memfd:") for name in files), files
    for name in os.listdir(f"/proc/{pid}/map_files"):
        assert os.readlink(f"/proc/{pid}/map_files/{name}").startswith("/memfd:")
    with pytest.raises(OSError, match="Operation not permitted|Text file busy"):
        os.close(os.open(f"/proc/{pid}/exe", os.O_WRONLY))
    # The exploit's way: hold it until it is not executed any more, and then open it for writing.
    held = os.open(f"/proc/{pid}/exe", os.O_RDONLY)
    runtime("start", container_id)
    fd = os.open(f"/proc/self/fd/{held}", os.O_WRONLY)
    for change in (lambda: os.write(fd, b"overwritten"), lambda: os.truncate(fd, 0)):
        with pytest.raises(PermissionError):
            change()
    os.close(fd)
    os.close(held)


def test_cve_2019_5736_from_inside(runtime, image):
    """CVE-2019-5736: a container that waits for `exec` and writes to its program writes to nothing of the host's."""
    script = """
    while :; do
        for exe in /proc/[0-9]*/exe; do
            program=$(readlink $exe)
            case $program in
            */busybox|"") ;;
            *) echo "seen $program"; (echo overwritten >$exe) 2>/dev/null && echo WRITTEN ;;
            esac
        done
        test -e /stop && exit
    done
    """
    container_id = runtime.running(privileged(image).sh(script))
    for _ in range(10):
        runtime("exec", container_id, "true")
    (image.root / "stop").touch()
    runtime.wait_for(container_id, "stopped")
    seen = runtime.created.out_path.read_text()
    assert "WRITTEN" not in seen
    assert all(line.startswith("seen /memfd:") for line in seen.splitlines()), seen


@pytest.mark.parametrize("args", [["/proc/self/exe"], ["/script"], ["/proc/1/exe"]])
def test_cve_2019_5736_entrypoint(runtime, image, args):
    """CVE-2019-5736: a program that is /proc/self/exe, or a script for it, runs no program of the host in the container."""
    (image.root / "script").write_text("#!/proc/self/exe\n")
    (image.root / "script").chmod(0o755)
    image.process["args"] = args
    done = runtime.run(privileged(image).write(), check=False)
    assert done.status != 0
    assert "ython" not in done.out + done.err


def test_cve_2019_14271(runtime, image):
    """CVE-2019-14271: no library or module of the image is loaded by the runtime, whatever lies where it would look."""
    marker = image.root / "marker"
    for folder in ("lib/python3.11", "usr/lib/python3/dist-packages", "lib/x86_64-linux-gnu"):
        (image.root / folder).mkdir(parents=True)
        for name in (
            "os.py",
            "encodings.py",
            "ocifw.py",
            "libnss_files.so.2",
            "libc.so.6",
            "libseccomp.so.2",
        ):
            (image.root / folder / name).write_text(f"open({str(marker)!r}, 'w')")
    (image.root / "etc/ld.so.preload").write_text("/lib/x86_64-linux-gnu/libc.so.6\n")
    (image.root / "etc/nsswitch.conf").write_text("passwd: evil\n")
    image.process["user"] = {"uid": 1000, "gid": 1000}
    container_id = runtime.running(image.sh(FOREVER))
    assert runtime("exec", "-u", "7", container_id, "id", "-u").out == "7\n"
    runtime("delete", "--force", container_id)
    assert not marker.exists()


def test_cve_2016_9962(runtime, image):
    """CVE-2016-9962: until it executes, the process in the container is not dumpable: nobody inside can trace it."""
    image.linux["namespaces"].append({"type": "user"})
    # The root filesystem lies where only root may search.
    image.linux["uidMappings"] = image.linux["gidMappings"] = [
        {"containerID": 0, "hostID": 0, "size": 1},
        {"containerID": 1, "hostID": 100001, "size": 65535},
    ]
    image.process["user"] = {"uid": 1000, "gid": 0}
    container_id, _ = runtime.create(image.sh(FOREVER))
    pid = runtime.state(container_id)["pid"]
    # proc(5): the files of a process that is not dumpable belong to root.
    assert Path(f"/proc/{pid}/environ").stat().st_uid == 0
    # Folders that it holds are the container's.
    mounts = {line.split()[0] for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        if os.path.isdir(f"/proc/{pid}/fd/{fd}"):
            info = status_of(Path(f"/proc/{pid}/fdinfo/{fd}").read_text())
            assert info["mnt_id"][0] in mounts, os.readlink(f"/proc/{pid}/fd/{fd}")


# ---- capabilities, groups, ids -----------------------------------------------------------------------------------


def status_of(text):
    return {
        name: value.split()
        for name, _, value in (line.partition(":") for line in text.splitlines())
    }


def test_cve_2022_29162(runtime, image):
    """CVE-2022-29162, CVE-2022-24769, CVE-2022-27650: nothing is inheritable that the config does not ask for."""
    container_id = runtime.running(image.sh("cat /proc/self/status; echo end; exec sleep 1000"))
    runtime.wait_for_output("end")
    assert status_of(runtime.created.out_path.read_text())["CapInh"] == ["0" * 16]
    out = runtime("exec", "--cap", "CAP_SYS_ADMIN", container_id, "cat", "/proc/self/status").out
    assert status_of(out)["CapInh"] == ["0" * 16]


def test_cve_2025_27612(runtime, image):
    """CVE-2025-27612: a process of `exec` has no more capabilities than the container's, bounding set and all."""
    container_id = runtime.running(image.sh(FOREVER))
    status = status_of(runtime("exec", container_id, "cat", "/proc/self/status").out)
    wanted = [f"{1 << 5 | 1 << 10 | 1 << 29:016x}"]
    assert [status[f"Cap{name}"] for name in ("Bnd", "Prm", "Eff")] == [wanted] * 3


def test_cve_2022_36109(runtime, image):
    """CVE-2022-36109, CVE-2022-2989: supplementary groups are exactly additionalGids; none of the caller's stays."""
    image.process["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [1000, 7]}
    through = ["setpriv", "--groups", "0,4,6"]
    done = runtime.run(image.sh("cat /proc/self/status"), through=through)
    assert sorted(status_of(done.out)["Groups"]) == ["1000", "7"]


def test_cve_2026_30892(runtime, image):
    """CVE-2026-30892: `exec -u 1` is user 1, and not root."""
    container_id = runtime.running(image.sh(FOREVER))
    assert runtime("exec", "-u", "1", container_id, "id", "-u").out == "1\n"


def test_cve_2016_3697(runtime, image):
    """CVE-2016-3697, CVE-2024-40635, CVE-2026-46680: users are numbers; neither names nor numbers too large are looked up."""
    with (image.root / "etc/passwd").open("a") as file:
        file.write("1000:x:0:0::/:/bin/sh\n4294967296:x:0:0::/:/bin/sh\n")
    image.process["user"] = {"uid": 1000, "gid": 1000}
    assert runtime.run(image.sh("id -u")).out == "1000\n"
    for uid in (2**32, 2**32 - 1, -1, "root"):
        image.process["user"] = {"uid": uid, "gid": 0}
        done = runtime.run(image.sh("id -u"), check=False)
        assert done.status == 1 and done.out == "", uid


# ---- texts and lengths -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/proc/sys/kernel/core_pattern",
        "fs.mqueue/../../kernel/core_pattern",
        "kernel.core_pattern",
        "kernel.shm_rmid_forced+kernel.core_pattern",
        "kernel.shm_rmid_forced=1+kernel.core_pattern",
        "net...kernel.core_pattern",
        "net.ipv4.ip_forward\nkernel.core_pattern",
        "net/../kernel/core_pattern",
    ],
)
def test_cve_2022_0811(runtime, image, key):
    """CVE-2022-0811 "cr8escape": the name of a sysctl is one name of a namespaced sysctl, with no tricks in it."""
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    image.linux["sysctl"] = {key: "|/evil"}
    done = runtime.run(image.sh("true"), check=False)
    assert done.status == 1
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


def test_cve_2021_43784(runtime, image):
    """CVE-2021-43784: a value of more than 64 KiB stays one value: it is refused or passed, and overflows nothing."""
    image.mount("/mnt", "tmpfs", "tmpfs", "size=1m," + "x" * 70000)
    done = runtime.run(image.sh("echo ran"), check=False)
    assert done.status == 1 and "ran" not in done.out
    image.config["mounts"].pop()
    image.process["env"].append("LARGE=" + "y" * 100000)
    assert runtime.run(image.sh("echo ${#LARGE}")).out == "100000\n"


def test_cve_2021_41103(runtime, image):
    """CVE-2021-41103, CVE-2024-25621: only root may enter the state root and the containers' folders."""
    container_id, _ = runtime.create(image.sh(FOREVER))
    for path in (runtime.root, runtime.root / container_id):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    for path in (runtime.root / container_id).iterdir():
        if path.is_file():
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_cve_2023_25809(runtime, image):
    """CVE-2023-25809: /sys bound recursively and read-only is read-only below, too, where rro says so."""
    image.without_mount("/sys")
    image.mount("/sys", "bind", "/sys", "rbind", "rro", "nosuid")
    privileged(image)
    script = "for f in /sys/fs/cgroup/*/; do mkdir $f/ocifw-test-escape 2>/dev/null && echo $f; done; echo end"
    assert runtime.run(image.sh(script)).out == "end\n"


def test_annotations_have_no_say(runtime, image, tmp_path):
    """CVE-2026-53488, CVE-2024-3154: annotations, which come from images, name no file that is used and no unit's property."""
    marker = tmp_path / "marker"
    image.config["annotations"] = {
        "org.ocifw.profile": str(tmp_path / "evil.yaml"),
        "org.systemd.property.ExecStartPre": f"'/bin/touch {marker}'",
        "run.oci.hooks.stderr": str(marker),
        "run.oci.handler": str(marker),
        "org.criu.config": str(marker),
    }
    runtime.run(image.sh("true"), check=False)
    assert not marker.exists()


def test_a_hostile_passwd(runtime, image, victim, tmp_path):
    """HOME is read from a regular file in the root: neither links out of it, nor FIFOs, nor huge lines do harm."""
    secret = tmp_path / "passwd"
    secret.write_text("root:x:0:0::/from-the-host:\n")
    image.sh("echo $HOME")
    path = image.root / "etc/passwd"
    image.link("etc/passwd", "../" * 30 + str(secret)[1:])
    assert runtime.run(image.bundle).out == "/\n"
    path.unlink()
    os.mkfifo(path)
    assert runtime.run(image.bundle).out == "/\n"
    path.unlink()
    path.write_text(
        "x" * (1 << 20)
        + ":x:0:0::/evil:\n"
        + "root:x:00:0:"
        + ":" * 9000
        + "\nroot:x:0:0::/right:\n"
    )
    runtime.run(image.bundle)
