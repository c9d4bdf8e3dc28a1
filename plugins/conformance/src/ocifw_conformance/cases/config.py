"""config.md: Root, Mounts, Hostname, Domainname."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocifw_conformance.case import add_case, must, refuses, shows

if TYPE_CHECKING:
    from ocifw_conformance.trial import Trial

ROOT = "config.md, Root"
MOUNTS = "config.md, Mounts"
NAMES = "config.md, Hostname and domainname"


def nothing(trial: Trial) -> None:
    """Leave the config as it is."""


refuses(
    "root_missing",
    ROOT,
    "A root that is not there is an error.",
    lambda t: t.config["root"].update(path="/nonexistent"),
)
refuses(
    "root_file",
    ROOT,
    "A root that is no folder is an error.",
    lambda t: t.config["root"].update(path="/etc/passwd"),
)


@must(ROOT)
def root_relative(trial: Trial) -> None:
    """A relative root.path is one in the bundle."""
    trial.own_rootfs()
    trial.config["root"]["path"] = "rootfs"
    trial.same(trial.output("echo yes"), ["yes"])


shows(
    "root_readonly", ROOT, "A read-only root cannot be written to.",
    nothing, "echo x >/new || echo refused; test -e /new || echo not-there", "refused not-there",
)  # fmt: skip


@must(ROOT)
def root_writable(trial: Trial) -> None:
    """Without readonly the root can be written to."""
    root = trial.own_rootfs()
    trial.output("echo x >/new")
    trial.demand((root / "new").exists(), "it cannot")


# ---- mounts ----


@must(MOUNTS)
def mounts_in_order(trial: Trial) -> None:
    """Mounts are made in the listed order."""
    for size in ("1m", "2m"):
        trial.mount("/tmp", "tmpfs", "t", f"size={size}")
    out = trial.output("grep ' /tmp ' /proc/mounts | tail -n1")
    trial.demand("size=2048k" in " ".join(out), "another one is on top")


def _bound(trial: Trial, source: object, kind: str, option: str) -> None:
    (trial.bundle / "data").mkdir()
    (trial.bundle / "data/file").write_text("bound\n")
    trial.keywords["cwd"] = "/"
    trial.mount("/tmp", kind, source, option)
    trial.same(trial.output("cat /tmp/file"), ["bound"])


def _bind(name: str, demand: str, source: str, kind: str, option: str) -> None:
    def attempt(trial: Trial) -> None:
        _bound(trial, trial.bundle / "data" if source == "absolute" else "data", kind, option)

    add_case(name, MOUNTS, demand, attempt)


_bind(
    "mounts_bind_by_option",
    "A mount with option bind is a bind mount, whatever its type.",
    "absolute",
    "none",
    "bind",
)
_bind(
    "mounts_rbind_by_option", "A mount with option rbind is one, too.", "absolute", "none", "rbind"
)
_bind(
    "mounts_relative_source",
    "A relative source of a bind mount is one in the bundle.",
    "data",
    "bind",
    "bind",
)


@must(MOUNTS)
def mounts_rbind_below(trial: Trial) -> None:
    """rbind binds what is mounted below the source, and bind does not."""
    trial.mount("/tmp", "bind", "/dev", "rbind")
    trial.mount("/run", "bind", "/dev", "bind")
    trial.needs(os.path.ismount("/dev/pts"), "a mount below /dev")
    out = trial.output("grep -c ' /tmp/pts ' /proc/mounts; grep -c ' /run/pts ' /proc/mounts")
    trial.demand(out[0] != "0", "rbind does not")
    trial.same(out[1], "0", "below bind")


@must(MOUNTS)
def mounts_relative_destination(trial: Trial) -> None:
    """A relative destination is one below /."""
    trial.mount("tmp", "tmpfs", "tmpfs", "size=1m")
    trial.same(trial.output("grep -c ' /tmp tmpfs ' /proc/mounts"), ["1"])


@must(MOUNTS)
def mounts_data(trial: Trial) -> None:
    """Options that are no flags are the filesystem's own."""
    trial.mount("/tmp", "tmpfs", "tmpfs", "size=1m", "mode=1770")
    out = trial.output("grep ' /tmp ' /proc/mounts")
    trial.demand("size=1024k" in out[3] and "mode=1770" in out[3], out[3])


