"""Whose code is believed: owners and modes of files and folders, and where plugins are looked for at all."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest

from ocifw import trust

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give files away")
pytestmark = pytest.mark.filterwarnings("default")

EVIL = "open({mark!r}, 'w').close()\nraise SystemExit('evil')\n"


# ---- owners and modes --------------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path):
    """A folder with a file, that nobody else can write."""
    folder = tmp_path / "above/package"
    folder.mkdir(parents=True)
    (folder / "plugin.py").write_text("x = 1\n")
    return folder


def digest(folder):
    return trust.digest(str(folder.parent), [folder.name])[0]


def test_what_is_ones_own_is_believed(tree):
    """Files of root or the caller below folders of root or the caller have a hash, that content and names change."""
    first = digest(tree)
    assert first == digest(tree)
    (tree / "plugin.py").write_text("x = 2\n")
    second = digest(tree)
    (tree / "plugin.py").rename(tree / "other.py")
    assert len({first, second, digest(tree)}) == 3


@pytest.mark.parametrize("which", ["file", "folder", "above", "pycache", "compiled"])
@pytest.mark.parametrize("mode", [0o002, 0o020])
def test_what_others_can_write_is_refused(tree, which, mode):
    """A file, its folder, the folder above, and what the interpreter compiled: none may be writable by others."""
    cache = tree / "__pycache__"
    cache.mkdir()
    (cache / "plugin.cpython-311.pyc").write_bytes(b"")
    path = {
        "file": tree / "plugin.py",
        "folder": tree,
        "above": tree.parent,
        "pycache": cache,
        "compiled": cache / "plugin.cpython-311.pyc",
    }[which]
    if os.geteuid():
        os.chmod(path, path.stat().st_mode | 0o002)
    else:
        os.chmod(path, path.stat().st_mode | mode)
    with pytest.raises(trust.Untrusted, match=f"{path.name} is writable by others"):
        digest(tree)


@needs_root
@pytest.mark.parametrize("which", ["file", "folder", "above"])
def test_what_belongs_to_others_is_refused(tree, which):
    """Root believes no file, and no folder above it, of another user, whatever its mode."""
    path = {"file": tree / "plugin.py", "folder": tree, "above": tree.parent}[which]
    os.chown(path, 4321, 4321)
    with pytest.raises(
        trust.Untrusted, match=f"{path.name} belongs to user 4321: it must belong to root"
    ):
        digest(tree)


@needs_root
def test_a_users_own_group_counts_as_the_user(tree):
    """With umask 002 a user's files are writable for the group of the same number, in which nobody else is."""
    allowed = frozenset((0, 4321))
    path = tree / "plugin.py"
    os.chown(path, 4321, 4321)
    path.chmod(0o664)
    assert trust.digest(str(tree.parent), [tree.name], allowed)[0]
    os.chown(path, 4321, 99)
    with pytest.raises(trust.Untrusted, match="writable by others"):
        trust.digest(str(tree.parent), [tree.name], allowed)


def test_links_inside_a_package_are_refused(tree):
    """A package holds files and folders; a link could lead anywhere."""
    (tree / "link.py").symlink_to("/etc/passwd")
    with pytest.raises(trust.Untrusted, match="link.py is neither a file nor a folder"):
        digest(tree)


@needs_root
def test_links_on_the_way_are_followed_and_checked(tree, tmp_path):
    """A link above is followed when it lies where only root could have put it; what it leads to is checked the same."""
    link = tmp_path / "link"
    link.symlink_to("above")
    assert trust.digest(str(link), ["package"])[0] == trust.digest(str(tree.parent), ["package"])[0]
    os.chown(link, 4321, 4321, follow_symlinks=False)
    with pytest.raises(trust.Untrusted, match="link belongs to user 4321"):
        trust.digest(str(link), ["package"])


