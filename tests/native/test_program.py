"""The program's encoding in Python and the checker in C agree, and the checker survives anything else."""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
import time

import pytest
from conftest import INIT_FLAGS, NATIVE, TESTS, gcc

from ocifw import steps as vocabulary
from ocifw.errors import PlanError
from ocifw.program import assign_slots, encode
from ocifw.steps import (
    Bind,
    Chdir,
    Clone,
    CloseFds,
    Execute,
    JoinNamespaces,
    LoadFilter,
    LookupExecutable,
    MakeDevice,
    Mkdir,
    Mount,
    PassBaton,
    RunProgram,
    SetGroups,
    SetHostname,
    WriteFile,
)  # fmt: skip

SAMPLES = {
    "HostPath": "/host", "InRoot": "/in", "Text": "text", "Slot": "slot", "Blob": b"12345678", "Number": 7,
    "Flag": True, "Vector": ("a", "b"), "Numbers": (1, 2, 3),
}  # fmt: skip


def sample(kind):
    """A step of this kind with something in every field."""
    return kind(**{name: SAMPLES[kind.__annotations__[name]] for name in kind._fields})


def every_step():
    return [sample(kind) for kind in vocabulary.vocabulary()]


def small_programs():
    """Programs small enough that a mutation often hits something that matters."""
    plans = [
        [],
        [Clone(), Execute(("true",), ())],
        [
            Clone(0x20000),
            PassBaton(3),
            SetHostname("box"),
            Execute(("sh", "-c", ":"), ("A=1", "B=2")),
        ],
        [SetGroups((1, 2, 3)), LoadFilter(bytes(24)), Chdir(""), CloseFds(3)],
        [RunProgram("/hook", ("hook",), (), b"{", b"}", 3, True), Bind("/a", "/b", tree="fd")],
        [JoinNamespaces("pid", 5, 0), WriteFile("/f", b""), LookupExecutable("sh", "/bin")],
        every_step(),
    ]
    return [encode(plan, assign_slots(plan)) for plan in plans]


@pytest.fixture(scope="session")
def checker(build_folder):
    """The checker alone, with AddressSanitizer and UndefinedBehaviorSanitizer."""
    path = build_folder / "check"
    gcc(
        "-std=c11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all", f"-I{build_folder}", f"-I{NATIVE / 'init'}",
        TESTS / "check.c", NATIVE / "init" / "program.c", "-o", path,
    )  # fmt: skip
    return [path]


