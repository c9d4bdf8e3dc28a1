"""Write the documents that are made from code: docs/steps.md. `./dev docs` runs it; a test compares.

    python3 tools/generate_docs.py [--check]

--check writes nothing and ends with 1 when a document is not what it would write.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "core" / "src"))

from ocifw import steps  # noqa: E402 - the checkout's, whatever is installed

INTRODUCTION = """\
# Container steps

Made from `core/src/ocifw/steps.py` by `./dev docs`: do not edit.

These are all the steps that `ocifw-init` executes: the vocabulary in which plugins answer the hooks of the container's
side. Every step takes `at`, too: the path in config.json that asked for it.

| type | meaning |
|---|---|
| `InRoot` | a path of the image, untrusted, resolved inside the rootfs by file descriptors |
| `HostPath` | a path that the container process resolves in its own namespaces before it changes its root |
| `Text`, `Blob` | a string without NUL; bytes |
| `Slot` | the name of a file descriptor that the runtime passes; "" is none |
| `Number`, `Flag` | an unsigned number of 64 bits; true or false |
| `Vector`, `Numbers` | a tuple of strings; a tuple of numbers |
"""


def sections(source: str) -> dict[int, str]:
    """The headings `# ---- text ----` of a source, by line number."""
    return {
        number: line.strip("# -")
        for number, line in enumerate(source.splitlines(), 1)
        if line.startswith("# ----")
    }


def default(kind: type, field: str) -> str:
    """The default of a field as the documentation shows it, "" for none."""
    if field not in kind._defaults:
        return ""
    value = kind._defaults[field]
    if isinstance(value, str):
        return f'`"{value}"`'
    return f"`{value:#o}`" if field == "mode" else f"`{str(value).lower()}`"


def prose(docstring: str) -> str:
    """A docstring as Markdown: `CLONE_NEW*` is a name and no emphasis."""
    parts = inspect.cleandoc(docstring).split("`")
    return "`".join(
        part.replace("*", "\\*") if index % 2 == 0 else part for index, part in enumerate(parts)
    )


def section_of(kind: type, headings: dict[int, str], lines: dict[str, int]) -> str:
    """The heading under which a step is defined."""
    return headings[max(number for number in headings if number < lines[kind.__name__])]


def document(kind: type) -> str:
    """One step: its fields and its docstring."""
    parts = [f"### {kind.__name__}"]
    if kind._fields:
        rows = ["| field | type | default |", "|---|---|---|"]
        rows += [
            f"| `{field}` | {kind.__annotations__[field]} | {default(kind, field)} |"
            for field in kind._fields
        ]
        parts.append("\n".join(rows))
    parts.append(prose(kind.__doc__ or ""))
    if kind._text:
        parts.append(f"In plans: `{kind._text}`")
    return "\n\n".join(parts) + "\n"


def steps_md() -> str:
    """The whole of docs/steps.md."""
    source = Path(steps.__file__).read_text()
    headings = sections(source)
    lines = {n.name: n.lineno for n in ast.parse(source).body if isinstance(n, ast.ClassDef)}
    parts = [INTRODUCTION]
    previous = ""
    for kind in sorted(steps.vocabulary(), key=lambda kind: lines[kind.__name__]):
        section = section_of(kind, headings, lines)
        if section != previous:
            name, _, rest = section.partition(": ")
            rest = rest and "\n" + textwrap.fill(rest[0].upper() + rest[1:] + ".", 120) + "\n"
            parts.append(f"## {name}\n{rest}")
            previous = section
        parts.append(document(kind))
    return "\n".join(parts)


def main() -> int:
    documents = {ROOT / "docs" / "steps.md": steps_md()}
    stale = [
        path for path, text in documents.items() if not path.exists() or path.read_text() != text
    ]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not up to date: ./dev docs")
        return bool(stale)
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text(documents[path])
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
