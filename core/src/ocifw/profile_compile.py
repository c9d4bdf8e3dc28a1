"""Compiling profiles: files are found, trusted, read, checked and put in order. Not on the hot path.

All that is wrong is reported at once, each with FILE:LINE:COLUMN, the key, and what may have been meant. A file is trusted
when it and every folder above it belong to root (or, for other users, the caller) and cannot be written by others: see
`trust`. What lies in the bundle is not: see `profile_untrusted`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from . import profile, profile_yaml
from .errors import ConfigError, Problem
from .layers import path_text
from .patches import Compiler, exec_nodes
from .plugins import FIRST_PARTY
from .profile import Roots, stamp_of
from .profile_check import (
    close_to,
    config_problems,
    profile_schema,
    schema_problems,
    seccomp_problems,
    structure,
)
from .profile_files import SUFFIX, available, drop_ins, read_plain, read_trusted
from .profile_policy import Wrong, compile_rules
from .profile_untrusted import LOOSENS, TRUSTED_KEYS, loosening
from .seccomp_form import version

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .layers import Path, Place
    from .plugins import PluginSet
    from .profile_yaml import Document

    Stamp = tuple[int, ...] | None

_LIMIT_FILES = 64
_BASES = {"docker-default": os.path.join(profile.SHIPPED, "seccomp", "docker-default.json")}


def lint(path: str, active: PluginSet, roots: Roots) -> list[Problem]:
    """Everything that is wrong with one file, and with what it extends."""
    try:
        compile_profiles([os.path.abspath(path)], active, "", roots)
    except ConfigError as error:
        return error.problems
    return []


def compile_profiles(
    references: Sequence[str],
    active: PluginSet,
    bundle: str,
    roots: Roots,
    last: Sequence[str] = (),
) -> dict[str, Any]:
    """The table of profiles: their layers in order, and what was read for it. Raises ConfigError with all problems.

    last: profiles whose layers come at the end, even when they came before.
    """
    compilation = _Compilation(active, bundle, roots)
    for reference in references:
        compilation.add(reference, "", ())
    compilation.seen.clear()
    for reference in last:
        compilation.add(reference, "", ())
    compilation.check_removed_rules()
    if compilation.problems:
        raise ConfigError(compilation.problems)
    return {"layers": compilation.layers, "inputs": list(compilation.inputs.items())}


def compile_settings(roots: Roots) -> dict[str, Any]:
    """The table of /etc/ocifw/config.yaml. Raises ConfigError with all problems."""
    data, own = read_trusted(roots.settings, roots.owners)
    document = profile_yaml.load(data, roots.settings)
    problems = structure(document, _SETTINGS)
    if problems:
        raise ConfigError(problems)
    value = document.value
    settings: dict[str, Any] = {
        "file": roots.settings,
        "profile": tuple(_strings(value.get("profile"))),
    }
    for name in settings["profile"]:
        if "/" in name:
            place = document.problem(("profile",), f"{name!r}: expected the name of a profile")
            raise ConfigError([place])
    if "annotation" in value:
        given = value["annotation"]
        settings["annotation"] = {"key": given["key"], "values": _strings(given["values"])}
    settings["bundle"] = value.get("bundle", False)
    return {"settings": settings, "inputs": [(roots.settings, own)]}


_SETTINGS = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "profile": {"type": ["string", "array"], "items": {"type": "string"}},
        "annotation": {
            "type": "object",
            "required": ["key", "values"],
            "additionalProperties": False,
            "properties": {
                "key": {"type": "string"},
                "values": {"type": ["string", "array"], "items": {"type": "string"}},
            },
        },
        "bundle": {"type": "boolean"},
    },
}


# ---- one compilation ---------------------------------------------------------------------------------------------


class _Compilation:
    """The layers of some profiles, in order. inputs: stamps of all files that were read or looked for."""

    def __init__(self, active: PluginSet, bundle: str, roots: Roots) -> None:
        self.active = active
        self.bundle = os.path.realpath(bundle) if bundle else ""
        self.roots = roots
        self.layers: list[dict[str, Any]] = []
        self.problems: list[Problem] = []
        self.inputs: dict[str, Stamp] = {}
        self.seen: set[str] = set()
        self.documents: list[tuple[Document, dict[str, Any]]] = []

    def add(self, reference: str, origin: str, chain: tuple[str, ...]) -> None:
        """Add a profile after what it extends, and before its drop-ins; each file once.

        origin: of the reference, "" for one of the caller's. chain: the files that led here.
        """
        file = self._find(reference, origin)
        if not file:
            return
        real = os.path.realpath(file)
        if real in chain:
            names = [_name(one) for one in (*chain[chain.index(real) :], real)]
            self._wrong(origin, "extends", f"is a cycle: {' extends '.join(names)}")
            return
        if real in self.seen:
            return
        self.seen.add(real)
        if len(self.seen) > _LIMIT_FILES:
            self._wrong(origin, "extends", f"leads to more than {_LIMIT_FILES} files")
            return
        name = reference if "/" not in reference else _name(file)
        self._add_file(name, file, origin, (*chain, real))
        if "/" not in reference:
            for drop_in in self._find_drop_ins(reference):
                self._add_file(name, drop_in, origin, (*chain, os.path.realpath(drop_in)))

    def check_removed_rules(self) -> None:
        """What `policy-` names must be a rule of an earlier layer."""
        names: list[str] = []
        for document, layer in self.documents:
            for index, name in enumerate(layer["unpolicy"]):
                if name not in names:
                    path: Path = ("policy-", index)
                    close = close_to(name, names)
                    self.problems.append(
                        document.problem(path, f"{name!r} is no rule of an earlier layer{close}")
                    )
            names += [row[7] for row in layer["policy"]]

    def _find(self, reference: str, origin: str) -> str:
        """The file of a name or path; "" after noting that there is none."""
        if "/" in reference:
            self.inputs[reference] = stamp_of(reference)
            return reference
        if not reference or reference[0] == "." or not reference.replace("-", "_").replace(
            ".", "_").isidentifier():  # fmt: skip
            self._wrong(origin, "extends", f"{reference!r} is not the name of a profile")
            return ""
        for folder in reversed(self.roots.folders):
            path = f"{folder}/{reference}{SUFFIX}"
            self.inputs[path] = stamp_of(path)
            if self.inputs[path] is not None:
                return path
        names = sorted({found.name for found in available(self.roots)})
        self._wrong(
            origin,
            "extends",
            f"there is no profile {reference!r} in {', '.join(reversed(self.roots.folders))}"
            + close_to(reference, names),
        )
        return ""

    def _find_drop_ins(self, name: str) -> list[str]:
        for folder in self.roots.folders:
            self.inputs[f"{folder}/{name}.d"] = stamp_of(f"{folder}/{name}.d")
        return drop_ins(name, self.roots)

    def _wrong(self, origin: str, key: str, message: str) -> None:
        self.problems.append(Problem(key if origin else "", message, origin or "--profile"))

    def _add_file(self, name: str, file: str, origin: str, chain: tuple[str, ...]) -> None:
        trusted = not (self.bundle and f"{os.path.realpath(file)}/".startswith(f"{self.bundle}/"))
        try:
            if trusted:
                data, self.inputs[file] = read_trusted(file, self.roots.owners)
            else:
                data = read_plain(os.path.realpath(file))
            document = profile_yaml.load(data, file)
        except ConfigError as error:
            self.problems += [
                Problem("extends", f"{problem.origin}: {problem.message}", origin)
                if origin and not problem.origin.startswith(f"{file}:")
                else problem
                for problem in error.problems
            ]
            return
        problems = structure(document, profile_schema())
        if problems:
            self.problems += problems
            return
        before = len(self.problems)
        value = document.value
        if not trusted:
            self.problems += [
                document.problem((key,), LOOSENS) for key in value if key in TRUSTED_KEYS
            ]
        for index, parent in enumerate(_strings(value.get("extends"))):
            path: Path = ("extends", index) if isinstance(value["extends"], list) else ("extends",)
            if "/" in parent:
                parent = os.path.normpath(os.path.join(os.path.dirname(file), parent))
            if trusted:
                self.add(parent, document.origin(path), chain)
        layer = self._layer(document, name, trusted)
        if len(self.problems) == before:
            self.layers.append(layer)
            self.documents.append((document, layer))

    # -- the parts of one file -------------------------------------------------------------------------------------

    def _layer(self, document: Document, name: str, trusted: bool) -> dict[str, Any]:
        value = document.value
        return {
            "name": name,
            "file": document.file,
            "trusted": trusted,
            "description": value.get("description", ""),
            "when": self._conditions(document, ("when",), value.get("when")),
            "requires": (
                self._conditions(document, ("requires",), value.get("requires")),
                document.place(("requires",)),
            ),
            "parts": list(self._parts(document, trusted)),
            "plugins": self._plugins(document),
            "policy": self._policy(document, name),
            "unpolicy": value.get("policy-", []),
            "compat": value.get("compat", ""),
        }

    def _conditions(
        self, document: Document, path: Path, given: dict[str, Any] | None
    ) -> dict[str, Any]:
        """Conditions as `profile.Facts` reads them."""
        made: dict[str, Any] = {}
        for name, value in (given or {}).items():
            if name == "annotations":
                made[name] = {key: _strings(patterns) for key, patterns in value.items()}
            elif name == "kernel":
                made[name] = []
                for text in _strings(value):
                    try:
                        made[name].append(_kernel(text))
                    except ValueError:
                        message = f"{text!r} is not a version, as '>= 5.10'"
                        self.problems.append(document.problem((*path, name), message))
            elif name == "plugins":
                made[name] = _strings(value)
                self._known_plugins(document, (*path, name), made[name])
            else:
                made[name] = _strings(value) if name in ("architecture", "lsm") else value
        return made

    def _known_plugins(self, document: Document, path: Path, names: Iterable[str]) -> None:
        known = [plugin.name for plugin in self.active.plugins]
        for name in names:
            if name not in known and name not in FIRST_PARTY:
                close = close_to(name, [*known, *FIRST_PARTY])
                self.problems.append(document.problem(path, f"{name!r} is not a plugin{close}"))

    def _parts(self, document: Document, trusted: bool) -> Iterable[tuple[Any, Any, Any]]:
        config = document.value.get("config")
        if config is None:
            return
        parts: list[tuple[Path, dict[str, Any] | None, dict[str, Any]]]
        if isinstance(config, dict):
            parts = [(("config",), None, config)]
        else:
            parts = [
                (("config", i, "config"), part.get("when"), part["config"])
                for i, part in enumerate(config)
            ]
        for path, when, patch in parts:
            compiler = Compiler(
                {
                    own[len(path) :]: place
                    for own, place in document.places.items()
                    if own[: len(path)] == path
                },
                lambda base, place: self._base(document, base, place),
            )
            node = compiler.node(_substituted(patch))
            self.problems += [
                Problem(f"{path_text(path)}.{problem.path}", problem.message,
                        f"{document.file}:{place[0]}:{place[1]}")
                for place, problem in compiler.problems
            ]  # fmt: skip
            self.problems += config_problems(document, path, node)
            if not trusted:
                self.problems += loosening(document, path, patch)
            conditions = self._conditions(document, (*path[:-1], "when"), when)
            yield conditions, node, exec_nodes(node)

    def _base(self, document: Document, base: str, place: Place) -> Any:
        """The content of a seccomp profile that a profile names."""
        origin = f"{document.file}:{place[0]}:{place[1]}"
        path = _BASES.get(base, "")
        if not path and "/" in base:
            path = os.path.normpath(os.path.join(os.path.dirname(document.file), base))
        if not path:
            message = (
                f"{base!r} is not keep, docker-default or a path{close_to(base, ['keep', *_BASES])}"
            )
            self.problems.append(Problem("config.linux.seccomp.base", message, origin))
            return "keep"
        try:
            data, self.inputs[path] = read_trusted(path, self.roots.owners)
            from .document import parse

            content = parse(data, path)
        except ConfigError as error:
            self.problems += error.problems
            return "keep"
        problems = seccomp_problems(content, path)
        self.problems += problems
        return "keep" if problems else content

    def _plugins(self, document: Document) -> list[tuple[str, Any, Place]]:
        given = document.value.get("plugins") or {}
        known = {plugin.name for plugin in self.active.plugins}
        made = []
        for name, value in given.items():
            path: Path = ("plugins", name)
            if name not in known and (value is not False or name not in FIRST_PARTY):
                if name in FIRST_PARTY:
                    message = f"plugin {name} is not installed: install ocifw-{name}"
                else:
                    message = f"{name!r} is not a plugin{close_to(name, [*known, *FIRST_PARTY])}"
                self.problems.append(document.problem(path, message))
                continue
            if isinstance(value, dict):
                self.problems += self._settings_problems(document, name, value)
            made.append((name, value, document.place(path)))
        return made

    def _settings_problems(
        self, document: Document, name: str, value: dict[str, Any]
    ) -> list[Problem]:
        answers = self.active.ask("ocifw_settings_schema", {}, frozenset((name,)))
        if not answers:
            takes = any(
                one.plugin == name and "settings" in one.arguments
                for implementations in self.active.hooks.values()
                for one in implementations
            )
            if takes or not value:
                return []
            return [document.problem(("plugins", name), f"plugin {name} has no settings")]
        path: Path = ("plugins", name)
        return schema_problems(document, value, answers[0], path, partial=True)

    def _policy(self, document: Document, name: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        for index, entry in enumerate(document.value.get("policy") or ()):
            path: Path = ("policy", index)
            try:
                rows += compile_rules(entry, name, document.file, document.place(path))
            except Wrong as wrong:
                kind = next((k for k in ("deny", "require", "limit") if k in entry), "")
                own = (*path, kind) if kind else path
                self.problems.append(document.problem(own, str(wrong)))
        return rows


def _name(file: str) -> str:
    return os.path.basename(file).removesuffix(SUFFIX)


def _strings(value: Any) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)


def _kernel(text: str) -> tuple[str, int, int]:
    digits = text.lstrip("<>= ")
    operator = text[: len(text) - len(digits)].strip() or ">="
    if operator not in (">=", ">", "<=", "<", "=="):
        raise ValueError(text)
    return (operator, *version(digits))


_VARIABLES = {"${euid}": os.geteuid, "${egid}": os.getegid}


def _substituted(value: Any) -> Any:
    """A patch with `${euid}` and `${egid}`, as whole values, replaced by the caller's ids."""
    if isinstance(value, dict):
        return {key: _substituted(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_substituted(member) for member in value]
    if isinstance(value, str) and value in _VARIABLES:
        return _VARIABLES[value]()
    return value
