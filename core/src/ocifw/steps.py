"""The vocabulary of container steps: the one table of operations.

`ocifw-init` executes exactly these. The program's encoding (`program.py`), the C structures that read it
(`native/generate_ops.py` writes `ops.h` from this module) and docs/steps.md are all made from the classes below:
class name, `_code`, the fields' annotations in order, the docstring.

Paths: an `InRoot` path is the image's, untrusted, and is resolved inside the rootfs by file descriptors
(openat2(2) with RESOLVE_IN_ROOT); a `HostPath` is resolved by the container process in its own namespaces before
it changes its root. A `Slot` names a file descriptor that the runtime passes; "" is none. Numbers are 64 bits wide.
"""

from __future__ import annotations

from .step import ContainerStep, RuntimeStep, Step

TYPE_CHECKING = False

HostPath = str
InRoot = str
Text = str
Slot = str
Blob = bytes
Number = int
Flag = bool
Vector = tuple[str, ...]
Numbers = tuple[int, ...]

__all__ = ["ContainerStep", "RuntimeStep", "Step"]


# ---- clone: executed by the intermediate process, up to and including Clone ---------------------------------


class JoinCgroup(ContainerStep):
    """Move the process itself into a cgroup by writing "0" into `path`, a `tasks` or `cgroup.procs` file.

    A single-threaded process that writes 0 to a v1 `tasks` file does not wait for an RCU grace period. Whoever writes
    to a `cgroup.procs` file does, 10 ms: when the first step joins a cgroup v2, the runtime starts the process in it
    instead (clone3(2), CLONE_INTO_CGROUP; Linux 5.7), and only if that fails is the step executed.
    """

    _code = 1
    _text = "join cgroup {path}"
    path: HostPath


class SetCpuAffinity(ContainerStep):
    """sched_setaffinity(2) of the process itself; `mask` is the kernel's bit mask, little-endian, a multiple of 8 bytes."""

    _code = 2
    _text = "set CPU affinity"
    mask: Blob


class JoinNamespace(ContainerStep):
    """setns(2) into the namespace file at `path`; `kind` is its CLONE_NEW* flag, checked by the kernel.

    Joining a user namespace is followed by setresgid(0) and setresuid(0) as far as they are mapped.
    """

    _code = 3
    _text = "join namespace {path}"
    path: HostPath
    kind: Number


class JoinNamespaces(ContainerStep):
    """setns(2) into several namespaces of the process behind the pidfd in `process` at once (kernel 5.8).

    kinds: CLONE_NEW* flags, ORed. Falls back to /proc/`pid`/ns/*, opened before the first is joined, user first where
    that is what gives the rights.
    """

    _code = 4
    _text = "join the namespaces of process {pid}"
    process: Slot
    pid: Number
    kinds: Number


class Unshare(ContainerStep):
    """unshare(2) of the CLONE_NEW* flags in `kinds`."""

    _code = 5
    _text = "unshare namespaces: {kinds:namespaces}"
    kinds: Number


class SetTimeOffsets(ContainerStep):
    """Write `offsets` (lines `monotonic SECONDS NANOSECONDS`) to /proc/self/timens_offsets, after Unshare, before Clone."""

    _code = 6
    _text = "set time namespace offsets"
    offsets: Text


class Clone(ContainerStep):
    """Make the container process in new namespaces, the CLONE_NEW* flags in `kinds`; it becomes the runtime's child.

    clone(2) with CLONE_PARENT. Everything after this step is executed by the container process; the intermediate
    process reports the pid and ends.
    """

    _code = 7
    _text = "clone the container process, new namespaces: {kinds:namespaces}"
    kinds: Number = 0


# ---- enter: in the namespaces, ids mapped, still the host's mounts --------------------------------------------


class BecomeRoot(ContainerStep):
    """Become uid and gid 0 of the user namespace and drop supplementary groups where setgroups(2) is allowed."""

    _code = 10
    _text = "become root of the user namespace"


class NewSession(ContainerStep):
    """setsid(2): a session and process group of its own."""

    _code = 11
    _text = "start a session"


