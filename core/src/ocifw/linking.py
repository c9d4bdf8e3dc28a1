"""Linking: what pluggy decides about a set of plugins, as a table. Not on the hot path; imports what it likes.

What is linked was looked at first: who could have written it (`trust`), whether it is what the set asks for, which version of
the hooks it was written for, and which fields of config.json it owns. A plugin that is not right is an error that names it.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import warnings
from difflib import get_close_matches
from importlib.metadata import Distribution, distributions
from inspect import signature
from types import FunctionType
from typing import TYPE_CHECKING, Any

import pluggy

from . import hookspecs, sets, trust
from .errors import OcifwError, PlanError, PluginError
from .fields import CORE as CORE_FIELDS
from .fields import FIELDS
from .plugins import FIRST_PARTY, GROUP, Implementation, Plugin, PluginSet
from .record import Record
from .selection import library, stamp
from .versions import matches, release

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import ModuleType

    from .selection import Selection
    from .sets import ActiveSet, Member

Found = tuple[str, object, Plugin]


class Candidate(Record):
    """A plugin that an installed distribution offers, by an entry point in group `ocifw`. Not imported yet."""

    name: str
    module: str
    distribution: str
    version: str
    source: Distribution


class Linked(Record):
    """A set's plugins, imported. files, folders: stamps of what they were read from. warnings: what a command repeats."""

    found: Sequence[Found]
    files: Sequence[trust.Row]
    folders: Sequence[trust.Row]
    warnings: Sequence[str]


def manager(specifications: ModuleType = hookspecs) -> pluggy.PluginManager:
    """A PluginManager that knows ocifw's hooks."""
    plugins = pluggy.PluginManager("ocifw")
    plugins.add_hookspecs(specifications)
    return plugins


def link_set(selection: Selection) -> dict[str, Any]:
    """The table of the set that was chosen. Raises OcifwError, naming what is wrong with which plugin."""
    chosen = sets.resolve(selection)
    linked = discover(chosen, selection.without)
    check_owners([record for _, _, record in linked.found])
    inputs = [(path, stamp(path)) for path in chosen.files]
    return {
        **link(linked.found),
        "terms": (
            chosen.name,
            chosen.profile,
            list(chosen.policy),
            chosen.on_change,
            chosen.time_limit_s,
        ),
        "files": [*linked.files, *inputs],
        "folders": list(linked.folders),
        "warnings": list(linked.warnings),
    }


def installed(folder: str = "") -> list[Candidate]:
    """Every plugin that is offered by a distribution beside ocifw, whether a set names it or not. Imports none."""
    found = []
    for distribution in distributions(path=[folder or library()]):
        for entry in distribution.entry_points:
            if entry.group == GROUP:
                name = distribution.metadata["Name"]
                found.append(
                    Candidate(entry.name, entry.module, name, distribution.version, distribution)
                )
    return sorted(found, key=lambda one: (one.name, one.distribution))


def discover(chosen: ActiveSet, without: Sequence[str] = ()) -> Linked:
    """The plugins of a set, in set order, checked and imported. Raises PluginError, Untrusted, OcifwError."""
    names = [member.name for member in chosen.members]
    for name in without:
        if name not in names:
            raise OcifwError(f"--without {name}: plugin set {chosen.name} has no such plugin")
    offered = installed()
    found: list[Found] = []
    files: dict[str, Any] = {}
    folders: dict[str, Any] = {}
    said = []
    for member in chosen.members:
        if member.name in without:
            continue
        try:
            candidate = _candidate(member, offered, chosen.name)
            if candidate is None:
                continue
            record, module, own_files, own_folders = describe(
                candidate, member, chosen.time_limit_s
            )
        except OcifwError as error:
            if member.failure != "warn" or member.required:
                raise
            said.append(f"{error} (left out: plugin set {chosen.name} says failure: warn)")
            continue
        found.append((member.name, module, record))
        files.update(own_files)
        folders.update(own_folders)
    return Linked(found, list(files.items()), list(folders.items()), said)


