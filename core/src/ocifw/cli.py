"""The command line: global options, the verb, and how its failure is reported.

Verbs, options, texts and exit codes are runc's, because engines are written against them. Only the module of the verb
that was called is imported.
"""

from __future__ import annotations

import os

from .commands import VERBS
from .errors import OcifwError, UsageError
from .options import FLAG, TEXTS, Option, WrongArguments, WrongOption, check_count, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType
    from typing import Any

    from .context import Globals

OPTIONS = (
    Option("root", help="folder for the state of containers; should be on a tmpfs"),
    Option("debug", "", FLAG, False, "log more, and tracebacks of unexpected errors"),
    Option("log", help="file to append the log to, instead of standard error"),
    Option("log-format", default="text", help="'text' or 'json'"),
    Option("systemd-cgroup", "", FLAG, False,
           "let systemd make the cgroups; cgroupsPath is then \"slice:prefix:name\""),
    Option("cgroup-manager", default="cgroupfs",
           help="'cgroupfs', 'systemd', or 'disabled' for no cgroups at all"),
    Option("rootless", default="auto",
           help="tolerate missing privileges over cgroups: 'true', 'false' or 'auto'"),
    Option("profile", "", TEXTS,
           help="name or path of a profile to lay over the config; may be repeated"),
    Option("set", "", TEXTS,
           help="PATH=VALUE to lay over the config, after profiles; may be repeated; or NAME of a plugin set"),
    Option("without", "", TEXTS,
           help="plugin of the set to leave out, for rescue; may be repeated"),
    Option("criu", hidden=True),
    Option("version", "v", FLAG, False, "show the version and exit"),
)  # fmt: skip

CGROUP_MANAGERS = ("cgroupfs", "systemd", "disabled")
UNKNOWN_VERB_STATUS = 3
INTERRUPTED_STATUS = 128 + 2


def main(words: Sequence[str], program: str = "ocifw") -> int:
    """Run the command line; `words` without the program's name. Returns the exit status, and raises nothing.

    program: the name under which it was called.
    """
    try:
        options, rest = parse(OPTIONS, words, rest=True)
    except WrongOption as error:
        return _wrong_usage(None, f"Incorrect Usage. {error}", error)
    try:
        if options["log"] or options["log-format"] != "text" or options["debug"]:
            from . import log

            log.configure(options["log"], options["log-format"], options["debug"])
            if options["debug"]:
                from .boot import notes

                notes.log()
        if options["set"] or options["without"]:
            _choose_plugins(options)
        if options["version"]:
            from .commands import version

            version.run(None, {}, [])
            return 0
        if options["help"] or not rest or rest[0] in ("help", "h"):
            return _help(rest[1:] if rest and not options["help"] else [])
        verb = rest.pop(0)
        if verb not in VERBS:
            return _foreign(verb, rest, global_values(options, program))
        module = command(verb)
    except Exception as error:
        return report(error)
    try:
        values, arguments = parse(module.OPTIONS, rest, getattr(module, "REST", False))
        if values["help"]:
            from .help import verb_help
            from .output import write

            write(verb_help(verb, module))
            return int(module.help_status()) if hasattr(module, "help_status") else 0
        check_count(verb, arguments, *module.ARGUMENTS)
    except WrongOption as error:
        return _wrong_usage(verb, f"Incorrect Usage: {error}", error)
    except WrongArguments as error:
        return _wrong_usage(verb, "Incorrect Usage.", error)
    except Exception as error:
        return report(error)
    try:
        return int(module.run(global_values(options, program, values), values, arguments) or 0)
    except UsageError as error:
        return _wrong_usage(verb, f"Incorrect Usage: {error}", error)
    except KeyboardInterrupt:
        return INTERRUPTED_STATUS
    except BrokenPipeError:
        return 1
    except Exception as error:
        return report(error, getattr(module, "FAILURE", ""), getattr(module, "FAILURE_STATUS", 0))


def command(verb: str) -> ModuleType:
    """The module of one of ocifw's own verbs."""
    module: ModuleType = __import__(f"{__package__}.commands.{verb}", fromlist=["run"])
    return module


def global_values(
    options: dict[str, Any], program: str = "ocifw", own: dict[str, Any] | None = None
) -> Globals:
    """The global options that operations read. Raises OcifwError for values that they cannot have.

    program: the name under which ocifw was called. own: the verb's options, which may add profiles.
    """
    from .context import Globals

    if options["cgroup-manager"] not in CGROUP_MANAGERS:
        raise OcifwError(
            f"invalid cgroup-manager: {options['cgroup-manager']}:"
            f" expected one of {', '.join(CGROUP_MANAGERS)}"
        )
    if options["rootless"] not in ("true", "false", "auto"):
        raise OcifwError(f"invalid rootless: {options['rootless']}: expected true, false or auto")
    if options["criu"]:
        from . import log

        log.warning("--criu is ignored: criu is looked for in PATH")
    return Globals(
        state_root(options["root"]),
        options["systemd-cgroup"],
        options["rootless"],
        options["cgroup-manager"],
        options["debug"],
        tuple([_reference(name) for name in _both("profile", options, own)]),
        tuple(_both("set", options, own)),
        program.partition("-")[2] if program.startswith("ocifw-") else "",
        _own_profile(options),
    )


