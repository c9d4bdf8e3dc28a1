"""Writing the image: the bytecode of the modules that commands use, in one file. See `boot.py`, which reads it."""

from __future__ import annotations
import __future__

import ast
import os
from fcntl import LOCK_EX, LOCK_NB, flock
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from marshal import dumps
from pathlib import Path
from typing import TYPE_CHECKING

from . import boot, cache, plugins, selection

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import CodeType

    from .boot import Bundle


# What no command uses that is repeated all day.
LEFT_OUT = frozenset(
    f"ocifw.{name}"
    for name in (
        "__main__", "boot", "bundle", "cache", "explain", "help", "hookspecs", "image", "linking", "patches",
        "profile_check", "profile_compile", "profile_files", "profile_policy", "profile_set", "profile_untrusted",
        "profile_yaml", "testing", "unpack",
        "commands.bundle", "commands.checkpoint", "commands.events", "commands.explain", "commands.features",
        "commands.plan", "commands.plugins", "commands.profile", "commands.restore", "commands.spec",
        "commands.validate", "commands.plugin", "commands.render", "commands.sets", "changed", "checkup", "differences",
        "display", "explanation", "feasibility", "field_docs", "graph", "imports", "json_places", "plugin_report",
        "profile_report", "scaffold", "sets", "trust", "versions", "dumped_policy", "profile_schema", "pruned", "refusals",
        "restoring", "library",
    )
) | {"ocifw_conformance"}  # fmt: skip
BUNDLES = (
    # every command
    """
    ocifw ocifw.light ocifw.light.path ocifw.light.os ocifw.errors ocifw.record ocifw.options ocifw.commands ocifw.cli
    ocifw.context ocifw.container ocifw.document ocifw.linux ocifw.linux.process
    """,
    # these, and delete
    """
    ocifw.execute ocifw.phases ocifw.linux.init ocifw.linux.memfd ocifw.program ocifw.step ocifw.steps
    ocifw.plugins ocifw.selection ocifw.linked
    """,
    "ocifw_cgroups.create ocifw_cgroups ocifw_cgroups.files ocifw_cgroups.processes",
    # create, run and exec
    """
    ocifw.creation ocifw.commands.common ocifw.acceptance ocifw.rules ocifw.validate
    ocifw.plan ocifw.fields ocifw.linux.namespaces
    ocifw_cgroups.planning ocifw_cgroups.hierarchies ocifw_cgroups.placement ocifw_cgroups.resources
    ocifw_cgroups.plugin
    ocifw_namespaces ocifw_namespaces.clone ocifw_namespaces.idmap ocifw_namespaces.sysctl ocifw_namespaces.plugin
    ocifw_mounts ocifw_mounts.plugin ocifw_capabilities ocifw_capabilities.sets ocifw_capabilities.plugin
    ocifw_process ocifw_process.affinity ocifw_process.lists ocifw_process.effective ocifw_process.limits
    ocifw_process.memory ocifw_process.scheduling ocifw_process.user ocifw_process.plugin
    """,
    # create and run
    """
    ocifw.config_rules ocifw.linux.mount ocifw_cgroups.controllers ocifw_cgroups.controllers.devices
    ocifw_cgroups.controllers.cpuset ocifw_cgroups.controllers.freezer ocifw_cgroups.mounts
    ocifw_mounts.mounts ocifw_mounts.options ocifw_mounts.root ocifw_mounts.check
    """,
    # create and run with a profile
    "ocifw.conditions ocifw.effective ocifw.layers ocifw.policy ocifw.profile ocifw.seccomp_form",
    # create, run and exec with a filter that is in the cache
    "ocifw_seccomp ocifw_seccomp.plugin ocifw_seccomp.cached ocifw_seccomp.notify",
    # run and exec
    "ocifw.foreground ocifw.supervise",
    "ocifw.commands.state ocifw.output ocifw.text",
)
"""The modules that are loaded together, so that the strings they share are made once: see `boot.Image`. When the first of
a bundle is imported, so are the others."""
STANDARD_LIBRARY = ("_json", "_struct", "binascii", "fcntl", "select")
# The modules whose classes are only made when they are asked for: of the vocabulary of steps, most containers need half,
# and `exec` a tenth.
LAZY_CLASSES = frozenset({"ocifw.steps"})


