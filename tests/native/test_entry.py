"""The `ocifw` command: finds its interpreter and its package, and starts them isolated."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NATIVE = Path(__file__).resolve().parents[2] / "core" / "native"
MINOR = sys.version_info.minor
PYTHON = f"python3.{MINOR}"

spec = importlib.util.spec_from_file_location("build_native", NATIVE / "build_native.py")
build_native = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build_native)

MAIN = """
import json, os, sys
flags = sys.flags
print(json.dumps({
    "argv": sys.argv, "path": sys.path, "environment": dict(os.environ), "executable": sys.executable,
    "flags": [flags.isolated, flags.no_site, flags.dont_write_bytecode], "xoptions": sys._xoptions,
}))
"""


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """The command, built for the interpreter that runs the tests."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    folder = tmp_path_factory.mktemp("entry")
    build_native.generate_ops(folder)
    return build_native.build_entry(folder, "gcc -Werror")


@pytest.fixture
def prefix(tmp_path, command):
    """A prefix with the command and a link to this interpreter beside it."""
    (tmp_path / "bin").mkdir()
    shutil.copy(command, tmp_path / "bin" / "ocifw")
    (tmp_path / "bin" / PYTHON).symlink_to(os.path.realpath(sys.executable))
    return tmp_path


def install(prefix, packages=f"lib/{PYTHON}/site-packages", main=MAIN):
    """Put a package of one module into the prefix; returns the module's path."""
    path = prefix / packages / "ocifw" / "boot.py"
    path.parent.mkdir(parents=True)
    path.write_text(main)
    return path


def run(command, *arguments, **options):
    """Run the command; returns its exit status, and what it printed on both outputs."""
    done = subprocess.run(
        [command, *arguments], capture_output=True, text=True, check=False, **options
    )
    return done.returncode, done.stdout, done.stderr


def report(command, *arguments, **options):
    """What the package says about how it was started."""
    status, out, err = run(command, *arguments, **options)
    assert (status, err) == (0, "")
    return json.loads(out)


@pytest.mark.parametrize(
    "packages",
    [
        f"lib/{PYTHON}/site-packages",
        f"lib/{PYTHON}/dist-packages",
        "lib/python3/dist-packages",
        f"local/lib/{PYTHON}/dist-packages",
    ],
)
def test_finds_the_package(prefix, packages):
    """The package is found in every layout that pip and Debian use, and gets the arguments as they are."""
    main = install(prefix, packages)
    arguments = ["run", "", "a b", "-c", "--", "\udcff"]
    argv = report(prefix / "bin" / "ocifw", *arguments)["argv"]
    assert argv == [str(main), str(prefix / "bin" / "ocifw"), *arguments]


def test_own_packages_come_first(prefix):
    """With several packages, the one of the environment is started."""
    install(prefix, "lib/python3/dist-packages", "raise SystemExit(3)")
    install(prefix, f"local/lib/{PYTHON}/dist-packages", "raise SystemExit(4)")
    install(prefix)
    assert run(prefix / "bin" / "ocifw")[0] == 0


def test_is_isolated(prefix):
    """The interpreter ignores environment and working directory, runs no site, and writes no bytecode."""
    main = install(prefix)
    planted = prefix / "planted"
    planted.mkdir()
    (planted / "json.py").write_text("raise SystemExit(9)")
    environment = {
        "PYTHONPATH": str(planted),
        "PYTHONHOME": "/nonexistent",
        "PYTHONINSPECT": "1",
        "A": "PYTHON=1",
    }
    seen = report(prefix / "bin" / "ocifw", env=environment, cwd=planted)
    assert seen["flags"] == [1, 1, 1]
    assert seen["environment"].keys() - {"LC_CTYPE"} == {"A"}
    assert str(planted) not in seen["path"] and "" not in seen["path"]
    assert not any(main.parent.glob("__pycache__"))
    assert seen["executable"] == str(prefix / "bin" / PYTHON)


def compile_main(prefix):
    """Compile the package's module as pip does; returns the path of the bytecode."""
    main = install(prefix)
    path = main.parent / "__pycache__" / f"boot.cpython-3{MINOR}.pyc"
    subprocess.run([sys.executable, "-I", "-m", "compileall", "-q", main], check=True)
    return main, path


def test_starts_the_bytecode(prefix):
    """What was compiled when it was installed is not compiled again."""
    _, bytecode = compile_main(prefix)
    assert report(prefix / "bin" / "ocifw")["argv"][0] == str(bytecode)


@pytest.mark.parametrize("what", ["time", "size", "cut", "checked by content", "directory"])
def test_does_not_start_other_bytecode(prefix, what):
    """Bytecode that was not made from the source that is there, or is broken, is not started."""
    main, bytecode = compile_main(prefix)
    content = bytecode.read_bytes()
    if what == "time":
        os.utime(main, (1, 1))
    elif what == "size":
        times = main.stat()
        main.write_text(MAIN + "\n")
        os.utime(main, ns=(times.st_atime_ns, times.st_mtime_ns))
    elif what == "cut":
        bytecode.write_bytes(content[:15])
    elif what == "checked by content":
        bytecode.write_bytes(content[:4] + b"\1\0\0\0" + content[8:])
    else:
        bytecode.unlink()
        bytecode.mkdir()
    assert report(prefix / "bin" / "ocifw")["argv"][0] == str(main)


def test_remote_debugging_is_off(prefix):
    """From Python 3.14 on, nobody can inject code by sys.remote_exec()."""
    install(prefix)
    seen = report(prefix / "bin" / "ocifw")
    assert seen["xoptions"] == ({"disable-remote-debug": True} if MINOR >= 14 else {})


