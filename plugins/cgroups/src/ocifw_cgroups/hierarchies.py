"""Which cgroup hierarchies are mounted, and where the runtime itself stands in them.

Three layouts occur: cgroup v1 (a hierarchy for each controller, or for some together), the unified hierarchy of
cgroup v2, and the hybrid of systemd: v1 with an additional v2 hierarchy, which serves to track processes.
Sources: cgroups(7), proc_pid_mountinfo(5).
"""

from __future__ import annotations

from ocifw.errors import OcifwError
from ocifw.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocifw.context import Host

ROOT = "/sys/fs/cgroup"
UNIFIED = ""
"""The name of the v2 hierarchy where v1 hierarchies are named after their controllers: as in /proc/PID/cgroup."""


class Hierarchy(Record):
    """One mounted hierarchy.

    controllers: as in /proc/PID/cgroup: ("cpu", "cpuacct"), ("name=systemd",); (UNIFIED,) is cgroup v2.
    own: the cgroup of the runtime, as a path below the mount point: "/" or "/a/b".
    """

    controllers: tuple[str, ...]
    mountpoint: str
    own: str


class Layout(Record):
    """What is mounted. unified: cgroup v2 alone; then it is the only hierarchy."""

    unified: bool
    hierarchies: tuple[Hierarchy, ...]

    @property
    def version(self) -> int:
        """1 or 2: whose files limit a container."""
        return 2 if self.unified else 1

    def hierarchy(self, controller: str) -> Hierarchy | None:
        """The hierarchy in which a controller counts; None when it is not mounted. Of v2, the unified one for all."""
        if self.unified:
            return self.hierarchies[0]
        return next((one for one in self.hierarchies if controller in one.controllers), None)


def layout(host: Host) -> Layout:
    """The hierarchies of this machine, in the order they were mounted; of several mounts of one, that below /sys/fs/cgroup.

    Raises OcifwError when none is mounted.
    """
    mountinfo, cgroup = host.read("/proc/self/mountinfo"), host.read("/proc/self/cgroup")
    if not _last or _last[0][0] is not mountinfo or _last[0][1] is not cgroup:
        _last[:] = [(mountinfo, cgroup, _parsed(mountinfo, cgroup))]
    return _last[0][2]


# Several hooks ask during one plan, of the same contents.
_last: list[tuple[bytes, bytes, Layout]] = []


def _parsed(mountinfo: bytes, cgroup: bytes) -> Layout:
    own = _own_cgroups(cgroup)
    found: dict[tuple[str, ...], Hierarchy] = {}
    for line in mountinfo.decode("utf-8", "surrogateescape").split("\n"):
        if " - cgroup" not in line:
            continue
        mount, _, filesystem = line.partition(" - ")
        fields = mount.split(" ")
        kind, _, options = filesystem.split(" ", 2)
        if kind == "cgroup2":
            controllers: tuple[str, ...] = (UNIFIED,)
        elif kind == "cgroup":
            controllers = tuple([name for name in options.split(",") if name in own and name])
        else:
            continue
        known = found.get(controllers)
        mountpoint = _unescaped(fields[4])
        if controllers and (
            known is None or (mountpoint.startswith(ROOT) and not known.mountpoint.startswith(ROOT))
        ):
            path = _below(_unescaped(fields[3]), own.get(controllers[0], "/"))
            found[controllers] = Hierarchy(controllers, mountpoint, path)
    if not found:
        raise OcifwError("no cgroup mount found in mountinfo")
    unified = found.get((UNIFIED,))
    if unified is not None and (unified.mountpoint == ROOT or len(found) == 1):
        return Layout(True, (unified,))
    return Layout(False, tuple(found.values()))


def mountpoint_v2(host: Host) -> str:
    """Where the v2 hierarchy is mounted; "" when it is not."""
    found = [one.mountpoint for one in layout(host).hierarchies if one.controllers == (UNIFIED,)]
    return found[0].rstrip("/") if found else ""


def _own_cgroups(content: bytes) -> dict[str, str]:
    """The runtime's cgroup by controller, from /proc/self/cgroup."""
    own = {}
    for line in content.decode("utf-8", "surrogateescape").split("\n"):
        if line:
            _, names, path = line.split(":", 2)
            for name in names.split(","):
                own[name] = path
    return own


def _below(root: str, path: str) -> str:
    """A cgroup as a path below a mount of which `root` is the root.

    In a container without a cgroup namespace only its own cgroup is mounted, and /proc/self/cgroup tells the host's
    path. A cgroup outside of the mount cannot be named: its root stands for it.
    """
    if root == "/":
        return path if path.startswith("/") and "/.." not in path else "/"
    rest = path[len(root) :] if path.startswith(root) else ""
    return rest if rest.startswith("/") else "/"


def _unescaped(field: str) -> str:
    """A path of mountinfo, in which blanks and backslashes are written in octal."""
    if "\\" not in field:
        return field
    parts = field.split("\\")
    return parts[0] + "".join([chr(int(part[:3], 8)) + part[3:] for part in parts[1:]])
