"""Profiles: which ones count, loading them in their compiled form, and laying them over config.json.

Without any, `effective` returns None and costs one stat(2) of /etc/ocifw/config.yaml; nothing else is different.

**Which profiles.** The first of these that says something: `--profile`, in order; the name of the program
(`ocifw-hardened` is profile `hardened`); OCIFW_PROFILE; an annotation that /etc/ocifw/config.yaml allows, by key and
pattern of the value; `profile` in that file. A name has no slash, and is looked for in the folders of `Roots`, the
user's before the administrator's before the distribution's; what has a slash is a path.

OCIFW_PROFILE is for the caller's own use: it counts only when the program runs with the caller's own ids (nothing set
them) and logs to the caller's own terminal or pipe, as text: engines give `--log` or `--log-format json`, and pass on an
environment that is not their user's, but the daemon's.

**Order.** Layers of plugins (`ocifw_layers`), config.json, the profiles in order, each after what it extends and before
its drop-ins, then `--set`.

**Trust.** Files and all folders above them must belong to root (or, for other users, the caller) and not be writable by
others. What lies in the bundle is untrusted: it may only tighten (`profile_compile`).

The compiled form lies in the cache folder, keyed by what it was made of: names, folders, the plugin set, and the stat of
every file that was read or looked for. Loading it is one read and as many stats; ruamel.yaml and jsonschema are not
imported.
"""

from __future__ import annotations

import os
from marshal import dumps, loads

from . import boot, linked
from .conditions import Facts
from .context import SETTINGS
from .effective import Change, Effective, Origin, stored, tightened
from .errors import ConfigError, OcifwError, Problem
from .layers import Layering
from .record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from .context import Globals, Host, Request
    from .plugins import PluginSet

    Table = dict[str, Any]

__all__ = [
    "Change", "Effective", "Origin", "Roots", "choose", "effective", "lay", "load", "read_settings", "stored",
    "system_roots", "tightened",
]  # fmt: skip

FORMAT = 1
SHIPPED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "profiles")
CONFIG_JSON = "config.json"
_KEPT = 64


class Roots(Record):
    """Where profiles are looked for, and whose files count.

    distribution, administrator, user: folders, of which later ones count before earlier ones. settings: the file that
    chooses. owners: user ids whose files are trusted. cached: whether compiled profiles are kept.
    """

    distribution: tuple[str, ...] = (SHIPPED, "/usr/share/ocifw/profiles")
    administrator: tuple[str, ...] = ("/etc/ocifw/profiles",)
    user: tuple[str, ...] = ()
    settings: str = SETTINGS
    owners: tuple[int, ...] = (0,)
    cached: bool = True

    @property
    def folders(self) -> tuple[str, ...]:
        """All folders, in the order in which drop-ins count; names are looked for in the opposite one."""
        return (*self.distribution, *self.administrator, *self.user)


def system_roots() -> Roots:
    """The folders of this machine, for this user."""
    euid = os.geteuid()
    if euid == 0:
        return Roots()
    base = os.environ.get("XDG_CONFIG_HOME") or ""
    if not base.startswith("/"):
        home = os.environ.get("HOME") or ""
        base = f"{home}/.config" if home.startswith("/") else ""
    user = (f"{base}/ocifw/profiles",) if base else ()
    return Roots(user=user, owners=(0, euid))


# ---- what counts -------------------------------------------------------------------------------------------------


def effective(
    globals_: Globals,
    config: dict[str, Any],
    request: Request,
    host: Host,
    active: PluginSet,
    roots: Roots | None = None,
    config_file: str = CONFIG_JSON,
) -> Effective | None:
    """What counts for a new container; None when it is config.json alone. `config` is not changed.

    config_file: the name of the file in the bundle that `config` was read from.

    Raises ConfigError with every problem of a profile, and of the config that came out, each with its origin.
    """
    roots = roots or system_roots()
    settings = read_settings(roots)
    references, how = choose(globals_, config.get("annotations") or {}, settings)
    terms = active.terms
    if not references and terms.profile:
        references, how = (terms.profile,), f"plugin set {terms.name}"
    if settings.get("bundle"):
        own = f"{request.bundle}/ocifw.yaml"
        if os.path.lexists(own):
            references = (*references, own)
    last = tuple(terms.policy)
    asks = active.has("ocifw_layers") or active.has("ocifw_edits")
    if not references and not last and not globals_.sets and not asks:
        return None
    table: Table = {"layers": []}
    if references or last:
        table = load(references, active, request.bundle, roots, last)
    return lay(
        table, config, request, host, active, globals_.sets, (*references, *last), how, config_file
    )