class JoinKeyring(ContainerStep):
    """Join a new, empty session keyring called `name` (keyrings(7)); absent from the kernel is no error."""

    _code = 12
    _text = "join session keyring {name}"
    name: Text


class BringUp(ContainerStep):
    """Set a network interface of the container's network namespace up."""

    _code = 13
    _text = "set interface {interface} up"
    interface: Text = "lo"


# ---- rootfs ---------------------------------------------------------------------------------------------------


class SetHostPropagation(ContainerStep):
    """Set the propagation (MS_SLAVE, MS_PRIVATE, MS_SHARED with or without MS_REC) of `/` in the new mount namespace."""

    _code = 20
    _text = "make the host's mounts {flags:propagation} in the new mount namespace"
    flags: Number


class BindRootfs(ContainerStep):
    """Make the mount that `path` lies on private, bind `path` on itself recursively, and open it as the rootfs.

    Every later `InRoot` path is resolved below it.
    """

    _code = 21
    _text = "bind rootfs {path}"
    path: HostPath


class OpenRootfs(ContainerStep):
    """Open `path` as the rootfs without mounting anything: for containers without a mount namespace of their own."""

    _code = 22
    _text = "open rootfs {path}"
    path: HostPath


class Mount(ContainerStep):
    """Mount a new filesystem on `target`, which is made when it is missing (directories, mode 0755).

    fsopen(2), fsconfig(2), fsmount(2), move_mount(2); mount(2) on a file descriptor where the kernel lacks them.
    superblock: MS_RDONLY, MS_SYNCHRONOUS, MS_DIRSYNC, MS_MANDLOCK, MS_LAZYTIME, MS_SILENT. attributes: MOUNT_ATTR_*.
    all_set, all_clear: MOUNT_ATTR_* applied to the mount afterwards, recursively. options: the filesystem's own, comma
    separated. copy_mode: take over the mode of the directory that is covered, when there is one. copy_up: copy its content
    into the new filesystem. real_directory: refuse a target that is, or is reached through, a symbolic link.
    """

    _code = 23
    _text = "mount {fstype} on {target}"
    fstype: Text
    source: Text
    target: InRoot
    superblock: Number = 0
    attributes: Number = 0
    options: Text = ""
    all_set: Number = 0
    all_clear: Number = 0
    copy_mode: Flag = False
    copy_up: Flag = False
    real_directory: Flag = False

    def claims(self) -> tuple[tuple[str, ...], ...]:
        return (("mount", self.target),)


class Bind(ContainerStep):
    """Bind the file or directory `source` on `to`, which is made when it is missing.

    open_tree(2) with OPEN_TREE_CLONE, mount_setattr(2), move_mount(2). recursive: with the mounts below. read_only: shorthand
    for MOUNT_ATTR_RDONLY in set. set, clear: MOUNT_ATTR_* of the topmost mount; all_set, all_clear: of all mounts,
    recursively (kernel 5.12). Attributes not named stay as they are on the source. tree: a tree of mounts that the runtime made
    (open_tree(2) with OPEN_TREE_CLONE, fsmount(2)); then `source` only names it. An O_PATH descriptor of another mount
    namespace is none. real_directory: refuse a target that is, or is reached through, a symbolic link.
    """

    _code = 24
    _text = "bind {source} on {to}"
    source: HostPath
    to: InRoot
    recursive: Flag = True
    read_only: Flag = False
    set: Number = 0
    clear: Number = 0
    all_set: Number = 0
    all_clear: Number = 0
    tree: Slot = ""
    real_directory: Flag = False

    def claims(self) -> tuple[tuple[str, ...], ...]:
        return (("mount", self.to),)


class BindInside(ContainerStep):
    """Bind a file or directory of the rootfs on another place of the rootfs: both are resolved inside it."""

    _code = 25
    _text = "bind {source} on {to} inside the rootfs"
    source: InRoot
    to: InRoot
    recursive: Flag = True
    set: Number = 0