refuses(
    "mounts_missing_source", MOUNTS, "A source of a bind mount that is not there is an error.",
    lambda t: t.mount("/tmp", "bind", "/nonexistent", "bind"),
)  # fmt: skip
refuses(
    "mounts_unknown_type", MOUNTS, "A type that the kernel does not know is an error.",
    lambda t: t.mount("/tmp", "nonsense", "nonsense"),
)  # fmt: skip
refuses(
    "mounts_bad_data", MOUNTS, "An option that the filesystem does not know is an error.",
    lambda t: t.mount("/tmp", "tmpfs", "tmpfs", "nonsense"),
)  # fmt: skip

FLAGS = (
    # option, options of the bind mount with it, words that its mountinfo must have (with ! that it must not)
    ("ro", "ro"), ("rw", "rw"), ("nosuid", "nosuid"), ("suid", "!nosuid"), ("nodev", "nodev"), ("dev", "!nodev"),
    ("noexec", "noexec"), ("exec", "!noexec"), ("noatime", "noatime"), ("nodiratime", "nodiratime"),
    ("relatime", "relatime"), ("strictatime", "!relatime"), ("sync", "sync"), ("dirsync", "dirsync"),
    ("async", "!sync"), ("lazytime", "lazytime"), ("nolazytime", "!lazytime"), ("atime", "!noatime"),
    ("diratime", "!nodiratime"), ("norelatime", ""), ("nostrictatime", ""), ("defaults", "rw"), ("silent", ""),
    ("loud", ""), ("iversion", ""), ("noiversion", ""),
)  # fmt: skip


def _flag(option: str, wanted: str) -> None:
    def attempt(trial: Trial) -> None:
        trial.mount("/tmp", "tmpfs", "tmpfs", option)
        out = trial.output("grep ' /tmp ' /proc/self/mountinfo")
        trial.demand(len(out) > 5, "not mounted")
        found = {word for field in (out[5], out[-1]) for word in field.split(",")}
        if wanted.startswith("!"):
            trial.demand(wanted[1:] not in found, f"is {wanted[1:]}")
        elif wanted:
            trial.demand(wanted in found, f"is {out[5]}")

    name = f"mounts_option_{option}"
    runc = "runc 1.1 hands it to the filesystem" if option == "defaults" else ""
    add_case(name, MOUNTS, f"The mount option {option} is understood, and counts.", attempt, runc)


for _option, _wanted in FLAGS:
    _flag(_option, _wanted)


@must(MOUNTS)
def mounts_bind_flags(trial: Trial) -> None:
    """Options of a bind mount count for it, and not for its source."""
    trial.mount("/tmp", "bind", trial.rootfs, "bind", "ro", "nosuid", "nodev", "noexec")
    out = trial.output("grep ' /tmp ' /proc/self/mountinfo")
    trial.demand({"ro", "nosuid", "nodev", "noexec"} <= set(out[5].split(",")), out[5])


@must(MOUNTS)
def mounts_option_remount(trial: Trial) -> None:
    """The mount option remount changes a mount that is there."""
    trial.mount("/tmp", "tmpfs", "tmpfs", "size=1m")
    trial.mount("/tmp", "tmpfs", "tmpfs", "remount", "size=2m")
    out = trial.output("grep ' /tmp ' /proc/mounts")
    trial.demand(len(out) == 6 and "size=2048k" in out[3], " ".join(out))


@must(MOUNTS)
def mounts_option_nosymfollow(trial: Trial) -> None:
    """The mount option nosymfollow is understood (SHOULD)."""
    trial.mount("/tmp", "tmpfs", "tmpfs", "nosymfollow")
    trial.same(
        trial.output("ln -s /etc/passwd /tmp/x; cat /tmp/x >/dev/null || echo refused"), ["refused"]
    )


def _propagation(option: str, wanted: str) -> None:
    def attempt(trial: Trial) -> None:
        trial.mount("/tmp", "tmpfs", "tmpfs", option)
        out = trial.output("grep ' /tmp ' /proc/self/mountinfo")
        found = {field.partition(":")[0] for field in out[6 : out.index("-")]}
        trial.demand(wanted in found if wanted else not found, f"is {found or 'private'}")

    demand = f"The mount option {option} sets the propagation."
    add_case(f"mounts_option_{option}", MOUNTS, demand, attempt)


for _option, _wanted in (
    ("private", ""),
    ("shared", "shared"),
    ("slave", ""),
    ("unbindable", "unbindable"),
):
    _propagation(_option, _wanted)
    _propagation(f"r{_option}", _wanted)