def _choose_plugins(options: dict[str, Any]) -> None:
    """Work with the plugin set that --set names, which has no `=`, without the plugins of --without."""
    from .selection import choose

    names = [text for text in options["set"] if "=" not in text]
    options["set"] = [text for text in options["set"] if "=" in text]
    choose(name=names[-1] if names else "", without=tuple(options["without"]))


def _both(name: str, options: dict[str, Any], own: dict[str, Any] | None) -> list[str]:
    """The values of an option before and after the verb."""
    return [*options[name], *((own or {}).get(name) or ())]


def _reference(name: str) -> str:
    """The name of a profile, or, when it has a slash, its path, which is relative to the caller's folder."""
    return os.path.abspath(name) if "/" in name else name


def _own_profile(options: dict[str, Any]) -> str:
    """OCIFW_PROFILE, where it is the caller's own: see `ocifw.profile`."""
    profile = os.environ.get("OCIFW_PROFILE")
    if not profile or options["log"] or options["log-format"] != "text":
        return ""
    if os.geteuid() != os.getuid() or os.getegid() != os.getgid():
        return ""
    return profile


def state_root(given: str = "") -> str:
    """The state root, absolute: as given, else /run/ocifw, for users XDG_RUNTIME_DIR/ocifw. Raises OcifwError for `/`.

    As runc does, root in a user namespace counts as a user unless USER says root, and the folder of a user is marked
    sticky, so that what cleans XDG_RUNTIME_DIR leaves it alone.
    """
    if given:
        root = os.path.abspath(given)
        if not root.strip("/"):
            raise OcifwError("the state root (--root) cannot be /")
        return root
    base = os.environ.get("XDG_RUNTIME_DIR")
    if not base or not _is_user():
        return "/run/ocifw"
    root = os.path.abspath(f"{base}/ocifw")
    try:
        os.mkdir(root, 0o700)
        os.chmod(root, 0o1700)
    except FileExistsError:
        pass
    except OSError as error:
        from .errors import errno_text

        raise OcifwError(
            f"mkdir {root}: {errno_text(error.errno or 0)} (XDG_RUNTIME_DIR)"
        ) from error
    return root


def _is_user() -> bool:
    if os.geteuid() != 0:
        return True
    from .context import Host

    return os.environ.get("USER") != "root" and Host().in_user_namespace


def report(error: Exception, what: str = "", status: int = 0) -> int:
    """Log an error in one line, and what may help with it on a terminal. Returns the exit status.

    what: put before the message.
    """
    from . import log

    message = _one_line(error)
    if log.debugging() and not isinstance(error, OcifwError):
        from traceback import format_exception

        log.debug("".join(format_exception(error)).rstrip())
    log.error(what + message)
    if os.isatty(2):
        for hint in _hints(error):
            log.hint(hint)
    return status or getattr(error, "exit_code", 1)


def _one_line(error: Exception) -> str:
    if isinstance(error, OcifwError):
        return str(error)
    if isinstance(error, OSError) and error.errno:
        from .errors import errno_text

        names = [os.fsdecode(n) for n in (error.filename, error.filename2) if n is not None]
        return ": ".join([*names, errno_text(error.errno)])
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _hints(error: Exception) -> list[str]:
    """What plugins know about the error; nothing when they cannot be asked: the error may be theirs."""
    from . import log

    try:
        from . import plugins

        return [
            str(hint)
            for answer in plugins.load().ask("ocifw_hints", {"error": error})
            for hint in answer
        ]
    except Exception as failure:
        log.debug(f"no hints: {failure}")
        return []


def _wrong_usage(verb: str | None, first_line: str, error: UsageError) -> int:
    """runc's answer: what is wrong and the help on standard output, and the error in the log."""
    from . import log
    from .help import global_help, verb_help
    from .output import write

    text = verb_help(verb, command(verb)) if verb else global_help()
    try:
        write(f"{first_line}\n\n{text}")
    except OSError:
        pass
    log.error(str(error))
    return int(getattr(command(verb), "USAGE_STATUS", error.exit_code)) if verb else error.exit_code


def _help(words: Sequence[str]) -> int:
    from .help import global_help, verb_help
    from .output import write

    if words and words[0] in VERBS:
        write(verb_help(words[0], command(words[0])))
    elif words:
        return _unknown(words[0])
    else:
        write(global_help())
    return 0


def _foreign(verb: str, rest: Sequence[str], globals_: Globals) -> int:
    """Run a verb that a plugin adds."""
    from . import plugins

    for answer in plugins.load().ask("ocifw_commands", {}):
        if verb in answer:
            module, _, function = answer[verb].partition(":")
            found = getattr(__import__(module, fromlist=[function]), function)
            return int(found(globals_, list(rest)) or 0)
    return _unknown(verb)


def _unknown(verb: str) -> int:
    from difflib import get_close_matches

    from . import log

    close = get_close_matches(verb, VERBS, 1)
    log.error(f"No help topic for '{verb}'" + (f" (did you mean {close[0]}?)" if close else ""))
    return UNKNOWN_VERB_STATUS