def test_a_circle_of_links(tmp_path):
    """Links that lead to each other are an error."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(trust.Untrusted, match="too many symbolic links"):
        trust.read(str(tmp_path / "a"))


def test_dots_on_the_way(tree):
    """`..` leads to the folder that is really above."""
    assert trust.read(f"{tree}/../package/./plugin.py") == b"x = 1\n"


# ---- where plugins are looked for --------------------------------------------------------------------------------


@pytest.fixture
def mark(tmp_path):
    """A file that evil code would make."""
    return tmp_path / "evil-was-here"


def plant(installation, folder, mark):
    """Put into a folder what would be run by a program that looks there: plugins, ours and others, and interpreters' hooks."""
    source = EVIL.format(mark=str(mark))
    installation.plugin("evil", source, library=folder)
    hooks = folder / "ocifw_hooks"
    hooks.mkdir()
    for name in ("__init__.py", "plugin.py"):
        (hooks / name).write_text(source)
    for name in (
        "sitecustomize.py",
        "usercustomize.py",
        "pluggy.py",
        "json.py",
        "ocifw.py",
        "os.py",
    ):
        (folder / name).write_text(source)
    (folder / "sets.d").mkdir()
    (folder / "sets.d/default.yaml").write_text("plugins: {evil: true}")


def check(done, mark, installation):
    assert done.returncode == 0, done.stderr
    assert "evil" not in done.stdout
    assert not mark.exists()


@pytest.mark.slow
def test_not_from_pythonpath(installation, tmp_path, mark):
    """No PYTHON* variable has a say."""
    folder = tmp_path / "planted"
    folder.mkdir()
    plant(installation, folder, mark)
    variables = {
        "PYTHONPATH": str(folder),
        "PYTHONSTARTUP": str(folder / "json.py"),
        "PYTHONUSERBASE": str(folder),
        "PYTHONHOME": "",
    }
    check(installation.ocifw("plugins", "list", env=variables), mark, installation)


@pytest.mark.slow
def test_not_from_the_users_site(installation, tmp_path, mark):
    """The user's site folder is not looked into, not even when it is in the usual place."""
    import sysconfig

    home = tmp_path / "home"
    site = sysconfig.get_path("purelib", "posix_user", {"userbase": str(home / ".local")})
    os.makedirs(site)
    from pathlib import Path

    plant(installation, Path(site), mark)
    check(installation.ocifw("plugins", "list", env={"HOME": str(home)}), mark, installation)


@pytest.mark.slow
def test_not_by_pth_files(installation, tmp_path, mark):
    """A .pth file beside ocifw is neither executed nor does it add a folder."""
    folder = tmp_path / "planted"
    folder.mkdir()
    plant(installation, folder, mark)
    (installation.library / "evil.pth").write_text(
        f"import os; open({str(mark)!r}, 'w')\n{folder}\n"
    )
    check(installation.ocifw("plugins", "list"), mark, installation)


@pytest.mark.slow
def test_not_from_the_current_folder(installation, tmp_path, mark):
    """What lies in the current folder, which is the bundle's for engines, is not looked at."""
    folder = tmp_path / "planted"
    folder.mkdir()
    plant(installation, folder, mark)
    check(installation.ocifw("plugins", "list", cwd=folder), mark, installation)


@pytest.mark.slow
def test_not_from_the_bundle(installation, tmp_path, mark):
    """Planning a bundle looks at no plugin, set file or module in it."""
    bundle = tmp_path / "bundle"
    assert installation.ocifw("bundle", bundle).returncode == 0
    plant(installation, bundle, mark)
    plant(installation, bundle / "rootfs", mark)
    done = installation.ocifw("plan", "--bundle", bundle, cwd=bundle)
    check(done, mark, installation)


@pytest.mark.slow
def test_not_from_set_files_of_the_caller(installation, tmp_path, mark):
    """No variable moves the folders of set files."""
    folder = tmp_path / "planted"
    folder.mkdir()
    plant(installation, folder, mark)
    variables = {
        name: str(folder / "sets.d") for name in ("OCIFW_SETS", "OCIFW_SETS_D", "XDG_CONFIG_HOME")
    }
    check(installation.ocifw("plugins", "list", env=variables), mark, installation)


@pytest.mark.slow
def test_a_module_found_elsewhere(installation, mark):
    """A plugin whose package is shadowed by one of the standard library is refused before anything of it runs."""
    package = installation.plugin("thing")
    entry = package.parent / "ocifw_thing-1.0.dist-info/entry_points.txt"
    entry.write_text("[ocifw]\nthing = json.plugin\n")
    (package.parent / "json").mkdir()
    (package.parent / "json/__init__.py").write_text("")
    (package.parent / "json/plugin.py").write_text("")
    installation.set("acme", "plugins: {thing: true}")
    done = installation.ocifw("--set", "acme", "plugins", "list")
    assert done.returncode == 1
    assert "plugin thing: import: json is found in" in done.stderr and "outside of" in done.stderr


