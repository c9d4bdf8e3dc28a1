"""The program: container steps as the bytes that `ocifw-init` executes.

The format stands in native/README.md; `native/init/program.c` reads it. The layout of each step comes from its
annotations in `ocifw.steps`, from which `native/generate_ops.py` makes the C structures too.
"""

from __future__ import annotations

from _struct import error as struct_error  # type: ignore[attr-defined]  # typeshed lacks it
from _struct import pack

from .errors import PlanError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .step import ContainerStep

    Layout = tuple[int, int, tuple[tuple[str, str], ...]]

MAGIC = b"ocifwop1"
NO_SLOT = 2**64 - 1
SLOT_LIMIT = 4096

_HEADER_BYTES = 40
_TEXTS = ("HostPath", "InRoot", "Text")
_TWO_WORDS = ("Blob", "Vector", "Numbers")

_layouts: dict[type[ContainerStep], Layout] = {}


def assign_slots(steps: Sequence[ContainerStep]) -> dict[str, int]:
    """Number the names of file descriptors that the steps ask for, in order of first appearance, from 0."""
    slots: dict[str, int] = {}
    for step in steps:
        for name, kind in _layout(type(step))[2]:
            if kind == "Slot" and step.__dict__[name]:
                slots.setdefault(step.__dict__[name], len(slots))
    return slots


def encode(steps: Sequence[ContainerStep], slots: dict[str, int]) -> bytes:
    """The program of `steps`, whose slots have the numbers in `slots`.

    Texts are encoded as UTF-8 with surrogateescape, as `os.fsdecode` made them from bytes that were no UTF-8.
    Raises PlanError, which names the step, its field and the value (of vectors, which hold environments, only the
    position), on a NUL in a text, a number outside 0 to 2**64-1, a value of the wrong type, an unknown slot.
    """
    layouts = [_layout(type(step)) for step in steps]
    start = _HEADER_BYTES + sum([size for _, size, _ in layouts])
    words: list[int] = [len(steps), max(slots.values(), default=-1) + 1, _HEADER_BYTES]
    add = words.append
    data = bytearray()
    texts: dict[str, int] = {}
    try:
        for step, (code, size, fields) in zip(steps, layouts):
            add(code)
            add(size)
            values = step.__dict__
            for name, kind in fields:
                value = values[name]
                if kind == "Number":
                    add(value)
                elif kind in _TEXTS:
                    offset = texts.get(value)
                    if offset is None:
                        offset = texts[value] = start + len(data)
                        data += _text(value)
                    add(offset)
                elif kind == "Flag":
                    add((False, True).index(value))
                elif kind == "Slot":
                    add(slots[value] if value else NO_SLOT)
                elif kind == "Vector":
                    if not isinstance(value, (tuple, list)):
                        raise TypeError
                    offsets = []
                    for item in value:
                        offset = texts.get(item)
                        if offset is None:
                            offset = texts[item] = start + len(data)
                            data += _text(item)
                        offsets.append(offset)
                    data += bytes(-len(data) % 8)
                    add(start + len(data))
                    add(len(offsets))
                    data += pack(f"<{len(offsets) + 1}Q", *offsets, 0)
                else:
                    content = value if kind == "Blob" else pack(f"<{len(value)}Q", *value)
                    data += bytes(-len(data) % 8)
                    add(start + len(data))
                    add(len(value))
                    data += content
        # The checker wants the last byte to be NUL: then every text ends inside.
        data += bytes(8 - len(data) % 8)
        head = pack(f"<{len(words)}Q", *words)
    except (AttributeError, TypeError, ValueError, KeyError, struct_error):
        raise _explain(steps, slots) from None
    return b"".join((MAGIC, pack("<Q", start + len(data)), head, data))


def _layout(kind: type[ContainerStep]) -> Layout:
    """Code, size in bytes, and the pairs of field name and type, of a kind of step."""
    layout = _layouts.get(kind)
    if layout is None:
        if not getattr(kind, "_code", 0):
            raise PlanError(f"{kind.__name__} is not a step of the vocabulary in ocifw.steps")
        fields = tuple([(name, str(kind.__annotations__[name])) for name in kind._fields])
        size = 16 + sum([16 if field in _TWO_WORDS else 8 for _, field in fields])
        layout = _layouts[kind] = (kind._code, size, fields)
    return layout


def _text(value: str) -> bytes:
    """A NUL-terminated text. Raises AttributeError or ValueError when it cannot be one."""
    if "\0" in value:
        raise ValueError
    return value.encode("utf-8", "surrogateescape") + b"\0"


def _explain(steps: Sequence[ContainerStep], slots: dict[str, int]) -> PlanError:
    """Which value it was. Looked for only when encoding failed, so that no step pays for the checks twice."""
    for step in steps:
        for name, kind in _layout(type(step))[2]:
            value = step.__dict__[name]
            reason = _defect(kind, value, slots)
            if reason:
                shown = f" {value!r}" if kind not in ("Vector", "Blob") else ""
                at = f" [{step.at}]" if step.at else ""
                return PlanError(f"{type(step).__name__}: {name}{shown}: {reason}{at}")
    return PlanError("the program cannot be encoded")


def _defect(kind: str, value: object, slots: dict[str, int]) -> str:
    """What is wrong with a field's value, or ""."""
    if kind in _TEXTS:
        return _text_defect(value)
    if kind == "Number":
        return _number_defect(value)
    if kind == "Flag":
        return "" if value in (False, True) else "must be true or false"
    if kind == "Slot":
        return "" if not value or value in slots else "no file descriptor has this name"
    if kind == "Blob":
        return "" if isinstance(value, bytes) else f"must be bytes, not {type(value).__name__}"
    if not isinstance(value, (tuple, list)):
        return f"must be a tuple, not {type(value).__name__}"
    check = _text_defect if kind == "Vector" else _number_defect
    reasons = (f"item {i} {reason}" for i, item in enumerate(value) if (reason := check(item)))
    return next(reasons, "")


def _text_defect(value: object) -> str:
    if not isinstance(value, str):
        return f"must be a text, not {type(value).__name__}"
    if "\0" in value:
        return "must not contain a NUL byte"
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return "cannot be encoded as UTF-8"
    return ""


def _number_defect(value: object) -> str:
    if not isinstance(value, int):
        return f"must be a number, not {type(value).__name__}"
    return "" if 0 <= value < 2**64 else "must be a number from 0 to 2**64-1"