RECURSIVE = (
    ("rro", "ro"), ("rrw", "rw"), ("rnosuid", "nosuid"), ("rsuid", "!nosuid"), ("rnodev", "nodev"), ("rdev", "!nodev"),
    ("rnoexec", "noexec"), ("rexec", "!noexec"), ("rnodiratime", "nodiratime"), ("rdiratime", "!nodiratime"),
    ("rnoatime", "noatime"), ("rrelatime", "relatime"), ("rstrictatime", "!relatime"), ("rnosymfollow", "nosymfollow"),
    ("rsymfollow", "!nosymfollow"),
)  # fmt: skip


def _recursive(option: str, wanted: str) -> None:
    def attempt(trial: Trial) -> None:
        trial.needs(os.path.ismount("/dev/shm"), "a mount below /dev")
        trial.mount("/tmp", "bind", "/dev", "rbind", option)
        out = trial.output("grep ' /tmp/shm ' /proc/self/mountinfo | tail -n1")
        trial.demand(len(out) > 5, "not mounted")
        found = out[5].split(",")
        is_there = wanted.lstrip("!") in found
        trial.demand(is_there is not wanted.startswith("!"), f"below it is {out[5]}")

    demand = f"The mount option {option} counts for all mounts below, too (SHOULD)."
    add_case(f"mounts_option_{option}", MOUNTS, demand, attempt)


for _option, _wanted in RECURSIVE:
    _recursive(_option, _wanted)


def _mapped(trial: Trial, **more: Any) -> None:
    folder = trial.folder / "mapped"
    folder.mkdir()
    (folder / "file").touch()
    os.chown(folder / "file", 5000, 5000)
    trial.mount("/tmp", "bind", folder, "bind", **more)


IDS = [{"containerID": 5000, "hostID": 1000, "size": 1}]


@must(MOUNTS, runc="runc 1.1 does not know it")
def mounts_idmapped(trial: Trial) -> None:
    """uidMappings and gidMappings of a mount show files with other owners."""
    _mapped(trial, uidMappings=IDS, gidMappings=IDS)
    done = trial.run("stat -c %u:%g /tmp/file", check=False)
    trial.needs("does not support" not in done.err, "a filesystem that can be id-mapped")
    trial.same(done.out.split(), ["1000:1000"])


refuses(
    "mounts_idmapped_by_halves", MOUNTS, "uidMappings of a mount without gidMappings are an error.",
    lambda t: _mapped(t, uidMappings=IDS), "runc 1.1 does not know it",
)  # fmt: skip
refuses(
    "mounts_idmap_without_mappings", MOUNTS, "idmap without mappings of the mount or a user namespace is an error.",
    lambda t: t.mount("/tmp", "bind", "/etc", "bind", "idmap"), "runc 1.1 does not know it",
)  # fmt: skip


@must(MOUNTS)
def mounts_tmpcopyup(trial: Trial) -> None:
    """tmpcopyup fills a tmpfs with what it covers (MAY)."""
    root = trial.own_rootfs()
    (root / "srv/file").write_text("content\n")
    trial.mount("/srv", "tmpfs", "tmpfs", "tmpcopyup")
    trial.same(trial.output("cat /srv/file; echo new >/srv/file"), ["content"])
    trial.same((root / "srv/file").read_text(), "content\n", "the image's file")


@must(MOUNTS)
def mounts_stay_inside(trial: Trial) -> None:
    """Mounts of the container do not reach the host."""
    before = Path("/proc/self/mountinfo").read_text()
    trial.own_rootfs()
    trial.mount("/tmp", "tmpfs", "tmpfs", "rshared")
    trial.demand(trial.pid(trial.create()), "no container")
    trial.same(Path("/proc/self/mountinfo").read_text() == before, True, "the same mounts outside")


# ---- names ----

shows("hostname", NAMES, "The container has its host name.", nothing, "hostname", "box")


@must(NAMES)
def hostname_stays_inside(trial: Trial) -> None:
    """The host keeps its own host name."""
    before = os.uname().nodename
    trial.same(trial.output("hostname"), ["box"])
    trial.same(os.uname().nodename, before)


shows(
    "domainname", NAMES, "The container has its domain name.",
    lambda t: t.config.update(domainname="example"), "cat /proc/sys/kernel/domainname", "example", "runc 1.1 does not know it",
)  # fmt: skip
refuses(
    "hostname_of_the_host", NAMES, "A host name without a UTS namespace of its own is an error.",
    lambda t: t.namespace("uts", keep=False),
)  # fmt: skip