def choose(
    globals_: Globals, annotations: Mapping[str, str], settings: Mapping[str, Any]
) -> tuple[tuple[str, ...], str]:
    """References of the profiles that count, and what chose them. Raises OcifwError for an annotation not allowed."""
    if globals_.profiles:
        return globals_.profiles, "--profile"
    if globals_.program:
        return (globals_.program,), f"the program's name, ocifw-{globals_.program}"
    if globals_.own_profile:
        return tuple(globals_.own_profile.split(",")), "OCIFW_PROFILE"
    allowed = settings.get("annotation")
    if allowed:
        value = annotations.get(allowed["key"])
        if value is not None:
            from .policy import glob_match

            if "/" in value or not any(glob_match(p, value) for p in allowed["values"]):
                raise OcifwError(
                    f"annotation {allowed['key']}: profile {value!r} is not allowed by {settings['file']}"
                )
            return (value,), f"annotation {allowed['key']}"
    return tuple(settings.get("profile") or ()), settings.get("file") or ""


def read_settings(roots: Roots) -> dict[str, Any]:
    """What /etc/ocifw/config.yaml says, compiled: profile (names), annotation, bundle, file. {} when there is none."""
    stamp = stamp_of(roots.settings)
    if stamp is None:
        return {}
    key = (FORMAT, *linked.key(), roots.settings, roots.owners)
    name = boot.cache_name("config", key[2:4], roots.settings)
    table = _cached(name, key) if roots.cached else None
    if table is None:
        from . import profile_compile

        table = profile_compile.compile_settings(roots)
        if roots.cached:
            _keep(name, key, table)
    found: dict[str, Any] = table["settings"]
    return found


def load(
    references: Sequence[str],
    active: PluginSet,
    bundle: str = "",
    roots: Roots | None = None,
    last: Sequence[str] = (),
) -> Table:
    """The compiled form of profiles, from the cache or made anew. Raises ConfigError: see `profile_compile`.

    last: profiles that come after all others, even when they came before, so that nothing removes their rules. What lies
    in the bundle is never cached.
    """
    roots = roots or system_roots()
    key = (
        FORMAT,
        *linked.key(),
        tuple([(p.name, p.size, p.mtime_ns) for p in active.plugins]),
        tuple(references),
        tuple(last),
        roots.values(),
        bundle if any("/" in reference for reference in references) else "",
    )
    name = boot.cache_name("profile", key[2:4], tuple(references), tuple(last))
    table = _cached(name, key) if roots.cached else None
    if table is None:
        from . import profile_compile

        table = profile_compile.compile_profiles(references, active, bundle, roots, last)
        if roots.cached and all(layer["trusted"] for layer in table["layers"]):
            _keep(name, key, table)
    return table


def _cached(name: str, key: tuple[Any, ...]) -> Table | None:
    """The table that was kept with this key, when none of the files it was made from has changed."""
    data = boot.read_cache(name)
    if data is None:
        return None
    try:
        kept, table = loads(data)  # noqa: S302 -- nobody else could have written it: read_cache
    except (ValueError, EOFError, TypeError) as error:
        boot.notes.append(f"{name} is not used: it is damaged: {error}")
        return None
    if kept != key:
        boot.notes.append(f"{name} is not used: it was made for something else")
        return None
    if any(stamp_of(path) != expected for path, expected in table["inputs"]):
        boot.notes.append(f"{name} is not used: a profile has changed")
        return None
    found: Table = table
    return found


def _keep(name: str, key: tuple[Any, ...], table: Table) -> None:
    from . import cache

    cache.write(name, dumps((key, table)), _KEPT)


def stamp_of(path: str) -> tuple[int, ...] | None:
    """What tells that a file is the one that was read, with the same content, owner and mode; None: it is not there."""
    try:
        return stamp(os.stat(path))
    except OSError:
        return None


def stamp(status: os.stat_result) -> tuple[int, ...]:
    """See `stamp_of`."""
    return (
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_mode,
        status.st_uid,
    )


# ---- layers ------------------------------------------------------------------------------------------------------


def lay(
    table: Table,
    config: dict[str, Any],
    request: Request,
    host: Host,
    active: PluginSet,
    sets: Sequence[str] = (),
    names: Sequence[str] = (),
    how: str = "",
    config_file: str = CONFIG_JSON,
) -> Effective:
    """Lay a compiled profile, and --set, over a valid config.json. Raises ConfigError, with the origin of what is wrong."""
    layers = [(CONFIG_JSON, os.path.join(request.bundle, config_file))]
    layering = _beginning(config, request, active, layers)
    facts = Facts(layering.value.get("annotations") or {}, request, host)
    if active.has("ocifw_edits"):
        _edit(layering, table, facts, active, layers)
    settings: dict[str, dict[str, Any]] = {}
    disabled: dict[str, str] = {}
    rows: list[Any] = []
    compat = "runc"
    patches: list[tuple[int, Any]] = []
    for layer in table["layers"]:
        if facts.unmet(layer["when"]):
            continue
        _check_requirements(layer, facts, active)
        number = len(layers)
        layers.append((layer["name"], layer["file"]))
        for when, node, own in layer["parts"]:
            if not facts.unmet(when):
                layering.apply(node, number)
                patches += [(number, patch) for patch in own]
        for plugin, value, (line, column) in layer["plugins"]:
            if value is False:
                disabled[plugin] = f"{layer['file']}:{line}:{column}"
                continue
            disabled.pop(plugin, None)
            if value is not True:
                settings[plugin] = _merged(settings.get(plugin) or {}, value)
        removed = layer["unpolicy"]
        rows = [row for row in rows if row[7] not in removed and row not in layer["policy"]]
        rows += layer["policy"]
        compat = layer["compat"] or compat
    for text in sets:
        from .patches import exec_nodes
        from .profile_set import set_node

        node = set_node(text)
        layers.append(("--set", f"--set {text}"))
        layering.apply(node, len(layers) - 1)
        patches += [(len(layers) - 1, patch) for patch in exec_nodes(node)]
    _finish_seccomp(layering, layers, host)
    made = Effective(
        layering.value,
        layers,
        {path: (layer, place) for path, (layer, place) in layering.origins()},
        [change for change in layering.changes if change[3]],
        names,
        how,
        settings,
        disabled,
        rows,
        compat,
        patches,
    )
    if layering.changes:
        _validate(made)
    return made