def check(command, programs):
    """What the checker says of each program: `a` or `r`."""
    stream = b"".join(struct.pack("<Q", len(program)) + program for program in programs)
    done = subprocess.run(command, input=stream, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert len(done.stdout) == len(programs)
    return done.stdout.decode()


def test_every_step_is_accepted(checker):
    """A program of every step of the vocabulary is accepted."""
    assert set(check(checker, small_programs())) == {"a"}


def words(program):
    return list(struct.unpack(f"<{len(program) // 8}Q", program))


def pack(numbers):
    return struct.pack(f"<{len(numbers)}Q", *numbers)


def broken_programs():
    """(what is broken, the program) for each rule of the checker."""
    plan = [
        Mkdir("/x", 0o755),
        Execute(("a", "b"), ("E=1",)),
        Bind("/a", "/b", tree="fd"),
        SetGroups((1,)),
    ]
    good = words(encode(plan, {"fd": 0}))
    mkdir, execute, bind, groups = 5, 9, 15, 27
    size = good[1]
    changes = {
        "magic": {0: good[0] + 1},
        "total size": {1: size + 8},
        "more steps than there are": {2: 5000},
        "too many slots": {3: 4097},
        "first step before the header's end": {4: 32},
        "first step unaligned": {4: 41},
        "first step behind the end": {4: size + 8},
        "unknown code": {mkdir: 33},
        "code 0": {mkdir: 0},
        "huge code": {mkdir: 2**63},
        "size of a step": {mkdir + 1: 40},
        "text in the header": {mkdir + 2: 8},
        "text in the steps": {mkdir + 2: mkdir * 8},
        "text behind the end": {mkdir + 2: size},
        "text far behind the end": {mkdir + 2: 2**64 - 8},
        "vector unaligned": {execute + 2: good[execute + 2] + 1},
        "vector behind the end": {execute + 2: size},
        "vector too long": {execute + 3: size // 8},
        "vector of 2^64-1": {execute + 3: 2**64 - 1},
        "vector without an end": {execute + 3: 1},
        "vector in the steps": {execute + 2: execute * 8},
        "hole in a vector": {good[execute + 2] // 8: 0},
        "item behind the end": {good[execute + 2] // 8: size},
        "two vectors share an array": {
            execute + 4: good[execute + 2],
            execute + 5: good[execute + 3],
        },
        "unknown slot": {bind + 10: 1},
        "flag 2": {bind + 4: 2},
        "numbers too many": {groups + 3: 2**61},
        "numbers outside": {groups + 2: size - 8, groups + 3: 2},
        "last byte": {len(good) - 1: 2**56},
    }
    assert good[bind] == Bind._code and good[groups] == SetGroups._code
    for name, change in changes.items():
        changed = list(good)
        for index, value in change.items():
            changed[index] = value
        yield name, pack(changed)
    yield "no bytes", b""
    yield "half a header", pack(good)[:32]
    yield "odd size", pack(good) + b"\0"


def test_broken_programs_are_refused(checker):
    """Each rule of the checker refuses what breaks it."""
    names, programs = zip(*broken_programs())
    verdicts = check(checker, programs)
    assert [name for name, verdict in zip(names, verdicts) if verdict != "r"] == []


def mutate(random_, program):
    """A few words changed to values that are likely to hurt, or bytes lost."""
    numbers = words(program)
    for _ in range(random_.randint(1, 4)):
        index = random_.randrange(len(numbers))
        other = random_.choice(numbers)
        numbers[index] = random_.choice(
            [
                0, 1, 2, 2**64 - 1, 2**63, 2**61, len(program), len(program) - 8, len(program) + 8,
                8 * random_.randrange(len(numbers)), random_.randrange(len(program)), other,
                (numbers[index] + random_.choice((-8, -1, 1, 8))) % 2**64,
                numbers[index] ^ 1 << random_.randrange(64),
            ]
        )  # fmt: skip
    data = pack(numbers)
    if random_.random() < 0.1:
        data = data[: random_.randrange(len(data))]
        if len(data) >= 16 and random_.random() < 0.8:
            data = data[: len(data) & ~7]
            data = data[:8] + struct.pack("<Q", len(data)) + data[16:]
    return data


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_mutated_programs_are_read_safely(checker, seed):
    """Whatever a program holds, neither the checker nor what it accepts leads outside the program's memory."""
    random_ = random.Random(seed)
    programs = small_programs()
    mutants = [mutate(random_, random_.choice(programs)) for _ in range(40000)]
    verdicts = check(checker, mutants)
    assert "a" in verdicts and "r" in verdicts


@pytest.mark.slow
def test_checker_under_aarch64(build_folder):
    """The checker gives the same verdicts on aarch64."""
    if shutil.which("qemu-aarch64-static") is None:
        pytest.skip("needs qemu-aarch64-static")
    path = build_folder / "check-aarch64"
    gcc("-std=c11", "-O2", "-static", f"-I{build_folder}", f"-I{NATIVE / 'init'}", TESTS / "check.c",
        NATIVE / "init" / "program.c", "-o", path, compiler="aarch64-linux-gnu-gcc")  # fmt: skip
    programs = [*small_programs(), *(program for _, program in broken_programs())]
    verdicts = check(["qemu-aarch64-static", path], programs)
    assert verdicts == "a" * len(small_programs()) + "r" * (len(programs) - len(small_programs()))


@pytest.mark.slow
def test_init_builds_for_aarch64(build_folder):
    """ocifw-init compiles without warnings for aarch64."""
    sources = sorted((NATIVE / "init").glob("*.c"))
    gcc(*INIT_FLAGS, f"-I{build_folder}", *sources, "-o", build_folder / "ocifw-init-aarch64",
        compiler="aarch64-linux-gnu-gcc")  # fmt: skip


# ---- the encoder ----


def test_layout_is_the_documented_one():
    """Header, step and field words stand where native/README.md says."""
    program = encode([Bind("/a", "/b", tree="fd"), Execute(("x",), ())], {"fd": 3})
    numbers = words(program)
    assert program[:8] == b"ocifwop1"
    assert numbers[1:7] == [len(program), 2, 4, 40, Bind._code, 16 + 8 * len(Bind._fields)]
    source = numbers[7]
    assert program[source : program.index(b"\0", source)] == b"/a"
    assert numbers[5 + 2 + Bind._fields.index("tree")] == 3
    execute = 5 + 2 + len(Bind._fields)
    array, count = numbers[execute + 2 : execute + 4]
    assert array % 8 == 0 and count == 1 and numbers[array // 8 + 1] == 0


def test_no_slot_is_all_ones():
    """A slot field that is empty is encoded as 2^64-1."""
    assert words(encode([Bind("/a", "/b")], {}))[5 + 2 + Bind._fields.index("tree")] == 2**64 - 1


def test_slots_are_numbered_in_order():
    """Slots get numbers by first appearance; the same name is the same slot."""
    steps = [
        Bind("/a", "/b", tree="two"),
        Bind("/a", "/b"),
        Bind("/a", "/b", tree="one"),
        Bind("/a", "/c", tree="two"),
    ]
    assert assign_slots(steps) == {"two": 0, "one": 1}


@pytest.mark.parametrize(
    ("step", "words_of_message"),
    [
        (Mkdir("a\0b"), ["Mkdir: path 'a\\x00b'", "NUL"]),
        (Mkdir(5), ["path 5", "must be a text, not int"]),
        (Mkdir("\ud800"), ["path", "UTF-8"]),
        (Mkdir("/x", mode=-1), ["mode -1", "0 to 2**64-1"]),
        (Mkdir("/x", mode=2**64), ["mode", "0 to 2**64-1"]),
        (Mkdir("/x", mode="7"), ["mode '7'", "must be a number, not str"]),
        (Mkdir("/x", mode=1.5, at="mounts[3]"), ["mode 1.5", "not float", "[mounts[3]]"]),
        (Chdir("/", tolerate=3), ["tolerate 3", "true or false"]),
        (Bind("/a", "/b", tree="none"), ["tree 'none'", "no file descriptor"]),
        (SetGroups((1, -2)), ["gids: item 1".replace(":", " (1, -2):"), "0 to 2**64-1"]),
        (LoadFilter("x"), ["program", "must be bytes, not str"]),
        (Execute("abc", ()), ["args", "must be a tuple, not str"]),
    ],
)  # fmt: skip
def test_what_cannot_be_encoded_is_explained(step, words_of_message):
    """A value that cannot be encoded is refused with the step, the field and the value."""
    with pytest.raises(PlanError) as caught:
        encode([Mkdir("/fine"), step], {})
    assert [text for text in words_of_message if text not in str(caught.value)] == [], str(
        caught.value
    )


def test_environment_stays_secret():
    """The value of an environment variable never gets into a message."""
    with pytest.raises(PlanError) as caught:
        encode([Execute(("a",), ("FINE=1", "PASSWORD=hunter2\0"))], {})
    assert "env: item 1" in str(caught.value) and "hunter2" not in str(caught.value)


def test_bytes_that_are_no_text_survive():
    """Bytes of the command line that are no UTF-8 reach the program unchanged."""
    assert b"/\xff\0" in encode([Mkdir("/\udcff")], {})


def test_encoding_is_quick():
    """80 steps with 60 variables take well under a millisecond of the processor."""
    steps = [Mount("tmpfs", "tmpfs", f"/m{i}", options="mode=755") for i in range(50)]
    steps += [MakeDevice(f"/dev/n{i}", 0o20000, 1, 3) for i in range(29)]
    steps += [Execute(("sh",), tuple(f"NAME_{i}=value {i}" for i in range(60)))]
    slots = assign_slots(steps)
    durations = []
    for _ in range(20):
        start = time.process_time()
        encode(steps, slots)
        durations.append(time.process_time() - start)
    assert min(durations) < 0.002
