"""The command line: how it is read, what it answers, and how failures are reported."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys

import pytest

from ocifw import cli, log
from ocifw.commands import VERBS
from ocifw.context import Globals
from ocifw.errors import OcifwError
from ocifw.options import WrongArguments, WrongOption, check_count, parse

ID = "c0ffee"
GO_RUNC = "--root /run/containerd/runc/k8s.io --log B/log.json --log-format json"


def understand(line):
    """The verb, global options, options and arguments of a command line, as `main` reads them."""
    options, rest = parse(cli.OPTIONS, shlex.split(line), rest=True)
    verb = rest.pop(0)
    module = cli.command(verb)
    values, arguments = parse(module.OPTIONS, rest, getattr(module, "REST", False))
    check_count(verb, arguments, *module.ARGUMENTS)
    return verb, options, values, arguments


@pytest.fixture
def run(tmp_path):
    """Runs ocifw as a process of its own."""

    def run(*words, stdin="", env=None, cwd=None):
        return subprocess.run(
            [sys.executable, "-m", "ocifw", *words],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **(env or {})},
            cwd=cwd or tmp_path,
        )

    return run


@pytest.fixture
def fresh_log():
    yield
    log.configure()


# ---- what engines call -------------------------------------------------------------------------------------------

ENGINES = {
    "podman create": (
        "--systemd-cgroup --log-format=json --log RUN/U/oci-log create --bundle ROOT/U --pid-file RUN/U/pidfile"
        " --no-pivot --no-new-keyring --preserve-fds 2 --console-socket /tmp/conmon-term.XXXXXX " + ID,
        {"bundle": "ROOT/U", "no-pivot": True, "preserve-fds": 2, "no-new-keyring": True},
    ),
    "podman create without cgroups": (
        f"--log-format=json --log L --cgroup-manager disabled create --bundle B --pid-file P {ID}",
        {"pid-file": "P"},
    ),
    "podman start": (f"start {ID}", {}),
    "podman pause": (f"pause {ID}", {}),
    "podman unpause": (f"resume {ID}", {}),
    "podman cleanup": (f"delete --force {ID}", {"force": True}),
    "podman stop": (f"kill {ID} 15", {}),
    "podman stop without pid namespace": (f"kill --all {ID} 15", {"all": True}),
    "podman exec -t": (
        "--log-format=json --log U/E/oci-log exec --pid-file U/E/exec_pid --process U/E/exec-process-1 --detach --tty"
        f" --preserve-fds 1 --console-socket S {ID}",
        {"process": "U/E/exec-process-1", "detach": True, "tty": True, "preserve-fds": 1},
    ),
    "podman update": (f"update --resources=/var/tmp/podman1 {ID}", {"resources": "/var/tmp/podman1"}),
    "podman checkpoint": (
        "checkpoint --image-path U/checkpoint --work-path U --leave-running --leave-running --tcp-established"
        f" --file-locks --pre-dump --parent-path ../pre {ID}",
        {"leave-running": True, "tcp-established": True, "parent-path": "../pre"},
    ),
    "podman restore": (
        "--log-format=json --log L restore --bundle U --pid-file F --detach --image-path U/checkpoint --work-path U"
        f" --tcp-close --lsm-profile=selinux:l --lsm-mount-context=c {ID}",
        {"detach": True, "lsm-profile": "selinux:l", "lsm-mount-context": "c", "tcp-close": True},
    ),
    "podman --runtime-flag debug": (f"--debug start {ID}", {}),
    "buildah create": ("create --bundle T --pid-file T/pid --console-socket T/console.sock b-1", {}),
    "buildah state": ("state b-1", {}),
    "containerd create": (
        f"{GO_RUNC} --systemd-cgroup create --bundle B --pid-file B/init.pid --console-socket /tmp/pty1/pty.sock"
        f" --no-pivot --no-new-keyring {ID}",
        {"bundle": "B", "console-socket": "/tmp/pty1/pty.sock"},
    ),
    "containerd create with pidfd": (f"{GO_RUNC} create --bundle B --pidfd-socket S {ID}", {"pidfd-socket": "S"}),
    "containerd kill": (f"{GO_RUNC} kill --all {ID} 9", {"all": True}),
    "containerd delete": (f"{GO_RUNC} delete {ID}", {"force": False}),
    "containerd exec": (
        f"{GO_RUNC} exec --process /tmp/runc-process1 --console-socket S --detach --pid-file B/e.pid {ID}",
        {"detach": True, "pid-file": "B/e.pid"},
    ),
    "containerd pids": (f"{GO_RUNC} ps --format json {ID}", {"format": "json"}),
    "containerd 1.6 update": (f"{GO_RUNC} update --resources - {ID}", {"resources": "-"}),
    "containerd 2 update": (f"{GO_RUNC} update --resources=- {ID}", {"resources": "-"}),
    "containerd restore": (
        f"{GO_RUNC} restore --image-path P --work-path B/work --detach --pid-file F -no-subreaper --bundle B {ID}",
        {"no-subreaper": True, "bundle": "B"},
    ),
    "go-runc checkpoint": (
        f"{GO_RUNC} --rootless=true checkpoint --image-path D --ext-unix-sk --shell-job --page-server 1.2.3.4:5"
        f" --file-locks --manage-cgroups-mode soft --empty-ns network --lazy-pages --status-fd 3 {ID}",
        {"status-fd": 3, "empty-ns": ["network"], "page-server": "1.2.3.4:5", "lazy-pages": True},
    ),
    "go-runc list": ("list --format=json", {"format": "json"}),
    "go-runc events": (f"events --interval=5s {ID}", {"interval": "5s"}),
    "go-runc stats": (f"events --stats {ID}", {"stats": True}),
    "buildkit": ("--log D/runc-log.json --log-format json run --bundle D/X --keep X", {"keep": True}),
    "cri-o create": (
        f"--systemd-cgroup --root=R create --bundle B --pid-file B/pidfile {ID}", {"bundle": "B"}
    ),
    "cri-o kill": (f"--root R --systemd-cgroup kill {ID} KILL", {}),
    "cri-o kill of a host-pid container": (f"--root R kill -a {ID} 9", {"all": True}),
    "cri-o exec": (f"--root R exec --process F {ID}", {"process": "F", "detach": False}),
    "features": ("features", {}),
    "crun's config": (f"create -f other.json {ID}", {"config": "other.json"}),
}  # fmt: skip


@pytest.mark.parametrize("name", ENGINES)
def test_engine_command_lines(name):
    """Every command line that an engine was seen to use is understood."""
    line, expected = ENGINES[name]
    _, options, values, _ = understand(line)
    assert {key: values[key] for key in expected} == expected
    assert cli.global_values({**options, "root": "/r"}).root == "/r"


def test_global_options_reach_operations():
    """What stands before the verb is in the Globals that every operation gets."""
    line = "--root /r --systemd-cgroup --rootless=true --cgroup-manager disabled --debug state c"
    _, options, _, _ = understand(line)
    made = cli.global_values(options)
    assert made == Globals("/r", True, "true", "disabled", True)


# ---- reading -----------------------------------------------------------------------------------------------------


def test_one_dash_is_as_good_as_two():
    """`-bundle`, `--bundle`, `-b` with `=` or a space are the same option."""
    for spelling in ("-bundle X", "--bundle X", "-b X", "-b=X", "--bundle=X", "-bundle=X"):
        assert understand(f"create {spelling} c")[2]["bundle"] == "X"


def test_the_last_value_counts():
    """Of an option given twice the last value counts; a list has all of them."""
    assert understand("create -b X --bundle Y c")[2]["bundle"] == "Y"
    assert understand("delete --force --force=false c")[2]["force"] is False
    assert understand("exec -e A=1 --env B=2 c sh")[2]["env"] == ["A=1", "B=2"]


def test_options_after_the_id():
    """Options may follow the id, except where everything after it is another program's."""
    _, _, values, arguments = understand("create c --bundle DIR")
    assert values["bundle"] == "DIR" and arguments == ["c"]
    assert understand("exec c ls --help -d")[3] == ["c", "ls", "--help", "-d"]
    assert understand("ps -f table c -o pid,args")[3] == ["c", "-o", "pid,args"]


