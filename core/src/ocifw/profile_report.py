"""What `ocifw profile` shows: which profiles there are, what one comes to, and how two differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .context import Host, Request
from .differences import Difference, differences
from .display import Paint, value_text, wrapped
from .errors import ConfigError
from .layers import MISSING
from .profile import choose, lay, load, read_settings
from .profile_files import available
from .record import Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from .context import Globals
    from .effective import Change, Effective
    from .plugins import PluginSet
    from .profile import Roots


class Ground(Record):
    """What profiles are laid over, to see what they do. name: as people call it."""

    config: Any
    bundle: str
    name: str


def ground(bundle: str, config_file: str) -> Ground:
    """A bundle's config; without a bundle what `ocifw spec` writes."""
    from .commands import spec
    from .creation import read_config

    if bundle:
        return Ground(read_config(bundle, config_file), bundle, f"{bundle}/{config_file}")
    return Ground(spec.default(), "", "what `ocifw spec` writes")


def laid(
    references: Sequence[str], on: Ground, active: PluginSet, roots: Roots, rootless: bool
) -> Effective:
    """Profiles over a config. Raises ConfigError."""
    host = Host()
    request = Request("create", "profile", on.bundle, "", "", rootless=rootless)
    table = load(references, active, on.bundle, roots)
    return lay(table, on.config, request, host, active, (), references, "", on.name)


# ---- list, which -------------------------------------------------------------------------------------------------


def list_document(active: PluginSet, roots: Roots) -> list[dict[str, Any]]:
    """Every profile that can be named, with what it says of itself, or what is wrong with it."""
    found = []
    for one in available(roots):
        description = ""
        try:
            layers = load((one.file,), active, "", roots)["layers"]
            description = layers[-1]["description"] if layers else ""
        except ConfigError as error:
            description = f"cannot be used: {error.problems[0]}"
        found.append({**dict(one.items()), "description": description})
    return found


def list_lines(rows: Sequence[dict[str, Any]], paint: Paint) -> Iterator[str]:
    """Name, where it comes from, and its description."""
    width = max([len(row["name"]) for row in rows], default=0)
    for row in rows:
        note = " (hidden by another folder's)" * row["hidden"]
        first = f"{row['name']:{width}}  {row['trust']:13}  "
        text = (row["description"] or row["file"]) + note
        lines = list(wrapped(text, first, " " * len(first)))
        yield paint(row["name"], "bold") + lines[0][len(row["name"]) :]
        yield from lines[1:]
        for drop_in in row["drop_ins"]:
            yield f"{'':{len(first)}}+ {drop_in}"


def which_document(
    globals_: Globals, annotations: dict[str, str], active: PluginSet, roots: Roots, bundle: str
) -> dict[str, Any]:
    """The profiles that count, what chose them, and the files that they are made of, in order."""
    references, how = choose(globals_, annotations, read_settings(roots))
    if not references and active.terms.profile:
        references, how = (active.terms.profile,), f"plugin set {active.terms.name}"
    layers = load(references, active, bundle, roots)["layers"] if references else []
    return {
        "profiles": list(references),
        "chosen": how if references else "",
        "files": [layer["file"] for layer in layers],
    }


# ---- show --------------------------------------------------------------------------------------------------------


def show_document(
    name: str, on: Ground, active: PluginSet, roots: Roots, rootless: bool
) -> dict[str, Any]:
    """What a profile is made of, and what it does to a config."""
    table = load((name,), active, on.bundle, roots)
    made = laid((name,), on, active, roots, rootless)
    return {
        "name": name,
        "description": table["layers"][-1]["description"] if table["layers"] else "",
        "files": [layer["file"] for layer in table["layers"]],
        "over": on.name,
        "changes": [_change(change) for change in made.changes],
        "settings": made.settings,
        "disabled": made.disabled,
        "policy": [
            {"name": r.name, "rule": f"{r.kind} {r.text}", "reason": r.reason, "origin": r.origin}
            for r in made.policy
        ],
        "compat": made.compat,
    }