def describe(
    candidate: Candidate, member: Member, limit_s: float
) -> tuple[Plugin, object, list[trust.Row], list[trust.Row]]:
    """What a plugin declares, its module, and stamps of its files and of the folders above.

    Its files are looked at before anything of it is executed.
    """
    name = candidate.name
    first_party = name in FIRST_PARTY and candidate.distribution == f"ocifw-{name}"
    sha256, files, folders = hash_of(candidate)
    if member.sha256 and member.sha256 != sha256:
        raise PluginError(
            name, "discovery", f"its files hash to {sha256}, {member.origin} wants {member.sha256}"
        )
    module = _import(candidate, limit_s)
    file = module.__file__ or ""
    if file not in dict(files):
        raise PluginError(name, "import", f"{file} is none of the distribution's files")
    check_declarations(name, module, member)
    # The metadata changes with the folder that it lies in, which the table's key has.
    files = [(path, stamp) for path, stamp in files if ".dist-info/" not in path]
    if first_party:
        # Installing replaces files, which the folders' times tell. Whoever edits ocifw's own in place is told by `verify`.
        files = [(path, stamp) for path, stamp in files if path == file or os.path.isdir(path)]
    status = os.stat(file)
    record = Plugin(
        name,
        candidate.module,
        candidate.distribution,
        candidate.version,
        tuple(getattr(module, "owns", ())),
        bool(getattr(module, "always", False)),
        file,
        status.st_size,
        status.st_mtime_ns,
        sha256,
        first_party,
        member.failure,
    )
    return record, module, files, folders


def hash_of(candidate: Candidate) -> tuple[str, list[trust.Row], list[trust.Row]]:
    """SHA-256 of the files of a plugin's distribution, and stamps: `trust.digest`. Raises Untrusted, naming the plugin.

    The files are its packages and modules, and what the metadata says about it; not what an installer notes, which differs
    from machine to machine.
    """
    folder = library()
    tops = {candidate.module.split(".")[0]}
    metadata = os.path.basename(str(getattr(candidate.source, "_path", "")))
    for path in candidate.source.files or ():
        top = path.parts[0]
        if top not in ("..", metadata, "__pycache__") and not path.is_absolute():
            tops.add(top)
    names = [top if os.path.lexists(f"{folder}/{top}") else f"{top}.py" for top in tops]
    names += [
        f"{metadata}/{name}"
        for name in ("METADATA", "PKG-INFO", "entry_points.txt")
        if os.path.isfile(f"{folder}/{metadata}/{name}")
    ]
    try:
        return trust.digest(folder, names)
    except trust.Untrusted as error:
        raise trust.Untrusted(f"plugin {candidate.name}: {error}") from None
    except OSError as error:
        raise PluginError(
            candidate.name, "discovery", f"{error.filename}: {error.strerror}"
        ) from error


def check_declarations(name: str, module: ModuleType, member: Member) -> None:
    """Raise PluginError for what a module says of itself and cannot be."""
    check_api(name, getattr(module, "api", None))
    owns = getattr(module, "owns", ())
    if not isinstance(owns, (tuple, list)) or not all(isinstance(field, str) for field in owns):
        raise PluginError(name, "owns", "must be a tuple of fields of config.json")
    for field in owns:
        if field in CORE_FIELDS:
            raise PluginError(name, "owns", f"{field} is the core's own")
        if field not in FIELDS:
            raise PluginError(
                name, "owns", f"{field} is no field of config.json{_hint(field, FIELDS)}"
            )
    if owns and member.failure == "warn":
        raise PluginError(
            name, "owns", f"{', '.join(owns)}: its failure cannot be a warning ({member.origin})"
        )
    for key, value in vars(module).items():
        marked = getattr(value, "ocifw_impl", None)
        if key.startswith("ocifw_") and isinstance(value, FunctionType) and marked is None:
            raise PluginError(name, "registration", f"{key} is not marked with @hookimpl")


def check_api(name: str, api: object) -> None:
    """Raise PluginError unless the hooks and steps are those that a plugin was written for: `api = "1"`, `api = "1.2"`."""
    if api is None:
        return
    own = hookspecs.API_VERSION
    wanted = release(api) if isinstance(api, str) else ()
    if not wanted:
        raise PluginError(name, "api", f'must be a text as "{own}", not {api!r}')
    major, minor = (*release(own), 0)[:2]
    if wanted[0] != major or (*wanted, 0)[1] > minor:
        raise PluginError(
            name, "api", f"was written for version {api} of ocifw's hooks and steps, this is {own}"
        )


def check_owners(plugins: Iterable[Plugin]) -> None:
    """Raise PluginError, naming both, when two plugins own one field of config.json."""
    records = list(plugins)
    try:
        PluginSet(records, {}, frozenset()).owners  # noqa: B018 -- it checks
    except PlanError as error:
        raise PluginError(
            records[-1].name if len(records) == 1 else "set", "owns", str(error)
        ) from None


