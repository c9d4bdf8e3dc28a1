"""The image: modules from one file behave as those from their own files, and no other image is used."""

from __future__ import annotations

import importlib.util
import marshal
import os
import posixpath
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ocifw
from ocifw import boot, image
from ocifw.light import os as light_os
from ocifw.light import path as light_path

LIBRARY = Path(ocifw.__file__).parents[1]
NOBODY = 65534

if not list(Path(ocifw.__file__).parent.glob("linux/_kernel*.so")):
    pytest.skip("needs ocifw installed", allow_module_level=True)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of the test's own; its folder."""
    folder = tmp_path / "cache" / "ocifw"
    monkeypatch.setattr(boot, "cache_folder", lambda: str(folder))
    monkeypatch.setattr(boot.notes, "waiting", [])
    return folder


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Packages of one's own in the path: `package(**{"a.b": source})`; their name is random."""

    def make(**sources):
        folder = tmp_path / "library"
        for name, source in {"__init__": "", **sources}.items():
            path = folder / "painter" / f"{name.replace('.', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
        monkeypatch.syspath_prepend(folder)
        return folder / "painter"

    yield make
    for name in [name for name in sys.modules if name.partition(".")[0] == "painter"]:
        del sys.modules[name]


def opened(*packages):
    """An image of these packages, as `boot.open_image` reads it."""
    data = image.image("key", packages)
    key, rows, bundles = marshal.loads(data[boot.HEAD_BYTES :])
    assert key == "key"
    return boot.Image(rows, bundles, Content(data[int.from_bytes(data[:8], "little") :]))


class Content(boot.ImageFile):
    """The bundles' code of an image that is no file."""

    def __init__(self, content):
        self.content = content

    def read(self, start, end):
        return self.content[start:end]


def run(module, image_, monkeypatch):
    """Import a module with the image as the only finder beside those of built-in modules."""
    monkeypatch.setattr(sys, "meta_path", [image_, *sys.meta_path[:2]])
    return importlib.import_module(module)


def test_modules_are_made_from_the_image(package, monkeypatch):
    """A module has its name, file, package and parent; what it imports is there before it runs."""
    folder = package(
        a="from . import b\nfrom .b import X\nvalue = X + 1\n", b="X = 1\n", c="import painter.a\n"
    )
    image_ = opened("painter")
    c = run("painter.c", image_, monkeypatch)
    a = sys.modules["painter.a"]
    assert (a.value, a.__name__, a.__package__) == (2, "painter.a", "painter")
    assert (a.__file__, a.__spec__.origin) == (str(folder / "a.py"),) * 2
    assert c.painter.a is a and sys.modules["painter"].b is a.b
    assert sys.modules["painter"].__path__ == [str(folder)]
    assert not image_.stale


def test_a_changed_module_is_not_used(package, monkeypatch):
    """A module whose file was changed, or is gone, comes from its file, or from nowhere."""
    folder = package(a="value = 1\n", b="value = 2\n", c="value = 3\n")
    image_ = opened("painter")
    (folder / "a.py").write_text("value = 111\n")
    (folder / "b.py").unlink()
    monkeypatch.setattr(sys, "meta_path", [image_, *sys.meta_path])
    assert importlib.import_module("painter.a").value == 111
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("painter.b")
    assert importlib.import_module("painter.c").__spec__.loader is image_
    assert image_.stale


def test_a_module_that_fails_is_not_there(package, monkeypatch):
    """The error of a module is its import's, with its own lines, and leaves nothing half made."""
    folder = package(
        a='"""One\nTwo"""\n\n\ndef f(x: int) -> int:\n    return 1 // x\n\n\nf(0)\n',
        b="from . import a\n",
    )
    with pytest.raises(ZeroDivisionError) as caught:
        run("painter.b", opened("painter"), monkeypatch)
    lines = [(entry.path, entry.lineno) for entry in caught.traceback]
    assert (folder / "a.py", 8) in lines and (folder / "a.py", 5) in lines
    assert {"painter.a", "painter.b"}.isdisjoint(sys.modules)


def test_cycles_are_imported_as_usual(package, monkeypatch):
    """Modules that import each other see each other as half made as from files."""
    package(a="first = 1\nfrom . import b\nlast = 2\n", b="from .a import first\n")
    assert run("painter.a", opened("painter"), monkeypatch).b.first == 1


