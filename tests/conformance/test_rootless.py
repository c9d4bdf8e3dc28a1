"""An ordinary user runs containers, without any cgroup: on one id of the own, and on ranges of /etc/subuid.

The user is made for the test: files that lie over those of /etc in a private mount namespace, and ids that nobody has.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

UID = 54242
FIRST, COUNT = 600000, 65536
SINGLE = [{"containerID": 0, "hostID": UID, "size": 1}]
RANGES = [*SINGLE, {"containerID": 1, "hostID": FIRST, "size": COUNT}]
FOREVER = "exec sleep 1000"

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become an ordinary user"),
    pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv (util-linux)"),
]


class User:
    """Runs programs as an ordinary user with a home, a runtime folder, and files of /etc that tell of the user."""

    def __init__(self, home, runtime):
        self.home, self.runtime, self.count = Path(home), runtime, 0
        self.bundle = self.home / "bundle"
        self.runtime_folder = self.home / "run"
        self.etc = self.home / "etc"
        for folder in (self.bundle, self.runtime_folder, self.etc):
            folder.mkdir()
            os.chown(folder, UID, UID)
        self.runtime_folder.chmod(0o700)
        for name, line in (
            ("passwd", f"someone:x:{UID}:{UID}::{home}:/bin/sh"),
            ("group", f"someone:x:{UID}:"),
            ("subuid", f"{UID}:{FIRST}:{COUNT}"),
            ("subgid", f"{UID}:{FIRST}:{COUNT}"),
        ):
            own = Path("/etc", name)
            before = own.read_text() if name in ("passwd", "group") and own.exists() else ""
            (self.etc / name).write_text(f"{before.rstrip()}\n{line}\n".lstrip())
        # Run as root in a mount namespace of its own, before it becomes the user.
        self.prepare = [
            f"mount --bind {self.etc}/{name} /etc/{name}"
            for name in ("passwd", "group", "subuid", "subgid")
            if Path("/etc", name).exists()
        ]
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(self.runtime_folder),
        }
        self.before = ""

    def __call__(self, *arguments, check=True, terminal=False, executable=None):
        """Run the runtime to its end; returns (status, output, errors).

        terminal: standard error is one, where hints are shown, too.
        """
        words = shlex.join([executable or self.runtime, *map(str, arguments)])
        script = " && ".join(
            [
                *self.prepare,
                f"cd {self.bundle}",
                f"exec setpriv --reuid {UID} --regid {UID} --clear-groups --inh-caps=-all {self.before} {words}",
            ]
        )
        self.count += 1
        base = self.home / f"output-{self.count}"
        master, slave = os.openpty() if terminal else (-1, -1)
        with open(f"{base}.out", "wb") as out, open(f"{base}.err", "wb") as err:
            done = subprocess.run(
                ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
                stdin=subprocess.DEVNULL, stdout=out, stderr=slave if terminal else err,
                env=self.environment, timeout=30, check=False,
            )  # fmt: skip
        errors = Path(f"{base}.err").read_text()
        if terminal:
            os.close(slave)
            errors = os.read(master, 65536).decode()
            os.close(master)
        output = Path(f"{base}.out").read_text()
        if check:
            assert done.returncode == 0, (arguments, output, errors)
        return done.returncode, output, errors

    def spec(self, mappings=None, script="", **parts):
        """`spec --rootless`, with a script instead of the terminal, other mappings and other parts of `linux`."""
        path = self.bundle / "config.json"
        path.unlink(missing_ok=True)
        self("spec", "--rootless")
        config = json.loads(path.read_text())
        config["process"]["terminal"] = False
        config["process"]["args"] = ["/bin/sh", "-c", script]
        config["root"]["path"] = str(self.rootfs)
        if mappings:
            config["linux"]["uidMappings"] = config["linux"]["gidMappings"] = mappings
        config["linux"].update(parts)
        path.write_text(json.dumps(config))
        return config

    def wait_for(self, name, status):
        """Wait for a status. What `exec` left is ours to reap, and the first process of the pid namespace waits for it."""
        deadline = time.monotonic() + 20
        while json.loads(self("state", name)[1])["status"] != status:
            assert time.monotonic() < deadline, f"{name} is not {status}"
            reap()

    def ids(self):
        return self("list", "-q")[1].split()


def reap():
    """Take the exit status of what became our child."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


@pytest.fixture
def user(runtime_path, busybox_rootfs):
    """An ordinary user; nothing is left in the runtime folder."""
    with tempfile.TemporaryDirectory(prefix="ocifw-test-") as home:
        os.chmod(home, 0o755)
        made = User(home, runtime_path)
        made.rootfs = busybox_rootfs
        if made("--version", check=False)[0]:
            pytest.skip(f"an ordinary user cannot execute {runtime_path}")
        yield made
        for name in made.ids():
            made("delete", "--force", name, check=False)
            reap()
        assert made.ids() == []


@pytest.fixture
def helpers():
    if shutil.which("newuidmap") is None or shutil.which("newgidmap") is None:
        pytest.skip("needs newuidmap and newgidmap (Debian: uidmap)")