def _change(change: Change) -> dict[str, Any]:
    values = (("old", change.old), ("new", change.new))
    return {
        "path": change.path,
        "origin": str(change.origin),
        **{name: value for name, value in values if value is not MISSING},
    }


def show_lines(document: dict[str, Any], paint: Paint) -> Iterator[str]:
    """What a profile is and does, for people."""
    yield f"{paint(document['name'], 'bold')}: {document['description'] or 'no description'}"
    for file in document["files"]:
        yield f"  {file}"
    yield ""
    yield paint(f"changes, over {document['over']}:", "bold")
    for change in document["changes"]:
        first = f"  {change['path']} "
        yield from wrapped(_change_text(change), first, "      ")
        yield paint(f"      {change['origin']}", "dim")
    if not document["changes"]:
        yield "  none"
    for plugin, value in document["settings"].items():
        yield f"  plugin {plugin}: {value_text(value)}"
    for plugin, origin in document["disabled"].items():
        yield f"  plugin {plugin}: off ({origin})"
    if document["policy"]:
        yield ""
        yield paint("policy:", "bold")
    for rule in document["policy"]:
        yield from wrapped(f"{rule['name']}: {rule['rule']}", "  ", "      ")
        yield from wrapped(rule["reason"], "      ", "      ")
        yield paint(f"      {rule['origin']}", "dim")


def _change_text(change: dict[str, Any]) -> str:
    old, new = change.get("old"), change.get("new")
    if isinstance(old, list) and isinstance(new, list):
        more = [one for one in new if one not in old]
        less = [one for one in old if one not in new]
        parts = [f"adds {', '.join(map(_word, more))}"] * bool(more)
        parts += [f"takes away {', '.join(map(_word, less))}"] * bool(less)
        if parts:
            return " and ".join(parts)
    if "new" not in change:
        return "is taken away"
    if isinstance(new, dict) and "syscalls" in new:
        return f"is a filter of {sum(len(rule['names']) for rule in new['syscalls'])} system calls"
    return f"is {value_text(new)}" + (f" instead of {value_text(old)}" if "old" in change else "")


def _word(value: Any) -> str:
    return value if isinstance(value, str) else value_text(value)


# ---- diff --------------------------------------------------------------------------------------------------------


def diff(
    one: str, other: str, on: Ground, active: PluginSet, roots: Roots, rootless: bool
) -> list[Difference]:
    """What is different when the second profile counts instead of the first: config, plugins and policy."""
    first = laid((one,), on, active, roots, rootless)
    second = laid((other,), on, active, roots, rootless)
    return [*differences(first.config, second.config), *_beside(first, second)]


def _beside(one: Effective, other: Effective) -> Iterator[Difference]:
    if one.compat != other.compat:
        yield Difference("compat", "~", f"{one.compat} → {other.compat}")
    for name in dict.fromkeys((*one.disabled, *other.disabled)):
        if (name in one.disabled) != (name in other.disabled):
            yield Difference(
                f"plugins.{name}", "-" if name in other.disabled else "+", "the plugin"
            )
    for name in dict.fromkeys((*one.settings, *other.settings)):
        before, after = one.settings.get(name), other.settings.get(name)
        if before != after:
            text = f"{value_text(before or {})} → {value_text(after or {})}"
            yield Difference(f"plugins.{name}", "~", text)
    rules = [{f"{r.kind} {r.text}": r for r in made.policy} for made in (one, other)]
    for text in dict.fromkeys((*rules[0], *rules[1])):
        if text not in rules[1]:
            yield Difference("policy", "-", text)
        elif text not in rules[0]:
            yield Difference("policy", "+", text)


def diff_lines(found: Sequence[Difference], paint: Paint) -> Iterator[str]:
    """`+` only the second has it, `-` only the first, `~` both, and not the same."""
    colours = {"+": "green", "-": "red", "~": "yellow"}
    for one in found:
        for line in wrapped(f"{one.path}: {one.text}", f"{one.sign} ", "      "):
            yield paint(line, colours[one.sign])