def test_a_value_may_begin_with_a_dash():
    """`--memory -1` is a value; `--` ends the options."""
    assert understand("update --memory -1 c")[2]["memory"] == "-1"
    assert understand("state -- -odd")[3] == ["-odd"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("state --xx c", "flag provided but not defined: -xx"),
        ("create --bundle", "flag needs an argument: -bundle"),
        ("restore --lsm-mount-context", "flag needs an argument: -lsm-mount-context"),
        ("create --preserve-fds x c", 'invalid value "x" for flag -preserve-fds: parse error'),
        ("create --preserve-fds ١ c", 'invalid value "١" for flag -preserve-fds: parse error'),
        ("create --no-pivot=maybe c", 'invalid boolean value "maybe" for -no-pivot: parse error'),
        ("create ---x c", "bad flag syntax: ---x"),
        ("--bad state c", "flag provided but not defined: -bad"),
        ("exec -g x c sh", 'invalid value "x" for flag -g: parse error'),
    ],
)
def test_wrong_options(line, message):
    """Options that are not understood are refused in Go's words."""
    with pytest.raises(WrongOption) as caught:
        understand(line)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("create", 'ocifw: "create" requires exactly 1 argument(s)'),
        ("state a b", 'ocifw: "state" requires exactly 1 argument(s)'),
        ("kill", 'ocifw: "kill" requires a minimum of 1 argument(s)'),
        ("kill a b c", 'ocifw: "kill" requires a maximum of 2 argument(s)'),
        ("exec", 'ocifw: "exec" requires a minimum of 1 argument(s)'),
        ("list a", 'ocifw: "list" requires exactly 0 argument(s)'),
    ],
)
def test_wrong_number_of_arguments(line, message):
    """Too few and too many arguments are refused in runc's words."""
    with pytest.raises(WrongArguments) as caught:
        understand(line)
    assert str(caught.value) == message