def test_what_is_left_out(package, monkeypatch):
    """Docstrings, annotations of functions and what is for type checkers go; those of classes and assertions stay."""
    package(
        a='''"""Text."""
from __future__ import annotations
TYPE_CHECKING = False
if TYPE_CHECKING:
    import nowhere
if not TYPE_CHECKING:
    seen = 1
else:
    import nowhere
class A:
    """Text."""
    field: Unknown = 1
class B:
    """Text."""
def f(x: Unknown) -> Unknown:
    """Text."""
def g():
    assert False
'''
    )
    a = run("painter.a", opened("painter"), monkeypatch)
    assert [x.__doc__ for x in (a, a.A, a.B, a.f)] == [None] * 4
    assert a.A.__annotations__ == {"field": "Unknown"} and a.f.__annotations__ == {}
    assert a.seen == 1
    with pytest.raises(AssertionError):
        a.g()


def test_classes_are_made_late(package, monkeypatch):
    """Of a module of LAZY_CLASSES, classes are made when they are asked for, wherever they were imported."""
    package(
        steps="class Base:\n    pass\nclass One(Base):\n    pass\nclass Two(Base):\n    pass\n",
        user="from painter.steps import One, Two as Second\ndef one():\n    return One\n"
        "def second():\n    return Second\n",
    )
    monkeypatch.setattr(image, "LAZY_CLASSES", frozenset({"painter.steps"}))
    user = run("painter.user", opened("painter"), monkeypatch)
    steps = sys.modules["painter.steps"]
    assert "Base" in vars(steps) and {"One", "Two"}.isdisjoint(vars(steps))
    assert user.one() is steps.One and issubclass(steps.One, steps.Base)
    assert "Two" not in vars(steps) and user.second().__name__ == "Two"
    with pytest.raises(AttributeError, match="no attribute 'Three'"):
        steps.Three  # noqa: B018 -- asking is the test


def test_os_is_light(package, monkeypatch):
    """In the image `import os` and its kin are the light modules; what they lack comes from the real ones."""
    package(
        a="import os\nimport os.path as p\nfrom os import fsencode, fsdecode as d\nfrom os.path import join\n"
        "def f():\n    import os, sys\n    return os, sys\n"
    )
    a = run("painter.a", opened("painter", "ocifw.light"), monkeypatch)
    assert (a.os, a.p, a.fsencode, a.d, a.join) == (
        light_os, light_path, light_os.fsencode, light_os.fsdecode, light_path.join,
    )  # fmt: skip
    assert a.f() == (light_os, sys)
    assert a.os.makedirs is os.makedirs and a.os.path.commonpath is posixpath.commonpath
    assert not hasattr(a.os, "__path__")
    with pytest.raises(AttributeError):
        a.os.nothing  # noqa: B018


# ---- the light modules ----------------------------------------------------------------------------------------------

paths = st.text(st.sampled_from("/.ab é"), max_size=12)


@given(path=paths, others=st.lists(paths, max_size=3))
@settings(max_examples=300, deadline=None)
def test_light_paths(path, others):
    """The functions of the light os.path give what posixpath gives."""
    assert light_path.join(path, *others) == posixpath.join(path, *others)
    for name in ("normpath", "dirname", "basename", "isabs", "abspath"):
        assert getattr(light_path, name)(path) == getattr(posixpath, name)(path), name


