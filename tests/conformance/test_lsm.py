"""AppArmor and SELinux: what a profile denies does not happen, and what is to be labelled has its label."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ENABLED = Path("/sys/module/apparmor/parameters/enabled")
FOREVER = "exec sleep 1000"

pytestmark = pytest.mark.runc_agrees
needs_selinux = pytest.mark.skipif(
    not os.path.exists("/sys/fs/selinux/status"), reason="needs SELinux"
)

PROFILE = """
profile {name} flags=(attach_disconnected,mediate_deleted) {{
  file, network, capability, mount, signal, ptrace, umount, unix,
  deny /tmp/denied w,
}}
"""


@pytest.fixture
def profile():
    """The name of a profile that is loaded: it denies /tmp/denied, and nothing else."""
    if not ENABLED.exists() or not ENABLED.read_text().startswith("Y"):
        pytest.skip("needs AppArmor")
    if shutil.which("apparmor_parser") is None:
        pytest.skip("needs apparmor_parser")
    name = f"ocifw-test-{os.getpid()}"
    text = PROFILE.format(name=name).encode()
    subprocess.run(["apparmor_parser", "--replace", "--skip-cache"], input=text, check=True)
    yield name
    subprocess.run(["apparmor_parser", "--remove"], input=text, check=True)


@pytest.fixture
def confined(bundle, profile):
    """A bundle with the profile and a /tmp."""
    bundle.process["apparmorProfile"] = profile
    bundle.config["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"})
    return bundle


SCRIPT = "cat /proc/self/attr/current; touch /tmp/allowed && echo allowed; touch /tmp/denied || echo denied"


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_the_profile_is_enforced(runtime, confined, profile, no_new_privileges):
    """The program runs under the profile, with and without noNewPrivileges."""
    confined.process["noNewPrivileges"] = no_new_privileges
    done = runtime.run(confined.sh(SCRIPT))
    assert done.out.splitlines() == [f"{profile} (enforce)", "allowed", "denied"]


def test_exec_is_confined(runtime, confined, profile):
    """A process that is added runs under the container's profile, or under its own."""
    container_id = runtime.running(confined.sh(FOREVER))
    current = ("cat", "/proc/self/attr/current")
    assert runtime("exec", container_id, *current).out == f"{profile} (enforce)\n"
    own = runtime("exec", "--apparmor", "unconfined", container_id, *current, check=False)
    # With no_new_privs the kernel lets nobody out of a profile; who calls the runtime is in none.
    assert own.out == "unconfined\n"


def test_a_profile_that_is_not_loaded(runtime, confined):
    """A profile that the kernel does not know is an error, and the program does not run."""
    confined.process["apparmorProfile"] = "unheard-of"
    done = runtime.run(confined.sh("echo ran"), check=False)
    assert done.status == 1 and "apparmor" in done.err and done.out == ""
    assert runtime("list", "-q").out == ""


def test_unconfined(runtime, confined):
    """`unconfined` is no profile: nothing is denied."""
    confined.process["apparmorProfile"] = "unconfined"
    assert runtime.run(confined.sh("cat /proc/self/attr/current")).out == "unconfined\n"


# ---- SELinux -------------------------------------------------------------------------------------------------------

CATEGORIES = "s0:c1,c2"


@pytest.fixture
def labelled(bundle):
    """A bundle whose process runs in the caller's own domain, with categories, and whose mounts have these, too."""
    own = Path("/proc/self/attr/current").read_text().rstrip("\0\n")
    bundle.process["selinuxLabel"] = ":".join([*own.split(":")[:3], CATEGORIES])
    bundle.linux["mountLabel"] = f"system_u:object_r:tmpfs_t:{CATEGORIES}"
    return bundle


def current(text):
    return text.rstrip("\0\n")


@needs_selinux
def test_the_process_has_its_label(runtime, labelled):
    """The program runs with the label."""
    done = runtime.run(labelled.sh("cat /proc/self/attr/current"))
    assert current(done.out) == labelled.process["selinuxLabel"]


@needs_selinux
def test_exec_has_the_label(runtime, labelled):
    """A process that is added has the container's label, or its own."""
    container_id = runtime.running(labelled.sh(FOREVER))
    words = ("cat", "/proc/self/attr/current")
    assert current(runtime("exec", container_id, *words).out) == labelled.process["selinuxLabel"]
    other = labelled.process["selinuxLabel"].replace("c1,c2", "c3,c4")
    done = runtime("exec", "--process-label", other, container_id, *words)
    assert current(done.out) == other


@needs_selinux
@pytest.mark.parametrize("path", ["/dev", "/dev/shm", "/dev/mqueue", "/dev/pts"])
def test_mounts_have_their_label(runtime, labelled, path):
    """The filesystems that are made for the container have the mount label, mqueue included."""
    container_id = runtime.running(labelled.sh(FOREVER))
    pid = runtime.state(container_id)["pid"]
    label = os.getxattr(f"/proc/{pid}/root{path}", "security.selinux")
    assert current(label.decode()) == labelled.linux["mountLabel"]


@needs_selinux
def test_a_label_that_the_policy_does_not_know(runtime, labelled):
    """A label that the policy does not know is an error, and the program does not run."""
    labelled.process["selinuxLabel"] = "unheard_u:of_r:this_t:s0"
    done = runtime.run(labelled.sh("echo ran"), check=False)
    assert done.status == 1 and done.out == ""
    assert runtime("list", "-q").out == ""