# ---- help and usage errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", sorted(set(VERBS) - {"checkpoint", "restore"}))
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_verb_has_help(verb, flag, capfd):
    """`VERB --help` prints its options and succeeds."""
    assert cli.main([verb, flag]) == 0
    text = capfd.readouterr().out
    assert f"ocifw {verb} - " in text
    for option in cli.command(verb).OPTIONS:
        assert (f"--{option.name}" in text) != option.hidden
    assert all(len(line) <= 100 for line in text.splitlines() if not line.startswith("    "))


def test_help_of_the_whole(capfd):
    """Without a verb, or with `help`, all verbs are listed."""
    for words in ([], ["help"], ["--help"], ["-h"]):
        assert cli.main(words) == 0
        text = capfd.readouterr().out
        assert all(f"   {verb} " in text for verb in VERBS)


def test_usage_error(capfd):
    """A usage error prints what is wrong and the help on standard output, the error in the log, and exits with 1."""
    assert cli.main(["state", "--xx", "c"]) == 1
    out, err = capfd.readouterr()
    assert out.startswith(
        "Incorrect Usage: flag provided but not defined: -xx\n\nNAME:\n   ocifw state"
    )
    assert 'level=error msg="flag provided but not defined: -xx"' in err
    assert cli.main(["create"]) == 1
    assert capfd.readouterr().out.startswith("Incorrect Usage.\n\nNAME:\n   ocifw create")
    assert cli.main(["--bad"]) == 1
    assert capfd.readouterr().out.startswith(
        "Incorrect Usage. flag provided but not defined: -bad\n"
    )


def test_unknown_verb(capfd):
    """A verb that neither ocifw nor a plugin has is refused, with what may have been meant."""
    assert cli.main(["strart", "c"]) == 3
    assert "No help topic for 'strart' (did you mean start?)" in capfd.readouterr().err


def test_version(capfd):
    """The version is what engines read: name and version in the first line, then commit and spec."""
    assert cli.main(["--version"]) == 0
    first, commit, spec = capfd.readouterr().out.splitlines()[:3]
    assert first.startswith("ocifw version ")
    assert commit.startswith("commit: ") and spec == "spec: 1.3.0"


# ---- errors and the log ------------------------------------------------------------------------------------------


def test_json_log_holds_one_error(tmp_path, run):
    """With a JSON log the file holds the error as its only object, and standard error the plain message."""
    path = tmp_path / "log.json"
    done = run("--root", str(tmp_path), "--criu", "x", "--log", str(path), "--log-format", "json",
               "state", "nope")  # fmt: skip
    assert done.returncode == 1 and done.stdout == ""
    record = json.loads(path.read_text())
    assert record["level"] == "error" and record["msg"] == "container does not exist"
    assert record["time"].endswith("Z") and len(record) == 3
    assert done.stderr == "container does not exist\n"
    assert path.stat().st_mode & 0o777 == 0o644


def test_log_is_appended_to(tmp_path, fresh_log):
    """What was in the log stays: engines use one file for many calls."""
    path = tmp_path / "log"
    path.write_text("before\n")
    log.configure(str(path), "json")
    log.error('a "quoted"\nmessage')
    before, line = path.read_text().splitlines()
    assert before == "before" and json.loads(line)["msg"] == 'a "quoted"\nmessage'


def test_text_log(capfd, fresh_log):
    """Without a terminal, each record is one line of logfmt."""
    log.configure()
    log.error('say "x"\nand more\x1b[2J')
    log.warning("w")
    log.debug("not shown")
    first, second = capfd.readouterr().err.splitlines()
    assert (
        first.startswith('time="2') and ' level=error msg="say \\"x\\"\\nand more\\x1b[2J"' in first
    )
    assert ' level=warning msg="w"' in second