def _beginning(
    config: dict[str, Any], request: Request, active: PluginSet, layers: list[tuple[str, str]]
) -> Layering:
    """config.json over the layers of plugins."""
    if not active.has("ocifw_layers"):
        return Layering(config)
    from .patches import Compiler
    from .profile_set import refuse

    layering = Layering({})
    for implementation in active.hooks["ocifw_layers"]:
        name = implementation.plugin
        asked = frozenset((name,))
        arguments = {"config": config, "request": request}
        for answer in active.ask("ocifw_layers", arguments, asked):
            layers.append((f"plugin {name}", f"plugin {name}"))
            for patch in answer:
                compiler = Compiler()
                node = compiler.node(patch)
                refuse([problem for _, problem in compiler.problems], f"plugin {name}")
                layering.apply(node, len(layers) - 1)
    layering.apply(Compiler(plain=True).node(config), 0)
    return layering


def _edit(
    layering: Layering,
    table: Table,
    facts: Facts,
    active: PluginSet,
    layers: list[tuple[str, str]],
) -> None:
    """Lay what plugins edit over config.json. They are asked with the settings that the profiles above will give them."""
    from .patches import Compiler
    from .profile_set import refuse

    settings: dict[str, dict[str, Any]] = {}
    disabled: dict[str, str] = {}
    for layer in table["layers"]:
        for plugin, value, _ in () if facts.unmet(layer["when"]) else layer["plugins"]:
            if value is False:
                disabled[plugin] = layer["file"]
                continue
            disabled.pop(plugin, None)
            if value is not True:
                settings[plugin] = _merged(settings.get(plugin) or {}, value)
    asked = active.limited(settings, disabled)
    for implementation in asked.hooks["ocifw_edits"]:
        name = implementation.plugin
        arguments = {"config": layering.value, "request": facts.request, "host": facts.host}
        for answer in asked.ask("ocifw_edits", arguments, frozenset((name,))):
            for patch in answer:
                layers.append((f"plugin {name}", f"plugin {name}"))
                compiler = Compiler()
                node = compiler.node(patch)
                refuse([problem for _, problem in compiler.problems], f"plugin {name}")
                layering.apply(node, len(layers) - 1)


def _check_requirements(layer: Table, facts: Facts, active: PluginSet) -> None:
    requires, (line, column) = layer["requires"]
    missing = facts.unmet(requires)
    if not missing:
        names = {plugin.name for plugin in active.plugins}
        absent = [name for name in requires.get("plugins", ()) if name not in names]
        missing = f"plugin {', '.join(absent)}, which is not active" if absent else ""
    if missing:
        raise ConfigError(
            [Problem("requires", f"profile {layer['name']} requires {missing}",
                     f"{layer['file']}:{line}:{column}")]
        )  # fmt: skip


def _finish_seccomp(layering: Layering, layers: Sequence[tuple[str, str]], host: Host) -> None:
    if not layering.seccomp:
        return
    from .seccomp_form import build

    pending = list(layering.seccomp)
    process = layering.value.get("process") or {}
    bounding = frozenset((process.get("capabilities") or {}).get("bounding") or ())
    for layer, _, content, place in pending:
        present = (layering.value.get("linux") or {}).get("seccomp")
        try:
            made = build([content], present, bounding, host.machine, host.kernel)
        except LookupError as error:
            origin = str(Origin(*layers[layer], *place))
            raise ConfigError(
                [Problem("config.linux.seccomp.base", f"there is none of {error}", origin)]
            ) from None
        if made is not None and made != present:
            layering.replace(("linux", "seccomp"), made, layer, place)


def _validate(made: Effective) -> None:
    """The config that came out is held to the same schema and rules as config.json; problems get their origin."""
    from . import validate

    try:
        validate.check(made.config, "config", "")
    except ConfigError as error:
        raise ConfigError(
            [
                Problem(p.path, p.message, made.place_of(p.path) or "the effective config")
                for p in error.problems
            ]
        ) from None


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Settings: mappings merge, values replace, null removes."""
    merged = dict(old)
    for name, value in new.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict) and isinstance(merged.get(name), dict):
            merged[name] = _merged(merged[name], value)
        else:
            merged[name] = value
    return merged
