"""Making a bundle out of what is on the machine: a root filesystem and a config.json that fits it."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from .commands import spec
from .errors import OcifwError, errno_text
from .unpack import unpack

if TYPE_CHECKING:
    from typing import Any

_FOLDERS = {
    "dev": 0o755, "etc": 0o755, "home": 0o755, "proc": 0o555, "root": 0o700, "run": 0o755,
    "sys": 0o555, "tmp": 0o1777, "usr": 0o755, "var": 0o755, "var/tmp": 0o1777,
}  # fmt: skip
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    "etc/group": "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
_USR_LINKS = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
_BUSYBOX = ("/bin/busybox", "/usr/bin/busybox", "/sbin/busybox", "/usr/local/bin/busybox")


def make_bundle(folder: str, source: str, rootless: bool = False) -> None:
    """Make `folder`, `folder/rootfs` and `folder/config.json`; source: `host`, `busybox`, a tar archive or a folder.

    Raises OcifwError when rootfs or config.json is there already, or the source is of no use; what was made until then
    stays, but for a rootfs that could not be finished.
    """
    bundle = Path(folder)
    try:
        bundle.mkdir(parents=True, exist_ok=True)
        config = _fill(bundle, source)
        if rootless:
            config = spec.rootless(config)
        spec.write_config(str(bundle / "config.json"), config)
    except (tarfile.TarError, EOFError) as error:
        raise OcifwError(f"--from {source}: {error}") from None
    except FileExistsError as error:
        raise OcifwError(f"File {error.filename} exists. Remove it first") from None
    except OSError as error:
        name = os.fsdecode(error.filename) if error.filename else str(bundle)
        raise OcifwError(f"{name}: {errno_text(error.errno or 0)}") from error


def _fill(bundle: Path, source: str) -> dict[str, Any]:
    """Make the root filesystem. Returns the config for it."""
    config = spec.default()
    if (bundle / "config.json").exists():
        raise OcifwError("File config.json exists. Remove it first")
    path = Path(source)
    if source not in ("host", "busybox") and path.is_dir():
        config["root"]["path"] = str(path.resolve())
        return config
    busybox = _static_busybox() if source == "busybox" else b""
    archive = None if source in ("host", "busybox") else _archive(path)
    rootfs = bundle / "rootfs"
    rootfs.mkdir()
    try:
        if archive is not None:
            with archive:
                unpack(archive, rootfs)
        else:
            _skeleton(rootfs)
            if source == "host":
                config["mounts"].append(_host_usr())
                _link_usr(rootfs)
            else:
                _install_busybox(rootfs, busybox)
    except BaseException:
        import shutil

        shutil.rmtree(rootfs, ignore_errors=True)
        raise
    return config


def _skeleton(rootfs: Path) -> None:
    rootfs.chmod(0o755)
    for name, mode in _FOLDERS.items():
        (rootfs / name).mkdir()
        (rootfs / name).chmod(mode)
    for name, content in _FILES.items():
        (rootfs / name).write_text(content)
        (rootfs / name).chmod(0o644)


# ---- host --------------------------------------------------------------------------------------------------------


def _host_usr() -> dict[str, Any]:
    return spec.mount("/usr", "bind", "/usr", "rbind", "ro", "nosuid", "nodev", "rprivate")


def _link_usr(rootfs: Path) -> None:
    """The links of a merged /usr, as the host has them. Raises OcifwError on a host whose /bin is a folder."""
    if not Path("/bin").is_symlink():
        raise OcifwError(
            "--from host: /bin is not a link into /usr on this host: use --from busybox"
        )
    for name in _USR_LINKS:
        if (Path("/usr") / name).is_dir():
            (rootfs / name).symlink_to(f"usr/{name}")
    # What the dynamic loader and Debian's alternatives look up outside of /usr.
    for name in ("etc/ld.so.cache",):
        try:
            (rootfs / name).write_bytes((Path("/") / name).read_bytes())
        except OSError:
            # Without the cache the loader searches its default folders, which is slower.
            continue
    if Path("/etc/alternatives").is_dir():
        (rootfs / "etc/alternatives").mkdir()
        for link in Path("/etc/alternatives").iterdir():
            if link.is_symlink():
                (rootfs / "etc/alternatives" / link.name).symlink_to(link.readlink())


# ---- busybox -----------------------------------------------------------------------------------------------------


def _static_busybox() -> bytes:
    """The content of a busybox that needs no libraries. Raises OcifwError, naming the package, when there is none."""
    for path in _BUSYBOX:
        try:
            content = Path(path).read_bytes()
        except OSError:
            continue
        if _is_static(content):
            return content
    raise OcifwError(
        f"--from busybox: no static busybox in {', '.join(_BUSYBOX)}: install the package busybox-static"
    )


def _is_static(elf: bytes) -> bool:
    """Whether an ELF file of 64 bits names no interpreter (elf(5): no program header PT_INTERP)."""
    if elf[:5] != b"\x7fELF\x02":
        return False
    offset = int.from_bytes(elf[32:40], "little")
    size = int.from_bytes(elf[54:56], "little")
    count = int.from_bytes(elf[56:58], "little")
    headers = [elf[offset + i * size :][:4] for i in range(count)]
    return (3).to_bytes(4, "little") not in headers


def _install_busybox(rootfs: Path, content: bytes) -> None:
    import subprocess

    (rootfs / "bin").mkdir()
    busybox = rootfs / "bin/busybox"
    busybox.write_bytes(content)
    busybox.chmod(0o755)
    done = subprocess.run(
        [str(busybox), "--list-full"], capture_output=True, check=False, text=True
    )
    if done.returncode:
        raise OcifwError(f"--from busybox: busybox --list-full exited with {done.returncode}")
    for applet in done.stdout.split():
        link = rootfs / applet.lstrip("/")
        if ".." in link.parts or link.exists():
            continue
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(busybox, link.parent))


# ---- tar ---------------------------------------------------------------------------------------------------------


def _archive(path: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(path)
    except FileNotFoundError:
        raise OcifwError(
            f"--from {path}: no such file or directory: expected host, busybox, a tar archive or a folder"
        ) from None
    except (tarfile.TarError, EOFError) as error:
        raise OcifwError(f"--from {path}: not a tar archive: {error}") from None
