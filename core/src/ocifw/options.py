"""Reading a command line by a table of options, the way runc reads it.

runc's rules are Go's: one dash or two, `--opt value` or `--opt=value`, a value may begin with a dash, and of an
option given twice the last value counts. argparse knows neither of them all nor starts in less than 7 ms.
"""

from __future__ import annotations

from .errors import UsageError
from .record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

TEXT = "text"
FLAG = "flag"
NUMBER = "number"
TEXTS = "texts"
NUMBERS = "numbers"

_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")


class Option(Record):
    """One option of a verb. Its value is found by its long name.

    kind: TEXT, FLAG (a value only after `=`), NUMBER, or TEXTS and NUMBERS, which collect all values in a list.
    default: shown in the help, unless it is empty. hidden: understood, for programs that give it, and not shown.
    """

    name: str
    short: str = ""
    kind: str = TEXT
    default: Any = ""
    help: str = ""
    hidden: bool = False


HELP = Option("help", "h", FLAG, False, "show this help and exit")


class WrongOption(UsageError):
    """An option that the table does not know, or a value that it cannot have. The texts are Go's."""


class WrongArguments(UsageError):
    """Too many or too few arguments."""


def parse(
    table: Iterable[Option], words: Sequence[str], rest: bool = False
) -> tuple[dict[str, Any], list[str]]:
    """The options' values by long name, and the arguments. `help` is always understood.

    rest: the first argument ends the options; what follows belongs to another program. `--` ends them, too.
    Raises WrongOption.
    """
    values: dict[str, Any] = {"help": False}
    known = {"help": HELP, "h": HELP}
    for option in table:
        known[option.name] = option
        if option.short:
            known[option.short] = option
        values[option.name] = [] if option.kind in (TEXTS, NUMBERS) else option.default
    arguments: list[str] = []
    index, end = 0, len(words)
    while index < end:
        word = words[index]
        index += 1
        if word[:1] != "-" or word == "-":
            arguments.append(word)
            if rest:
                break
            continue
        if word == "--":
            break
        name, equals, value = word[2 if word[1] == "-" else 1 :].partition("=")
        if not name or name[0] == "-":
            raise WrongOption(f"bad flag syntax: {word}")
        found = known.get(name)
        if found is None:
            raise WrongOption(f"flag provided but not defined: -{name}")
        if not equals and found.kind != FLAG:
            if index == end:
                raise WrongOption(f"flag needs an argument: -{name}")
            value = words[index]
            index += 1
        _set(values, found, name, value if equals or found.kind != FLAG else "true")
    arguments += words[index:]
    return values, arguments


def _set(values: dict[str, Any], option: Option, name: str, value: str) -> None:
    kind = option.kind
    if kind == TEXT:
        values[option.name] = value
    elif kind == FLAG:
        if value not in _TRUE and value not in _FALSE:
            raise WrongOption(f'invalid boolean value "{value}" for -{name}: parse error')
        values[option.name] = value in _TRUE
    elif kind == TEXTS:
        values[option.name].append(value)
    else:
        number = integer(value)
        if number is None:
            raise WrongOption(f'invalid value "{value}" for flag -{name}: parse error')
        if kind == NUMBER:
            values[option.name] = number
        else:
            values[option.name].append(number)


def integer(text: str) -> int | None:
    """A decimal number of 64 bits with an optional sign, and nothing else; None when it is none."""
    digits = text[1:] if text[:1] in ("-", "+") else text
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None


def check_count(verb: str, arguments: Sequence[str], least: int, most: int | None) -> None:
    """Raise WrongArguments, with runc's texts, unless there are `least` to `most` arguments (None: any number)."""
    count = len(arguments)
    if least == most and count != least:
        raise WrongArguments(f'ocifw: "{verb}" requires exactly {least} argument(s)')
    if count < least:
        raise WrongArguments(f'ocifw: "{verb}" requires a minimum of {least} argument(s)')
    if most is not None and count > most:
        raise WrongArguments(f'ocifw: "{verb}" requires a maximum of {most} argument(s)')
