"""The generated acceptance says what the schemas say."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import random
import re
import sys
from pathlib import Path

import pytest

from ocifw import acceptance, explain

sys.path.insert(0, str(Path(__file__).parent))
import documents

ACCEPTS = {kind: getattr(acceptance, f"accepts_{kind}") for kind in documents.KINDS}
FULL = {
    kind: documents.full_document(kind, documents.load_schemas(explain.SCHEMAS))
    for kind in documents.KINDS
}


@pytest.fixture(scope="module")
def generator(repository):
    path = repository / "core" / "tools" / "generate_acceptance.py"
    spec = importlib.util.spec_from_file_location("generate_acceptance", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def disagreements(pairs):
    return [
        (kind, document)
        for kind, document in pairs
        if ACCEPTS[kind](document) != explain.validator(kind).is_valid(document)
    ]


def mutations(count, seed):
    choice = random.Random(seed)
    engines = [(documents.kind_of(p), json.loads(p.read_text())) for p in documents.engine_files()]
    sources = [*engines, *FULL.items(), *FULL.items(), *FULL.items()]
    for _ in range(count):
        kind, document = choice.choice(sources)
        yield kind, documents.mutated(document, choice)


def test_up_to_date(generator):
    """acceptance.py is what the generator makes of the schemas."""
    assert generator.Generator(generator.load()).source() == Path(acceptance.__file__).read_text()


def test_unknown_keywords_are_refused(generator):
    """The generator does not pass over a keyword that it does not know."""
    schemas = generator.load()
    schemas["config"]["properties"]["hostname"] = {"type": "string", "maxLength": 64}
    with pytest.raises(ValueError, match="maxLength"):
        generator.Generator(schemas).source()


@pytest.mark.parametrize("path", documents.engine_files(), ids=lambda path: path.name)
def test_documents_of_engines_are_accepted(path):
    """What engines write is accepted."""
    assert ACCEPTS[documents.kind_of(path)](json.loads(path.read_text()))


@pytest.mark.parametrize("kind", documents.KINDS)
def test_full_document_is_accepted(kind):
    """A document with every property is accepted, by the schema too."""
    assert ACCEPTS[kind](FULL[kind])
    assert explain.validator(kind).is_valid(FULL[kind])


@pytest.mark.parametrize("kind", documents.KINDS)
def test_no_object_is_refused(kind):
    """Anything but an object is refused."""
    assert not any(
        ACCEPTS[kind](value) for value in documents.VALUES if not isinstance(value, dict)
    )


def test_some_mutations_agree():
    """On mutated documents the acceptance says what jsonschema says."""
    pairs = list(mutations(35, seed=1))
    assert disagreements(pairs) == []
    assert {ACCEPTS[kind](document) for kind, document in pairs} == {True, False}


@pytest.mark.slow
def test_many_mutations_agree():
    """On thousands of mutated documents the acceptance says what jsonschema says."""
    assert disagreements(mutations(int(os.environ.get("OCIFW_MUTATIONS", "3000")), seed=2)) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", documents.KINDS)
def test_every_value_everywhere_agrees(kind):
    """At every place of a full document, values of all types and sizes get the same answer from both."""

    def places(value):
        if isinstance(value, (dict, list)):
            for key in value if isinstance(value, dict) else range(len(value)):
                yield value, key
                yield from places(value[key])

    document = FULL[kind]
    # A process and resources stand in a config as well, but are tried on their own.
    parts = ("process", "resources") if kind == "config" else ()
    saved = [(holder, key, holder[key]) for holder, key in places(document) if key in parts]
    for holder, key, _ in saved:
        holder[key] = {"cwd": "/"}
    wrong = []
    for number, (holder, key) in enumerate(list(places(document))):
        before = holder[key]
        for value in documents.VALUES[number % 4 :: 4]:
            holder[key] = value
            wrong += [(key, value)] * bool(disagreements([(kind, document)]))
        holder[key] = before
    for holder, key, value in saved:
        holder[key] = value
    assert wrong == []


def test_patterns(generator):
    """The conditions that stand for regular expressions refuse exactly what these refuse, in full."""
    texts = [
        "".join(p)
        for n in range(5)
        for p in itertools.product("019KBMG:\n-, rwmx", repeat=min(n, 3))
    ]
    texts += [
        "1KB",
        "10MB",
        "99GB",
        "0GB",
        "01KB",
        "1kB",
        "1KiB",
        "MB:0=50;1=20",
        "MB:\n",
        "MB:a\n",
        "rwmrwm",
        "٣KB",
    ]
    for pattern, condition in generator.PATTERNS.items():
        refuses = eval(
            f"lambda v: {condition.format(v='v')}", {"_page_size": acceptance._page_size}
        )
        wrong = [
            t
            for t in texts
            if bool(refuses(t)) == bool(re.search(pattern.replace("$", r"\Z"), t, re.ASCII))
        ]
        assert wrong == [], pattern


# ---- the official schemas, where they are ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def official():
    """The validator of the runtime-spec's own schemas, in the folder OCIFW_RUNTIME_SPEC."""
    folder = os.environ.get("OCIFW_RUNTIME_SPEC")
    if not folder:
        pytest.skip("needs the runtime-spec's folder in OCIFW_RUNTIME_SPEC")
    import jsonschema
    from referencing import Registry, Resource
    from referencing.jsonschema import DRAFT4

    contents = {p.name: json.loads(p.read_text()) for p in Path(folder, "schema").glob("*.json")}
    registry = Registry().with_resources(
        [(name, Resource(contents=c, specification=DRAFT4)) for name, c in contents.items()]
    )
    return jsonschema.Draft4Validator(contents["config-schema.json"], registry=registry)


def test_official_examples(official):
    """The runtime-spec's good examples are accepted and its bad ones refused, but for other platforms' properties."""
    folder = Path(os.environ["OCIFW_RUNTIME_SPEC"], "schema", "test", "config")
    good = {path.name: json.loads(path.read_text()) for path in (folder / "good").glob("*.json")}
    bad = {path.name: path.read_text() for path in (folder / "bad").glob("*.json")}
    assert good and [name for name, d in good.items() if not ACCEPTS["config"](d)] == []
    accepted = []
    for name, text in bad.items():
        try:
            document = json.loads(text)
        except ValueError:
            continue
        assert not official.is_valid(document)
        accepted += [name] * ACCEPTS["config"](document)
    # Properties of other platforms are unknown ones on Linux.
    assert accepted == ["freebsd-vnet-disable.json"]


@pytest.mark.slow
def test_no_looser_than_the_official_schema(official):
    """What only ocifw accepts is null, what engines write although the schema forbids it, or none of Linux."""
    deliberate = re.compile(
        # Engines write the whole st_mode, the recursive propagations, and {} for pids; empty is not set.
        r"^linux\.devices\.\d+\.fileMode$|^linux\.rootfsPropagation$|^linux\.resources\.pids$"
        # An empty name in a map is no concern of the official schema, which refuses what we refuse and more.
        r"|^(windows|solaris|vm|zos|freebsd)\b|^process\.(commandLine|user\.username)$"
    )
    surprising = []
    for kind, document in mutations(400, seed=3):
        if kind != "config" or not ACCEPTS["config"](document):
            continue
        for error in official.iter_errors(document):
            place = ".".join(map(str, error.absolute_path))
            if error.instance is None or deliberate.search(place):
                continue
            if error.validator == "required" and "null" in json.dumps(error.instance):
                continue
            surprising.append((place, error.message[:100]))
    assert surprising == []
