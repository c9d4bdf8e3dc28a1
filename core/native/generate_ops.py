"""Write ops.h: the C side of the vocabulary in `ocifw/steps.py`, of which it is the only source.

    python3 generate_ops.py OUTPUT [SOURCE]

OUTPUT is the file to write; SOURCE is the folder that holds `ocifw/` (default: ../src). Needs nothing but the
standard library. For every container step: its code, a structure with one typed member a field, the letters of its
fields for the checker, its name for messages, and its line in the dispatch to `op_NAME` (native/init/ops_*.c).
"""

from __future__ import annotations

import sys
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

# Field type: letter for the checker, words in the program, C declaration. The layout stands in README.md.
FIELD_TYPES = {
    "Number": ("n", 1, "u64 {}"),
    "Flag": ("f", 1, "u64 {}"),
    "Slot": ("s", 1, "i64 {}"),
    "HostPath": ("t", 1, "const char *{}"),
    "InRoot": ("t", 1, "const char *{}"),
    "Text": ("t", 1, "const char *{}"),
    "Blob": ("b", 2, "struct blob {}"),
    "Vector": ("v", 2, "struct vector {}"),
    "Numbers": ("N", 2, "struct numbers {}"),
}

HEADER = """\
/* The operations of ocifw-init. Generated from ocifw/steps.py by generate_ops.py: do not edit. */

#ifndef OCIFW_OPS_H
#define OCIFW_OPS_H

#include <stdint.h>

struct blob {
    const uint8_t *data;
    uint64_t size;
};

struct vector {
    char **items; /* ends with NULL */
    uint64_t count;
};

struct numbers {
    const uint64_t *items;
    uint64_t count;
};

/* Every operation begins like this; `size` is that of the whole structure. */
struct step {
    uint64_t code, size;
} __attribute__((may_alias));
"""


def snake(name: str) -> str:
    """`SetNoNewPrivileges` as `set_no_new_privileges`."""
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")


def structure(kind: type) -> str:
    """The structure that a step's words become in place, once the checker has turned offsets into pointers."""
    lines = [f"struct op_{snake(kind.__name__)} {{", "    uint64_t code, size;"]
    for field in kind._fields:
        declaration = FIELD_TYPES[kind.__annotations__[field]][2].format(field)
        declaration = declaration.replace("u64", "uint64_t").replace("i64", "int64_t")
        lines.append(f"    {declaration};")
    return "\n".join([*lines, "} __attribute__((may_alias));"])


def letters(kind: type) -> str:
    """The types of a step's fields, one letter each, for the checker."""
    return "".join(FIELD_TYPES[kind.__annotations__[field]][0] for field in kind._fields)


def header(vocabulary: tuple[type, ...]) -> str:
    """The whole of ops.h for these steps. Raises KeyError for a field type the table above lacks."""
    names = [(kind, snake(kind.__name__), snake(kind.__name__).upper()) for kind in vocabulary]
    widest = max(len(letters(kind)) for kind in vocabulary) + 1
    longest = max(len(kind.__name__) for kind in vocabulary) + 1
    parts = [HEADER, "enum op_code {"]
    parts += [f"    OP_{upper} = {kind._code}," for kind, _, upper in names]
    parts += [f"    OP_LIMIT = {max(kind._code for kind in vocabulary) + 1},", "};", ""]
    parts += [structure(kind) + "\n" for kind in vocabulary]
    parts += ["struct context;", ""]
    parts += [
        f"long op_{name}(struct context *, const struct op_{name} *);" for _, name, _ in names
    ]
    # Arrays of characters, not of pointers: the program is static and relocates nothing.
    parts += ["", "#ifdef OPS_FIELDS", "/* An unknown code has an empty name. */"]
    parts += [f"static const char op_names[OP_LIMIT][{longest}] = {{"]
    parts += [f'    [OP_{upper}] = "{kind.__name__}",' for kind, _, upper in names]
    parts += ["};", f"static const char op_fields[OP_LIMIT][{widest}] = {{"]
    parts += [f'    [OP_{upper}] = "{letters(kind)}",' for kind, _, upper in names]
    parts += ["};", "#endif", "", "#ifdef OPS_DISPATCH"]
    parts += ["static long run_op(struct context *context, const struct step *step) {"]
    parts += ["    switch (step->code) {"]
    for _, name, upper in names:
        parts += [f"    case OP_{upper}:"]
        parts += [f"        return op_{name}(context, (const struct op_{name} *)step);"]
    # Unreachable: the checker refuses unknown codes.
    parts += ["    }", "    return -38;", "}", "#endif", "", "#endif", ""]
    return "\n".join(parts)


def load_steps(source: Path) -> ModuleType:
    """Import `ocifw.steps` from the folder `source`, which goes before whatever is installed."""
    sys.path.insert(0, str(source))
    try:
        from ocifw import steps
    finally:
        sys.path.remove(str(source))
    return steps


def main(arguments: list[str]) -> None:
    source = (
        Path(arguments[1]) if len(arguments) > 1 else Path(__file__).resolve().parents[1] / "src"
    )
    Path(arguments[0]).write_text(header(load_steps(source).vocabulary()))


if __name__ == "__main__":
    main(sys.argv[1:])