def test_warnings_in_a_json_log_need_debug(tmp_path, fresh_log):
    """podman takes the whole JSON log for one error object, so warnings are there only with --debug."""
    path = tmp_path / "log"
    log.configure(str(path), "json")
    log.warning("w")
    assert path.read_text() == ""
    log.configure(str(path), "json", debug=True)
    log.warning("w")
    assert json.loads(path.read_text())["level"] == "warning"


def test_log_that_cannot_be_written(tmp_path, run):
    """A log file that cannot be opened, and an unknown format, are errors."""
    done = run("--log", str(tmp_path / "none/log"), "list")
    assert done.returncode == 1 and "no such file or directory" in done.stderr
    done = run("--log-format", "foo", "list")
    assert done.returncode == 1 and "invalid log-format: foo" in done.stderr


def test_exec_fails_with_255(tmp_path, run):
    """When exec cannot run the process at all, the status is 255; other verbs fail with 1."""
    done = run("--root", str(tmp_path), "exec", "nope", "true")
    assert done.returncode == 255
    assert "exec failed: container does not exist" in done.stderr
    assert run("--root", str(tmp_path), "kill", "nope").returncode == 1


def test_unexpected_errors_are_one_line(capfd, fresh_log):
    """An error that nobody foresaw is one line, and a traceback only with --debug."""
    assert cli.report(KeyError("k")) == 1
    assert capfd.readouterr().err.count("\n") == 1
    log.configure(debug=True)
    assert cli.report(KeyError("k")) == 1
    assert 'level=debug msg="KeyError: ' in capfd.readouterr().err
    assert cli.report(OSError(2, "x", "/f")) == 1
    assert "/f: no such file or directory" in capfd.readouterr().err


# ---- the state root ----------------------------------------------------------------------------------------------


def test_state_root_as_given(monkeypatch, tmp_path):
    """--root is made absolute, and cannot be the root of the file system."""
    monkeypatch.chdir(tmp_path)
    assert cli.state_root("state") == str(tmp_path / "state")
    for root in ("/", "/x/..", "//"):
        with pytest.raises(OcifwError, match="cannot be /"):
            cli.state_root(root)


def test_state_root_by_default(monkeypatch, tmp_path):
    """Root's is /run/ocifw; a user's is in XDG_RUNTIME_DIR, private and sticky; an empty variable is none."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(cli, "_is_user", lambda: False)
    assert cli.state_root() == "/run/ocifw"
    monkeypatch.setattr(cli, "_is_user", lambda: True)
    assert cli.state_root() == str(tmp_path / "ocifw")
    assert (tmp_path / "ocifw").stat().st_mode & 0o7777 == 0o1700
    assert cli.state_root() == str(tmp_path / "ocifw")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")
    assert cli.state_root() == "/run/ocifw"


# ---- start-up ----------------------------------------------------------------------------------------------------

HOT = (
    "create",
    "run",
    "start",
    "state",
    "exec",
    "kill",
    "delete",
    "pause",
    "resume",
    "ps",
    "update",
)
SLOW_MODULES = (
    "json re enum typing dataclasses inspect argparse logging pathlib subprocess tempfile importlib.metadata ctypes"
    " pluggy ruamel.yaml jsonschema socket signal contextlib collections functools shutil"
).split()  # fmt: skip


@pytest.mark.parametrize("verb", HOT)
def test_hot_verbs_import_little(verb):
    """Reading the command line of a hot verb imports none of the modules that make start-up slow."""
    script = (
        "import sys; sys.path.append(sys.argv[1])\n"
        "from ocifw import cli, options\n"
        "module = cli.command(sys.argv[2])\n"
        "given, rest = options.parse(cli.OPTIONS, ['--root', '/r', sys.argv[2], 'c'], rest=True)\n"
        "cli.global_values(given); options.parse(module.OPTIONS, rest)\n"
        f"print(*[name for name in {SLOW_MODULES} if name in sys.modules])\n"
    )
    folder = os.path.dirname(os.path.dirname(cli.__file__))
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, folder, verb],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == ""


def test_closed_standard_descriptors(tmp_path):
    """With 0 to 2 closed by the caller, no file that is opened later becomes standard input or output."""
    script = f"exec {shlex.quote(sys.executable)} -m ocifw --root {tmp_path} list >{tmp_path}/out <&- 2>&-"
    assert subprocess.run(["sh", "-c", script], check=False).returncode == 0
    assert (tmp_path / "out").read_text().startswith("ID ")