@pytest.mark.runc_agrees
def test_what_spec_makes(user):
    """`spec --rootless`, then `run`, is enough: root inside is the user, and nobody else exists."""
    user.spec(script="id -u; cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups")
    words = user("run", "one")[1].split()
    assert words == ["0", *["0", str(UID), "1"] * 2, "deny"]
    assert user.ids() == []


@pytest.mark.runc_agrees
def test_ranges(user, helpers):
    """With newuidmap and newgidmap the ids are those that /etc/subuid and /etc/subgid give the user."""
    user.spec(RANGES, "cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups")
    words = user("run", "one")[1].split()
    both = ["0", str(UID), "1", "1", str(FIRST), str(COUNT)]
    assert words == [*both, *both, "allow"]


@pytest.mark.runc_agrees
def test_another_user_of_the_range(user, helpers):
    """The command can be another user than root, with further groups that are mapped."""
    config = user.spec(RANGES, "id -u; id -g")
    config["process"]["user"] = {"uid": 1000, "gid": 1000}
    (user.bundle / "config.json").write_text(json.dumps(config))
    assert user("run", "one")[1] == "1000\n1000\n"


@pytest.mark.runc_agrees
@pytest.mark.parametrize("mappings", [SINGLE, RANGES], ids=["single", "ranges"])
def test_whole_life(user, mappings, helpers):
    """Create, start, state, list, exec, kill and delete work without any cgroup."""
    user.spec(mappings, FOREVER)
    user("create", "one")
    assert json.loads(user("state", "one")[1])["status"] == "created"
    user("start", "one")
    state = json.loads(user("state", "one")[1])
    assert state["status"] == "running"
    assert Path(f"/proc/{state['pid']}/status").exists()
    with open(f"/proc/{state['pid']}/cgroup") as theirs, open("/proc/self/cgroup") as ours:
        assert theirs.read() == ours.read()
    assert "one" in user("list")[1] and "someone" in user("list")[1]
    assert user("exec", "one", "sh", "-c", "id -u; exit 5", check=False)[:2] == (5, "0\n")
    user("exec", "--detach", "one", "sleep", "900")
    user("kill", "one", "KILL")
    user.wait_for("one", "stopped")
    user("delete", "one")


@pytest.mark.runc_agrees
def test_forced_delete(user):
    """`delete --force` ends a running container with all its processes, and is content with a missing one."""
    user.spec(script="sleep 1000 & sleep 1000")
    user("run", "--detach", "one")
    user("delete", "--force", "one")
    user("delete", "--force", "one")
    assert user.ids() == []


@pytest.mark.runc_agrees
def test_state_root(user, is_ocifw):
    """State stands in XDG_RUNTIME_DIR, in a folder that only the user enters and cleaners leave alone."""
    user.spec(script=FOREVER)
    user("run", "--detach", "one")
    name = "ocifw" if is_ocifw else Path(user.runtime).name
    folder = user.runtime_folder / name
    assert (folder / "one").is_dir()
    assert folder.stat().st_uid == UID
    assert folder.stat().st_mode & 0o7777 == 0o1700


@pytest.mark.runc_agrees
def test_devices_are_the_hosts(user):
    """A user cannot make devices: the host's are bound over empty files, and work."""
    user.spec(
        script="head -c 3 /dev/zero | wc -c; echo > /dev/null; head -c 1 /dev/urandom | wc -c"
    )
    assert user("run", "one")[1].split() == ["3", "1"]


@pytest.mark.runc_agrees
def test_own_network(user):
    """With a network namespace of its own, and then also sysfs, the container has a loopback."""
    kinds = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "user", "network")]
    user.spec(script="ip addr show lo", namespaces=kinds)
    assert "127.0.0.1" in user("run", "one")[1]


@pytest.mark.runc_agrees
def test_additional_groups(user):
    """Where setgroups(2) is denied, further groups are refused."""
    config = user.spec(script="id")
    config["process"]["user"]["additionalGids"] = [5]
    (user.bundle / "config.json").write_text(json.dumps(config))
    status, _, errors = user("run", "one", check=False)
    assert status == 1
    assert "cannot set any additional groups in a rootless container" in errors


@pytest.mark.runc_agrees
def test_without_user_namespace(user):
    """A user needs a user namespace, and is told so."""
    kinds = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]
    user.spec(script="id", namespaces=kinds, uidMappings=[], gidMappings=[])
    status, _, errors = user("run", "one", check=False)
    assert status == 1
    assert "rootless container requires user namespaces" in errors


@pytest.mark.runc_agrees
def test_limits(user):
    """Limits that no cgroup can keep are an error, never ignored."""
    user.spec(script="id", resources={"memory": {"limit": 64 << 20}})
    status, output, errors = user("run", "one", check=False)
    assert status == 1 and output == ""
    assert "cannot set memory limit: container could not join or create cgroup" in errors


