"""Record: a small immutable value with named fields.

What dataclasses would give, without importing them: `dataclasses` costs 12 ms at start-up, this module 0.1 ms.
Subclasses declare fields as annotations, with or without a default:

    class Mkdir(Record):
        path: str
        mode: int = 0o755

    Mkdir("/run", mode=0o700)

Annotations that begin with `ClassVar` and names that begin with an underscore are not fields.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, ClassVar, Literal, Self, dataclass_transform

    def keyword(*, default: Any, kw_only: Literal[True] = True) -> Any:
        """For type checkers: a field that is given by keyword only."""

else:
    keyword = None

    def dataclass_transform(**_keywords):
        return lambda cls: cls


@dataclass_transform(frozen_default=True, field_specifiers=(keyword,))
class Record:
    """Base class of all records. Equal when the class and all fields are equal; hashable when its fields are.

    Raises TypeError on a missing, repeated or unknown field; AttributeError on assignment.
    """

    _fields: ClassVar[tuple[str, ...]] = ()
    _defaults: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls) -> None:
        # type.__annotations__ is the class's own (never a base's) from Python 3.10 on.
        own = [
            name
            for name, kind in cls.__annotations__.items()
            if name[0] != "_" and not str(kind).startswith("ClassVar")
        ]
        if own:
            inherited = [name for name in cls._fields if name not in own]
            cls._fields = (*inherited, *own)
            members = cls.__dict__
            defaults = {name: members[name] for name in own if name in members}
            if defaults:
                cls._defaults = {**cls._defaults, **defaults}

    if not TYPE_CHECKING:

        def __init__(self, *args, **kwargs):
            self._fill(args, kwargs)

    def _fill(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Set the fields. A plan is some hundred records: no more is looked at than what can be wrong."""
        values, fields = self.__dict__, self._fields
        if len(args) < len(fields):
            values.update(self._defaults)
        elif len(args) > len(fields):
            raise TypeError(f"{type(self).__name__} takes {len(fields)} fields, {len(args)} given")
        values.update(zip(fields, args))
        if kwargs:
            for name in fields[: len(args)]:
                if name in kwargs:
                    raise TypeError(f"{type(self).__name__} got {name} twice")
            values.update(kwargs)
        # Only keywords can be unknown.
        if len(values) != len(fields) or (kwargs and not values.keys() <= set(fields)):
            raise self._wrong_fields()

    @classmethod
    def of(cls, values: Iterable[Any]) -> Self:
        """The record with these values of all fields, in declared order: what `values()` gave."""
        self = cls.__new__(cls)
        self.__dict__.update(zip(cls._fields, values))
        return self

    def _wrong_fields(self) -> TypeError:
        given = set(self.__dict__)
        missing = [name for name in self._fields if name not in given]
        unknown = sorted(given.difference(self._fields))
        parts = [f"missing {', '.join(missing)}"] * bool(missing)
        parts += [f"unknown {', '.join(unknown)}"] * bool(unknown)
        return TypeError(f"{type(self).__name__}: {'; '.join(parts)}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be deleted")

    def values(self) -> tuple[Any, ...]:
        """The fields' values, in declared order."""
        return tuple([self.__dict__[name] for name in self._fields])

    def items(self) -> Iterator[tuple[str, Any]]:
        """Pairs of field name and value, in declared order."""
        return ((name, self.__dict__[name]) for name in self._fields)

    def changed(self, **changes: Any) -> Any:
        """A copy with some fields changed."""
        return type(self)(**{**dict(self.items()), **changes})

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.values() == other.values()

    def __hash__(self) -> int:
        return hash((type(self), self.values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.items())})"
