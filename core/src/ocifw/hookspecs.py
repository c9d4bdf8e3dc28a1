"""The hooks, in the order of a container's life: the table of contents of ocifw. Read this first.

A plugin *answers* hooks with steps (`ocifw.steps` for those that the container process executes, its own
`RuntimeStep` classes for the runtime's side); it does not act. Planning is pure: a hook reads what it is given and
may read the host through `host`; it changes nothing. The core strings the answers together, checks them, prints them
(`ocifw plan`), applies them, and takes them back when something fails.

Parameters that most hooks have, of which an implementation names those it wants:

* `config`: the effective config.json as plain dicts and lists; for `exec`, `config["process"]` is the process to add.
  It is read only.
* `settings`: what the profile says to this plugin, a dict; `{}` when it says nothing.
* `request`: `ocifw.context.Request`, what the command line asks for.
* `host`: `ocifw.context.Host`, facts about this machine, read when asked for.
* `container`: `ocifw.container.Container`, what the state tells about a container that is there.

pluggy's rules are the contract: `tryfirst`, `trylast`, wrappers (`results = yield; return results`), first result,
and errors for unknown hooks or parameters. In hooks that are not first-result, a wrapper gets a list with one list of
steps for each plugin that answered, in order.

With `owns` a plugin declares the fields of config.json that are its own, as `owns = ("linux.seccomp",)`. When none
of them is set, its hooks are not called and it is not even imported; a plugin that owns nothing, or says
`always = True`, is always asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .container import Container
    from .context import Host, Request
    from .errors import Problem
    from .phases import Phase
    from .step import ContainerStep, RuntimeStep, Step

API_VERSION = "1.0"
"""Of the hooks here and the steps in `ocifw.steps`. A plugin may say which it was written for: `api = "1"`.

