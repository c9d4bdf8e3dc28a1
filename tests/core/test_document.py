"""Reading and writing JSON documents."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from ocifw import document
from ocifw.errors import ConfigError

sys.path.insert(0, str(Path(__file__).parent))
import documents

LEVELS = document.LIMIT_DEPTH


def refusal(data, parse=document.parse_foreign):
    with pytest.raises(ConfigError) as caught:
        parse(data, "c.json")
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("path", documents.engine_files(), ids=lambda path: path.name)
def test_reads_what_json_reads(path):
    """A document is what `json` makes of it, and is written so that `json` reads the same."""
    expected = json.loads(path.read_text())
    assert document.read(str(path), "config.json") == expected
    assert json.loads(document.dump(expected)) == expected
    assert json.loads(document.dump_pretty(expected)) == expected


@pytest.mark.parametrize(
    "text", ["1", "-0", "1.5", "2e3", '""', "null", "true", " [ 1 , 2 ]\n", '{"a":1,"a":2}']
)
def test_values(text):
    """Any JSON value is read, with whitespace around it; of two members of one name the last counts."""
    assert document.parse(text.encode(), "x") == json.loads(text)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "c.json:1:1: not JSON: expecting value"),
        (b" \n ", "c.json:2:2: not JSON: expecting value"),
        (b"{]", "c.json:1:2: not JSON: expecting property name enclosed in double quotes"),
        (b'{"a": 1,\n  "b" 2}', "c.json:2:7: not JSON: expecting ':' delimiter"),
        (b"[1] 2", "c.json:1:5: not JSON: extra data after the document"),
        (b'["\n"]', "c.json:1:3: not JSON: invalid control character"),
        (b'\n["\xff"]', "c.json:2:3: not UTF-8"),
        (b"\xff", "c.json:1:1: not UTF-8"),
        (b"\xef\xbb\xbf{}", "c.json:1:1: not JSON: begins with a byte order mark"),
        (b"{'a': 1}", "c.json:1:2: not JSON: expecting property name enclosed in double quotes"),
    ],
)
def test_syntax_errors(data, expected):
    """A syntax error is one line with the file, the line and the column."""
    assert refusal(data) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"a":[1,NaN]}', "c.json: a[1]: NaN is not a number that can be used"),
        (b'{"a":-Infinity}', "c.json: a: -Infinity is not a number that can be used"),
        (b'{"a":1e999,"b":1.5}', "c.json: a: 1e999 is not a number that can be used"),
    ],
)
def test_unusable_numbers(data, expected):
    """Numbers that JSON or a float does not have are refused with their path."""
    assert refusal(data) == expected


def test_very_long_number():
    """An integer with too many digits to convert is refused with its path, shortened."""
    assert refusal(b'{"a":{"b":' + b"9" * 5000 + b"}}").startswith("c.json: a.b: 9999")


@pytest.mark.parametrize("pair", [(b"[", b"]"), (b'{"a":', b"}")])
def test_depth(pair):
    """The deepest nesting that is allowed is read, and one level more is refused."""
    opening, closing = pair
    assert document.parse(opening * LEVELS + b"1" + closing * LEVELS, "x")
    too_deep = opening * (LEVELS + 1) + b"1" + closing * (LEVELS + 1)
    assert refusal(too_deep) == f"c.json: nested deeper than {LEVELS} levels"


@pytest.mark.parametrize(
    "data",
    [
        b'["]",' * 70 + b"1" + b"]" * 70,
        b'["\\"]",' * 70 + b"1" + b"]" * 70,
        b'["\\\\","]",' * 70 + b"1" + b"]" * 70,
        b'["",' * 70 + b"1" + b"]" * 70,
        b"[" * 1_000_000,
        b"[" * 500_000 + b"]" * 400_000,
    ],
)
def test_depth_cannot_be_hidden(data):
    """Brackets inside strings do not hide how deep a document is."""
    assert "nested deeper" in refusal(data)


def test_flat_documents_with_brackets_in_strings():
    """Brackets inside strings count for nothing."""
    value = {"a": ["[" * 100, '"' + "{" * 100, "\\" + "[" * 100, "]" * 100], '{"' * 100: "\\"}
    assert document.parse(json.dumps(value).encode(), "x") == value


def test_depth_of_random_documents():
    """The depth that is told from the brackets is the depth of the value."""

    def depth(value):
        if isinstance(value, (dict, list)):
            return 1 + max(
                map(depth, value.values() if isinstance(value, dict) else value), default=0
            )
        return 0

    def value(choice, left):
        kind = choice.random() if left else 1
        if kind < 0.4:
            return [value(choice, left - 1) for _ in range(choice.randint(0, 3))]
        if kind < 0.7:
            names = ["".join(choice.choices('ab[]{}"\\', k=3)) for _ in range(choice.randint(0, 3))]
            return {name: value(choice, left - 1) for name in names}
        return "".join(choice.choices('a[]{}"\\', k=choice.randint(0, 6)))

    choice = random.Random(4)
    for _ in range(300):
        sample = value(choice, 5)
        data = json.dumps(sample).encode()
        assert not document._depth_exceeds(data, depth(sample))
        if depth(sample):
            assert document._depth_exceeds(data, depth(sample) - 1)


def test_unusable_text():
    """A NUL and half a surrogate pair are refused wherever they stand, also in names, with all paths at once."""
    data = rb'{"a": ["x\u0000"], "b\udc80": 1, "c": "\ud83d\ude00", "d": "\\u0000", "e": "\uD800"}'
    problems = refusal(data).split("; ")
    paths = [problem.partition(": ")[2].partition(": ")[0] for problem in problems]
    assert paths == ["a[0]", '["b\\udc80"]', "e"]
    assert "has a NUL character" in problems[0] and "surrogate" in problems[1]


def test_own_documents_may_hold_any_text():
    """What ocifw wrote itself, such as a path that is not UTF-8, is read back."""
    value = {"bundle": os.fsdecode(b"/x\xff"), "null": None}
    assert document.parse(document.dump(value).encode(), "state.json") == value


def test_nulls_are_left_out():
    """Members that are null are left out, but not elements of arrays, nor entries of maps, which are errors."""
    data = b'{"a": null, "b": [null, {"c": null}], "annotations": {"d": null}, "e": "null", "f": {"g":null}}'
    assert document.parse_foreign(data, "x") == {
        "b": [None, {}],
        "annotations": {"d": None},
        "e": "null",
        "f": {},
    }


def test_missing_config(tmp_path):
    """A missing config.json has runc's words, and another document the kernel's."""
    with pytest.raises(ConfigError, match=r"JSON specification file config\.json not found"):
        document.read(str(tmp_path / "config.json"), "config.json")
    with pytest.raises(ConfigError, match=r"^open .*/p\.json: no such file or directory$"):
        document.read(str(tmp_path / "p.json"), "process.json")


def test_only_regular_files(tmp_path):
    """A folder, a FIFO and a device are refused without being read."""
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo", Path("/dev/null")):
        with pytest.raises(ConfigError, match=r"config\.json is not a regular file"):
            document.read(str(path), "config.json")


def test_path_with_nul():
    """A path that cannot be one is an error of the document, not a traceback."""
    with pytest.raises(ConfigError, match="null byte"):
        document.read("a\0b", "process.json")


def test_size(tmp_path):
    """A document of the largest size is read, and one byte more is refused."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps("x" * 998))
    assert document.read(str(path), "config.json", limit_bytes=1000) == "x" * 998
    with pytest.raises(ConfigError, match="larger than 999 bytes"):
        document.read(str(path), "config.json", limit_bytes=999)


