"""The plugin set: which plugins there are, in which order their hooks are called, and calling them.

pluggy registers, orders and checks the plugins once for each plugin set; what it decided is kept as a table, *linked*,
from which `create` and the other hot verbs call the implementations without importing pluggy (19 ms) or reading the
metadata of distributions (31 ms). `tests/core/test_plugins.py` compares both for every kind of implementation.

Only plugins that the set names are loaded, from the folder that ocifw itself is installed in; never from the current
folder, the bundle, PYTHONPATH or the user's site folder, which the entry program keeps out of `sys.path`.
"""

from __future__ import annotations

import sys

from .errors import OcifwError, PlanError, PluginError
from .record import Record
from .selection import DEFAULT, choose, chosen, held, hold, library, stamp
from .step import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import GeneratorType, ModuleType
    from typing import Any

    from .container import Container
    from .guard import Guard

    Table = dict[str, Any]
else:
    GeneratorType = type(_ for _ in ())

GROUP = "ocifw"

FIRST_PARTY = (
    "cgroups",
    "namespaces",
    "network",
    "mounts",
    "lsm",
    "process",
    "rdt",
    "capabilities",
    "seccomp",
    "hooks",
    "criu",
    "conformance",
)
"""The plugins of ocifw, in the order in which their steps of one phase stand in the plan.

The labels of lsm come after the last mount, and before process sets no_new_privs, under which a profile may not be put on.
"""

CORE = "core"
CORE_OWNS = ("ociVersion", "process", "process.args", "process.env", "annotations", "linux")


class Plugin(Record):
    """One plugin of the set, as it was linked.

    module: the name of the module that the entry point names. owns: fields of config.json. always: ask it even when
    none of its fields is set. file, size, mtime_ns: of the module's source, to notice a change. sha256: of all files of
    its distribution. first_party: it is one of ocifw's own. failure: "fail" or "warn", as the set says.
    """

    name: str
    module: str
    distribution: str
    version: str
    owns: tuple[str, ...]
    always: bool
    file: str
    size: int
    mtime_ns: int
    sha256: str = ""
    first_party: bool = True
    failure: str = "fail"


class Implementation(Record):
    """One hook implementation: `function` of plugin `plugin`, called with the arguments it names."""

    plugin: str
    function: str
    arguments: tuple[str, ...]
    wrapper: bool


class Terms(Record):
    """What a plugin set says beside its plugins: see `ocifw.sets.ActiveSet`."""

    name: str = DEFAULT
    profile: str = ""
    policy: Sequence[str] = ()
    on_change: str = "warn"
    time_limit_s: float = 2.0


