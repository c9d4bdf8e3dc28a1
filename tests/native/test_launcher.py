"""The native `ocifw` command: the interpreter's core inside, completed when it is needed, or the installed one instead."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

NATIVE = Path(__file__).resolve().parents[2] / "core" / "native"
SOURCES = Path(__file__).resolve().parents[2] / "core" / "src" / "ocifw"
MINOR = sys.version_info.minor
PYTHON = f"python3.{MINOR}"

spec = importlib.util.spec_from_file_location("build_native", NATIVE / "build_native.py")
build_native = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build_native)

MAIN = """
import sys
import posix
native = "_launcher" in sys.builtin_module_names
text = [str(native), str("encodings" in sys.modules), *sys.argv, *sys.path]
posix.write(1, "\\0".join(text).encode("utf-8", "surrogateescape"))
posix._exit(3)
"""


@pytest.fixture(scope="session")
def launcher(tmp_path_factory):
    """The native command, built for the interpreter that runs the tests."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    try:
        return build_native.build_launcher(tmp_path_factory.mktemp("launcher"), "gcc -Werror")
    except build_native.BuildError as error:
        pytest.skip(f"needs what the native command is built with: {error}")


@pytest.fixture
def prefix(tmp_path, launcher):
    """A prefix with the native command and a link to this interpreter beside it."""
    (tmp_path / "bin").mkdir()
    shutil.copy(launcher, tmp_path / "bin" / "ocifw")
    (tmp_path / "bin" / PYTHON).symlink_to(os.path.realpath(sys.executable))
    return tmp_path


def install(prefix, main=MAIN):
    """Put a package with this boot.py into the prefix, compiled as pip does; returns its path and the bytecode's."""
    folder = prefix / "lib" / PYTHON / "site-packages" / "ocifw"
    folder.mkdir(parents=True)
    (folder / "boot.py").write_text(main)
    subprocess.run([sys.executable, "-I", "-m", "compileall", "-q", folder], check=True)
    return folder / "boot.py", folder / "__pycache__" / f"boot.cpython-3{MINOR}.pyc"


def run(prefix, *arguments, **options):
    """(exit status, what it wrote, standard error)."""
    done = subprocess.run(
        [prefix / "bin" / "ocifw", *arguments], capture_output=True, check=False, **options
    )
    return done.returncode, done.stdout.decode(errors="surrogateescape"), done.stderr.decode()


def test_starts_the_core_only(prefix):
    """boot.py runs in an interpreter without a standard library; arguments arrive as they are."""
    _, bytecode = install(prefix)
    arguments = ["run", "", "a b", "-c", "--", "\udcff", "é"]
    status, out, err = run(prefix, *arguments, env={"LC_ALL": "C"})
    assert (status, err) == (3, "")
    expected = ["True", "False", str(bytecode), str(prefix / "bin" / "ocifw"), *arguments]
    assert out.split("\0") == expected


@pytest.mark.parametrize(
    "harm", ["stale", "magic", "cut", "garbage", "missing", "checked by content"]
)
def test_falls_back_to_the_installed_interpreter(prefix, harm):
    """Bytecode that was not made from this boot.py by this interpreter is left to the installed interpreter."""
    main, bytecode = install(prefix)
    content = bytecode.read_bytes()
    if harm == "stale":
        os.utime(main, (1, 1))
    elif harm == "missing":
        bytecode.unlink()
    else:
        changed = {
            "magic": b"\0\0\r\n" + content[4:],
            "cut": content[: len(content) // 2],
            "garbage": content[:16] + b"\xff" * 100,
            "checked by content": content[:4] + b"\1\0\0\0" + content[8:],
        }
        bytecode.write_bytes(changed[harm])
    status, out, _ = run(prefix, "a b")
    native, whole, script, name, argument, *_ = out.split("\0")
    assert (status, native, whole) == (3, "False", "True")
    assert (script, name, argument) == (str(main), str(prefix / "bin" / "ocifw"), "a b")


def test_says_what_is_missing(prefix):
    """Without the package, and without boot.py, it says so."""
    status, _, err = run(prefix)
    assert status == 1 and "the Python package ocifw is not installed" in err


REPORT = """
import os, posix, signal, sys
import json
out = {"environment": dict(os.environ), "flags": [sys.flags.isolated, sys.flags.no_site],
       "meta": len(sys.meta_path), "last": sys.path[-1], "executable": sys.executable,
       "pipe": signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN,
       "interrupt": signal.getsignal(signal.SIGINT) is signal.default_int_handler}
print(json.dumps(out), flush=True)
"""


@pytest.fixture
def real(prefix):
    """The prefix with the real boot.py, and a command line that executes Python."""
    main, _ = install(prefix)
    shutil.copy(SOURCES / "boot.py", main)
    (main.parent / "__init__.py").write_text("")
    (main.parent / "cli.py").write_text(
        "def main(words, name):\n    exec(words[0])\n    return 5\n"
    )
    subprocess.run([sys.executable, "-I", "-m", "compileall", "-q", main.parent], check=True)
    return prefix


def test_is_completed_when_needed(real, tmp_path):
    """A module of the standard library makes a whole interpreter: isolated, without site, ocifw's folder last."""
    planted = tmp_path / "planted"
    planted.mkdir()
    (planted / "json.py").write_text("raise SystemExit(9)")
    environment = {"PYTHONPATH": str(planted), "PYTHONHOME": "/nonexistent", "A": "1", "HOME": ""}
    status, out, err = run(real, REPORT, env=environment, cwd=planted)
    seen = json.loads(out)
    assert (status, err) == (5, "")
    assert seen["environment"].keys() - {"LC_CTYPE"} == {"A", "HOME"}
    assert seen["flags"] == [1, 1] and seen["pipe"] and seen["interrupt"]
    assert seen["last"] == str(real / "lib" / PYTHON / "site-packages")
    assert seen["executable"] == str(real / "bin" / PYTHON)


def test_errors_are_told(real):
    """An error of the code is shown with its lines, and what cannot be imported is said."""
    status, _, err = run(real, "import nothing_such", env={"HOME": ""})
    assert status == 1 and "No module named 'nothing_such'" in err and "cli.py" in err


def test_interrupt(real):
    """SIGINT raises KeyboardInterrupt, so that what was begun is taken back."""
    code = (
        "import posix, time\ntry:\n    posix.write(1, b'.')\n    time.sleep(30)\n"
        "except KeyboardInterrupt:\n    posix.write(1, b'!')"
    )
    with subprocess.Popen(
        [real / "bin" / "ocifw", code], stdout=subprocess.PIPE, env={"HOME": ""}
    ) as process:
        assert os.read(process.stdout.fileno(), 1) == b"."
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == b"!"
    assert process.returncode == 5