def test_pipe():
    """A document comes through a pipe, in several pieces, and the file descriptor stays open."""
    reading, writing = os.pipe()
    text = json.dumps(["x" * 100] * 300).encode()
    os.write(writing, text[:10])
    os.write(writing, text[10:])
    os.close(writing)
    assert document.read_fd(reading, "-") == ["x" * 100] * 300
    os.close(reading)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_dump_refuses_what_json_has_not(value):
    """Infinity and NaN are not written."""
    with pytest.raises(ValueError, match="JSON"):
        document.dump([value])


@pytest.mark.parametrize("value", [{"a": b"x"}, [{1}], {"a": object()}])
def test_dump_refuses_other_types(value):
    """Bytes, sets and objects are not written, in neither form."""
    for dump in (document.dump, document.dump_pretty):
        with pytest.raises(TypeError, match="JSON has no form"):
            dump(value)


def test_dump_forms():
    """The short form is one line of ASCII; the long one is what `json` writes with an indent."""
    value = {"a": [1, {"b": None}, (), [[]]], "c": {}, "d": 'é"\n\udc80', "e": True, "f": 1.5}
    assert document.dump(value) == json.dumps(value, separators=(",", ":"))
    for indent in ("\t", "  "):
        assert document.dump_pretty(value, indent) == json.dumps(value, indent=indent)


def test_child_path():
    """A name that is no word is quoted in a path."""
    names = ["linux", "netDevices", "eth0.1", "x"]
    path = ""
    for name in [*names, 2]:
        path = document.child_path(path, name)
    assert path == 'linux.netDevices["eth0.1"].x[2]'


def test_imports():
    """Reading, checking and writing import nothing that is slow."""
    program = """
import sys
from ocifw import document, fields, validate
config = document.read(sys.argv[1], "config.json")
validate.check(config, "config", "config.json")
validate.warnings(config, "config"), fields.set_fields(config), document.dump_pretty(config)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
    config = documents.ENGINES / "podman-5.8-v2-default.config.json"
    source = Path(document.__file__).parents[1]
    program = f"import sys; sys.path.insert(0, {str(source)!r})\n{program}"
    command = [sys.executable, "-I", "-S", "-c", program, config]
    names = set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    slow = "json re enum typing dataclasses inspect collections functools contextlib pathlib jsonschema"
    assert names & set(slow.split()) == set()
    assert {"_json", "ocifw"} <= names