class Remount(ContainerStep):
    """Change the filesystem mounted on `path`: mount(2) with MS_REMOUNT, `flags` and `options`, by file descriptor."""

    _code = 26
    _text = "remount {path}"
    path: InRoot
    flags: Number
    options: Text = ""


class SetAttributes(ContainerStep):
    """mount_setattr(2) of the mount on `path`: MOUNT_ATTR_* to set and to clear, of it alone or recursively."""

    _code = 27
    _text = "make {path} {set:attributes}"
    path: InRoot
    set: Number
    clear: Number = 0
    recursive: Flag = False


class SetPropagation(ContainerStep):
    """Set the propagation (MS_SHARED, MS_SLAVE, MS_PRIVATE, MS_UNBINDABLE with or without MS_REC) of the mount on `path`."""

    _code = 28
    _text = "make {path} {flags:propagation}"
    path: InRoot
    flags: Number


class Mkdir(ContainerStep):
    """Make a directory and its missing parents (mode 0755); one that is there is left as it is."""

    _code = 29
    _text = "make directory {path}"
    path: InRoot
    mode: Number = 0o755


class WriteFile(ContainerStep):
    """Write a regular file, made when missing; anything else at `path` is an error."""

    _code = 30
    _text = "write {path}"
    path: InRoot
    content: Blob
    mode: Number = 0o644


class Symlink(ContainerStep):
    """Make a symbolic link at `path`. The same link there is fine; anything else is replaced or, without `replace`, kept.

    A directory that is not empty is not replaced: an error.
    """

    _code = 31
    _text = "link {path} to {target}"
    target: Text
    path: InRoot
    replace: Flag = False


class SetXattr(ContainerStep):
    """fsetxattr(2): set the extended attribute `name` of the file or directory at `path`."""

    _code = 33
    _text = "set attribute {name} of {path}"
    path: InRoot
    name: Text
    value: Blob


class MakeDevice(ContainerStep):
    """Make a device node or FIFO, with owner and mode set regardless of the umask, verified by file descriptor.

    kind: S_IFCHR, S_IFBLK or S_IFIFO. A node of the same kind and numbers that is there is kept; anything else is an error.
    source: the host's node, bound instead when `bind` is set (user namespaces may not mknod(2)) or mknod(2) gives EPERM;
    its kind and numbers are verified too. "" forbids that.
    """

    _code = 32
    _text = "make device {path} ({major}:{minor})"
    path: InRoot
    kind: Number
    major: Number
    minor: Number
    mode: Number = 0o666
    uid: Number = 0
    gid: Number = 0
    source: HostPath = ""
    bind: Flag = False

    def claims(self) -> tuple[tuple[str, ...], ...]:
        return (("device", self.path),)


# ---- pivot_root -----------------------------------------------------------------------------------------------


class PivotRoot(ContainerStep):
    """pivot_root(2) into the rootfs and detach the old root."""

    _code = 40
    _text = "pivot_root"


class MoveRoot(ContainerStep):
    """Move the rootfs over `/` and chroot(2): for rootfs on which pivot_root(2) fails (initramfs).

    The host's full proc and sysfs mounts are unmounted or covered first.
    """

    _code = 41
    _text = "move the rootfs over / and chroot"


class ChangeRoot(ContainerStep):
    """chroot(2) into the rootfs: for containers without a mount namespace of their own."""

    _code = 42
    _text = "chroot"


# ---- finalize -------------------------------------------------------------------------------------------------


class ReopenDevNull(ContainerStep):
    """Replace those of fd 0 to 2 that are the host's /dev/null by the container's, verified as character device 1:3."""

    _code = 50
    _text = "reopen /dev/null"


class MakeConsole(ContainerStep):
    """Open a pseudo-terminal of the container's own devpts, send its master over the socket in `socket`, use it as fd 0 to 2.

    The peer becomes the controlling terminal and, with `mount`, is bound on /dev/console. The devpts is verified. rows and
    columns: 0 leaves the size.
    """

    _code = 51
    _text = "make the console"
    socket: Slot
    rows: Number = 0
    columns: Number = 0
    mount: Flag = True


