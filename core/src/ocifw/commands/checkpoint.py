"""`ocifw checkpoint`: write the processes of a container to disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocifw.options import FLAG, NUMBER, TEXTS, Option

from .common import absolute

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ocifw.context import Globals

SUMMARY = "write the processes of a running container to disk"
USAGE = "<container-id>"
DESCRIPTION = """
The images can be brought back by "ocifw restore". Needs the plugin ocifw-criu, and criu.
"""

IMAGES = (
    Option("image-path", help="folder of the images (default: ./checkpoint)"),
    Option("work-path", help="folder of logs and temporary files"),
    Option("tcp-established", "", FLAG, False, "accept open TCP connections"),
    Option("tcp-close", "", FLAG, False, "close TCP connections"),
    Option("tcp-skip-in-flight", "", FLAG, False, "ignore TCP connections that are being made"),
    Option("ext-unix-sk", "", FLAG, False, "accept UNIX sockets to the outside"),
    Option("shell-job", "", FLAG, False, "accept processes with a terminal of the outside"),
    Option("file-locks", "", FLAG, False, "accept file locks"),
    Option("link-remap", "", FLAG, False, "accept open files that were deleted, by linking them"),
    Option("manage-cgroups-mode", default="soft", help="'soft', 'full', 'strict' or 'ignore'"),
    Option("network-lock", help="how to hold the network: 'iptables', 'nftables' or 'skip'"),
    Option("empty-ns", "", TEXTS, help="'network': make the namespace anew, empty"),
    Option("auto-dedup", "", FLAG, False, "punch what is restored out of the images"),
    Option("lazy-pages", "", FLAG, False, "bring memory back when it is used"),
)
"""What `checkpoint` and `restore` have in common."""

OPTIONS = (
    *IMAGES,
    Option("parent-path", help="folder of earlier images, relative to --image-path"),
    Option("leave-running", "", FLAG, False, "let the container run on"),
    Option("pre-dump", "", FLAG, False, "write memory only, and let the container run on"),
    Option("status-fd", "", NUMBER, -1, "write a NUL byte to this fd when lazy pages are ready"),
    Option("page-server", help="ADDRESS:PORT of a page server for the memory"),
    Option("check", "", FLAG, False, "only say whether it can be dumped, and what a restore needs"),
    Option("json", "", FLAG, False, "with --check: as JSON"),
)
ARGUMENTS = (1, 1)

_CHOICES = {
    "manage-cgroups-mode": ("soft", "full", "strict", "ignore"),
    "network-lock": ("", "iptables", "nftables", "skip"),
}


def run(globals_: Globals, options: dict[str, Any], arguments: list[str]) -> int:
    """Dump the container `arguments[0]`. Returns 1 when `--check` finds that it cannot be dumped."""
    from ocifw.operations import checkpoint

    if options["check"]:
        return check(globals_, arguments[0], options["json"])
    checkpoint(globals_, arguments[0], image_options(options))
    return 0


def check(globals_: Globals, container_id: str, as_json: bool) -> int:
    """Print what `--check` finds. Returns 0 when the container can be dumped."""
    from ocifw import document, output
    from ocifw.operations import checkpoint_report

    found = checkpoint_report(globals_, container_id)
    if as_json:
        output.write(document.dump_pretty(found) + "\n")
    else:
        for one in found["checks"]:
            mark = "ok " if one["ok"] else "NO "
            output.write(f"{mark}{one['name']}: {one['detail']}\n")
        output.write("can be dumped\n" if found["possible"] else "cannot be dumped\n")
    return 0 if found["possible"] else 1


def image_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options by their long names, paths absolute. Raises OcifwError for values that an option cannot have."""
    from ocifw.errors import OcifwError

    for name, choices in _CHOICES.items():
        if options[name] not in choices:
            raise OcifwError(f"Invalid {name.replace('-', ' ')}: {options[name]}")
    for namespace in options["empty-ns"]:
        if namespace != "network":
            raise OcifwError(f"namespace {namespace} is not supported")
    if options.get("page-server"):
        address, _, port = options["page-server"].rpartition(":")
        if not address or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise OcifwError("Use --page-server ADDRESS:PORT to specify page server")
    if options.get("parent-path", "").startswith("/"):
        raise OcifwError("--parent-path must be relative to --image-path")
    values = {name: value for name, value in options.items() if name != "help"}
    values["image-path"] = absolute(options["image-path"] or "checkpoint")
    values["work-path"] = absolute(options["work-path"])
    return values


def help_status() -> int:
    """The exit status of --help, by which podman asks whether checkpoints can be made.

    What makes them says so in the features document, with the annotation that runc has for it.
    """
    from ocifw.operations import features

    annotations = features().get("annotations") or {}
    return 0 if annotations.get("org.opencontainers.runc.checkpoint.enabled") == "true" else 1
