"""The rules of the runtime-spec that a schema cannot say, for a process and for resources; see also config_rules.py.

Each rule adds pairs of path and message to `found`. What it is given is what the schema accepts, without null. They run
for every container: a typical config.json takes them 15 µs. What a rule reads is declared beside it, so that it can be
left out on a document whose schema problems lie there. Messages hold runc's words where it has some. What depends on the
machine is not here: that is for the `ocifw_validate` of the plugin that owns the field.
"""

from __future__ import annotations

from _json import encode_basestring_ascii

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from typing import Any

    Object = Mapping[str, Any]
    Found = list[tuple[str, str]]
    PartRule = Callable[[Object, str, Found], None]

INVALID_ID = 0xFFFF_FFFF  # (uid_t) -1, which system calls take for "leave it as it is"


def violations(document: Object, kind: str, broken: Collection[str] = ()) -> Found:
    """Every rule's pairs of path and message; kind: "config", "process" or "resources".

    broken: paths at which the schema was not met. Rules that read there are left out.
    """
    found: Found = []
    if kind == "process":
        _apply(_PROCESS_RULES, document, "", found, broken)
    elif kind == "resources":
        _apply(_RESOURCES_RULES, document, "", found, broken)
    else:
        from .config_rules import RULES

        linux = document.get("linux") if is_sound("linux", broken, whole=True) else None
        linux = linux or {}
        namespaces = {}
        if is_sound("linux.namespaces", broken):
            namespaces = {n["type"]: n.get("path") or "" for n in linux.get("namespaces") or ()}
        for rule, *reads in RULES:
            if not broken or all(is_sound(path, broken) for path in reads):
                rule(document, linux, namespaces, found)
        process = document.get("process")
        if process and is_sound("process", broken, whole=True):
            _apply(_PROCESS_RULES, process, "process.", found, broken)
        resources = linux.get("resources")
        if resources and is_sound("linux.resources", broken, whole=True):
            _apply(_RESOURCES_RULES, resources, "linux.resources.", found, broken)
    return found


def is_sound(path: str, broken: Collection[str], whole: bool = False) -> bool:
    """Whether a part can be read. whole: it is enough that the part itself is an object."""
    for other in broken:
        if other in ("", path) or path.startswith((f"{other}.", f"{other}[")):
            return False
        if not whole and other.startswith((f"{path}.", f"{path}[")):
            return False
    return True


def _apply(
    rules: Sequence[tuple[PartRule, str]],
    part: Object,
    at: str,
    found: Found,
    broken: Collection[str],
) -> None:
    for rule, reads in rules:
        if not broken or is_sound(at + reads, broken):
            rule(part, at, found)


def environment(process: Object, at: str, found: Found) -> None:
    """Entries of env, of a process or of a hook; `at` is what stands before `env`."""
    for index, entry in enumerate(process.get("env") or ()):
        # The entry itself is not shown: it may be a secret whose name was forgotten.
        if entry.find("=") < 1:
            text = "invalid environment variable: not of the form NAME=VALUE"
            found.append((f"{at}env[{index}]", text))


# ---- config.md: process ------------------------------------------------------------------------------------------


def _arguments(process: Object, at: str, found: Found) -> None:
    if not process.get("args"):
        found.append((f"{at}args", "args must not be empty"))


def _cwd(process: Object, at: str, found: Found) -> None:
    cwd = process["cwd"]
    if not cwd:
        found.append((f"{at}cwd", "Cwd property must not be empty"))
    elif not cwd.startswith("/"):
        found.append((f"{at}cwd", f"Cwd must be an absolute path, not {cwd!r}"))


def _user(process: Object, at: str, found: Found) -> None:
    user = process.get("user")
    if user:
        for name in ("uid", "gid"):
            if user.get(name) == INVALID_ID:
                found.append((f"{at}user.{name}", f"{INVALID_ID} is no {name}: it means none"))
        if INVALID_ID in (user.get("additionalGids") or ()):
            found.append((f"{at}user.additionalGids", f"{INVALID_ID} is no gid: it means none"))