class SendPidfd(ContainerStep):
    """Send a pidfd of the container process over the socket in `socket`, with `payload` as the message."""

    _code = 52
    _text = "send the pidfd"
    socket: Slot
    payload: Text


class SetHostname(ContainerStep):
    """sethostname(2)."""

    _code = 53
    _text = "set hostname {name}"
    name: Text

    def claims(self) -> tuple[tuple[str, ...], ...]:
        return (("hostname",),)


class SetDomainname(ContainerStep):
    """setdomainname(2)."""

    _code = 54
    _text = "set domainname {name}"
    name: Text

    def claims(self) -> tuple[tuple[str, ...], ...]:
        return (("domainname",),)


class SetSysctl(ContainerStep):
    """Write `value` to /proc/sys/`path` (with slashes) through a procfs of its own, never through the container's /proc.

    In a user namespace that may mount no procfs: through /proc, when nothing is mounted over the file.
    """

    _code = 55
    _text = "set sysctl {path}"
    path: Text
    value: Text

    def claims(self) -> tuple[tuple[str, ...], ...]:
        return (("sysctl", self.path),)


class ReadonlyPath(ContainerStep):
    """Make `path` and what is mounted below it read-only; nosuid, nodev and noexec stay. A missing path is skipped.

    Before kernel 5.12 what is mounted below stays as it is, and a warning says so.
    """

    _code = 56
    _text = "make {path} read-only"
    path: InRoot


class MaskPath(ContainerStep):
    """Cover `path`: a file by the verified /dev/null, a directory by an empty read-only tmpfs. A missing path is skipped.

    One tmpfs serves all; `options` are added to its own where it is made.
    """

    _code = 57
    _text = "mask {path}"
    path: InRoot
    options: Text = ""


class SetNoNewPrivileges(ContainerStep):
    """prctl(2) PR_SET_NO_NEW_PRIVS."""

    _code = 58
    _text = "set no_new_privs"


class SetScheduler(ContainerStep):
    """sched_setattr(2) of the process itself; `attributes` is the kernel's struct sched_attr."""

    _code = 59
    _text = "set the scheduler"
    attributes: Blob


class SetIoPriority(ContainerStep):
    """ioprio_set(2) of the process group; `priority` is class << 13 | level."""

    _code = 60
    _text = "set the I/O priority"
    priority: Number


class SetPersonality(ContainerStep):
    """personality(2)."""

    _code = 61
    _text = "set personality {persona:#x}"
    persona: Number


class SetMemoryPolicy(ContainerStep):
    """set_mempolicy(2): `mode` with its flags ORed, `nodes` the kernel's bit mask, a multiple of 8 bytes or empty."""

    _code = 62
    _text = "set the memory policy"
    mode: Number
    nodes: Blob


class SetExecLabel(ContainerStep):
    """Write `label` to the process's own attr/`name` (exec, keycreate, or apparmor/exec with fallback exec), in a verified
    procfs."""

    _code = 63
    _text = "set the LSM label {name} {label}"
    name: Text
    label: Text

    def describe(self) -> str:
        return f"set the LSM label {self.name} {self.label}".rstrip()

    def failure(self, number: int, call: str, detail: str) -> str:
        # runc's words.
        from .errors import errno_name, errno_text

        if self.name != "apparmor/exec":
            return ""
        profile = self.label.removeprefix("exec ")
        reason = f"{call} {detail}: {errno_text(number)} ({errno_name(number)})"
        return f"unable to apply apparmor profile: apparmor failed to apply profile {profile}: {reason}"


# ---- credentials ----------------------------------------------------------------------------------------------


class Chdir(ContainerStep):
    """Change to the working directory and verify that it lies inside the root (CVE-2024-21626).

    tolerate: EACCES and EPERM are no error yet; a later Chdir, as the container's user, tries again. Does nothing when an
    earlier Chdir to the same path succeeded.
    """

    _code = 70
    _text = "change to working directory {path}"
    path: Text
    tolerate: Flag = False


class DropBoundingSet(ContainerStep):
    """Drop every capability that is not in the bit mask `keep` from the bounding set."""

    _code = 71
    _text = "drop the capability bounding set to {keep:#x}"
    keep: Number


