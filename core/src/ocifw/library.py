"""The library: containers from Python, without starting a command for each operation.

    import ocifw

    with ocifw.Runtime(root="/run/mine") as runtime:
        container = runtime.create("/bundles/web", "web-1")
        container.start()
        status = container.wait()
        container.delete()

What is done is what the commands do: the same modules, files and errors, so a container that the library made can be
deleted by `ocifw delete` and the other way around. What differs is how a process is treated that has other things to do:

* It is not forked: ocifw-init is started as by vfork(2), whatever the size of the process.
* Its working directory, umask, signal handlers and signal masks are left alone, and no child is waited for but those
  that were made here. Nothing is read from NOTIFY_SOCKET, LISTEN_FDS or OCIFW_PROFILE.
* Every method may be called from several threads at once, of one container too; what must not happen at the same time
  waits for the lock of the container, which other processes respect.

Container processes are children of this process. Their exit statuses are kept until `wait` asks or `delete` drops
them; a process that ignores SIGCHLD, or waits for all children, gets None for a status.
"""

from __future__ import annotations

import logging
import os
import threading
from contextlib import ExitStack, contextmanager
from select import POLLIN, poll
from typing import TYPE_CHECKING

from . import container as containers
from . import foreground, lifecycle, log, operations, plugins, selection, signals
from .context import Globals
from .creation import Creation
from .errors import ContainerError, NotFound, OcifwError, WaitTimeout, errno_text
from .linux.pidfd import pidfd_open, pidfd_send_signal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Any, Protocol

    from .container import Container as Stored
    from .plan import Plan

    class HasFileno(Protocol):
        """A file, a socket, the end of a pipe."""

        def fileno(self) -> int: ...

    Stream = int | HasFileno | None
    Path = str | os.PathLike[str]
    Handles = list["Container"]

DEVNULL = -3
"""As a stream: /dev/null. The value of subprocess.DEVNULL."""
STDOUT = -2
"""As `stderr`: what `stdout` is. The value of subprocess.STDOUT."""