The first number changes when a plugin that worked may not work any more, the second when something is added. What is to go
warns first, by pluggy's `warn_on_impl` and `warn_on_impl_args`, for one series of releases.
"""

hookspec = pluggy.HookspecMarker("ocifw")

Config = dict[str, Any]
Settings = dict[str, Any]

# ---- before the plan ---------------------------------------------------------------------------------------------


@hookspec
def ocifw_layers(config: Config, request: Request) -> Iterable[Config] | None:
    """Layers of config.json that a plugin adds below the profile's, such as devices described elsewhere on the host.

    **Runs in** the runtime, before everything else.
    **The container process** does not exist.
    **May** read files of the host. **Must not** change anything, nor read the image.
    Returns mappings, merged in order by the rules of profiles.
    Spec: config.md. Example::

        @hookimpl
        def ocifw_layers(config):
            yield {"process": {"env": ["TZ=UTC"]}}
    """


@hookspec
def ocifw_edits(
    config: Config, settings: Settings, request: Request, host: Host
) -> Iterable[Config] | None:
    """Layers that a plugin lays over config.json, below profiles: what a container gets beside what its config says.

    `config` is config.json with the layers of plugins. `settings` are those of the profiles that count.
    **Runs in** the runtime, before the plan, for new containers only.
    **The container process** does not exist.
    **May** read files of the host that are root's. **Must not** change anything, read the image, or believe annotations
    that no setting allows: they may be the image's.
    Returns mappings, merged in order by the rules of profiles: `mounts` merge by destination, `key+` appends.
    Spec: config.md. Example::

        @hookimpl
        def ocifw_edits(settings):
            for device in settings.get("devices", ()):
                yield {"process": {"env": [f"DEVICE={device}"]}}
    """


@hookspec
def ocifw_settings_schema() -> Mapping[str, Any] | None:
    """The JSON Schema of this plugin's settings in a profile.

    **Runs in** the runtime, when a profile is compiled or checked.
    **The container process** does not exist.
    **May** be a constant. **Must not** depend on anything.
    Spec: docs/profiles.md. Example::

        @hookimpl
        def ocifw_settings_schema():
            return {"type": "object", "properties": {"enabled": {"type": "boolean"}}}
    """


@hookspec
def ocifw_validate(config: Config, request: Request, host: Host) -> Iterable[Problem] | None:
    """What is wrong with the fields that this plugin owns, beyond what the schema says; all problems at once.

    **Runs in** the runtime, before anything is planned. Problems are an error before anything is created.
    **The container process** does not exist.
    **May** ask the host whether it can do what is asked. **Must not** change anything.
    Spec: runtime.md, Errors. Example::

        @hookimpl
        def ocifw_validate(config):
            if "domainname" in config and "/" in config["domainname"]:
                yield Problem("domainname", f"{config['domainname']!r} contains a slash")
    """


# ---- create ------------------------------------------------------------------------------------------------------


@hookspec
def ocifw_prepare(
    config: Config, settings: Settings, request: Request, host: Host
) -> Iterable[RuntimeStep] | None:
    """1. What must be there before the container process: cgroups and their limits, opened mount sources.

    **Runs in** the runtime; also for `exec` (`request.is_exec`).
    **The container process** does not exist.
    **May** leave things behind that `undo` takes back, and put file descriptors into slots for container steps.
    **Must not** expect a pid. Spec: runtime.md, Lifecycle 2. Example::

        @hookimpl
        def ocifw_prepare(config):
            yield CreateCgroup("/sys/fs/cgroup/pids/box")
    """


@hookspec(firstresult=True)
def ocifw_clone(
    config: Config, settings: Settings, request: Request, host: Host
) -> list[ContainerStep] | None:
    """2. How the container process is made: namespaces to join or unshare, then exactly one `Clone`.

    **Runs in** the intermediate process, which then ends; also for `exec`. The first plugin that answers decides; others
    amend its list as wrappers, for example to join cgroups first. Without an answer it is a plain child of the runtime.
    **The container process** is made.
    **May** use steps up to `Clone` of `ocifw.steps`. **Must not** fork before cgroups are joined.
    Spec: config-linux.md, Namespaces; namespaces(7). Example::

        @hookimpl
        def ocifw_clone(config):
            return [Clone(CLONE_NEWUTS | CLONE_NEWIPC)]
    """


@hookspec
def ocifw_attach(
    config: Config, settings: Settings, request: Request, host: Host
) -> Iterable[RuntimeStep] | None:
    """3. What the runtime does to the process from outside: id maps, rlimits, oom_score_adj, network devices.

    **Runs in** the runtime; also for `exec`.
    **The container process** (`context.pid`) is in its namespaces and blocked, its ids not yet mapped.
    **May** act on `context.pid`. **Must not** trust files that the container could have changed.
    Spec: config-linux.md, User namespace mappings. Example::

        @hookimpl
        def ocifw_attach(config):
            yield SetOomScoreAdj(config["process"]["oomScoreAdj"])
    """


@hookspec
def ocifw_enter(
    config: Config, settings: Settings, request: Request, host: Host
) -> Iterable[ContainerStep] | None:
    """4. First steps inside the namespaces: become root of them, a session, a keyring, the loopback interface.

    **Runs in** the container process; also for `exec` (there it is in the container's mounts already).
    **The container process** sees the host's mounts and has all capabilities in its user namespace.
    **May** use host paths in steps (not for `exec`). **Must not** use `InRoot` paths: there is no rootfs yet.
    Spec: config-linux.md, Namespaces. Example::

        @hookimpl
        def ocifw_enter():
            yield NewSession()
    """


@hookspec(firstresult=True)
def ocifw_mount(
    mount: Config, index: int, config: Config, request: Request, host: Host
) -> list[ContainerStep] | None:
    """Who makes this kind of mount? Asked for each of `mounts`, in order; the first answer counts.

    The steps reach `ocifw_rootfs` as `mounts[index]`. An empty list is an answer: nothing is mounted.
    **Runs in** the runtime, while planning; the steps run in the container process.
    **The container process** will build the new root.
    **May** answer for its own kinds only. **Must not** read the image's files.
    Spec: config.md, Mounts. Example::

        @hookimpl
        def ocifw_mount(mount, index):
            if mount.get("type") == "ramdisk":
                return [Mount("tmpfs", "tmpfs", mount["destination"], at=f"mounts[{index}]")]
            return None
    """


@hookspec
def ocifw_rootfs(
    config: Config,
    settings: Settings,
    request: Request,
    host: Host,
    mounts: Sequence[Sequence[ContainerStep]],
) -> Iterable[ContainerStep] | None:
    """5. Building the root: the rootfs itself, mounts in the order of config.json, devices, links, files.

    **Runs in** the container process; its order is the plugins' order.
    **The container process** is in its own mount namespace, with the host's mounts still visible.
    **May** use `HostPath`s as sources; `InRoot` paths are resolved inside the rootfs.
    **Must not** join paths of the image to strings of the host. Spec: config.md, Root, Mounts. Example::

        @hookimpl
        def ocifw_rootfs(settings):
            if settings.get("enabled", True):
                yield Bind("/etc/localtime", to="/etc/localtime", read_only=True)
    """


@hookspec
def ocifw_create_runtime(
    config: Config, settings: Settings, request: Request, host: Host
) -> Iterable[RuntimeStep] | None:
    """6. In the runtime's namespaces, when the container's are complete: prestart and createRuntime hooks.

    **Runs in** the runtime.
    **The container process** has built its root, has not entered it, and waits.
    **May** act on `context.pid`. **Must not** assume that the root was pivoted.
    Spec: runtime.md, Lifecycle 3 and 4. Example::

        @hookimpl
        def ocifw_create_runtime(config):
            for hook in config["hooks"]["createRuntime"]:
                yield RunHook(hook["path"])
    """


@hookspec
def ocifw_create_container(
    config: Config, settings: Settings, request: Request, host: Host
) -> Iterable[ContainerStep] | None:
    """7. In the container's namespaces, before the root is changed: createContainer hooks.

    **Runs in** the container process.
    **The container process** still resolves paths in the host's mounts.
    **May** use `RunProgram`. **Must not** give a program the image's environment (CVE-2025-23266).
    Spec: runtime.md, Lifecycle 5. Example::

        @hookimpl
        def ocifw_create_container():
            yield RunProgram("/usr/bin/hook", ("hook",), (), b"", b"")
    """


@hookspec(firstresult=True)
def ocifw_pivot_root(
    config: Config, settings: Settings, request: Request, host: Host
) -> list[ContainerStep] | None:
    """8. How the root is changed. The first plugin that answers decides; without an answer it is not changed.

    **Runs in** the container process.
    **The container process** enters its root; the host's mounts are gone afterwards.
    **May** set the propagation of the new root. **Must not** leave a way back.
    Spec: config-linux.md, rootfsPropagation; pivot_root(2). Example::

        @hookimpl
        def ocifw_pivot_root():
            return [PivotRoot()]
    """


@hookspec
def ocifw_finalize(
    config: Config, settings: Settings, request: Request, host: Host
) -> Iterable[ContainerStep] | None:
    """9. In the new root, still privileged: terminal, read-only and masked paths, hostname, sysctl, labels.

    Also the seccomp filter when noNewPrivileges is false, since loading it then needs CAP_SYS_ADMIN.
    **Runs in** the container process; also for `exec`, which has nothing to do with the root.
    **The container process** is root of its user namespace, inside its root.
    **May** use `InRoot` paths. **Must not** use host paths: they are gone.
    Spec: config-linux.md, Masked paths, Sysctl. Example::

        @hookimpl
        def ocifw_finalize(config):
            yield SetHostname(config["hostname"])
    """


@hookspec
def ocifw_credentials(
    config: Config, settings: Settings, request: Request, host: Host
) -> Iterable[ContainerStep] | None:
    """10. The process becomes its user: bounding set, groups, gid, uid, capabilities, umask, working directory.

    **Runs in** the container process; also for `exec`.
    **The container process** loses its privileges here.
    **May** be wrapped, to do something on both sides of setuid(2). **Must not** need privileges afterwards.
    Spec: config.md, POSIX process; capabilities(7). Example::

        @hookimpl
        def ocifw_credentials(config):
            yield SetUid(config["process"]["user"]["uid"])
    """


@hookspec
def ocifw_created(
    config: Config, settings: Settings, request: Request, host: Host
) -> Iterable[RuntimeStep] | None:
    """11. The last steps before the container counts as created.

    **Runs in** the runtime; then the state is written and `create` returns.
    **The container process** has done everything but wait for start.
    **May** act on `context.pid`. **Must not** take long: engines wait.
    Spec: runtime.md, Lifecycle 2. Example::

        @hookimpl
        def ocifw_created(request):
            yield Announce(request.id)
    """


# ---- start, delete -----------------------------------------------------------------------------------------------


@hookspec
def ocifw_start_container(
    config: Config, settings: Settings, request: Request, host: Host
) -> Iterable[ContainerStep] | None:
    """12. After `start` was called, before the program executes: startContainer hooks.

    **Runs in** the container process, whose errors `start` reports.
    **The container process** is its user already.
    **May** use `RunProgram` with paths of the container. **Must not** need privileges.
    Spec: runtime.md, Lifecycle 7. Example::

        @hookimpl
        def ocifw_start_container():
            yield RunProgram("/bin/hook", ("hook",), (), b"", b"")
    """


@hookspec
def ocifw_seal(
    config: Config, settings: Settings, request: Request, host: Host
) -> Iterable[ContainerStep] | None:
    """13. Last words: the seccomp filter when noNewPrivileges is true. The core then closes fds and executes.

    **Runs in** the container process; also for `exec`.
    **The container process** can do nothing afterwards that its filter forbids.
    **May** load filters. **Must not** open anything.
    Spec: config-linux.md, Seccomp. Example::

        @hookimpl
        def ocifw_seal(config):
            yield LoadFilter(compiled)
    """


@hookspec
def ocifw_poststart(
    config: Config, settings: Settings, request: Request, host: Host
) -> Iterable[RuntimeStep] | None:
    """14. After the program was executed and before `start` returns: poststart hooks.

    **Runs in** the runtime. Planned at `create` and kept in the state.
    **The container process** runs the program.
    **May** act on `context.pid`. **Must not** expect it to be alive.
    Spec: runtime.md, Lifecycle 9. Example::

        @hookimpl
        def ocifw_poststart(config):
            for hook in config["hooks"]["poststart"]:
                yield RunHook(hook["path"])
    """


@hookspec
def ocifw_poststop(
    config: Config, settings: Settings, request: Request, host: Host
) -> Iterable[RuntimeStep] | None:
    """15. After the container was deleted and before `delete` returns: poststop hooks. Failures are warnings.

    **Runs in** the runtime. Planned at `create` and kept in the state. Also after a `create` that failed was undone.
    **The container process** is gone.
    **May** look at what is left. **Must not** expect anything of the container to be there.
    Spec: runtime.md, Lifecycle 13. Example::

        @hookimpl
        def ocifw_poststop(config):
            for hook in config["hooks"]["poststop"]:
                yield RunHook(hook["path"])
    """


# ---- operations on a container that is there ---------------------------------------------------------------------


@hookspec
def ocifw_pause(
    container: Container, settings: Settings, host: Host
) -> Iterable[RuntimeStep] | None:
    """The steps of `pause`: freeze every process of the container.

    **Runs in** the runtime. **The container process** is created or running.
    **May** have an undo: it is thawed again when a later step fails. **Must not** leave it half frozen.
    Spec: none; runc's command. Example::

        @hookimpl
        def ocifw_pause(container):
            yield Freeze(container.notes["cgroups"]["freezer"])
    """


@hookspec
def ocifw_resume(
    container: Container, settings: Settings, host: Host
) -> Iterable[RuntimeStep] | None:
    """The steps of `resume`: thaw what `pause` froze.

    **Runs in** the runtime. **The container process** is paused.
    **May** be the same steps as pause's, reversed. **Must not** signal anything.
    Spec: none; runc's command. Example::

        @hookimpl
        def ocifw_resume(container):
            yield Thaw(container.notes["cgroups"]["freezer"])
    """


@hookspec
def ocifw_kill_all(
    container: Container, signal: int, settings: Settings, host: Host
) -> Iterable[RuntimeStep] | None:
    """The steps that send a signal to every process of the container: `kill --all`, and SIGKILL without a pid namespace.

    **Runs in** the runtime. **The container process** may be gone while others of the container live.
    **May** freeze meanwhile. **Must not** leave anything frozen, and must reach processes forked meanwhile.
    Spec: runtime.md, Kill. Example::

        @hookimpl
        def ocifw_kill_all(container, signal):
            yield KillCgroup(container.notes["cgroups"]["pids"], signal)
    """


@hookspec
def ocifw_update(
    container: Container, resources: Config, intel_rdt: Config, settings: Settings, host: Host
) -> Iterable[RuntimeStep] | None:
    """The steps of `update`. `resources` is linux.resources with what is to change; what is absent stays as it is.
    `intel_rdt` is linux.intelRdt likewise, `{}` when nothing of it is to change.

    **Runs in** the runtime. **The container process** is created, running or paused.
    **May** have undos that restore the old values: they run when a later step fails. **Must not** touch devices.
    Spec: config-linux.md, Control groups. Example::

        @hookimpl
        def ocifw_update(container, resources):
            yield WriteCgroup("pids.max", resources["pids"]["limit"])
    """


@hookspec(firstresult=True)
def ocifw_processes(container: Container, host: Host) -> list[int] | None:
    """The pids of all processes of the container, as the runtime sees them: for `ps`.

    **Runs in** the runtime. **The container process** exists in any status.
    **May** answer an empty list. **Must not** signal or wait. Spec: none; runc's command. Example::

        @hookimpl
        def ocifw_processes(container):
            return pids_of(container.notes["cgroups"]["pids"])
    """


@hookspec
def ocifw_stats(container: Container, host: Host) -> Mapping[str, Any] | None:
    """Figures about the container for `events`, in the form of runc's stats document (`{"cpu": …, "memory": …}`).

    **Runs in** the runtime. **The container process** exists.
    **May** leave out what the host does not count. **Must not** change anything. The answers are merged.
    Spec: none; runc's command. Example::

        @hookimpl
        def ocifw_stats(container):
            return {"pids": {"current": 1}}
    """


@hookspec(firstresult=True)
def ocifw_oom(container: Container, host: Host) -> Any:
    """Something that tells when the container ran out of memory, for `events`.

    An object with `fileno()`, readable when there may be news, `read() -> int`, the number of new OOM events,
    and `close()`.
    **Runs in** the runtime. **The container process** runs.
    **May** be None when the host cannot tell. **Must not** block. Spec: none; runc's command. Example::

        @hookimpl
        def ocifw_oom(container):
            return OomEvents(container.notes["cgroups"]["memory"])
    """


@hookspec
def ocifw_checkpoint(
    container: Container, options: Mapping[str, Any], settings: Settings, host: Host
) -> Iterable[RuntimeStep] | None:
    """The steps of `checkpoint`; `options` are the command's flags by their long names.

    **Runs in** the runtime. **The container process** is running or paused.
    **May** end the container, unless leave-running. **Must not** harm it when the dump fails.
    Spec: none; runc's command, criu(8). Example::

        @hookimpl
        def ocifw_checkpoint(container, options):
            yield Dump(options["image-path"])
    """


@hookspec(firstresult=True)
def ocifw_checkpoint_report(container: Container, settings: Settings) -> Mapping[str, Any] | None:
    """What `checkpoint --check` answers: `{"possible": BOOL, "checks": [{"name": ..., "ok": ..., "detail": ...}, ...]}`.

    **Runs in** the runtime. **The container process** runs or is paused, and is not disturbed.
    **May** ask the program that would dump. **Must not** write anything. Spec: none. Example::

        @hookimpl
        def ocifw_checkpoint_report(container):
            return {"possible": False, "checks": []}
    """


@hookspec
def ocifw_restore(
    config: Config, options: Mapping[str, Any], settings: Settings, request: Request, host: Host
) -> Iterable[RuntimeStep] | None:
    """The steps of `restore`; `options` are the command's flags by their long names.

    **Runs in** the runtime. **The container process** is made by one of the steps, which sets `context.pid`.
    **May** use what `ocifw_prepare` prepared. **Must not** leave half a container.
    Spec: none; runc's command, criu(8). Example::

        @hookimpl
        def ocifw_restore(options):
            yield Restore(options["image-path"])
    """


# ---- questions ---------------------------------------------------------------------------------------------------


@hookspec
def ocifw_features() -> Mapping[str, Any] | None:
    """What this plugin adds to the document of `ocifw features`, merged into it.

    **Runs in** the runtime. **The container process** plays no part.
    **May** be a constant. **Must not** describe the host: the document is about the program.
    Spec: features.md. Example::

        @hookimpl
        def ocifw_features():
            return {"linux": {"apparmor": {"enabled": True}}}
    """


@hookspec
def ocifw_hints(error: BaseException) -> Iterable[str] | None:
    """Sentences that may help with an error that is about to be reported. Only certain ones.

    **Runs in** the runtime, after everything was taken back.
    **The container process** is gone.
    **May** look at the host. **Must not** guess, nor repeat the error. Spec: none. Example::

        @hookimpl
        def ocifw_hints(error):
            if "newuidmap" in str(error):
                yield "install the package uidmap"
    """


@hookspec
def ocifw_commands() -> Mapping[str, str] | None:
    """Verbs that the plugin adds to the command line: name to `module:function`.

    The function is called with `ocifw.context.Globals` and the list of the arguments after the verb; it returns the exit
    status, None for 0, and raises OcifwError.
    **Runs in** the runtime, when the verb is none of ocifw's own.
    **The container process** plays no part.
    **May** name modules that import whatever they like. **Must not** import them itself. Spec: none. Example::

        @hookimpl
        def ocifw_commands():
            return {"audit": "ocifw_audit.command:main"}
    """


@hookspec
def ocifw_run_phase(
    phase: Phase, side: str, steps: Sequence[Step], context: Any, settings: Settings
) -> None:
    """A phase begins: for tracing, auditing and timing. With no implementation it costs nothing.

    **Runs in** the runtime, also for phases of the container's side (the baton tells).
    **The container process** is as `phase.process` says.
    **May** record, and warn by `context.warn`. **Must not** change, delay or fail anything: of `context` it has a copy.
    Spec: none. Example::

        @hookimpl
        def ocifw_run_phase(phase):
            print(phase.name)
    """