class KeepCapabilities(ContainerStep):
    """prctl(2) PR_SET_KEEPCAPS: whether permitted capabilities survive SetUid."""

    _code = 72
    _text = "keep capabilities across setuid: {keep}"
    keep: Flag


class ChownStdio(ContainerStep):
    """Give those of fd 0 to 2 that are not /dev/null to `uid`; EPERM, EROFS and EINVAL are no errors."""

    _code = 73
    _text = "chown stdio to {uid}"
    uid: Number


class SetGroups(ContainerStep):
    """setgroups(2)."""

    _code = 74
    _text = "set supplementary groups {gids}"
    gids: Numbers


class SetGid(ContainerStep):
    """setresgid(2), all three."""

    _code = 75
    _text = "set gid {gid}"
    gid: Number


class SetUid(ContainerStep):
    """setresuid(2), all three."""

    _code = 76
    _text = "set uid {uid}"
    uid: Number


class SetCapabilities(ContainerStep):
    """capset(2); bit masks. Clears the ambient set."""

    _code = 77
    _text = "set capabilities effective {effective:#x} permitted {permitted:#x} inheritable {inheritable:#x}"
    effective: Number
    permitted: Number
    inheritable: Number


class SetAmbient(ContainerStep):
    """Raise each capability of the bit mask `ambient` in the ambient set; one that cannot be raised is only a warning."""

    _code = 78
    _text = "raise ambient capabilities {ambient:#x}"
    ambient: Number


class SetUmask(ContainerStep):
    """umask(2)."""

    _code = 79
    _text = "set umask {mask:#o}"
    mask: Number


class SetRlimit(ContainerStep):
    """prlimit(2) of the process itself: `resource` is the number of RLIMIT_*, 2**64-1 is no limit.

    For processes that become another user: from then on, only CAP_SYS_RESOURCE could set their limits from outside.
    """

    _code = 81
    _text = "set rlimit {resource} to {soft}, hard {hard}"
    resource: Number
    soft: Number
    hard: Number

    def failure(self, number: int, call: str, detail: str) -> str:
        # runc's sentence, which names the number only.
        from .errors import errno_name, errno_text

        return f"error setting rlimit type {self.resource}: {errno_text(number)} ({errno_name(number)})"


class FindHome(ContainerStep):
    """Add HOME to the environment of Execute: what the container's own /etc/passwd says for `uid`, else `/`.

    Planned only when the environment has none. The file is resolved inside the root, and read only if it is a regular one.
    """

    _code = 82
    _text = "look up the home directory of uid {uid}"
    uid: Number


class LookupExecutable(ContainerStep):
    """Find the program `name` as execvp(3) would, with `search` (PATH's value), now, so that a missing one fails `create`."""

    _code = 80
    _text = "look up {name}"
    name: Text
    search: Text

    def failure(self, number: int, call: str, detail: str) -> str:
        # The wording that docker, podman and moby match on to answer 126 or 127: cli-contract 1.3.
        from .errors import errno_text

        if "/" not in self.name and number == 2:
            return f'exec: "{self.name}": executable file not found in $PATH'
        if number == 21:
            # Newer engines know EISDIR, older ones (docker 20.10) only what execve(2) itself says: 126 with both.
            return f'exec: "{self.name}": is a directory: permission denied'
        if "/" not in self.name or number not in (2, 20):
            return f'exec: "{self.name}": {errno_text(number)}'
        return f'exec: "{self.name}": stat {self.name}: {errno_text(number)}'


# ---- start, seal ----------------------------------------------------------------------------------------------


class AwaitStart(ContainerStep):
    """Wait on the listening socket in `socket` for `ocifw start` to connect; the connection is the start channel.

    Sends one byte at once. The channel closes when the program is executed; an error goes through it before.
    """

    _code = 85
    _text = "wait for start"
    socket: Slot