def renew() -> bool:
    """Write the image of the plugin set as it is now. Returns False when there is no place for it or somebody else does.

    Of commands that find the image missing at the same time, one writes it.
    """
    folder = cache.make_folder()
    if not folder:
        return False
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flock(lock, LOCK_EX | LOCK_NB)
        library = selection.library()
        # Before the files are read: what changes meanwhile makes the image stale.
        key = boot.image_key(library)
        active = plugins.load().plugins
        packages = [plugin.module.rpartition(".")[0] or plugin.module for plugin in active]
        packages = [package for package in ("ocifw", *packages) if package not in LEFT_OUT]
        return cache.write(boot.image_name(library), image(key, packages))
    except BlockingIOError:
        return False
    finally:
        os.close(lock)


def image(key: object, packages: Iterable[str]) -> bytes:
    """The image of all modules of these packages, and of those of the standard library that are no built-in ones.

    First three words of eight bytes: where the index ends, where the first bundle after it ends, and the file. Then the
    index, which counts the bundles' places from its own end; then their code: see `boot.open_image`.
    """
    files = {}
    for name in STANDARD_LIBRARY:
        spec = find_spec(name)
        if spec is not None and spec.has_location and spec.origin:
            files[name] = Path(spec.origin)
    for package in packages:
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations if spec else None) or ():
            files.update(_modules(package, Path(folder)))
    statuses = {name: path.stat() for name, path in files.items()}
    sources = {name: path.read_bytes() for name, path in files.items() if path.suffix == ".py"}
    before = _without_cycles(
        {
            name: [found for found in imported(source, name, files) if found in sources]
            for name, source in sources.items()
        }
    )
    together = [[name for name in bundle.split() if name in sources] for bundle in BUNDLES]
    bundled = {name for bundle in together for name in bundle}
    alone = [[name] for name in sources if name not in bundled]
    content = bytearray()
    bundles: list[Bundle] = []
    number = {}
    for names in (*together, *alone):
        start = len(content)
        codes = [compiled(sources[n], str(files[n]), n in LAZY_CLASSES) for n in names]
        content += dumps(tuple(codes))
        number.update(dict.fromkeys(names, len(bundles)))
        bundles.append((start, len(content), tuple(names)))
    rows = {
        name: (
            str(path),
            statuses[name].st_size,
            statuses[name].st_mtime_ns,
            path.name == "__init__.py",
            number.get(name, -1),
            tuple(before.get(name, ())),
        )
        for name, path in files.items()
    }
    index = dumps((key, rows, bundles))  # type: ignore[arg-type]  # the key can be
    start = boot.HEAD_BYTES + len(index)
    words = (start, start + bundles[0][1], start + len(content))
    return b"".join((*(word.to_bytes(8, "little") for word in words), index, content))


def _modules(package: str, folder: Path) -> Iterator[tuple[str, Path]]:
    if not (folder / "__init__.py").exists():
        return
    yield package, folder / "__init__.py"
    for path in sorted(folder.iterdir()):
        name, dot, suffix = path.name.partition(".")
        full = f"{package}.{name}"
        if full in LEFT_OUT or name == "__init__":
            continue
        if path.is_dir() and not dot:
            yield from _modules(full, path)
        elif suffix == "py" or f".{suffix}" in EXTENSION_SUFFIXES:
            yield full, path


def imported(source: bytes, name: str, files: Mapping[str, Path]) -> list[str]:
    """The modules that a module imports while it is imported itself, in order, parents before their children."""
    package = name if files[name].name == "__init__.py" else name.rpartition(".")[0]
    names: list[str] = []
    for node in _LightImports().visit(ast.parse(source)).body:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            names += [base, *[f"{base}.{alias.name}" for alias in node.names]]
    found: dict[str, None] = {}
    for full in names:
        parts = full.split(".")
        for length in range(1, len(parts) + 1):
            found.setdefault(".".join(parts[:length]))
    return [other for other in found if other in files and not f"{name}.".startswith(f"{other}.")]


def _without_cycles(graph: dict[str, list[str]]) -> dict[str, list[str]]:
    """The same, without what leads from a module to itself: there it matters when exactly an import happens."""
    return {
        name: [other for other in before if name not in _reached(other, graph)]
        for name, before in graph.items()
    }


