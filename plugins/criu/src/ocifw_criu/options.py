"""What `checkpoint` and `restore` set alike in CRIU's options, from the command's flags."""

from __future__ import annotations

import os

from ocifw.errors import OcifwError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

CONFIG_FILE = "/etc/criu/runc.conf"
CONFIG_ANNOTATION = "org.criu.config"
_LOG_LEVEL = 4
_CLONE_NEWNET = 0x40000000
_FLAGS = {
    "shell-job": "shell_job",
    "tcp-established": "tcp_established",
    "tcp-close": "tcp_close",
    "tcp-skip-in-flight": "tcp_skip_in_flight",
    "ext-unix-sk": "ext_unix_sk",
    "file-locks": "file_locks",
    "link-remap": "link_remap",
    "auto-dedup": "auto_dedup",
    "lazy-pages": "lazy_pages",
}
_MODES = {"soft": "SOFT", "full": "FULL", "strict": "STRICT", "ignore": "IGNORE"}


def fill(opts: Any, options: Mapping[str, Any], annotations: Mapping[str, str]) -> None:
    """Set what both verbs have in common. `opts` is a criu_opts message."""
    from . import rpc

    module = rpc.messages()
    opts.log_level = _LOG_LEVEL
    opts.evasive_devices = True
    opts.orphan_pts_master = True
    opts.notify_scripts = True
    for flag, name in _FLAGS.items():
        if options.get(flag):
            _set(opts, name, True, flag)
    mode = options["manage-cgroups-mode"]
    if mode != "ignore":
        opts.manage_cgroups = True
    opts.manage_cgroups_mode = getattr(module, _MODES[mode])
    lock = options.get("network-lock") or _usable_lock()
    if lock and hasattr(opts, "network_lock"):
        opts.network_lock = getattr(module, lock.upper())
    elif options.get("network-lock"):
        _set(opts, "network_lock", 0, "network-lock")
    if options.get("empty-ns"):
        opts.empty_ns = _CLONE_NEWNET
    file = annotations.get(CONFIG_ANNOTATION, "")
    if file and not os.path.isfile(file):
        raise OcifwError(f"annotation {CONFIG_ANNOTATION}: {file}: no such file or directory")
    if not file and os.path.isfile(CONFIG_FILE):
        file = CONFIG_FILE
    if file:
        opts.config_file = file


def _set(opts: Any, name: str, value: Any, flag: str) -> None:
    if not hasattr(opts, name):
        raise OcifwError(f"--{flag}: the installed pycriu is too old to know it")
    setattr(opts, name, value)


def _usable_lock() -> str:
    """ "nftables" where CRIU's default, the program iptables-restore, is not there; else ""."""
    folders = (os.environ.get("PATH") or "/usr/sbin:/usr/bin:/sbin:/bin").split(":")
    if any(os.access(f"{folder}/iptables-restore", os.X_OK) for folder in folders):
        return ""
    return "nftables"
