"""Plugin sets: which plugins are loaded, in which order, and what is asked of them. YAML files; never read on hot verbs.

    # /etc/ocifw/sets.d/acme.yaml
    description: what acme's containers get
    extends: default
    plugins:
      acme-policy: { version: "==1.2.*" }
      audit-log: { failure: warn }
      criu: false
    profile: hardened
    policy: acme-rules
    on-change: refuse

A set is the file of that name in /usr/lib/ocifw/sets.d (a distribution's) or /etc/ocifw/sets.d (the administrator's, which
counts instead of a distribution's). A link to /dev/null or `enabled: false` masks it. The set `default` is there without a
file: the plugins of ocifw, and what a file of that name adds. A wheel that no set names is not loaded, whatever it advertises.
"""

from __future__ import annotations

import os
from difflib import get_close_matches
from typing import TYPE_CHECKING

from . import trust
from .errors import ConfigError, OcifwError
from .plugins import FIRST_PARTY
from .record import Record
from .selection import DEFAULT
from .versions import matches

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .profile_yaml import Document
    from .selection import Selection

BUILT_IN = "first-party"
NONE = "none"
FAILURES = ("fail", "warn")
CHANGES = ("warn", "refuse")
TIME_LIMIT_S = 2.0
_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")
_KEYS = (
    "description",
    "enabled",
    "extends",
    "plugins",
    "profile",
    "policy",
    "on-change",
    "time-limit-s",
)
_MEMBER_KEYS = ("distribution", "version", "sha256", "required", "failure")


class Member(Record):
    """A plugin that a set names.

    distribution: the package that it comes from; "" is ocifw-NAME or NAME: another that offers a plugin of this name is
    not believed. version: what it may be, "" for any. sha256: what its files must hash to, "" for anything. required: the
    set cannot be used without it. failure: "fail", or "warn" when containers are made although it has no answer to a hook;
    what it answered is done or fails as everybody's. origin: where the set says so.
    """

    name: str
    distribution: str = ""
    version: str = ""
    sha256: str = ""
    required: bool = False
    failure: str = "fail"
    origin: str = ""


class ActiveSet(Record):
    """A set, with all that it extends.

    profile: the name of the profile that containers get without another, or "". policy: names of profiles that lie over
    every container's other ones, whichever these are: their rules always count. on_change: what happens when the plugins
    are others than those that made a container, "warn" or "refuse". time_limit_s: for each answer of a plugin that is not
    ocifw's own. files: what it was read from.
    """

    name: str
    members: tuple[Member, ...]
    description: str = ""
    profile: str = ""
    policy: tuple[str, ...] = ()
    on_change: str = "warn"
    time_limit_s: float = TIME_LIMIT_S
    files: tuple[str, ...] = ()


class Found(Record):
    """A file in one of the folders. state: "active", "masked", or "overridden" by the administrator's file."""

    name: str
    path: str
    state: str


def resolve(selection: Selection) -> ActiveSet:
    """The set that was chosen. Raises OcifwError when there is none of this name, ConfigError for what its files say wrong."""
    return _resolve(selection.name or DEFAULT, selection.where(), ())


def found(folders: tuple[str, ...]) -> Iterator[Found]:
    """Every set file, by name, the one that counts first."""
    names: dict[str, list[str]] = {}
    for folder in reversed(folders):
        try:
            entries = sorted(os.listdir(folder))
        except (FileNotFoundError, NotADirectoryError):
            continue
        for entry in entries:
            name = entry.removesuffix(".yaml")
            if name != entry and name and _NAME.issuperset(name):
                names.setdefault(name, []).append(f"{folder}/{entry}")
    for name in sorted(names):
        for index, path in enumerate(names[name]):
            state = "overridden" if index else "masked" if _is_masked(path) else "active"
            yield Found(name, path, state)


def check_name(name: str) -> None:
    """Raise OcifwError unless this can be the name of a set."""
    if not name or not _NAME.issuperset(name) or name.startswith("."):
        raise OcifwError(f"{name!r} is no name of a plugin set: a-z, 0-9, - and _")


def first_party() -> ActiveSet:
    """The set that is there without any file: the plugins of ocifw, as far as they are installed."""
    members = tuple([Member(name, origin="ocifw itself") for name in FIRST_PARTY])
    return ActiveSet(BUILT_IN, members, "the plugins of ocifw")


# ---- reading -----------------------------------------------------------------------------------------------------