class Runtime:
    """Makes and finds the containers below a state root. Its plugin set is loaded once, when it is made."""

    def __init__(
        self,
        root: Path = "",
        *,
        profiles: Sequence[str] = (),
        sets: Sequence[str] = (),
        plugin_set: str = "",
        without: Sequence[str] = (),
        cgroup_manager: str = "cgroupfs",
        rootless: bool | None = None,
        delete_on_exit: bool = False,
        on_warning: Callable[[str], object] | None = None,
    ) -> None:
        """Load the plugins. Raises OcifwError when they cannot be.

        root: folder for the state, as of `ocifw --root`; /run/ocifw, or a user's own, without. profiles: names, or paths,
        of profiles to lay over every config.json; sets: values to lay over them, each PATH=VALUE. plugin_set and without:
        which plugins there are. cgroup_manager: "cgroupfs", "systemd" or "disabled". rootless: tolerate missing
        privileges over cgroups; None decides by the privileges that there are. delete_on_exit: when `with` ends, delete
        by force what was made here. on_warning: called with what an operation survived, in the thread that works; without,
        it goes to the logger `ocifw`.
        """
        from .cli import CGROUP_MANAGERS, state_root

        if cgroup_manager not in CGROUP_MANAGERS:
            names = ", ".join(CGROUP_MANAGERS)
            raise OcifwError(f"invalid cgroup manager: {cgroup_manager}: expected one of {names}")
        self._globals = Globals(
            state_root(os.fspath(root)),
            rootless="auto" if rootless is None else "true" if rootless else "false",
            cgroup_manager=cgroup_manager,
            profiles=_references(profiles),
            sets=tuple(sets),
        )
        self._warn = on_warning or logging.getLogger("ocifw").warning
        self._delete_on_exit = delete_on_exit
        self._children: dict[str, _Child] = {}
        self._closed = False
        self._choice: dict[str, Any] = {"name": plugin_set, "without": tuple(without)}
        self._plugins: plugins.PluginSet | None = None
        with self._working():
            self._plugins = plugins.load()

    @property
    def root(self) -> str:
        """The state root."""
        return self._globals.root

    # -- making ----------------------------------------------------------------------------------------------------

    def create(
        self,
        bundle: Path,
        container_id: str,
        *,
        config_file: str = "config.json",
        profiles: Sequence[str] | None = None,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        console_socket: Path = "",
        no_pivot: bool = False,
        no_new_keyring: bool = False,
    ) -> Container:
        """Make a container up to `created`: everything but executing its program.

        profiles: instead of those of the runtime. stdin, stdout, stderr: file descriptors, or what has one, that the
        program gets; DEVNULL; STDOUT for stderr. None gives it this process's own, /dev/null where that is closed.
        console_socket: for a process with a terminal, the socket to send its other side to.
        Raises ConfigError, PolicyError, PlanError, StepFailed and others of ocifw.errors; then nothing is left of it.
        """
        return self._create(
            bundle,
            container_id,
            {"config_file": config_file, "no_pivot": no_pivot, "no_new_keyring": no_new_keyring},
            profiles,
            (stdin, stdout, stderr),
            console_socket,
        )

    def run(
        self,
        bundle: Path,
        container_id: str,
        *,
        config_file: str = "config.json",
        profiles: Sequence[str] | None = None,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        no_pivot: bool = False,
        no_new_keyring: bool = False,
        timeout_s: float | None = None,
    ) -> int | None:
        """Create and start a container, wait for it and delete it, as `ocifw run`. Returns the exit status: see `wait`.

        The arguments are those of `create`. Raises WaitTimeout when it did not end within `timeout_s` seconds; it was
        killed and deleted then, as whenever this method is left.
        """
        container = self._create(
            bundle,
            container_id,
            {
                "config_file": config_file,
                "no_pivot": no_pivot,
                "no_new_keyring": no_new_keyring,
                "run": True,
            },
            profiles,
            (stdin, stdout, stderr),
        )
        try:
            return container.wait(timeout_s)
        finally:
            container.delete(force=True)

    def _create(
        self,
        bundle: Path,
        container_id: str,
        options: dict[str, Any],
        profiles: Sequence[str] | None,
        streams: Sequence[Stream],
        console_socket: Path = "",
    ) -> Container:
        with self._working(), _fds(streams) as fds:
            globals_ = self._globals
            if profiles is not None:
                globals_ = globals_.changed(profiles=_references(profiles))
            creation = Creation(
                globals_,
                container_id,
                os.fspath(bundle),
                streams=fds,
                console=bool(console_socket),
                listen_fds=0,
                notify_socket="",
                **options,
            )
            creation.check_terminal(detached=True)
            stored = creation.run(os.fspath(console_socket))
            child = _Child(stored.pid)
            before, self._children[container_id] = self._children.get(container_id), child
            if before is not None:
                before.drop()
            if creation.request.run:
                try:
                    lifecycle.poststart(globals_, stored)
                except BaseException:
                    child.drop()
                    raise
            return Container(self, container_id, child)

    def plan(self, bundle: Path, container_id: str, *, config_file: str = "config.json") -> Plan:
        """What `create` would do. Changes nothing."""
        with self._working():
            creation = Creation(
                self._globals,
                container_id,
                os.fspath(bundle),
                config_file,
                listen_fds=0,
                notify_socket="",
            )
            return creation.plan()

    # -- finding ---------------------------------------------------------------------------------------------------

    def get(self, container_id: str) -> Container:
        """The container with this id, whoever made it. Raises NotFound."""
        with self._working():
            stored = containers.load(self.root, container_id)
        return self._handle(stored)

    def list(self) -> Handles:
        """All containers below the state root, by id. Warns of those whose state cannot be read, and leaves them out."""
        found: Handles = []
        with self._working():
            for container_id in containers.identifiers(self.root):
                try:
                    found.append(self._handle(containers.load(self.root, container_id)))
                except NotFound:
                    # Deleted meanwhile.
                    continue
                except OcifwError as error:
                    log.warning(str(error))
        return found

    def features(self) -> dict[str, Any]:
        """The features document of the specification, as `ocifw features` prints it."""
        with self._working():
            return operations.features()

    def _handle(self, stored: Stored) -> Container:
        child = self._children.get(stored.id)
        if child is not None and child.pid != stored.pid:
            # Deleted by somebody else, and its id used again.
            child = None
        return Container(self, stored.id, child)

    # -- the end ---------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Make no more containers. Deletes by force those that were made here, if `delete_on_exit` says so."""
        if self._closed:
            return
        errors: list[OcifwError] = []
        if self._delete_on_exit:
            for container_id in tuple(self._children):
                try:
                    Container(self, container_id, self._children[container_id]).delete(force=True)
                except OcifwError as error:
                    errors.append(error)
        self._closed = True
        if errors:
            raise errors[0]

    def __enter__(self) -> Runtime:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # -- inside ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _working(self) -> Iterator[None]:
        """While the core works in this thread: for this plugin set, telling us what it logs. Its OSErrors are OcifwErrors."""
        if self._closed:
            raise OcifwError("the runtime was closed")
        chosen = selection.choose(**self._choice)
        held = selection.hold(self._plugins)
        listener = log.listen(self._logged)
        try:
            yield
        except OSError as error:
            if isinstance(error, OcifwError):
                raise
            names = [os.fsdecode(name) for name in (error.filename, error.filename2) if name]
            text = errno_text(error.errno) if error.errno else str(error)
            raise OcifwError(": ".join([*names, text])) from error
        finally:
            log.listen(listener)
            selection.hold(held)
            selection.choose(**dict(chosen.items()))

    def _logged(self, level: str, message: str) -> None:
        if level != "debug":
            self._warn(message)