def test_light_questions(tmp_path, monkeypatch):
    """Questions to the kernel are answered as by posixpath, also about what is not there, loops and NUL."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    for name, target in (
        ("l", "folder"),
        ("loop", "loop"),
        ("d", "nothing"),
        ("up", "folder/../file"),
    ):
        (tmp_path / name).symlink_to(target)
    for path in (
        "",
        ".",
        "folder",
        "file",
        "l",
        "loop",
        "d",
        "up",
        "no/such",
        "file/x",
        "l/../file",
        "/",
        "a\0b",
    ):
        for name in ("exists", "lexists", "isdir", "isfile", "realpath"):

            def ask(module, name=name, path=path):
                try:
                    return getattr(module, name)(path)
                except ValueError:
                    return ValueError

            assert ask(light_path) == ask(posixpath), (name, path)


def test_light_environment(monkeypatch):
    """The light os.environ is the real one."""
    monkeypatch.setenv("OCIFW_TEST", "\udcff")
    assert light_os.environ["OCIFW_TEST"] == light_os.environ.get("OCIFW_TEST") == "\udcff"
    assert "OCIFW_TEST" in light_os.environ and "OCIFW_NONE" not in light_os.environ
    assert light_os.environ.get("OCIFW_NONE", 1) == 1
    assert dict(light_os.environ.items()) == dict(light_os.environ) == dict(os.environ)
    assert light_os.fsdecode(light_os.fsencode("\udcff")) == "\udcff"


# ---- the file -------------------------------------------------------------------------------------------------------


def test_written_and_read(cache):
    """The image that was written is the one that is read, for this interpreter and this place only."""
    assert image.renew()
    found = boot.open_image(str(LIBRARY))
    assert {"ocifw", "ocifw.cli", "ocifw.steps"} <= found.rows.keys()
    assert found.get_filename("ocifw.cli") == str(LIBRARY / "ocifw/cli.py")
    assert boot.open_image("/") is None
    assert not list(cache.glob(".*"))


def words(*values):
    return b"".join(value.to_bytes(8, "little") for value in values)


HARMS = {
    "garbage": lambda path: path.write_bytes(b"\xff" * 1000),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: os.truncate(path, path.stat().st_size - 1),
    "other data": lambda path: path.write_bytes(words(29, 29, 29) + marshal.dumps(3)),
    "wrong sizes": lambda path: path.write_bytes(words(2**63, 0, 29) + marshal.dumps(3)),
    "of another": lambda path: os.chown(path, NOBODY, NOBODY),
    "writable for a group": lambda path: path.chmod(0o660),
    "writable for all": lambda path: path.chmod(0o606),
    "link": lambda path: path.rename(path.with_name("x")) and path.symlink_to("x"),
    "fifo": lambda path: (path.unlink(), os.mkfifo(path)),
    "folder": lambda path: (path.unlink(), path.mkdir()),
    "folder of another": lambda path: os.chown(path.parent, NOBODY, NOBODY),
    "folder writable for all": lambda path: path.parent.chmod(0o777),
    "too large": lambda path: os.truncate(path, 17 << 20),
    "of another ocifw": lambda path: path.write_bytes(image.image(("other",), ["ocifw.light"])),
}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_what_cannot_be_trusted_is_not_used(cache, harm):
    """An image that is damaged, stale or that somebody else could have written is not used, and a note says so."""
    key = boot.image_key(str(LIBRARY))
    cache.mkdir(parents=True, mode=0o700)
    path = cache / boot.image_name(str(LIBRARY))
    path.write_bytes(image.image(key, ["ocifw.light"]))
    path.chmod(0o600)
    assert boot.open_image(str(LIBRARY)) is not None
    harm(path)
    assert boot.open_image(str(LIBRARY)) is None
    assert "is not used" in boot.notes.waiting[-1]


@pytest.mark.parametrize("harm", ["replaced", "removed", "damaged"])
def test_an_image_that_changes_meanwhile(cache, harm):
    """What another command has made of the image, or damage in it, costs only time: modules come from their sources."""
    assert image.renew()
    found = boot.open_image(str(LIBRARY))
    (path,) = cache.iterdir()
    if harm == "replaced":
        path.rename(path.with_name("old"))
        assert image.renew()
    elif harm == "removed":
        path.unlink()
    else:
        status = path.stat()
        head = path.read_bytes()[: boot.HEAD_BYTES]
        path.write_bytes(head.ljust(status.st_size, b"\xff"))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert found.get_code("ocifw.creation").co_filename == str(LIBRARY / "ocifw/creation.py")
    assert found.stale
    assert "the image is used no more for ocifw.creation" in boot.notes.waiting[-1]


def test_no_image_is_no_note(cache):
    """That nothing is there yet is not worth a word."""
    assert boot.open_image(str(LIBRARY)) is None
    assert boot.notes.waiting == []


def test_bundles_name_modules():
    """Every module of a bundle is there, in one bundle only."""
    names = [name for bundle in image.BUNDLES for name in bundle.split()]
    assert len(set(names)) == len(names)
    for name in names:
        path = LIBRARY / name.replace(".", "/")
        if (LIBRARY / name.partition(".")[0]).is_dir():
            assert path.with_suffix(".py").is_file() or (path / "__init__.py").is_file(), name