def _resolve(name: str, folders: tuple[str, ...], inside: tuple[str, ...]) -> ActiveSet:
    if name == BUILT_IN:
        return first_party()
    if name == NONE:
        return ActiveSet(NONE, ())
    check_name(name)
    if name in inside:
        raise OcifwError(f"plugin set {name} extends itself: {' -> '.join([*inside, name])}")
    path = next(
        (p for p in [f"{f}/{name}.yaml" for f in reversed(folders)] if os.path.lexists(p)), ""
    )
    document = _document(path) if path and not _is_null(path) else None
    if document is None or document.value.get("enabled") is False:
        if name == DEFAULT:
            made: ActiveSet = first_party().changed(name=DEFAULT, files=(path,) if path else ())
            return made
        raise OcifwError(_absent(name, folders, path))
    _check(document)
    value = document.value
    below = value.get("extends", BUILT_IN)
    base = _resolve(below, folders, (*inside, name))
    members = {member.name: member for member in base.members}
    for plugin, wanted in (value.get("plugins") or {}).items():
        if wanted is False:
            members.pop(plugin, None)
            continue
        origin = document.origin(("plugins", plugin))
        given = wanted if isinstance(wanted, dict) else {}
        # What a set names must be there, unless its failure would be a warning only.
        known = members.get(plugin) or Member(plugin, required=given.get("failure") != "warn")
        members[plugin] = known.changed(**given, origin=origin)
    return ActiveSet(
        name,
        tuple(members.values()),
        value.get("description", ""),
        value.get("profile", base.profile),
        (*base.policy, *([value["policy"]] if value.get("policy") else ())),
        value.get("on-change", base.on_change),
        float(value.get("time-limit-s", base.time_limit_s)),
        (*base.files, path),
    )


def _document(path: str) -> Document:
    from .profile_yaml import load

    try:
        data = trust.read(path)
    except OSError as error:
        raise OcifwError(f"{path}: {error.strerror}") from error
    document = load(data, path)
    if not isinstance(document.value, dict):
        raise ConfigError([document.problem((), "a set is a mapping")])
    return document


def _absent(name: str, folders: tuple[str, ...], path: str) -> str:
    if path:
        return f"plugin set {name} is masked by {path}"
    known = sorted({one.name for one in found(folders) if one.state == "active"} | {DEFAULT})
    close = get_close_matches(name, known, 1)
    hint = f": did you mean {close[0]}?" if close else ""
    return f"plugin set {name}: no such file in {' or '.join(folders)}{hint}"


def _is_masked(path: str) -> bool:
    if _is_null(path):
        return True
    try:
        return _document(path).value.get("enabled") is False
    except (OcifwError, OSError):
        return False


def _is_null(path: str) -> bool:
    return os.path.islink(path) and os.path.realpath(path) == "/dev/null"


# ---- checking ----------------------------------------------------------------------------------------------------


def _check(document: Document) -> None:
    """Raise ConfigError with all that is wrong in a file."""
    problems = [document.problem(path, message) for path, message in _problems(document.value)]
    if problems:
        raise ConfigError(problems)


def _problems(value: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    for key in value:
        if key not in _KEYS:
            yield (key,), _unknown(key, _KEYS)
    for key in ("description", "extends", "profile", "policy"):
        if key in value and not isinstance(value[key], str):
            yield (key,), "must be a text"
    if "enabled" in value and not isinstance(value["enabled"], bool):
        yield ("enabled",), "must be true or false"
    if value.get("on-change", "warn") not in CHANGES:
        yield ("on-change",), f"must be {' or '.join(CHANGES)}"
    limit = value.get("time-limit-s", TIME_LIMIT_S)
    if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not 0 < limit <= 60:
        yield ("time-limit-s",), "must be a number of seconds, more than 0 and at most 60"
    plugins = value.get("plugins")
    if plugins is not None and not isinstance(plugins, dict):
        yield ("plugins",), "must be a mapping of names of plugins"
        return
    for name, wanted in (plugins or {}).items():
        yield from _member_problems(("plugins", name), wanted)


def _member_problems(path: tuple[str, ...], wanted: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    if wanted is None or isinstance(wanted, bool):
        return
    if not isinstance(wanted, dict):
        yield path, "must be true, false or a mapping"
        return
    for key, value in wanted.items():
        if key not in _MEMBER_KEYS:
            yield (*path, key), _unknown(key, _MEMBER_KEYS)
        elif key == "required" and not isinstance(value, bool):
            yield (*path, key), "must be true or false"
        elif key == "distribution" and not isinstance(value, str):
            yield (*path, key), "must be a text"
        elif key == "failure" and value not in FAILURES:
            yield (*path, key), f"must be {' or '.join(FAILURES)}"
        elif key == "sha256" and not (
            isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")
        ):
            yield (*path, key), "must be 64 hexadecimal digits"
        elif key == "version":
            try:
                matches("0", value)
            except (ValueError, AttributeError, TypeError) as error:
                yield (
                    (*path, key),
                    str(error) if isinstance(error, ValueError) else "must be a text",
                )


def _unknown(key: str, known: tuple[str, ...]) -> str:
    close = get_close_matches(key, known, 1)
    return "is not known" + (f": did you mean {close[0]}?" if close else "")
