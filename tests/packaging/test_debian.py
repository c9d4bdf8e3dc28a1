"""The Debian packages: installed on a clean Debian, used, upgraded, removed. `./dev test-packages` runs this."""

from __future__ import annotations

import subprocess

import pytest

pytestmark = pytest.mark.slow

MINIMAL = "capabilities cgroups core mounts namespaces process"


def minimal() -> list[str]:
    """What ocifw-minimal brings."""
    return ["ocifw-minimal", *[f"ocifw-{name}" for name in MINIMAL.split()]]


def test_a_container_runs(full):
    """What `ocifw bundle` makes runs, as it does from a checkout."""
    full.bundle("box", "/bin/sh", "-c", "echo pid $$ in $(hostname)")
    done = full.ocifw("run", "--bundle", "/srv/box", "box")
    assert done.stdout.startswith("pid 1 in ")
    assert full.ocifw("list", "--quiet").stdout == ""


def test_every_plugin_can_be_used(full):
    """All plugins are there, nobody else could have written them, and they import nothing heavy."""
    done = full.ocifw("plugins", "verify", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = full.ocifw("plugins", "list").stdout
    for name in ("cgroups", "criu", "lsm", "network", "rdt", "seccomp"):
        assert name in rows
    assert "plugins can be used" in full.ocifw("sets", "check").stdout


def test_a_network_device_is_moved(full):
    """The network plugin works with Debian's pyroute2."""
    full.bundle(
        "net", "/bin/sh", "-c", "cat /proc/net/dev", netDevices={"ocifw0": {"name": "inside0"}}
    )
    script = (
        "from pyroute2 import IPRoute\n"
        "IPRoute().link('add', ifname='ocifw0', kind='veth', peer={'ifname': 'ocifw1'})\n"
    )
    done = full.run(
        "unshare", "--net", "sh", "-ec", 'python3 -c "$1"; exec ocifw run --bundle /srv/net net', "sh", script,
        check=False, capture=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "inside0:" in done.stdout


def test_nothing_of_pip(full):
    """pip is neither needed nor there, and nothing lies in /usr/local."""
    assert full.run("sh", "-c", "command -v pip || command -v pip3", check=False).returncode
    assert full.output("find", "/usr/local", "-name", "*ocifw*") == ""


def test_the_command_starts_without_compiling(full):
    """Installing compiled everything, and what it compiled is used: no command writes bytecode."""
    folder = full.root / "usr/lib/python3/dist-packages/ocifw"
    [boot] = folder.glob("__pycache__/boot.*.pyc")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.pyc")}
    full.ocifw("--version")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.pyc")} == before
    assert boot in before


def test_manual_pages_and_completions(full):
    """Each verb has a manual page, and bash completes verbs and options."""
    pages = {path.name for path in (full.root / "usr/share/man/man8").glob("ocifw*")}
    if pages:  # minimal installations leave manual pages out
        assert {"ocifw.8.gz", "ocifw-create.8.gz", "ocifw-sets.8.gz"} <= pages
    script = (
        ". /usr/share/bash-completion/completions/ocifw\n"
        "COMP_WORDS=(ocifw --root /x de); COMP_CWORD=3; _ocifw; echo ${COMPREPLY[@]}\n"
        "COMP_WORDS=(ocifw run --bu); COMP_CWORD=2; _ocifw; echo ${COMPREPLY[@]}\n"
        "COMP_WORDS=(ocifw --log-format j); COMP_CWORD=2; _ocifw; echo ${COMPREPLY[@]}\n"
        "COMP_WORDS=(ocifw sets ''); COMP_CWORD=2; _ocifw; echo ${COMPREPLY[@]}\n"
    )
    assert full.output("bash", "-c", script).splitlines() == [
        "delete", "--bundle", "json", "list show check lock",
    ]  # fmt: skip


def test_minimal_says_what_it_cannot_do(machine):
    """ocifw-minimal runs what `ocifw spec` writes, and refuses a filter, naming the package that would load it."""
    machine.install(*machine.packages(*minimal()))
    machine.bundle("box", "/bin/echo", "hello")
    assert machine.ocifw("run", "--bundle", "/srv/box", "box").stdout == "hello\n"
    machine.bundle("filtered", "/bin/echo", seccomp={"defaultAction": "SCMP_ACT_ALLOW"})
    done = machine.ocifw("run", "--bundle", "/srv/filtered", "filtered", check=False)
    assert done.returncode != 0
    assert "linux.seccomp" in done.stderr
    assert "ocifw-seccomp" in done.stderr
    assert machine.ocifw("list", "--quiet").stdout == ""


def test_a_plugin_can_be_removed(machine):
    """Without the package of one plugin the rest goes on, and the package ocifw goes with it."""
    machine.install(*machine.packages(*minimal(), "ocifw-hooks", "ocifw-seccomp"))
    machine.run("apt-get", "remove", "-y", "-qq", "ocifw-hooks")
    folder = machine.bundle("box", "/bin/echo", "hello")
    assert machine.ocifw("run", "--bundle", "/srv/box", "box").stdout == "hello\n"
    text = (folder / "config.json").read_text()
    hooks = '{"hooks": {"poststop": [{"path": "/bin/true"}]}, '
    (folder / "config.json").write_text(text.replace("{", hooks, 1))
    assert "ocifw-hooks" in machine.ocifw("run", "--bundle", "/srv/box", "box", check=False).stderr


def test_a_set_of_ones_own(full_copy):
    """With acme-container-set, `ocifw run` uses its plugin, its profile and its policy; without it again nothing of them."""
    machine = full_copy
    machine.install(*machine.packages("acme-container-set"))
    (machine.root / "etc/acme").mkdir()
    (machine.root / "etc/acme/site").write_text("berlin\n")
    show = "echo $ACME_SITE $(ulimit -n); grep Seccomp: /proc/self/status"
    folder = machine.bundle("site", "/bin/sh", "-c", show)
    words = machine.ocifw("run", "--bundle", "/srv/site", "site").stdout.split()
    assert words[0] == "berlin"
    assert int(words[1]) <= 4096
    assert words[-1] == "2"
    assert "acme-site" in machine.ocifw("plugins", "list").stdout
    assert "acme" in machine.ocifw("sets", "show").stdout
    text = (folder / "config.json").read_text()
    assert '"network"' in text
    (folder / "config.json").write_text(text.replace('"network"', '"time"'))
    for arguments in ([], ["--profile", "default"]):
        done = machine.ocifw(*arguments, "run", "--bundle", "/srv/site", "site", check=False)
        assert done.returncode != 0
        assert "acme's management network" in done.stderr
    machine.run("apt-get", "purge", "-y", "-qq", "acme-container-set")
    (folder / "config.json").write_text(text)
    words = machine.ocifw("run", "--bundle", "/srv/site", "site").stdout.split()
    assert words[-1] == "0"
    assert "berlin" not in words


def test_upgrade_with_a_container(machine):
    """A container that an older version made is worked on by the newer one, which the first command already is."""
    everything = [path for path in machine.packages() if "acme" not in path]
    machine.install(*everything)
    machine.bundle("box", "/bin/sleep", "1000")
    machine.run("ocifw", "create", "--bundle", "/srv/box", "box")
    try:
        machine.install(*[path for path in machine.packages(version="next") if "acme" not in path])
        version = machine.output("dpkg-query", "-W", "-f", "${Version}", "ocifw-core")
        assert version.startswith("0.1.1-")
        machine.ocifw("start", "box")
        assert '"running"' in machine.ocifw("state", "box").stdout
        assert machine.ocifw("exec", "box", "/bin/echo", "hello").stdout == "hello\n"
    finally:
        machine.ocifw("delete", "--force", "box")
    machine.bundle("new", "/bin/echo", "hello")
    assert machine.ocifw("run", "--bundle", "/srv/new", "new").stdout == "hello\n"


def test_nothing_is_left(machine):
    """Purging the packages after use leaves the files that were there before."""
    before = machine.files()
    machine.install(*machine.packages())
    machine.bundle("box", "/bin/true")
    machine.ocifw("run", "--bundle", "/srv/box", "box")
    assert machine.files() > before
    names = [path.split("/")[-1].split("_")[0] for path in machine.packages()]
    machine.run("apt-get", "purge", "-y", "-qq", *names)
    subprocess.run(["rm", "-rf", "--one-file-system", machine.root / "srv/box"], check=True)
    assert machine.files() - before == set()
    assert before - machine.files() == set()


def test_removing_keeps_settings(machine):
    """What the administrator wrote to /etc/ocifw is not the packages' to remove."""
    machine.install(*machine.packages(*minimal()))
    own = machine.root / "etc/ocifw/sets.d/default.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("description: mine\n")
    machine.run("apt-get", "purge", "-y", "-qq", *minimal())
    assert own.read_text() == "description: mine\n"