class PluginSet:
    """Linked plugins. `ask` calls a hook as pluggy would."""

    def __init__(
        self,
        plugins: Sequence[Plugin],
        hooks: dict[str, tuple[Implementation, ...]],
        first_result: frozenset[str],
        settings: dict[str, dict[str, Any]] | None = None,
        modules: dict[str, ModuleType | object] | None = None,
        terms: Terms = Terms(),  # noqa: B008 -- immutable
    ) -> None:
        """hooks: for each hook, its implementations in the order of calling: wrappers, outermost first, then the others."""
        self.plugins = tuple(plugins)
        self.hooks = hooks
        self.first_result = first_result
        self.settings = settings or {}
        self.terms = terms
        self._guarded = frozenset([plugin.name for plugin in plugins if not plugin.first_party])
        self._guard: Guard | None = None
        self._names = {plugin.name: plugin.module for plugin in plugins}
        self._modules: dict[str, Any] = dict(modules or {})
        self._owners: dict[str, str] | None = None
        self.disabled: dict[str, tuple[str, str]] = {}

    def limited(self, settings: dict[str, dict[str, Any]], disabled: dict[str, str]) -> PluginSet:
        """The set as a profile wants it. disabled: plugins that are not asked, and what switched each off."""
        limited = PluginSet(
            [plugin for plugin in self.plugins if plugin.name not in disabled],
            {
                hook: tuple([one for one in implementations if one.plugin not in disabled])
                for hook, implementations in self.hooks.items()
            },
            self.first_result,
            settings,
            self._modules,
            self.terms,
        )
        limited.disabled = {
            field: (plugin.name, disabled[plugin.name])
            for plugin in self.plugins
            if plugin.name in disabled
            for field in plugin.owns
        }
        return limited

    # -- owners ----------------------------------------------------------------------------------------------------

    @property
    def owners(self) -> dict[str, str]:
        """The plugin that owns each field. Raises PlanError, naming both, when two plugins own one."""
        if self._owners is None:
            owners = dict.fromkeys(CORE_OWNS, CORE)
            for plugin in self.plugins:
                for field in plugin.owns:
                    if field in owners:
                        raise PlanError(
                            f"{field} is owned by two plugins, {owners[field]} and {plugin.name}"
                        )
                    owners[field] = plugin.name
            self._owners = owners
        return self._owners

    def asked(self, fields: Iterable[str]) -> frozenset[str]:
        """The names of the plugins to ask about a config in which these fields are set.

        Raises PlanError for fields that nobody owns: it names the plugin that would.
        """
        owners = self.owners
        names = {plugin.name for plugin in self.plugins if plugin.always or not plugin.owns}
        orphans = []
        for field in fields:
            owner = owners.get(field)
            if owner is None:
                orphans.append(field)
            elif owner != CORE:
                names.add(owner)
        if orphans:
            raise PlanError("; ".join([_orphan(field, self.disabled) for field in orphans]))
        return frozenset(names)

    # -- calling ---------------------------------------------------------------------------------------------------

    def module(self, name: str) -> Any:
        """The module of a plugin, imported when first needed."""
        module = self._modules.get(name)
        if module is None:
            try:
                module = __import__(self._names[name], fromlist=["plugin"])
            except Exception as error:
                raise PluginError(name, "import", f"{type(error).__name__}: {error}") from error
            self._modules[name] = module
        return module

    def ask(self, hook: str, arguments: dict[str, Any], asked: frozenset[str] | None = None) -> Any:
        """Call a hook by pluggy's rules, of the plugins in `asked` or of all.

        Answers are stamped with their plugin; generators become lists. Returns the list of answers that are not None,
        or, of a first-result hook, the first one or None. Raises PluginError when an implementation raises anything but
        an OcifwError.
        """
        implementations = self.hooks.get(hook, ())
        if asked is not None:
            implementations = tuple([i for i in implementations if i.plugin in asked])
        if not implementations:
            return None if hook in self.first_result else []
        return call(
            hook,
            [(i, self._function(i)) for i in implementations],
            arguments,
            self.settings,
            hook in self.first_result,
            self.guard if self._guarded else None,
        )

    @property
    def guard(self) -> Guard:
        """What stands between ocifw and plugins that are not its own."""
        if self._guard is None:
            from .guard import Guard

            self._guard = Guard(self.plugins, self.terms.time_limit_s)
        return self._guard

    def has(self, hook: str) -> bool:
        """Whether any plugin implements a hook."""
        return bool(self.hooks.get(hook))

    def _function(self, implementation: Implementation) -> Callable[..., Any]:
        function: Callable[..., Any] = getattr(
            self.module(implementation.plugin), implementation.function
        )
        return function


