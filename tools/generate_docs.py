"""Write the documents in docs/ that are made from code: steps.md, hooks.md, api.json, profile.schema.json.

    python3 tools/generate_docs.py [--check]

`./dev docs` runs it; a test compares. --check writes nothing and ends with 1 when a document is not what it would write.
api.json is the contract with plugins: what is in there may not be changed or removed while the first number of
`hookspecs.API_VERSION` stays.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "core" / "src"))

from ocifw import hookspecs, steps  # noqa: E402 - the checkout's, whatever is installed
from ocifw.profile_schema import published  # noqa: E402

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


# ---- hooks -------------------------------------------------------------------------------------------------------

HOOKS_INTRODUCTION = """\
# Hooks

Made from `core/src/ocifw/hookspecs.py` by `./dev docs`: do not edit. This is version {version} of the hooks and of the
[container steps](steps.md). How to write a plugin: [writing-plugins.md](writing-plugins.md).

{text}
"""


def hooks() -> dict[str, object]:
    """The hook specifications by name, in order."""
    return {name: value for name, value in vars(hookspecs).items() if hasattr(value, "ocifw_spec")}


def signature(hook: object) -> str:
    """A hook's signature as in its source, without line breaks that the formatter made."""
    head = inspect.getsource(hook).partition('"""')[0].partition("def ")[2]
    return " ".join(head.split()).replace("( ", "(").replace(" )", ")").removesuffix(":")


def hook_document(name: str, hook: object) -> str:
    """One hook: its signature, its sections, its example."""
    text, _, example = inspect.cleandoc(hook.__doc__ or "").partition(" Example::")
    paragraphs = text.replace("\n**", "\n\n**").replace("\nSpec: ", "\n\nSpec: ")
    paragraphs = paragraphs.replace("\n\n\n", "\n\n")
    first = " The first plugin that answers decides." * hook.ocifw_spec["firstresult"]
    parts = [
        f"### {name}",
        f"```python\ndef {signature(hook)}\n```",
        paragraphs.replace("CLONE_NEW*", "CLONE_NEW\\*")
        + (f"\n\n{first.strip()}" if first else ""),
        f"```python\n{textwrap.dedent(example).strip()}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def hooks_md() -> str:
    """The whole of docs/hooks.md."""
    source = Path(hookspecs.__file__).read_text()
    headings = sections(source)
    parts = [
        HOOKS_INTRODUCTION.format(
            version=hookspecs.API_VERSION, text=inspect.cleandoc(hookspecs.__doc__ or "")
        )
    ]
    previous = ""
    for name, hook in hooks().items():
        line = inspect.getsourcelines(hook)[1]
        section = headings[max(number for number in headings if number <= line)]
        if section != previous:
            parts.append(f"## {section[0].upper()}{section[1:]}\n")
            previous = section
        parts.append(hook_document(name, hook))
    return "\n".join(parts)


def api() -> dict[str, object]:
    """What plugins rely on: hooks with their parameters, steps with their fields."""
    return {
        "version": hookspecs.API_VERSION,
        "hooks": {
            name: {
                "parameters": list(inspect.signature(hook).parameters),
                "first_result": hook.ocifw_spec["firstresult"],
            }
            for name, hook in hooks().items()
        },
        "steps": {
            kind.__name__: {
                field: kind.__annotations__[field] + "?" * (field in kind._defaults)
                for field in kind._fields
            }
            for kind in steps.vocabulary()
        },
    }


def breaks(old: dict[str, object], new: dict[str, object]) -> list[str]:
    """What of an older contract does not hold any more: hooks and steps that are gone or take something else."""
    found = []
    for name, hook in old["hooks"].items():
        now = new["hooks"].get(name)
        if now is None:
            found.append(f"hook {name} is gone")
        elif (
            set(hook["parameters"]) - set(now["parameters"])
            or hook["first_result"] != now["first_result"]
        ):
            found.append(f"hook {name} was changed")
    for name, fields in old["steps"].items():
        now = new["steps"].get(name)
        if now is None:
            found.append(f"step {name} is gone")
        elif list(fields.items()) != list(now.items())[: len(fields)]:
            found.append(f"step {name} was changed")
        elif not all(kind.endswith("?") for kind in list(now.values())[len(fields) :]):
            found.append(f"step {name} has a new field without a default")
    return found


def api_json(path: Path) -> str:
    """docs/api.json. Ends the program when it would break what is in there while the first number stays."""
    new = api()
    if path.exists():
        old = json.loads(path.read_text())
        if old["version"].split(".")[0] == new["version"].split(".")[0]:
            broken = breaks(old, new)
            if broken:
                sys.exit(
                    f"{'; '.join(broken)}: plugins rely on it: a new first number of hookspecs.API_VERSION"
                )
    return json.dumps(new, indent=1) + "\n"


def main() -> int:
    docs = ROOT / "docs"
    documents = {
        docs / "steps.md": steps_md(),
        docs / "hooks.md": hooks_md(),
        docs / "api.json": api_json(docs / "api.json"),
        docs / "profile.schema.json": json.dumps(published(), indent=1, ensure_ascii=False) + "\n",
    }
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
