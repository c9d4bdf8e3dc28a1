"""linux.seccomp from a base and changes to it: `base`, `deny` and `allow` of a profile.

base: "docker-default" (profiles/seccomp/docker-default.json), "keep" (what config.json has), or the path of a file; of a
list, the first that there is. "keep" is there when config.json has a filter. Without a base it is "keep".

A base has the spec's form, or Docker's: `archMap`, and `includes` and `excludes` with `caps`, `arches` and `minKernel` on
each rule, which are resolved against the bounding set, the machine and the kernel as they are at `create`.

`deny` takes system calls away: no rule allows them any more, and they fail with EPERM when the default would allow them.
What a base refuses already is left as it is: it may do so by killing. `allow` lets them through, with `args` only when
these hold; rules of the base about them are gone.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from typing import Any

    Kernel = tuple[int, int]

PERMISSIVE = frozenset({"SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE", "SCMP_ACT_NOTIFY"})
"""Actions after which the system call is made, or may be."""

_EPERM = 1

ARCHITECTURES = {
    "x86_64": ("amd64", "SCMP_ARCH_X86_64"),
    "i686": ("386", "SCMP_ARCH_X86"),
    "aarch64": ("arm64", "SCMP_ARCH_AARCH64"),
    "armv7l": ("arm", "SCMP_ARCH_ARM"),
    "ppc64le": ("ppc64le", "SCMP_ARCH_PPC64LE"),
    "riscv64": ("riscv64", "SCMP_ARCH_RISCV64"),
    "s390x": ("s390x", "SCMP_ARCH_S390X"),
    "loongarch64": ("loong64", "SCMP_ARCH_LOONGARCH64"),
}
"""The kernel's names of machines, with Go's and libseccomp's."""


def resolve(
    base: dict[str, Any], capabilities: Collection[str], machine: str, kernel: Kernel
) -> dict[str, Any]:
    """A base in the spec's form; capabilities: the bounding set."""
    architecture, native = ARCHITECTURES.get(machine, (machine, ""))
    calls = []
    for rule in base.get("syscalls") or ():
        if not _counts(rule, capabilities, architecture, kernel):
            continue
        call: dict[str, Any] = {
            "names": rule.get("names") or [rule["name"]],
            "action": rule["action"],
        }
        for name in ("errnoRet", "args"):
            if rule.get(name) not in (None, []):
                call[name] = rule[name]
        calls.append(call)
    made = {
        name: base[name]
        for name in (
            "defaultAction",
            "defaultErrnoRet",
            "flags",
            "listenerPath",
            "listenerMetadata",
        )
        if base.get(name) is not None
    }
    if base.get("architectures"):
        made["architectures"] = list(base["architectures"])
    else:
        for entry in base.get("archMap") or ():
            if entry["architecture"] == native:
                made["architectures"] = [native, *(entry.get("subArchitectures") or ())]
    return {**made, "syscalls": calls}


def _counts(
    rule: dict[str, Any], capabilities: Collection[str], architecture: str, kernel: Kernel
) -> bool:
    """Whether a rule of Docker's form counts here."""
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    if not all(name in capabilities for name in includes.get("caps") or ()):
        return False
    if any(name in capabilities for name in excludes.get("caps") or ()):
        return False
    if includes.get("arches") and architecture not in includes["arches"]:
        return False
    if architecture in (excludes.get("arches") or ()):
        return False
    least, below = includes.get("minKernel"), excludes.get("minKernel")
    return not (least and kernel < version(least)) and not (below and kernel >= version(below))


def version(text: str) -> Kernel:
    """Major and minor number of a kernel's version. Raises ValueError."""
    major, _, minor = text.partition(".")
    return int(major), int(minor.partition(".")[0] or 0)


def changed(seccomp: dict[str, Any], deltas: Iterable[Sequence[Any]]) -> dict[str, Any]:
    """A filter in the spec's form with changes, each ("deny" or "allow", names, args, …)."""
    calls = list(seccomp.get("syscalls") or ())
    default = seccomp["defaultAction"]
    for kind, names, args in _grouped(deltas):
        of = frozenset(names)
        if kind == "deny":
            if default in PERMISSIVE:
                refused = {
                    name
                    for call in calls
                    if call["action"] not in PERMISSIVE and not call.get("args")
                    for name in call["names"]
                }
                left = [name for name in names if name not in refused]
                calls = _without(calls, frozenset(left), conditional=True)
                if left:
                    calls.append({"names": left, "action": "SCMP_ACT_ERRNO", "errnoRet": _EPERM})
            else:
                calls = _without(calls, of, only=PERMISSIVE)
        else:
            calls = _without(calls, of)
            rule: dict[str, Any] = {"names": list(names), "action": "SCMP_ACT_ALLOW"}
            if args:
                rule["args"] = args
            if default != "SCMP_ACT_ALLOW":
                calls.append(rule)
    return {**seccomp, "syscalls": calls}


def _grouped(deltas: Iterable[Sequence[Any]]) -> list[tuple[str, list[str], Any]]:
    """The same changes, with neighbours of one kind as one: a filter has hundreds of names to look through."""
    groups: list[tuple[str, list[str], Any]] = []
    for kind, names, args, *_ in deltas:
        if groups and not args and groups[-1][0] == kind and not groups[-1][2]:
            groups[-1][1].extend(names)
        else:
            groups.append((kind, list(names), args))
    return groups


def _without(
    calls: list[dict[str, Any]],
    names: frozenset[str],
    only: Collection[str] = (),
    conditional: bool = False,
) -> list[dict[str, Any]]:
    """Rules without some system calls. only: of rules with these actions; conditional: or with conditions."""
    kept = []
    for call in calls:
        touched = not names.isdisjoint(call["names"])
        if touched and only:
            touched = call["action"] in only
        if touched and conditional:
            touched = call["action"] in PERMISSIVE or bool(call.get("args"))
        if touched:
            call = {**call, "names": [name for name in call["names"] if name not in names]}
        if call["names"]:
            kept.append(call)
    return kept


def build(
    pending: Iterable[tuple[Any, Sequence[Any]]],
    present: dict[str, Any] | None,
    capabilities: Collection[str],
    machine: str,
    kernel: Kernel,
) -> dict[str, Any] | None:
    """linux.seccomp after the changes of several layers, each a pair of bases (or None) and deltas.

    present: what config.json has. None when nothing is asked for: only `allow`, and no filter.
    Raises LookupError with the names of the bases when none of them is there.
    """
    seccomp = present if present and present.get("defaultAction") else None
    for bases, deltas in pending:
        if bases is not None:
            for _, content in bases:
                if content != "keep":
                    seccomp = resolve(content, capabilities, machine, kernel)
                    break
                if seccomp is not None:
                    break
            else:
                if any(name != "keep" for name, _ in bases):
                    raise LookupError(", ".join(name for name, _ in bases))
        if deltas:
            if seccomp is None:
                if all(delta[0] == "allow" for delta in deltas):
                    continue
                seccomp = {"defaultAction": "SCMP_ACT_ALLOW"}
            seccomp = changed(seccomp, deltas)
    return seccomp