class Container:
    """One container, by its id. Nothing of its state is kept here: others may change it.

    Made by `Runtime.create` and found by `Runtime.get` and `Runtime.list`. Methods raise NotFound once it is deleted, and
    ContainerError where its status does not allow an operation, with the command's texts.
    """

    def __init__(self, runtime: Runtime, container_id: str, child: _Child | None) -> None:
        self.runtime = runtime
        self.id = container_id
        self._child = child

    def __repr__(self) -> str:
        return f"<ocifw.Container {self.id!r} in {self.runtime.root!r}>"

    # -- what it is ------------------------------------------------------------------------------------------------

    @property
    def status(self) -> str:
        """creating, created, running, paused or stopped."""
        with self.runtime._working():
            return self._stored().status

    @property
    def pid(self) -> int:
        """The pid of the container process in this process's pid namespace; 0 when it has stopped."""
        return int(self.state()["pid"])

    def state(self) -> dict[str, Any]:
        """The state document, as `ocifw state` prints it."""
        from .commands.state import state_of

        with self.runtime._working():
            return state_of(self._stored())

    def config(self) -> dict[str, Any]:
        """The effective config.json: with what profiles and `update` changed."""
        with self.runtime._working():
            return self._stored().config

    def processes(self) -> list[int]:
        """The pids of all its processes."""
        with self.runtime._working():
            return operations.processes(self.runtime._globals, self.id)

    def stats(self) -> dict[str, Any]:
        """Figures about what it uses, as in `ocifw events --stats`."""
        with self.runtime._working():
            return operations.stats(self.runtime._globals, self.id)

    # -- what can be done with it ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Let a created container execute its program. Raises StepFailed when that cannot be executed."""
        with self.runtime._working():
            lifecycle.start(self.runtime._globals, self.id)

    def exec(
        self,
        args: Sequence[str] = (),
        *,
        env: Sequence[str] = (),
        cwd: str = "",
        user: str = "",
        capabilities: Sequence[str] = (),
        process: Mapping[str, Any] | None = None,
        cgroup: Sequence[str] = (),
        ignore_paused: bool = False,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        console_socket: Path = "",
    ) -> Process:
        """Run another process in the container: the one of config.json with these arguments. Does not wait for it.

        env: NAME=VALUE to add. user: "UID" or "UID:GID". capabilities: to add. process: the whole process as in
        config.json, instead of all these. cgroup: [CONTROLLER:]PATH of cgroups below the container's. Streams are those of
        `Runtime.create`. Raises ContainerError unless the container runs, StepFailed when the program cannot be executed.
        """
        from .commands.exec import cgroups, changed

        options = {
            "tty": bool(console_socket),
            "cwd": cwd,
            "process-label": "",
            "apparmor": "",
            "env": list(env),
            "no-new-privs": None,
            "user": user,
            "additional-gids": (),
            "cap": list(capabilities),
        }
        with self.runtime._working(), _fds((stdin, stdout, stderr)) as fds:
            if process is None:
                if not args:
                    raise OcifwError("process args cannot be empty")
                if isinstance(args, str):
                    raise OcifwError(f"args is one string, not several: {args!r}")
                stored = self._stored().config.get("process") or {}
                wanted = changed(stored, options, args)
            else:
                wanted = dict(process)
            addition = foreground.Addition(
                self.runtime._globals,
                self.id,
                wanted,
                foreign=process is not None,
                ignore_paused=ignore_paused,
                console=bool(wanted.get("terminal")),
                cgroup=cgroups(cgroup),
                streams=fds,
            )
            addition.check_terminal(True, os.fspath(console_socket))
            pid = addition.run(addition.plan(), os.fspath(console_socket))
        return Process(self, pid)

    def kill(self, signal: int | str = "TERM", *, all: bool = False) -> None:
        """Send a signal, by number or name, to the container process; with `all`, to all of them."""
        number = signals.parse(str(int(signal) if isinstance(signal, int) else signal))
        with self.runtime._working():
            lifecycle.kill(self.runtime._globals, self.id, number, all)

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait until the container process has ended, also before it was started. Other threads run meanwhile.

        Returns its exit status, 128+N when signal N ended it; None when only another process can know it, which made
        the container, or when somebody else in this one waited for it. The status can be asked for again, also after
        `delete`. Raises WaitTimeout after `timeout_s` seconds.
        """
        if self._child is not None:
            return self._child.wait(timeout_s, f"container {self.id}")
        with self.runtime._working():
            stored = self._stored()
            if not stored.pid:
                raise ContainerError("container is being created")
            try:
                pidfd = stored.pidfd()
            except ProcessLookupError:
                return None
        try:
            _await(pidfd, timeout_s, f"container {self.id}")
        finally:
            os.close(pidfd)
        return None

    def pause(self) -> None:
        """Freeze all its processes."""
        with self.runtime._working():
            operations.pause(self.runtime._globals, self.id)

    def resume(self) -> None:
        """Thaw a paused container."""
        with self.runtime._working():
            operations.resume(self.runtime._globals, self.id)

    def update(self, resources: Mapping[str, Any]) -> None:
        """Change limits: `resources` is linux.resources of config.json; what it does not name stays as it is."""
        with self.runtime._working():
            operations.update(self.runtime._globals, self.id, dict(resources))

    def delete(self, *, force: bool = False) -> None:
        """Undo what `create` did and remove the state; then poststop hooks.

        A created container is killed first; a running one only with `force`, with which one that is not there is fine.
        """
        with self.runtime._working():
            lifecycle.delete(self.runtime._globals, self.id, force)
        child = self._child
        if child is not None:
            child.drop()
            if self.runtime._children.get(self.id) is child:
                self.runtime._children.pop(self.id, None)

    def _stored(self) -> Stored:
        return containers.load(self.runtime.root, self.id)


class Process:
    """A process that `Container.exec` added."""

    def __init__(self, container: Container, pid: int) -> None:
        self.container = container
        self.pid = pid
        self._child = _Child(pid)

    def __repr__(self) -> str:
        return f"<ocifw.Process {self.pid} in container {self.container.id!r}>"

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for its end. Returns the exit status, 128+N for signal N: see `Container.wait`. May raise WaitTimeout."""
        return self._child.wait(timeout_s, f"process {self.pid} of container {self.container.id}")

    def kill(self, signal: int | str = "TERM") -> None:
        """Send it a signal, by number or name. Raises ContainerError when it has ended."""
        self._child.kill(
            signals.parse(str(int(signal) if isinstance(signal, int) else signal)),
            f"process {self.pid} of container {self.container.id}",
        )


