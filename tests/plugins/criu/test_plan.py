"""ocifw-criu without CRIU: what is missing, what is asked for, what is read of images and logs."""

from __future__ import annotations

import json
import os

import pytest

from ocifw.container import Container
from ocifw.context import Host, Request
from ocifw.errors import OcifwError
from ocifw_criu import external, images, logs, plugin, rpc

CONFIG = {
    "mounts": [
        {"destination": "/data/", "type": "bind", "source": "data", "options": ["rbind"]},
        {"destination": "/proc", "type": "proc"},
        {"destination": "/etc/x", "source": "/host/x", "options": ["bind", "ro"]},
    ],
    "linux": {
        "namespaces": [{"type": "pid"}, {"type": "network", "path": "/run/netns/a"}],
        "devices": [{"path": "/dev/null", "type": "c"}],
    },
}


@pytest.fixture
def nothing(monkeypatch):
    """A machine without CRIU and pycriu."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(rpc, "_search_path", lambda: ["/nowhere"])


@pytest.mark.parametrize("verb", ["checkpoint", "restore"])
def test_what_is_missing_is_named(nothing, verb):
    """Without CRIU the error names the packages; it never pretends that something was done."""
    if verb == "checkpoint":
        steps = plugin.ocifw_checkpoint(None, {}, {})
    else:
        request = Request("restore", "box", "/b", "/b/rootfs", "/s/box")
        steps = plugin.ocifw_restore({}, {}, {}, request, Host({}, 0))
    with pytest.raises(OcifwError, match=rf"^{verb} needs CRIU.*criu, python3-pycriu$"):
        next(steps)


def test_the_features_tell(nothing, monkeypatch, tmp_path):
    """runc's annotation is only there when both packages are."""
    unsafe = {"potentiallyUnsafeConfigAnnotations": ["org.criu.config"]}
    assert plugin.ocifw_features() == unsafe
    (tmp_path / "criu").write_text("#!/bin/sh\n")
    (tmp_path / "criu").chmod(0o755)
    (tmp_path / "pycriu").mkdir()
    (tmp_path / "pycriu" / "rpc_pb2.py").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert plugin.ocifw_features() == unsafe
    monkeypatch.setattr(rpc, "_search_path", lambda: [str(tmp_path)])
    annotations = plugin.ocifw_features()["annotations"]
    assert annotations == {"org.opencontainers.runc.checkpoint.enabled": "true"}


def test_the_program_of_the_settings(monkeypatch, tmp_path):
    """settings.criu counts instead of PATH, and is named when it is not there."""
    monkeypatch.setattr(rpc, "missing", lambda settings: [] if rpc.binary(settings) else ["criu"])
    (tmp_path / "mine").write_text("#!/bin/sh\n")
    (tmp_path / "mine").chmod(0o755)
    assert rpc.find({"criu": str(tmp_path / "mine")}, "restore") == str(tmp_path / "mine")
    with pytest.raises(OcifwError, match=r"settings\.criu: /nowhere/criu: no such program"):
        rpc.find({"criu": "/nowhere/criu"}, "restore")


def test_mounts_are_named_by_their_destination(tmp_path):
    """Bind mounts are mapped from their destination to their source, single devices to themselves."""
    found = dict(external.restored_mounts(CONFIG, str(tmp_path)))
    assert found["/data"] == str(tmp_path / "data") and found["/etc/x"] == "/host/x"
    assert found["/dev/null"] == "/dev/null" and "/proc" not in found
    assert list(external.joined(CONFIG)) == [("network", "/run/netns/a")]


def test_own_mounts_are_read():
    """Mount points of a process are read as they are, with spaces."""
    assert ("/", True) in [
        (point, mount > 0) for mount, _, point, _ in external.mounted(os.getpid())
    ]
    assert external._plain("/a\\040b\\134c") == "/a b\\c"


