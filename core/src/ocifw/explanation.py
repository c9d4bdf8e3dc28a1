"""Why a value of a config is what it is: where it comes from, what it overrode, who uses it, and what it means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import field_docs
from .display import WIDTH, Paint, printable, value_text, wrapped
from .effective import Effective, Origin
from .errors import OcifwError
from .json_places import original, places_of_file
from .layers import MISSING, leaves, path_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from .container import Container
    from .creation import Creation
    from .effective import Change
    from .layers import Path
    from .plan import Plan
    from .plugins import PluginSet
    from .step import Step

    Document = dict[str, Any]


class View:
    """A config with all that is known about it.

    before: config.json as it is in the bundle, None when only the container's state is there. plan: None when there is
    none; failure says why. changed: how the plugins differ from those that made the container. remarks: what is to be
    known about the steps.
    """

    def __init__(
        self,
        config: dict[str, Any],
        effective: Effective | None,
        active: PluginSet,
        file: str,
        before: dict[str, Any] | None,
    ) -> None:
        self.config = config
        self.effective = effective or Effective(config, [("config.json", file)], {})
        self.active = active
        self.file = file
        self.before = before
        self.places = {} if before is None else places_of_file(file)
        self.plan: Plan | None = None
        self.failure = ""
        self.changed: list[str] = []
        self.remarks: list[str] = []

    def origin(self, path: Path) -> Origin:
        """Where a value comes from; of config.json with the line."""
        found = self.effective.origin_of(path)
        if found.layer != "config.json":
            return found
        if self.before is None:
            return found
        own = original(path, self.config, self.before)
        line, column = self.places.get(own, (0, 0))
        return Origin("config.json", self.file, line, column)


def of_bundle(creation: Creation, config_file: str) -> View:
    """What `create` would make of a bundle."""
    from .document import read

    file = f"{creation.bundle}/{config_file}"
    before = read(file, "config.json")
    view = View(creation.config, creation.effective, creation.plugins, file, before)
    try:
        view.plan = creation.plan()
    except OcifwError as error:
        view.failure = str(error)
    return view


_ANEW = "planned anew from the stored config, with the plugins and the machine of today"


def of_container(container: Container) -> View:
    """What a container was created with, and `update` changed: nothing of the bundle or of profiles is read again.

    The steps that made it are not stored, which would cost every `create` time: they are planned anew, and what has
    changed about the plugins since is told.
    """
    from . import plugins
    from .changed import differences
    from .context import Host, Request
    from .plan import make_plan
    from .profile import stored

    state = container.state
    active = plugins.of(container)
    view = View(container.config, stored(state), active, "config.json", None)
    request = Request(
        "create",
        container.id,
        container.bundle,
        state["rootfs"],
        container.folder,
        systemd_cgroup=bool(state.get("systemdCgroup")),
        no_new_keyring=bool(state.get("noNewKeyring")),
        compat=view.effective.compat,
    )
    try:
        view.plan = make_plan(active, container.config, request, Host())
    except OcifwError as error:
        view.failure = str(error)
    remembered = state.get("plugins") or []
    if remembered:
        view.changed = list(differences(remembered, plugins.made_by(active)))
    view.remarks.append(_ANEW)
    if view.changed:
        view.remarks.append(f"they may differ from those that made it: {', '.join(view.changed)}")
    return view


# ---- as data -----------------------------------------------------------------------------------------------------


def explain(view: View, text: str) -> Document:
    """Everything about one path. Raises OcifwError for a path that config.json has no place for."""
    path = field_docs.parse(text, view.config)
    name = path_text(path)
    value = _value(view.config, path)
    below = [] if value is MISSING else [(own, one) for own, one in leaves(value, path)]
    origins = {own: view.origin(own) for own, _ in below}
    distinct = dict.fromkeys((o.layer, o.file, o.line) for o in origins.values())
    changed = [(own, one) for own, one in below if origins[own].layer != "config.json"]
    owner = _owner(view.active, path)
    return {
        "path": name,
        "documentation": field_docs.documentation(path),
        "set": value is not MISSING,
        "value": None if value is MISSING else value,
        "origin": _origin(view.origin(path))
        if below and (len(distinct) == 1 or not changed)
        else None,
        "members": []
        if len(distinct) <= 1
        else [
            {"path": path_text(own), "value": one, "origin": _origin(origins[own])}
            for own, one in changed
        ],
        "history": [_change(change) for change in _history(view.effective, name)],
        "plugin": owner,
        "steps": [_step(step) for step in _steps(view.plan, name)],
        "plan": view.failure or None,
        "remarks": view.remarks,
        "changed": view.changed,
    }


def layered(view: View) -> list[Document]:
    """Every leaf that did not come from config.json, and what layers took away."""
    found = [
        {"path": path_text(path), "value": value, "origin": _origin(origin)}
        for path, value in leaves(view.config)
        if (origin := view.origin(path)).layer != "config.json"
    ]
    gone = {
        change.path: {"path": change.path, "removed": True, "origin": _origin(change.origin)}
        for change in view.effective.changes
        if change.new is MISSING and not _is_set(view.config, change.path)
    }
    return [*found, *gone.values()]


def _is_set(config: dict[str, Any], text: str) -> bool:
    try:
        return _value(config, field_docs.parse(text, config)) is not MISSING
    except OcifwError:
        return False


def _history(effective: Effective, name: str) -> Iterator[Change]:
    """What layers did to a path, what it is part of, and its parts."""
    for change in effective.changes:
        if _covers(change.path, name) or _covers(name, change.path):
            yield change


def _covers(one: str, other: str) -> bool:
    return one == other or other.startswith((f"{one}.", f"{one}["))


def _value(config: Any, path: Path) -> Any:
    for part in path:
        try:
            config = config[part]
        except (LookupError, TypeError):
            return MISSING
    return config


def _owner(active: PluginSet, path: Path) -> str:
    """The plugin that turns a field into steps: the owner of the longest path that the field is part of."""
    owners = active.owners
    for length in range(len(path), 0, -1):
        owner = owners.get(path_text(path[:length]))
        if owner and (owner != "core" or length == len(path) or length > 1):
            return owner
    return ""


def _steps(plan: Plan | None, name: str) -> list[Step]:
    """The steps that a path, or else what it is part of, asked for."""
    if plan is None:
        return []
    found = [step for step in plan.steps if step.at and _covers(name, step.at)]
    if not found:
        around = [step for step in plan.steps if step.at and _covers(step.at, name)]
        longest = max((len(step.at) for step in around), default=0)
        found = [step for step in around if len(step.at) == longest]
    return found


def _origin(origin: Origin) -> Document:
    return {
        "layer": origin.layer,
        "file": origin.file,
        "line": origin.line or None,
        "column": origin.column or None,
    }


def _change(change: Change) -> Document:
    made: Document = {"path": change.path}
    for name, value in (("old", change.old), ("new", change.new)):
        if value is not MISSING:
            made[name] = value
    return {**made, "origin": _origin(change.origin)}


def _step(step: Step) -> Document:
    return {
        "phase": step.phase,
        "plugin": step.plugin,
        "step": type(step).__name__,
        "text": step.describe(),
        "at": step.at,
    }


# ---- as text -----------------------------------------------------------------------------------------------------

_MARGIN = 12
_LINES = 24


def as_text(document: Document, paint: Paint) -> Iterator[str]:
    """One path, for people."""
    value = document["value"] if document["set"] else MISSING
    short = value_text(value, WIDTH)
    if not document["set"]:
        short = "nothing: it is not set"
    if len(document["path"]) + len(short) + 3 <= WIDTH:
        yield f"{paint(document['path'], 'bold')} = {short}"
    else:
        yield f"{paint(document['path'], 'bold')} ="
        from .document import dump_pretty

        lines = dump_pretty(value, "  ").splitlines()
        yield from [f"  {line}" for line in lines[:_LINES]]
        if len(lines) > _LINES:
            yield f"  … {len(lines) - _LINES} more lines; --json shows all"
    if document["documentation"]:
        yield from wrapped(document["documentation"], "  ", "  ")
    if document["set"]:
        if document["origin"]:
            yield from _row("from", origin_text(document["origin"]), paint)
        else:
            yield from _row("from", "several layers; what is not listed is config.json's", paint)
    for index, member in enumerate(document["members"]):
        text = f"{member['path']} = {value_text(member['value'], 40)}"
        yield from _row("" if index else "members", text, paint)
        yield f"{'':{_MARGIN}}    {origin_text(member['origin'])}"
    for change in document["history"]:
        yield from _row("history", _change_text(change, document["path"]), paint)
        yield f"{'':{_MARGIN}}    {origin_text(change['origin'])}"
    yield from _row("plugin", document["plugin"] or "none", paint)
    for index, step in enumerate(document["steps"]):
        text = f"{step['phase']}: {step['plugin']}: {printable(step['text'])}"
        yield from _row("" if index else "steps", text, paint)
    if document["plan"]:
        yield from _row("plan", f"there is none: {document['plan']}", paint)
    if document["steps"] or document["changed"]:
        for remark in document["remarks"]:
            yield from _row("", remark, paint)


def rows_text(rows: Iterable[Document], paint: Paint) -> Iterator[str]:
    """Leaves that layers set, one line each."""
    for row in rows:
        value = "removed" if row.get("removed") else f"= {value_text(row['value'], 40)}"
        origin = paint(origin_text(row["origin"]), "dim")
        yield f"{paint(row['path'], 'bold')} {printable(value)}  {origin}"


def origin_text(origin: Document) -> str:
    """`FILE:LINE:COLUMN`, after the layer where the file does not tell it."""
    place = origin["file"]
    if origin["line"]:
        place += f":{origin['line']}:{origin['column']}"
    return str(place)


def _row(name: str, text: str, paint: Paint) -> Iterator[str]:
    margin = " " * _MARGIN
    lines = list(wrapped(text, margin, margin + "  "))
    yield f"  {paint(f'{name:{_MARGIN - 2}}', 'dim')}{lines[0][_MARGIN:]}"
    yield from lines[1:]


def _change_text(change: Document, path: str) -> str:
    old, new = change.get("old", MISSING), change.get("new", MISSING)
    what = "" if change["path"] == path else f"{change['path']}: "
    if isinstance(old, list) and isinstance(new, list):
        more = [one for one in new if one not in old]
        less = [one for one in old if one not in new]
        parts = [f"adds {value_text(more, 120)}"] * bool(more)
        parts += [f"takes away {value_text(less, 120)}"] * bool(less)
        if parts:
            return what + " and ".join(parts)
    if new is MISSING:
        return f"{what}takes it away, which was {value_text(old)}"
    before = "" if old is MISSING else f" instead of {_short(old)}"
    return f"{what}{_short(new)}{before}"


def _short(value: Any) -> str:
    if isinstance(value, dict) and "syscalls" in value:
        return f"a filter of {sum(len(rule['names']) for rule in value['syscalls'])} system calls"
    return value_text(value)