def _reached(start: str, graph: dict[str, list[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += graph.get(name, ())
    return found


def compiled(source: bytes, path: str, lazy: bool = False) -> CodeType:
    """The code of a module without what costs time at run time and nobody needs then.

    That is docstrings, functions' annotations, `__future__`, and the import of the real `os` (see `light`). Assertions
    stay, and so do the annotations of classes, of which records are made, and line numbers.

    lazy: make the module's classes when they are asked for, but for those that other code of the module needs.
    """
    tree = ast.parse(source, path)
    future = _takes_future(tree)
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.returns = None
            arguments = node.args
            named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            for argument in (*named, arguments.vararg, arguments.kwarg):
                if argument is not None:
                    argument.annotation = None
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)):
            if ast.get_docstring(node, clean=False) is None:
                continue
            first = node.body.pop(0)
            if not node.body and not isinstance(node, ast.Module):
                node.body.append(ast.copy_location(ast.Pass(), first))
    tree = _LightImports().visit(tree)
    _ask_for_classes_late(tree)
    ast.fix_missing_locations(tree)
    if lazy:
        _make_classes_lazy(tree, path, future)
    code: CodeType = compile(tree, path, "exec", flags=future, dont_inherit=True)
    return code


def _ask_for_classes_late(tree: ast.Module) -> None:
    """Make `from ocifw.steps import Mount` … `Mount(` the same as `from ocifw import steps` … `steps.Mount(`."""
    late: dict[str, tuple[str, str]] = {}
    for node in list(tree.body):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module in LAZY_CLASSES:
            package, _, own = node.module.rpartition(".")
            late.update(
                {alias.asname or alias.name: (f"_{own}", alias.name) for alias in node.names}
            )
            tree.body[tree.body.index(node)] = ast.copy_location(
                ast.ImportFrom(package, [ast.alias(own, f"_{own}")], 0), node
            )
    if late:
        _Late(late).visit(tree)


class _Late(ast.NodeTransformer):
    def __init__(self, names: dict[str, tuple[str, str]]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id not in self.names:
            return node
        module, name = self.names[node.id]
        where = ast.copy_location(ast.Name(module, ast.Load()), node)
        return ast.copy_location(ast.Attribute(where, name, node.ctx), node)


LOADER = """
def __getattr__(name):
    code = _classes.pop(name, None)
    if code is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from marshal import loads
    exec(loads(code), globals())
    return globals()[name]
"""


def _make_classes_lazy(tree: ast.Module, path: str, flags: int) -> None:
    """Replace top-level classes by their code, from which the module's `__getattr__` (PEP 562) makes them."""
    needed = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    classes = {
        node.name: node
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name not in needed
    }
    if not classes:
        return
    codes = {
        name: dumps(compile(ast.Module([node], []), path, "exec", flags=flags, dont_inherit=True))
        for name, node in classes.items()
    }
    body = [node for node in tree.body if node not in classes.values()]
    tree.body = [*body, *ast.parse(f"_classes = {codes!r}\n{LOADER}").body]


def _takes_future(tree: ast.Module) -> int:
    """Take `from __future__ import` out of a module; returns the flags that have the same effect on its compilation."""
    flags = 0
    for node in list(tree.body):
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            tree.body.remove(node)
            for alias in node.names:
                flags |= getattr(__future__, alias.name).compiler_flag
    return flags


class _LightImports(ast.NodeTransformer):
    """Makes `import os` that of `light.os`, and leaves out what stands under `if TYPE_CHECKING:`."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        test, negated = node.test, False
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            test, negated = test.operand, True
        self.generic_visit(node)
        if isinstance(test, ast.Name) and test.id == "TYPE_CHECKING":
            return node.body if negated else node.orelse
        return node

    def visit_Import(self, node: ast.Import) -> list[ast.stmt]:
        found: list[ast.stmt] = []
        for alias in node.names:
            if alias.name in ("os", "os.path"):
                name = "path" if alias.name == "os.path" and alias.asname else "os"
                names = [ast.alias(name, alias.asname)]
                found.append(ast.ImportFrom("ocifw.light", names, 0))
            else:
                found.append(ast.Import([alias]))
        return [ast.copy_location(each, node) for each in found]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom:
        if node.level == 0 and node.module in ("os", "os.path"):
            node.module = "ocifw.light.os" if node.module == "os" else "ocifw.light.path"
        return node