def call(
    hook: str,
    implementations: Sequence[tuple[Implementation, Callable[..., Any]]],
    arguments: dict[str, Any],
    settings: dict[str, dict[str, Any]],
    first_result: bool,
    guard: Guard | None = None,
) -> Any:
    """pluggy's multicall, over implementations in the order of calling (wrappers first).

    guard: calls the plugins it knows, and takes failures of those that may fail.
    """
    results: list[Any] = []
    failure: BaseException | None = None
    wrappers: list[tuple[Implementation, Any]] = []
    for implementation, function in implementations:
        try:
            if guard is not None and implementation.plugin in guard.plugins:
                answer = guard.call(hook, implementation, function, arguments, settings)
                if implementation.wrapper:
                    wrappers.append((implementation, answer))
                    continue
            else:
                answer = function(*_values(implementation, arguments, settings))
                if implementation.wrapper:
                    next(answer)
                    wrappers.append((implementation, answer))
                    continue
                if type(answer) is GeneratorType:
                    answer = list(answer)
        except BaseException as error:
            failure = _attributed(implementation, hook, error)
            if guard is not None and guard.tolerates(implementation, failure):
                failure = None
                continue
            break
        if answer is not None:
            _stamp(answer, implementation.plugin)
            results.append(answer)
            if first_result:
                break
    result: Any = results
    if first_result:
        result = results[0] if results else None
    while wrappers:
        implementation, generator = wrappers.pop()
        try:
            if failure is not None:
                generator.throw(failure)
            else:
                generator.send(result)
        except StopIteration as stop:
            result, failure = stop.value, None
            for answer in (result,) if first_result else result or ():
                if answer is not None:
                    _stamp(answer, implementation.plugin)
        except BaseException as error:
            own = _attributed(implementation, hook, error)
            if own is failure or guard is None or not guard.tolerates(implementation, own):
                failure = own
        else:
            own = PluginError(implementation.plugin, hook, "the wrapper has a second yield")
            own.__cause__ = failure
            try:
                generator.close()
            except RuntimeError:
                # It has a third one, too.
                pass
            if guard is None or not guard.tolerates(implementation, own):
                failure = own
    if failure is not None:
        raise failure
    return result


def _values(
    implementation: Implementation, arguments: dict[str, Any], settings: dict[str, dict[str, Any]]
) -> list[Any]:
    return [
        settings.get(implementation.plugin, {}) if name == "settings" else arguments[name]
        for name in implementation.arguments
    ]


def _attributed(implementation: Implementation, hook: str, error: BaseException) -> BaseException:
    """The error with the plugin's name; what says everything itself (and what is no Exception) as it is."""
    if isinstance(error, OcifwError) or not isinstance(error, Exception):
        return error
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    attributed = PluginError(implementation.plugin, hook, reason)
    attributed.__cause__ = error
    return attributed


def _stamp(answer: Any, plugin: str) -> None:
    """Note the plugin on each step of an answer. Steps that a wrapper passes on keep their first stamp."""
    if type(answer) is list or type(answer) is tuple:
        for step in answer:
            if isinstance(step, Step) and not step.plugin:
                step.stamp(plugin, "")


def _orphan(field: str, disabled: dict[str, tuple[str, str]]) -> str:
    """The error about a field without an owner. Only first-party owners are known without being installed."""
    if field in disabled:
        plugin, origin = disabled[field]
        return f"{field}: no active plugin handles it: plugin {plugin} is switched off by {origin}"
    owner = _USUAL_OWNERS.get(field)
    if owner:
        return f"{field}: no active plugin handles it: install the plugin ocifw-{owner}"
    return f"{field}: no active plugin handles it"


_USUAL_OWNERS = {
    "root": "mounts",
    "mounts": "mounts",
    "hostname": "namespaces",
    "domainname": "namespaces",
    "hooks": "hooks",
    "process.terminal": "process",
    "process.consoleSize": "process",
    "process.user": "process",
    "process.cwd": "process",
    "process.rlimits": "process",
    "process.oomScoreAdj": "process",
    "process.scheduler": "process",
    "process.ioPriority": "process",
    "process.execCPUAffinity": "process",
    "process.noNewPrivileges": "process",
    "process.capabilities": "capabilities",
    "process.apparmorProfile": "lsm",
    "process.selinuxLabel": "lsm",
    "linux.mountLabel": "lsm",
    "linux.namespaces": "namespaces",
    "linux.uidMappings": "namespaces",
    "linux.gidMappings": "namespaces",
    "linux.timeOffsets": "namespaces",
    "linux.sysctl": "namespaces",
    "linux.devices": "mounts",
    "linux.rootfsPropagation": "mounts",
    "linux.maskedPaths": "mounts",
    "linux.readonlyPaths": "mounts",
    "linux.cgroupsPath": "cgroups",
    "linux.resources": "cgroups",
    "linux.seccomp": "seccomp",
    "linux.personality": "process",
    "linux.memoryPolicy": "process",
    "linux.netDevices": "network",
    "linux.intelRdt": "rdt",
}