def _candidate(member: Member, offered: Sequence[Candidate], set_name: str) -> Candidate | None:
    """What the set means by a name. None: it is not installed, and need not be."""
    name = member.name
    wanted = {
        _normal(n)
        for n in ((member.distribution,) if member.distribution else (f"ocifw-{name}", name))
    }
    same = [one for one in offered if one.name == name]
    right = [one for one in same if _normal(one.distribution) in wanted]
    if len(right) > 1:
        both = " and ".join(one.distribution for one in right)
        raise PluginError(name, "discovery", f"offered by both {both}")
    if right:
        version = right[0].version
        if not matches(version, member.version):
            raise PluginError(
                name, "discovery", f"is version {version}, {member.origin} wants {member.version}"
            )
        return right[0]
    if not member.required:
        return None
    text = f"plugin set {set_name} requires plugin {name} ({member.origin}), which is not installed"
    if same:
        text += f": {same[0].distribution} offers one of this name, and is not {' or '.join(sorted(wanted))}"
    else:
        text += f": install {member.distribution or f'ocifw-{name}'}"
    raise OcifwError(text)


def _import(candidate: Candidate, limit_s: float) -> Any:
    """The plugin's module, within a time limit unless it is ocifw's own.

    What would be found elsewhere than beside ocifw is not executed.
    """
    top = candidate.module.split(".")[0]
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    origin = (spec.origin if spec else None) or ""
    if origin and not origin.startswith(f"{library()}/"):
        raise PluginError(
            candidate.name, "import", f"{top} is found in {origin}, outside of {library()}"
        )
    function = importlib.import_module
    if candidate.name in FIRST_PARTY:
        return function(candidate.module)
    from .guard import Guard

    importing = Implementation(candidate.name, "import", (), False)
    try:
        return Guard((), limit_s).within_limit("import", importing, function, candidate.module)
    except PluginError:
        raise
    except Exception as error:
        raise PluginError(candidate.name, "import", f"{type(error).__name__}: {error}") from error


def _normal(name: str) -> str:
    """A distribution's name as package registries compare them."""
    return name.lower().replace("_", "-").replace(".", "-")


def _hint(word: str, known: Iterable[str]) -> str:
    close = get_close_matches(word, list(known), 1)
    return f": did you mean {close[0]}?" if close else ""


def link(found: Sequence[Found], specifications: ModuleType = hookspecs) -> dict[str, Any]:
    """The table of plugins: pluggy registers, checks and orders; the table says what came out.

    Hooks and parameters that are deprecated (pluggy's warn_on_impl) are logged. Raises PluginError for an unknown hook or a
    parameter that the hook does not have.
    """
    plugins = manager(specifications)
    # pluggy calls the last registered first; the set's order is the order of calling.
    for name, module, _ in reversed(found):
        try:
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                plugins.register(module, name)
        except pluggy.PluginValidationError as error:
            raise PluginError(name, "registration", str(error)) from error
        for one in said:
            from . import log

            log.warning(f"plugin {name}: {one.message}")
    try:
        plugins.check_pending()
    except pluggy.PluginValidationError as error:
        hook_name = str(error).split("'")[1] if "'" in str(error) else ""
        hint = _hint(
            hook_name, [name for name in vars(specifications) if name.startswith("ocifw_")]
        )
        raise PluginError(
            plugins.get_name(error.plugin) or "?", "registration", str(error) + hint
        ) from error
    hooks: dict[str, list[tuple[Any, ...]]] = {}
    first_result = []
    for hook in sorted(vars(specifications)):
        specification = getattr(vars(specifications)[hook], "ocifw_spec", None)
        if specification is None:
            continue
        if specification["firstresult"]:
            first_result.append(hook)
        caller = getattr(plugins.hook, hook)
        rows = [
            implementation(
                found_implementation.plugin_name,
                found_implementation.function,
                found_implementation.wrapper,
            ).values()
            for found_implementation in reversed(caller.get_hookimpls())
        ]
        if rows:
            hooks[hook] = rows
    return {
        "plugins": [record.values() for _, _, record in found],
        "hooks": hooks,
        "first_result": first_result,
        "terms": (),
        "files": [],
        "folders": [],
        "warnings": [],
    }


def implementation(plugin: str, function: Any, wrapper: bool) -> Implementation:
    """What the table says of one function."""
    return Implementation(plugin, function.__name__, tuple(signature(function).parameters), wrapper)