class _Child:
    """A child of this process. It is waited for once; its status is kept."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._lock = threading.Lock()
        self._ended = False
        self._status: int | None = None

    def wait(self, timeout_s: float | None, what: str) -> int | None:
        pidfd = self._open()
        if pidfd is not None:
            try:
                _await(pidfd, timeout_s, what)
                self._reap(pidfd)
            finally:
                os.close(pidfd)
        return self._status

    def kill(self, signal: int, what: str) -> None:
        pidfd = self._open()
        try:
            if pidfd is None or self._is_over(pidfd):
                raise ContainerError(f"{what} is not running")
            pidfd_send_signal(pidfd, signal)
        except ProcessLookupError:
            raise ContainerError(f"{what} is not running") from None
        finally:
            if pidfd is not None:
                os.close(pidfd)

    def drop(self) -> None:
        """Wait for it if it has ended, so that nothing is left of it."""
        pidfd = self._open()
        if pidfd is not None:
            try:
                if self._is_over(pidfd):
                    self._reap(pidfd)
            finally:
                os.close(pidfd)

    def _open(self) -> int | None:
        """A pidfd; None when it has been waited for. Under the lock: until then, nobody else can get its pid."""
        with self._lock:
            if self._ended:
                return None
            try:
                return pidfd_open(self.pid)
            except ProcessLookupError:
                self._ended = True
                return None
            except OSError as error:
                raise OcifwError(
                    f"wait for process {self.pid}: {errno_text(error.errno or 0)}"
                ) from error

    def _reap(self, pidfd: int) -> None:
        with self._lock:
            if self._ended:
                return
            try:
                found = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
            except ChildProcessError:
                found = None
            self._ended = True
            if found is not None:
                exited = found.si_code == os.CLD_EXITED
                self._status = found.si_status if exited else 128 + found.si_status

    @staticmethod
    def _is_over(pidfd: int) -> bool:
        ended = poll()
        ended.register(pidfd, POLLIN)
        return bool(ended.poll(0))


def _await(pidfd: int, timeout_s: float | None, what: str) -> None:
    """Wait until a process has ended. Raises WaitTimeout."""
    ended = poll()
    ended.register(pidfd, POLLIN)
    if not ended.poll(None if timeout_s is None else max(0.0, timeout_s * 1000)):
        raise WaitTimeout(f"{what} did not end within {timeout_s:g} s")


def _references(profiles: Sequence[str]) -> tuple[str, ...]:
    """As the command line: names, or, when they have a slash, paths."""
    if isinstance(profiles, str):
        raise OcifwError(f"profiles is one string, not several: {profiles!r}")
    return tuple([os.path.abspath(name) if "/" in name else name for name in profiles])


@contextmanager
def _fds(streams: Sequence[Stream]) -> Iterator[tuple[int, int, int]]:
    """The file descriptors that become 0 to 2, open as long as the `with` lasts. Raises OcifwError for what is none."""
    with ExitStack() as opened:

        def null() -> int:
            fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            opened.callback(os.close, fd)
            return fd

        def fd_of(number: int, stream: Stream) -> int:
            if stream is None:
                return -1 if _is_open(number) else null()
            if stream == DEVNULL:
                return null()
            if stream == STDOUT and number == 2:
                return fds[1] if fds[1] >= 0 else 1
            fd = stream if isinstance(stream, int) else stream.fileno()
            if fd < 0 or not _is_open(fd):
                name = ("stdin", "stdout", "stderr")[number]
                raise OcifwError(f"{name}: {stream!r} is no open file descriptor")
            return fd

        fds: list[int] = []
        for number, stream in enumerate(streams):
            fds.append(fd_of(number, stream))
        yield fds[0], fds[1], fds[2]


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