@pytest.mark.runc_agrees
def test_cgroups_path(user):
    """A cgroup that was asked for and cannot be made is an error."""
    user.spec(script="id", cgroupsPath="/ocifw-test-rootless/one")
    status, output, errors = user("run", "one", check=False)
    assert status == 1 and output == ""
    assert "permission denied" in errors


@pytest.mark.runc_agrees
@pytest.mark.parametrize(("option", "works"), [("auto", True), ("true", True), ("false", False)])
def test_tolerance_is_an_option(user, option, works):
    """That there is no cgroup is tolerated by --rootless alone."""
    user.spec(script="echo ran")
    status, output, errors = user("--rootless", option, "run", "one", check=False)
    assert (status == 0, output == "ran\n") == (works, works)
    if not works:
        assert "permission denied" in errors


@pytest.mark.runc_agrees
def test_root_of_a_user_namespace(user, helpers):
    """The runtime as root of a user namespace, as engines of users call it, needs no user namespace more."""
    kinds = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]
    user.spec(script="id -u; cat /proc/self/uid_map", namespaces=kinds, uidMappings=[], gidMappings=[])  # fmt: skip
    user.before = "unshare --user --map-root-user --map-auto"
    words = user("run", "one")[1].split()
    assert words[:6] == ["0", "0", str(UID), "1", "1", str(FIRST)]
    user("run", "--detach", "two")
    user("delete", "--force", "two")


@pytest.mark.runc_agrees
def test_user_namespace_in_a_user_namespace(user):
    """The runtime as root of a user namespace can make one more."""
    user.spec([{"containerID": 0, "hostID": 0, "size": 1}], "id -u; cat /proc/self/uid_map")
    user.before = "unshare --user --mount --map-root-user"
    assert user("run", "one")[1].split() == ["0", "0", "0", "1"]


def test_range_of_others(user, helpers):
    """Ids that are not the user's are refused, with the command that gives ids to the user."""
    user.spec([*SINGLE, {"containerID": 1, "hostID": FIRST + 1, "size": COUNT}], "id")
    status, _, errors = user("run", "one", check=False, terminal=True)
    assert status == 1
    assert "not allowed" in errors
    assert "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 someone" in flat(errors)


def test_no_range(user, helpers):
    """So they are where the user has none at all."""
    for name in ("subuid", "subgid"):
        (user.etc / name).write_text("")
    user.spec(RANGES, "id")
    status, _, errors = user("run", "one", check=False, terminal=True)
    assert status == 1
    assert "usermod --add-subuids" in flat(errors)


def test_no_helper(user):
    """Without newuidmap more than the own id cannot be mapped: the package is named."""
    for folder in ("/usr/bin", "/usr/local/bin"):
        for name in ("newuidmap", "newgidmap"):
            if Path(folder, name).exists():
                user.prepare.append(f"mount --bind /dev/null {folder}/{name}")
    user.spec(RANGES, "id")
    status, _, errors = user("run", "one", check=False, terminal=True)
    assert status == 1
    assert "newuidmap is not installed" in errors
    assert "apt-get install uidmap" in flat(errors)
    user.spec(SINGLE, "id -u")
    assert user("run", "one")[1] == "0\n"


def test_helper_without_privileges(user, helpers):
    """Where the helper may do nothing, here for no_new_privs, its words are shown and what it needs."""
    user.before = "--no-new-privs"
    user.spec(RANGES, "id")
    status, _, errors = user("run", "one", check=False, terminal=True)
    assert status == 1
    assert "newuidmap ended with status" in errors
    assert "no_new_privs" in errors


def test_user_namespaces_are_disabled(user):
    """Where the limit is 0, the sysctl is named."""
    user.spec([{"containerID": 0, "hostID": 0, "size": 1}], "id")
    user.before = (
        "unshare --user --map-root-user"
        " sh -c 'echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"' sh"
    )
    status, _, errors = user("run", "one", check=False, terminal=True)
    assert status == 1
    assert "no space left on device" in errors
    assert "sysctl -w user.max_user_namespaces=15000" in flat(errors)


def test_no_runtime_folder(user):
    """Without XDG_RUNTIME_DIR the user is told what to set; --root does it as well."""
    user.spec(script="echo ran")
    del user.environment["XDG_RUNTIME_DIR"]
    status, _, errors = user("run", "one", check=False)
    assert status == 1
    assert f"export XDG_RUNTIME_DIR=/run/user/{UID}" in errors
    assert user("--root", user.bundle / "state", "run", "one")[1] == "ran\n"
    user.environment["XDG_RUNTIME_DIR"] = str(user.runtime_folder)


def test_freezing(user):
    """What only a cgroup could do is refused with the reason, and the container goes on."""
    user.spec(script=FOREVER)
    user("run", "--detach", "one")
    status, _, errors = user("pause", "one", check=False)
    assert status == 1 and "no cgroup with a freezer" in errors
    status, _, errors = user("update", "--pids-limit", "5", "one", check=False)
    assert status == 1 and "container could not join or create cgroup" in errors
    assert user("exec", "one", "echo", "alive")[1] == "alive\n"


def flat(text):
    """What a terminal shows, without its line breaks."""
    return " ".join(text.split())