class RunProgram(ContainerStep):
    """Run a program (a hook) in the container's namespaces and wait for it; anything but exit status 0 is an error.

    Its standard input is `before`, the caller's pid in decimal as seen in its pid namespace, then `after`. Its output is
    captured, limited in size, and part of the error. timeout_s: 0 is none; then it is killed. env is the whole environment.
    in_root: resolve `path` inside the rootfs and run with working directory `/` of it.
    """

    _code = 86
    _text = "run hook {path}"
    path: Text
    args: Vector
    env: Vector
    before: Blob
    after: Blob
    timeout_s: Number = 0
    in_root: Flag = False

    def failure(self, number: int, call: str, detail: str) -> str:
        # runc's sentences, as for hooks on the runtime's side.
        kind, _, index = self.at.removeprefix("hooks.").rstrip("]").partition("[")
        if not index:
            return ""
        from .errors import errno_name, errno_text

        reason = detail
        if number:
            reason = f"{call} {detail}: {errno_text(number)} ({errno_name(number)})"
        return f"error running {kind} hook #{index}: {reason}"


class RestrictByLandlock(ContainerStep):
    """Give up access for the process and all that it executes: landlock(7). Needs no_new_privs or CAP_SYS_ADMIN.

    handled: LANDLOCK_ACCESS_FS_* that are denied everywhere but below `paths`, each of which allows its entry of `rights`; a
    path that is not there allows nothing. handled_network: LANDLOCK_ACCESS_NET_* denied but for `ports`, with `port_rights`.
    scoped: LANDLOCK_SCOPE_*. least: the Landlock ABI that the kernel must have; below what is asked for, the kernel's ABI is
    a warning that says that the rest is not restricted. 0: not even Landlock itself is needed.
    """

    _code = 90
    _text = "restrict access by Landlock to {paths}"
    paths: Vector
    rights: Numbers
    handled: Number
    handled_network: Number = 0
    ports: Numbers = ()
    port_rights: Numbers = ()
    scoped: Number = 0
    least: Number = 1

    def claims(self) -> tuple[tuple[str, ...], ...]:
        return (("landlock",),)


class LoadFilter(ContainerStep):
    """seccomp(2) SECCOMP_SET_MODE_FILTER with a ready program (struct sock_filter, 8 bytes an instruction).

    listener: a connected stream socket, over which the file descriptor of the filter's listener is sent, with the content
    of the file `state` as the message, by a thread that the filter does not bind; then it is closed.
    """

    _code = 87
    _text = "load the seccomp filter"
    program: Blob
    flags: Number = 0
    listener: Slot = ""
    state: Slot = ""

    def describe(self) -> str:
        text = f"load the seccomp filter ({len(self.program) // 8} instructions, flags {self.flags:#x})"
        return f"{text} and send its listener" if self.listener else text


class CloseFds(ContainerStep):
    """Close every file descriptor from `first` on; only the start channel stays, close-on-exec."""

    _code = 88
    _text = "close file descriptors from {first}"
    first: Number


class Execute(ContainerStep):
    """execve(2) of the program that LookupExecutable found. Nothing follows."""

    _code = 89
    _text = "execute {args[0]}"
    args: Vector
    env: Vector

    def failure(self, number: int, call: str, detail: str) -> str:
        from .errors import errno_text

        return f'exec: "{self.args[0]}": {errno_text(number)}'


# ---- control: written by the core where the plan changes sides --------------------------------------------------


class PassBaton(ContainerStep):
    """Tell the runtime that everything so far is done, and wait until it has done its part of the plan."""

    _code = 100
    _text = "pass the baton to the runtime"
    phase_number: Number


class Report(ContainerStep):
    """Tell the runtime that a phase begins, without waiting: only in plans that somebody watches."""

    _code = 101
    _text = "report the phase"
    phase_number: Number


def vocabulary() -> tuple[type[ContainerStep], ...]:
    """Every container step, by code: the table from which the encodings and the documentation are made."""
    steps = [
        kind
        for kind in globals().values()
        if isinstance(kind, type) and issubclass(kind, ContainerStep) and kind._code
    ]
    return tuple(sorted(steps, key=lambda kind: kind._code))