def test_knows_its_name(prefix):
    """Links to the command work, and the package gets the name that was called."""
    install(prefix)
    link = prefix / "elsewhere" / "ocifw-hardened"
    link.parent.mkdir()
    link.symlink_to("../bin/ocifw")
    assert report(link, "a")["argv"][1:] == [str(link), "a"]
    environment = {"PATH": str(link.parent)}
    done = subprocess.run(["ocifw-hardened"], env=environment, capture_output=True, check=True)
    assert json.loads(done.stdout)["argv"][1:] == ["ocifw-hardened"]


def test_many_arguments(prefix):
    """As many arguments as the kernel takes are passed on."""
    install(prefix)
    arguments = [str(number) for number in range(50000)]
    assert report(prefix / "bin" / "ocifw", *arguments)["argv"][2:] == arguments


def test_falls_back_to_the_system_interpreter(prefix):
    """Without an interpreter beside it, the command takes the one in /usr/bin or /usr/local/bin."""
    if not any(
        os.access(f"{folder}/{PYTHON}", os.X_OK) for folder in ("/usr/bin", "/usr/local/bin")
    ):
        pytest.skip(f"needs {PYTHON} in /usr/bin or /usr/local/bin")
    install(prefix)
    (prefix / "bin" / PYTHON).unlink()
    assert report(prefix / "bin" / "ocifw")["executable"] in (
        f"/usr/bin/{PYTHON}",
        f"/usr/local/bin/{PYTHON}",
    )


def test_missing_package(prefix):
    """Without the package, the error names every folder that was looked into."""
    status, out, err = run(prefix / "bin" / "ocifw", "state", "x")
    assert (status, out) == (1, "")
    assert err == (
        f"ocifw: the Python package ocifw is not installed for {PYTHON} in {prefix}: looked for "
        f"lib/{PYTHON}/site-packages/ocifw, lib/{PYTHON}/dist-packages/ocifw, lib/python3/dist-packages/ocifw, "
        f"local/lib/{PYTHON}/dist-packages/ocifw\n"
    )


def test_missing_interpreter(prefix, tmp_path_factory):
    """Without any interpreter, the error names every place that was looked at."""
    folder = tmp_path_factory.mktemp("other")
    build_native.generate_ops(folder)
    command = build_native.build_entry(folder, "gcc", minor=99)
    install(prefix, "lib/python3/dist-packages")
    shutil.copy(command, prefix / "bin" / "ocifw")
    status, out, err = run(prefix / "bin" / "ocifw")
    assert (status, out) == (1, "")
    assert err == (
        f"ocifw: python3.99 is not installed: looked for {prefix}/bin/python3.99, /usr/bin/python3.99, "
        "/usr/local/bin/python3.99\n"
    )


def test_broken_interpreter(prefix):
    """An interpreter that cannot be executed is an error and no reason to take another."""
    install(prefix)
    (prefix / "bin" / PYTHON).unlink()
    (prefix / "bin" / PYTHON).write_text("")
    (prefix / "bin" / PYTHON).chmod(0o755)
    assert run(prefix / "bin" / "ocifw") == (1, "", f"ocifw: cannot execute {PYTHON}: errno 8\n")


def test_long_paths(prefix, command):
    """A prefix as long as a path can be is refused, not cut."""
    folder = prefix
    while len(str(folder)) < 3800:
        folder /= "d" * 200
    folder /= "e" * (4085 - len(str(folder)))
    folder.mkdir(parents=True)
    shutil.copy(command, folder / "ocifw")
    status, out, err = run(folder / "ocifw")
    assert (status, out) == (1, "")
    assert "is not installed" in err


@pytest.mark.parametrize("minor", [11, 14])
def test_builds_for_aarch64(tmp_path, minor):
    """The command compiles without warnings for aarch64."""
    if shutil.which("aarch64-linux-gnu-gcc") is None:
        pytest.skip("needs aarch64-linux-gnu-gcc")
    build_native.generate_ops(tmp_path)
    path = build_native.build_entry(tmp_path, "aarch64-linux-gnu-gcc -Werror", minor)
    if shutil.which("qemu-aarch64-static") is None:
        pytest.skip("needs qemu-aarch64-static")
    status, out, err = run("qemu-aarch64-static", str(path))
    assert (status, out) == (1, "")
    assert f"not installed for python3.{minor} in {tmp_path.parent}: " in err


def test_builds_are_reproducible(tmp_path, command):
    """The same sources give the same bytes, wherever they are built."""
    build_native.generate_ops(tmp_path)
    assert build_native.build_entry(tmp_path, "gcc").read_bytes() == command.read_bytes()


@pytest.mark.parametrize(
    ("compiler", "message"),
    [("no-such-gcc", "apt-get install gcc"), ("gcc -include missing.h", "missing.h")],
)
def test_what_the_build_lacks_is_named(tmp_path, compiler, message):
    """A build that fails says what is missing, or what the compiler said."""
    build_native.generate_ops(tmp_path)
    with pytest.raises(build_native.BuildError, match=message):
        build_native.build_entry(tmp_path, compiler)


def test_missing_python_headers_are_named(tmp_path, monkeypatch):
    """Without Python.h the error names the Debian package."""
    monkeypatch.setattr(build_native.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(build_native.BuildError, match=r"Python\.h was not found.*python3-dev"):
        build_native.build_kernel(tmp_path, "gcc")
