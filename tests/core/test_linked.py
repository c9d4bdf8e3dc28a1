"""The cache of linked plugins: one that is damaged, stale, or that somebody else could have written is not used.

Each test runs this file as a program in a mount namespace with a /var/cache of its own. There the cache is poisoned: with its
plugin set, which is empty, no container can be made. So a container that is made proves that it was not used.
"""

from __future__ import annotations

import json
import marshal
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CACHE = Path("/var/cache/ocifw")
ELSEWHERE = Path("/var/cache/elsewhere")
NOBODY = 65534
PATIENCE_S = 30

CONFIG = {
    "ociVersion": "1.0.2",
    "process": {"user": {"uid": 0, "gid": 0}, "args": ["/bin/true"], "cwd": "/"},
    "root": {"path": "rootfs"},
    "hostname": "box",
    "linux": {"namespaces": [{"type": "mount"}, {"type": "uts"}, {"type": "pid"}]},
}


def files():
    """The files of linked sets; there are others in the cache, of other kinds."""
    return sorted(CACHE.glob("plugins-*"))


def replace(change):
    """Write the linked sets anew, changed by a function of key and table."""
    for path in files():
        mode = path.stat().st_mode
        path.write_bytes(marshal.dumps(change(*marshal.loads(path.read_bytes()))))
        path.chmod(mode)


def poison():
    replace(lambda key, table: (key, {**table, "plugins": [], "hooks": {}}))


def each(function):
    def run():
        for path in files():
            function(path)

    return run


def moved(path):
    target = ELSEWHERE / path.name
    ELSEWHERE.mkdir(exist_ok=True)
    path.rename(target)
    return target


def instead(make):
    """Something else stands where the file was."""

    def change(path):
        path.unlink()
        make(path)

    return each(change)


def symlinked_folder():
    CACHE.rename(ELSEWHERE)
    CACHE.symlink_to(ELSEWHERE)


def folder_is_a_file():
    shutil.rmtree(CACHE)
    CACHE.write_text("")


def read_only():
    shutil.rmtree(CACHE)
    subprocess.run(["mount", "-o", "remount,ro", "/var/cache"], check=True)


CONDITIONS = {
    "file of somebody else": each(lambda path: os.chown(path, NOBODY, NOBODY)),
    "file writable for a group": each(lambda path: path.chmod(0o620)),
    "file writable for all": each(lambda path: path.chmod(0o602)),
    "symbolic link to a file": each(lambda path: path.symlink_to(moved(path))),
    "folder of somebody else": lambda: os.chown(CACHE, NOBODY, NOBODY),
    "folder writable for all": lambda: CACHE.chmod(0o707),
    "symbolic link to a folder": symlinked_folder,
    "empty": each(lambda path: path.write_bytes(b"")),
    "garbage": each(lambda path: path.write_bytes(bytes(range(256)) * 9)),
    "another type": each(lambda path: path.write_bytes(marshal.dumps([1, 2, 3]))),
    "made for something else": lambda: replace(lambda key, table: ((*key[:-1], "other"), table)),
    "plugins that have changed": lambda: replace(
        lambda key, table: (key, {**table, "files": [["/bin/sh", [1, 2, 3]]]})
    ),
    "too large": each(lambda path: os.truncate(path, 1 << 30)),
    "fifo": instead(os.mkfifo),
    "folder": instead(Path.mkdir),
    "dangling link": instead(lambda path: path.symlink_to("/nonexistent")),
    "file where the folder was": folder_is_a_file,
    "no place to write": read_only,
    "gone": lambda: shutil.rmtree(CACHE),
}


def mount_cache():
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "cache", "/var/cache"], check=True)


# ---- in the mount namespace ------------------------------------------------------------------------------------------


def ocifw(program, folder, *words):
    return subprocess.run(
        [program, "--root", f"{folder}/state", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


def live(program, folder, container_id="box"):
    """Make a container and let it live and end: what the command said, and its exit status."""
    done = ocifw(program, folder, "run", "--bundle", folder, container_id)
    return done.returncode, done.stdout


def conditions(program, folder):
    assert live(program, folder) == (0, "")
    assert files()
    poison()
    status, said = live(program, folder)
    assert status == 1 and "no active plugin" in said, said
    contents = {path: path.read_bytes() for path in CACHE.iterdir()}
    failed = {}
    for condition, change in CONDITIONS.items():
        subprocess.run(["umount", "/var/cache"], check=True)
        mount_cache()
        CACHE.mkdir(0o700)
        for path, content in contents.items():
            path.write_bytes(content)
            path.chmod(0o600)
        change()
        result = live(program, folder)
        if result != (0, ""):
            failed[condition] = result
    assert failed == {}


def truncated(program, folder):
    assert live(program, folder) == (0, "")
    path = files()[0]
    content = path.read_bytes()
    for size in range(0, len(content), len(content) // 8):
        path.write_bytes(content[:size])
        path.chmod(0o600)
        assert live(program, folder) == (0, ""), size


def concurrent(program, folder):
    command = [program, "--root", f"{folder}/state", "run", "--bundle", folder]
    running = []
    for i in range(8):
        config = json.loads(Path(folder, "config.json").read_text())
        config["linux"]["cgroupsPath"] += f"-{i}"
        Path(folder, f"config{i}.json").write_text(json.dumps(config))
        words = ["--config", f"config{i}.json", f"box{i}"]
        running.append(subprocess.Popen([*command, *words], stdin=subprocess.DEVNULL))
    assert [process.wait(PATIENCE_S) for process in running] == [0] * 8
    assert len(files()) == 1
    assert [path.name for path in CACHE.iterdir() if path.name.startswith(".")] == []
    before = files()[0].stat()
    assert live(program, folder) == (0, "")
    assert files()[0].stat().st_mtime_ns == before.st_mtime_ns


if __name__ == "__main__":
    mount_cache()
    name, *arguments = sys.argv[1:]
    globals()[name](*arguments)
    sys.exit(0)


# ---- the tests -------------------------------------------------------------------------------------------------------

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def run(tmp_path):
    program = Path(sys.executable).with_name("ocifw")
    program = str(program) if program.exists() else shutil.which("ocifw")
    busybox = shutil.which("busybox")
    if program is None or busybox is None:
        pytest.skip("needs the command ocifw, and busybox-static")
    (tmp_path / "rootfs/bin").mkdir(parents=True)
    shutil.copy(busybox, tmp_path / "rootfs/bin/busybox")
    (tmp_path / "rootfs/bin/true").symlink_to("busybox")
    (tmp_path / "rootfs/proc").mkdir()
    config = {**CONFIG, "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}]}
    config["linux"] = {**CONFIG["linux"], "cgroupsPath": f"/ocifw-linked-{os.getpid()}"}
    (tmp_path / "config.json").write_text(json.dumps(config))

    def start(name, *arguments):
        done = subprocess.run(
            ["unshare", "--mount", "--propagation", "private", sys.executable, __file__,
             name, program, tmp_path, *arguments],
            capture_output=True, text=True, check=False, timeout=4 * PATIENCE_S,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    return start


@pytest.mark.slow
def test_bad_caches_are_not_used(run):
    """Whatever is wrong with the cache, the container is made, by the plugins that are installed."""
    run("conditions")


@pytest.mark.slow
def test_caches_that_were_cut_off(run):
    """Wherever a file ends, the container is made."""
    run("truncated")


@pytest.mark.slow
def test_concurrent_first_use(run):
    """Commands that find no cache at the same time all work, and leave one that is used from then on."""
    run("concurrent")