# ---- the linked table ----------------------------------------------------------------------------------------------


_last: tuple[Any, Table] | None = None
"""The key and table that this process loaded last: a command asks several times. What it has imported stays as it is anyway."""


def load(settings: dict[str, dict[str, Any]] | None = None) -> PluginSet:
    """The active plugin set: from the linked table, which is made anew when it is missing or stale."""
    global _last  # noqa: PLW0603 -- see there
    ours = held()
    if ours is not None:
        return ours
    from . import linked

    key = linked.key()
    if _last is not None and _last[0] == key:
        return from_table(_last[1], settings)
    table = linked.read(key)
    if table is None or not _fresh(table):
        from . import linking

        table = linking.link_set(chosen())
        linked.write(key, table)
    _last = (key, table)
    for warning in table["warnings"]:
        from . import log

        log.warning(warning)
    return from_table(table, settings)


def of(container: Container) -> PluginSet:
    """The plugin set that a container was created with, unless the command line says another, with its settings."""
    name = container.state.get("set") or ""
    ours = held()
    if name and not chosen().name and (ours is None or ours.terms.name != name):
        before = choose(name=name)
        hold(None)
        try:
            active = load()
        except OcifwError as error:
            if name == DEFAULT:
                raise
            raise OcifwError(
                f"{error} (container {container.id} was created with plugin set {name}:"
                f" `ocifw --set {DEFAULT}` works on it with another)"
            ) from error
        finally:
            choose(name=before.name)
            hold(ours)
    else:
        active = load()
    profile = container.state.get("profile")
    return active if profile is None else active.limited(profile["settings"], profile["disabled"])


def made_by(active: PluginSet) -> list[list[str]]:
    """What a container's state remembers of the plugins that made it: name, version and hash of each."""
    return [[plugin.name, plugin.version, plugin.sha256] for plugin in active.plugins]


def check_unchanged(container: Container, active: PluginSet, refuse: bool = True) -> None:
    """Say what is different about the plugins since they made a container: as a warning, or as the set wants.

    refuse: whether this operation may be refused. Raises ChangedPlugins then.
    """
    remembered = container.state.get("plugins") or []
    if remembered and remembered != made_by(active):
        from .changed import report

        report(remembered, made_by(active), active.terms, refuse)


def from_table(table: Table, settings: dict[str, dict[str, Any]] | None = None) -> PluginSet:
    """The plugin set of a linked table."""
    return PluginSet(
        [Plugin.of(row) for row in table["plugins"]],
        {
            hook: tuple([Implementation.of(row) for row in rows])
            for hook, rows in table["hooks"].items()
        },
        frozenset(table["first_result"]),
        settings,
        terms=Terms(*table["terms"]),
    )


def _fresh(table: Table) -> bool:
    """Whether the plugins' files and the set's are those that were linked, and still only their owners' to write."""
    for path, expected in table["files"]:
        if stamp(path) != expected:
            return False
    for path, expected in table["folders"]:
        found = stamp(path)
        # The size and time of the folders above change with everything that is installed.
        if found is None or found[2:] != expected:
            return False
    return True


def search_here() -> None:
    """Let modules be found in the folder that ocifw is installed in: the interpreter was started without `site`."""
    folder = library()
    if folder not in sys.path:
        sys.path.append(folder)