def test_the_first_error_is_the_cause(tmp_path):
    """A log comes down to its first error that matters, and the option that helps."""
    log = tmp_path / "dump.log"
    log.write_text(
        "(00.01) Error (criu/util.c:1): rlimit: Can't setup RLIMIT_NOFILE for self: no\n"
        "(00.02) Warn  (criu/x.c:1): nothing\n"
        "(00.03)      1: Error (criu/sk-inet.c:188): inet: Connected TCP socket, consider using --tcp-established\n"
        "(00.04) Error (criu/cr-dump.c:2): Dumping FAILED.\n"
    )
    cause = "inet: Connected TCP socket, consider using --tcp-established (use --tcp-established)"
    assert logs.cause(str(log)) == cause
    text = logs.described(OcifwError("criu failed"), str(log))
    assert text == f"criu failed: {cause} (log file: {log})"
    assert logs.described(OcifwError("criu failed"), "/nowhere/log") == "criu failed"


@pytest.mark.parametrize(
    "text", ["{", "{}", "[1]", '["a", "b", "c", "d"]', json.dumps(["x" * 5000]), '["\\u0000"]']
)
def test_tampered_descriptors(tmp_path, text):
    """descriptors.json that ocifw or runc would not write is refused, with its name."""
    (tmp_path / "descriptors.json").write_text(text)
    with pytest.raises(OcifwError, match=r"descriptors\.json"):
        images.descriptors(str(tmp_path))


def test_descriptors_are_no_link(tmp_path):
    """A symbolic link in place of descriptors.json is not followed."""
    (tmp_path / "other").write_text('["a"]')
    (tmp_path / "descriptors.json").symlink_to("other")
    with pytest.raises(OcifwError, match="too many levels of symbolic links"):
        images.descriptors(str(tmp_path))


@pytest.mark.parametrize(
    ("files", "good"),
    [
        (["", "", "file[1f:2a]"], True),
        (["", "", "pipe:[1]"], False),
        (["", "", "file[1f]"], False),
        (["", "", "file[g:1]"], False),
        (["", ""], False),
        (None, False),
    ],
)
def test_notes_name_files_only(tmp_path, files, good):
    """What ocifw noted names files by numbers, or is refused."""
    images.note(str(tmp_path), ["", "pipe:[1]", ""], {"files": files})
    assert images.descriptors(str(tmp_path)) == ["", "pipe:[1]", ""]
    if good:
        assert images.notes(str(tmp_path))["files"] == files
    else:
        with pytest.raises(OcifwError, match=r"ocifw\.json: not what ocifw writes there"):
            images.notes(str(tmp_path))


def test_a_folder_without_images(tmp_path):
    """A folder that holds no checkpoint is refused before anything is made."""
    with pytest.raises(OcifwError, match="holds no checkpoint.*no such file or directory"):
        images.check(str(tmp_path), "x86_64")
    for name in ("inventory.img", "pstree.img"):
        (tmp_path / name).touch()
    with pytest.raises(OcifwError, match="holds no processes"):
        images.check(str(tmp_path), "x86_64")


def test_another_architecture(tmp_path, monkeypatch):
    """Images of another architecture are told from those of this one."""
    for name in ("inventory.img", "pstree.img", "core-1.img"):
        (tmp_path / name).touch()
    monkeypatch.setattr(images, "architecture", lambda path: "AARCH64")
    images.check(str(tmp_path), "aarch64")
    with pytest.raises(OcifwError, match="another architecture: AARCH64, not x86_64"):
        images.check(str(tmp_path), "x86_64")


def test_the_report_names_what_is_missing(nothing, tmp_path):
    """ocifw_checkpoint_report, without CRIU: not possible, with the reason, and with what is found nevertheless."""
    state = {"id": "box", "pid": 0, "bundle": str(tmp_path), "config": CONFIG, "notes": {}}
    found = plugin.ocifw_checkpoint_report(Container(str(tmp_path), state), {})
    checks = {check["name"]: (check["ok"], check["detail"]) for check in found["checks"]}
    assert found["possible"] is False and found["id"] == "box"
    assert checks["packages"] == (False, "missing: criu, python3-pycriu")
    assert checks["status"] == (False, "creating")
    assert checks["joined namespace"] == (False, "network: /run/netns/a")
    assert found["needs"]["namespaces"] == ["/run/netns/a"]
