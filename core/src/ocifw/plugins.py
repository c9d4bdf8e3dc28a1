"""The plugin set: which plugins there are, in which order their hooks are called, and calling them.

pluggy registers, orders and checks the plugins once for each plugin set; what it decided is kept as a table, *linked*,
from which `create` and the other hot verbs call the implementations without importing pluggy (19 ms) or reading the
metadata of distributions (31 ms). `tests/core/test_plugins.py` compares both for every kind of implementation.

Only plugins that the set names are loaded, from the folder that ocifw itself is installed in; never from the current
folder, the bundle, PYTHONPATH or the user's site folder, which the entry program keeps out of `sys.path`.
"""

from __future__ import annotations

import os
import sys

from .errors import OcifwError, PlanError, PluginError
from .record import Record
from .step import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import GeneratorType, ModuleType
    from typing import Any

    Table = dict[str, Any]
else:
    GeneratorType = type(_ for _ in ())

GROUP = "ocifw"

FIRST_PARTY = (
    "cgroups",
    "namespaces",
    "mounts",
    "process",
    "capabilities",
    "seccomp",
    "hooks",
    "criu",
)
"""The plugins of ocifw, in the order in which their steps of one phase stand in the plan."""

CORE = "core"
CORE_OWNS = ("ociVersion", "process", "process.args", "process.env", "annotations", "linux")


class Plugin(Record):
    """One plugin of the set, as it was linked.

    module: the name of the module that the entry point names. owns: fields of config.json. always: ask it even when
    none of its fields is set. file, size, mtime_ns: of the module's source, to notice a change.
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


class Implementation(Record):
    """One hook implementation: `function` of plugin `plugin`, called with the arguments it names."""

    plugin: str
    function: str
    arguments: tuple[str, ...]
    wrapper: bool


class PluginSet:
    """Linked plugins. `ask` calls a hook as pluggy would."""

    def __init__(
        self,
        plugins: Sequence[Plugin],
        hooks: dict[str, tuple[Implementation, ...]],
        first_result: frozenset[str],
        settings: dict[str, dict[str, Any]] | None = None,
        modules: dict[str, ModuleType | object] | None = None,
    ) -> None:
        """hooks: for each hook, its implementations in the order of calling: wrappers, outermost first, then the others."""
        self.plugins = tuple(plugins)
        self.hooks = hooks
        self.first_result = first_result
        self.settings = settings or {}
        self._names = {plugin.name: plugin.module for plugin in plugins}
        self._modules: dict[str, Any] = dict(modules or {})
        self._owners: dict[str, str] | None = None

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
            raise PlanError("; ".join([_orphan(field) for field in orphans]))
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
        )

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
) -> Any:
    """pluggy's multicall, over implementations in the order of calling (wrappers first)."""
    results: list[Any] = []
    failure: BaseException | None = None
    wrappers: list[tuple[Implementation, Any]] = []
    for implementation, function in implementations:
        try:
            answer = function(*_values(implementation, arguments, settings))
            if implementation.wrapper:
                next(answer)
                wrappers.append((implementation, answer))
                continue
            if type(answer) is GeneratorType:
                answer = list(answer)
        except BaseException as error:
            failure = _attributed(implementation, hook, error)
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
            failure = _attributed(implementation, hook, error)
        else:
            generator.close()
            failure = PluginError(implementation.plugin, hook, "the wrapper has a second yield")
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


def _orphan(field: str) -> str:
    """The error about a field without an owner. Only first-party owners are known without being installed."""
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


def load(settings: dict[str, dict[str, Any]] | None = None) -> PluginSet:
    """The active plugin set: from the linked table, which is made anew when it is missing or stale."""
    from . import linked

    key = linked.key()
    table = linked.read(key)
    if table is None or not _fresh(table):
        from . import linking

        table = linking.link(linking.discover())
        linked.write(key, table)
    return from_table(table, settings)


def from_table(table: Table, settings: dict[str, dict[str, Any]] | None = None) -> PluginSet:
    """The plugin set of a linked table."""
    return PluginSet(
        [Plugin(*row) for row in table["plugins"]],
        {
            hook: tuple([Implementation(*row) for row in rows])
            for hook, rows in table["hooks"].items()
        },
        frozenset(table["first_result"]),
        settings,
    )


def _fresh(table: Table) -> bool:
    """Whether the plugins' files are those that were linked."""
    for row in table["plugins"]:
        _, _, _, _, _, _, file, size, mtime_ns = row
        try:
            now = os.stat(file)
        except OSError:
            return False
        if now.st_size != size or now.st_mtime_ns != mtime_ns:
            return False
    return True


def library() -> str:
    """The folder that ocifw is installed in, and all plugins with it."""
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def search_here() -> None:
    """Let modules be found in the folder that ocifw is installed in: the interpreter was started without `site`."""
    folder = library()
    if folder not in sys.path:
        sys.path.append(folder)