@needs_root
@pytest.mark.slow
@pytest.mark.parametrize("which", ["package", "plugin.py", "library", "helper.py"])
def test_plugins_that_others_could_write(installation, which):
    """A plugin whose file, package or library somebody else can write is refused by name, and not executed."""
    package = installation.plugin("extra", "raise SystemExit('executed')")
    (package / "helper.py").write_text("")
    installation.set("acme", "plugins: {extra: true}")
    path = {"package": package, "library": package.parent}.get(which, package / which)
    path.chmod(path.stat().st_mode | 0o002)
    done = installation.ocifw("--set", "acme", "plugins", "list")
    assert done.returncode == 1 and "is writable by others" in done.stderr
    assert "plugin " in done.stderr and "executed" not in done.stderr


@needs_root
@pytest.mark.slow
def test_a_mode_that_changes_later_is_noticed(installation):
    """What was linked is not used any more once its files could be somebody else's: the cache does not hide it."""
    package = installation.plugin("extra")
    installation.set("acme", "plugins: {extra: true}")
    assert installation.ocifw("--set", "acme", "features").returncode == 0
    (package / "plugin.py").chmod(0o646)
    done = installation.ocifw("--set", "acme", "features")
    assert done.returncode == 1 and "plugin.py is writable by others" in done.stderr


# ---- changed since the container was made ------------------------------------------------------------------------


@needs_root
@pytest.mark.slow
@pytest.mark.parametrize("policy", ["warn", "refuse"])
def test_a_plugin_that_changed_since(installation, tmp_path, policy):
    """exec, update and delete of a container that other code made warn, or are refused, naming the plugin."""
    package = installation.plugin("extra")
    installation.set("acme", f"plugins: {{extra: true}}\non-change: {policy}")
    bundle = tmp_path / "bundle"
    assert installation.ocifw("bundle", bundle).returncode == 0
    config = json.loads((bundle / "config.json").read_text())
    name = f"changed-{os.getpid()}-{policy}"
    config["process"].update(terminal=False, args=["sleep", "60"])
    config["linux"]["cgroupsPath"] = f"/{name}"
    (bundle / "config.json").write_text(json.dumps(config))
    root = tmp_path / "state"

    def ocifw(*words):
        return installation.ocifw("--root", root, *words, stdin=subprocess.DEVNULL)

    try:
        made = ocifw("--set", "acme", "run", "--detach", "--bundle", bundle, name)
        assert made.returncode == 0, made.stderr
        state = json.loads((root / name / "state.json").read_text())
        assert state["set"] == "acme" and state["plugins"][-1][0] == "extra"
        assert len(state["plugins"][-1][2]) == 64
        quiet = ocifw("exec", name, "true")
        assert (quiet.returncode, quiet.stderr) == (0, "")
        (package / "plugin.py").write_text((package / "plugin.py").read_text() + "\n# edited\n")
        executed = ocifw("exec", name, "true")
        updated = ocifw("update", "--pids-limit", "50", name)
        text = "since the container was created, plugin extra was changed on disk"
        for done in (executed, updated):
            assert (done.returncode == 0) is (policy == "warn"), done
            assert text in done.stderr
        ocifw("kill", name, "KILL")
        if policy == "refuse":
            import time

            end = time.monotonic() + 10
            while "stopped" not in ocifw("state", name).stdout and time.monotonic() < end:
                pass
            deleted = ocifw("delete", name)
            assert deleted.returncode == 1 and "refuses that (on-change: refuse)" in deleted.stderr
    finally:
        deleted = ocifw("delete", "--force", name)
    assert deleted.returncode == 0 and text in deleted.stderr
    assert not (root / name).exists()


def test_no_trace_of_the_tests():
    """Nothing of these tests is left in cgroups."""
    left = [name for name in os.listdir("/sys/fs/cgroup") if name.startswith("changed-")]
    assert left == [] and shutil.which("unshare") is not None