def _console_size(process: Object, at: str, found: Found) -> None:
    size = process.get("consoleSize")
    if size and process.get("terminal"):
        for name in ("height", "width"):
            if size[name] > 0xFFFF:
                found.append((f"{at}consoleSize.{name}", f"{size[name]} is above {0xFFFF}"))


def _rlimits(process: Object, at: str, found: Found) -> None:
    seen = set()
    for index, limit in enumerate(process.get("rlimits") or ()):
        kind, soft, hard = limit["type"], limit["soft"], limit["hard"]
        if kind in seen:
            found.append((f"{at}rlimits[{index}].type", f"duplicate rlimit {kind}"))
        seen.add(kind)
        if soft > hard:
            text = f"the soft limit {soft} is above the hard limit {hard}"
            found.append((f"{at}rlimits[{index}]", text))


def _scheduler(process: Object, at: str, found: Found) -> None:
    scheduler = process.get("scheduler")
    if not scheduler:
        return
    policy, nice = scheduler["policy"], scheduler.get("nice") or 0
    if policy in ("SCHED_OTHER", "SCHED_BATCH") and not -20 <= nice <= 19:
        text = f"invalid scheduler.nice: {nice} when scheduler.policy is {policy}"
        found.append((f"{at}scheduler.nice", text))
    if scheduler.get("priority") and policy not in ("SCHED_FIFO", "SCHED_RR"):
        text = "scheduler.priority can only be specified for SchedFIFO or SchedRR policy"
        found.append((f"{at}scheduler.priority", text))
    times = [scheduler.get(name) or 0 for name in ("runtime", "deadline", "period")]
    if policy != "SCHED_DEADLINE":
        if any(times):
            text = (
                "scheduler runtime/deadline/period can only be specified for SchedDeadline policy"
            )
            found.append((f"{at}scheduler", text))
    elif not 0 < times[0] <= times[1] <= (times[2] or times[1]):
        text = "needs 0 < runtime <= deadline <= period, where period may be left out"
        found.append((f"{at}scheduler", text))


# ---- config-linux.md: control groups -----------------------------------------------------------------------------


def _device_rules(resources: Object, at: str, found: Found) -> None:
    for index, rule in enumerate(resources.get("devices") or ()):
        if not rule.get("access"):
            text = f"device access at {index} field cannot be empty"
            found.append((f"{at}devices[{index}].access", text))
        for name in ("major", "minor"):
            number = rule.get(name)
            if number is not None and number < -1:
                text = f"{number} is no device number, and not -1 for all"
                found.append((f"{at}devices[{index}].{name}", text))


def _cpu(resources: Object, at: str, found: Found) -> None:
    cpu = resources.get("cpu")
    if cpu:
        burst, quota = cpu.get("burst") or 0, cpu.get("quota") or 0
        if burst > quota > 0:
            found.append((f"{at}cpu.burst", f"{burst} is above the quota {quota}"))


def _unified(resources: Object, at: str, found: Found) -> None:
    for name in resources.get("unified") or ():
        if "/" in name or name in (".", ".."):
            text = (
                f"unified resource {encode_basestring_ascii(name)} must be a file name (no slashes)"
            )
            found.append((f"{at}unified", text))


# ---- in the order of the fields, with what they read -------------------------------------------------------------

_PROCESS_RULES: Sequence[tuple[PartRule, str]] = (
    (_arguments, "args"),
    (_cwd, "cwd"),
    (environment, "env"),
    (_user, "user"),
    (_console_size, "consoleSize"),
    (_rlimits, "rlimits"),
    (_scheduler, "scheduler"),
)
_RESOURCES_RULES: Sequence[tuple[PartRule, str]] = (
    (_device_rules, "devices"),
    (_cpu, "cpu"),
    (_unified, "unified"),
)
