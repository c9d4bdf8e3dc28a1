"""The rules of the runtime-spec that a schema cannot say, for config.json; rules.py says how rules are written.

Besides the config, a rule gets its `linux` and, as it is what most rules ask for, its namespaces: type to path, which is
"" for a new one.
"""

from __future__ import annotations

from _json import encode_basestring_ascii

from .rules import INVALID_ID, environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .rules import Found, Object

_NAME_BYTES = 64  # __NEW_UTS_LEN, sethostname(2)
_INTERFACE_BYTES = 15  # IFNAMSIZ without its NUL
_ID_MAPPINGS = 340  # UID_GID_MAP_MAX_EXTENTS, user_namespaces(7)
_MAX_ERRNO = 4095


# ---- config.md: the top level ------------------------------------------------------------------------------------


def _version(config: Object, _linux: Object, _namespaces: Object, found: Found) -> None:
    version = config["ociVersion"]
    parts = version.partition("+")[0].partition("-")[0].split(".")
    if len(parts) != 3 or not all(part.isascii() and part.isdecimal() for part in parts):
        found.append(("ociVersion", f"{version!r} is not a semantic version"))
    elif parts[0] != "1":
        found.append(("ociVersion", f"{version!r} is not supported: only 1.x is"))


def _root(config: Object, _linux: Object, _namespaces: Object, found: Found) -> None:
    root = config.get("root")
    if root is None:
        found.append(("root", "root must be specified"))
    elif not root["path"]:
        found.append(("root.path", "must not be empty"))


def _mounts(config: Object, _linux: Object, _namespaces: Object, found: Found) -> None:
    for index, mount in enumerate(config.get("mounts") or ()):
        if not mount["destination"]:
            found.append((f"mounts[{index}].destination", "must not be empty"))
        if "uidMappings" in mount or "gidMappings" in mount:
            if bool(mount.get("uidMappings")) != bool(mount.get("gidMappings")):
                text = "id-mapped mounts must have both uid and gid mappings specified"
                found.append((f"mounts[{index}]", text))
            for name in ("uidMappings", "gidMappings"):
                _id_mappings(mount.get(name) or (), f"mounts[{index}].{name}", found)


def _uts(config: Object, _linux: Object, namespaces: Object, found: Found) -> None:
    for field in ("hostname", "domainname"):
        name = config.get(field)
        if name:
            if "uts" not in namespaces:
                found.append((field, f"unable to set {field} without a private UTS namespace"))
            if len(name.encode()) > _NAME_BYTES:
                found.append((field, f"{name!r} is longer than {_NAME_BYTES} bytes"))


def _hooks(config: Object, _linux: Object, _namespaces: Object, found: Found) -> None:
    for kind, hooks in (config.get("hooks") or {}).items():
        # Unknown kinds may hold anything.
        for index, hook in enumerate(hooks if kind in _HOOKS else ()):
            at = f"hooks.{kind}[{index}]."
            if not hook["path"].startswith("/"):
                found.append((f"{at}path", f"{hook['path']!r} is not an absolute path"))
            environment(hook, at, found)


_HOOKS = (
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
)


# ---- config-linux.md ---------------------------------------------------------------------------------------------


def _namespaces(_config: Object, linux: Object, namespaces: Object, found: Found) -> None:
    entries = linux.get("namespaces") or ()
    for index, entry in enumerate(entries):
        path = entry.get("path")
        if path and not path.startswith("/"):
            found.append((f"linux.namespaces[{index}].path", f"{path!r} is not an absolute path"))
    if len(namespaces) != len(entries):
        kinds = [entry["type"] for entry in entries]
        for index, kind in enumerate(kinds):
            if kind in kinds[:index]:
                found.append((f"linux.namespaces[{index}].type", f'duplicated ns "{kind}"'))


def _user_namespace(_config: Object, linux: Object, namespaces: Object, found: Found) -> None:
    uids, gids = linux.get("uidMappings") or (), linux.get("gidMappings") or ()
    path = namespaces.get("user")
    if path is None:
        if uids or gids:
            at = "linux.uidMappings" if uids else "linux.gidMappings"
            text = (
                "user namespace mappings specified, but user namespace isn't enabled in the config"
            )
            found.append((at, text))
    elif not path and not uids and not gids:
        text = (
            "user namespaces enabled, but no namespace path to join nor mappings to apply specified"
        )
        found.append(("linux.uidMappings", text))
    elif bool(uids) != bool(gids):
        name = "gid" if uids else "uid"
        text = f"user namespaces enabled, but no {name} mappings found"
        found.append((f"linux.{name}Mappings", text))
    _id_mappings(uids, "linux.uidMappings", found)
    _id_mappings(gids, "linux.gidMappings", found)


def _id_mappings(mappings: Sequence[Object], at: str, found: Found) -> None:
    """What the kernel would only call EINVAL: user_namespaces(7)."""
    if len(mappings) > _ID_MAPPINGS:
        found.append((at, f"has {len(mappings)} mappings: the kernel takes {_ID_MAPPINGS}"))
        return
    for index, mapping in enumerate(mappings):
        size = mapping["size"]
        if not size:
            found.append((f"{at}[{index}].size", "must not be 0"))
        for name in ("containerID", "hostID"):
            first = mapping[name]
            if first + size > INVALID_ID:
                found.append((f"{at}[{index}]", f"{name} {first} + {size} is beyond the last id"))
            for other_index in range(index):
                other = mappings[other_index]
                if first < other[name] + other["size"] and other[name] < first + size:
                    found.append((f"{at}[{index}].{name}", f"overlaps with {at}[{other_index}]"))


def _time_offsets(_config: Object, linux: Object, namespaces: Object, found: Found) -> None:
    offsets = linux.get("timeOffsets")
    if not offsets:
        return
    if "time" not in namespaces:
        text = "time namespace offsets specified, but time namespace isn't enabled in the config"
        found.append(("linux.timeOffsets", text))
    elif namespaces["time"]:
        text = (
            "time namespace enabled, but both namespace path and time offsets specified"
            " -- you may only provide one"
        )
        found.append(("linux.timeOffsets", text))
    for clock, offset in offsets.items():
        if clock in ("monotonic", "boottime") and (offset.get("nanosecs") or 0) > 999_999_999:
            text = f"{offset['nanosecs']} is above 999999999"
            found.append((f"linux.timeOffsets.{clock}.nanosecs", text))


def _devices(_config: Object, linux: Object, _namespaces: Object, found: Found) -> None:
    for index, device in enumerate(linux.get("devices") or ()):
        at = f"linux.devices[{index}]."
        path = device["path"]
        if not path.startswith("/"):
            found.append((f"{at}path", f"{path!r} is not an absolute path"))
        if device["type"] != "p":
            # Go leaves out a number that is 0. mknod(2) takes 12 and 20 bits.
            for name, last in (("major", 0xFFF), ("minor", 0xFFFFF)):
                number = device.get(name) or 0
                if not 0 <= number <= last:
                    found.append((f"{at}{name}", f"{number} is not in 0..{last}"))
        for name in ("uid", "gid"):
            if device.get(name) == INVALID_ID:
                found.append((f"{at}{name}", f"{INVALID_ID} is no {name}: it means none"))


def _net_devices(_config: Object, linux: Object, namespaces: Object, found: Found) -> None:
    devices = linux.get("netDevices")
    if not devices:
        return
    if "network" not in namespaces:
        text = "unable to move network devices without a private NET namespace"
        found.append(("linux.netDevices", text))
    seen = set()
    for name, device in devices.items():
        inside = device.get("name") or name
        for interface in (name, inside):
            if not _is_interface(interface):
                found.append(("linux.netDevices", f"invalid network device name {interface!r}"))
                break
        if inside in seen:
            found.append(("linux.netDevices", f"two devices would be called {inside!r}"))
        seen.add(inside)


def _is_interface(name: str) -> bool:
    """As the kernel's dev_valid_name()."""
    return (
        0 < len(name.encode()) <= _INTERFACE_BYTES
        and name not in (".", "..")
        and not any(character in "/:" or character.isspace() for character in name)
    )


def _cgroups_path(_config: Object, linux: Object, _namespaces: Object, found: Found) -> None:
    path = linux.get("cgroupsPath")
    if path and ".." in path and ".." in path.replace(":", "/").split("/"):
        found.append(("linux.cgroupsPath", f"{path!r} has a .. in it"))


def _paths(_config: Object, linux: Object, namespaces: Object, found: Found) -> None:
    for field in ("maskedPaths", "readonlyPaths"):
        paths = linux.get(field)
        if not paths:
            continue
        if "mount" not in namespaces:
            text = "unable to restrict sys entries without a private MNT namespace"
            found.append((f"linux.{field}", text))
        for index, path in enumerate(paths):
            if path[:1] != "/":
                found.append((f"linux.{field}[{index}]", f"{path!r} is not an absolute path"))


def _seccomp(_config: Object, linux: Object, _namespaces: Object, found: Found) -> None:
    seccomp = linux.get("seccomp")
    if not seccomp:
        return
    if seccomp.get("listenerMetadata") and not seccomp.get("listenerPath"):
        text = "must not be set without listenerPath"
        found.append(("linux.seccomp.listenerMetadata", text))
    number = seccomp.get("defaultErrnoRet")
    if number is not None:
        action = seccomp["defaultAction"]
        _errno("linux.seccomp.defaultErrnoRet", action, number, found)
    for index, syscall in enumerate(seccomp.get("syscalls") or ()):
        number = syscall.get("errnoRet")
        if number is not None:
            _errno(f"linux.seccomp.syscalls[{index}].errnoRet", syscall["action"], number, found)


def _errno(at: str, action: str, number: int, found: Found) -> None:
    if action not in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"):
        text = f"must not be set with {action}: only SCMP_ACT_ERRNO and SCMP_ACT_TRACE take it"
        found.append((at, text))
    elif action == "SCMP_ACT_ERRNO" and number > _MAX_ERRNO:
        found.append((at, f"{number} is not an errno: the kernel knows 0..{_MAX_ERRNO}"))


def _sysctl(config: Object, linux: Object, namespaces: Object, found: Found) -> None:
    """Only sysctls that a namespace of the container has of its own; any other would be the host's."""
    for key in linux.get("sysctl") or ():
        text = _sysctl_refusal(key, config, namespaces)
        if text:
            found.append(("linux.sysctl", text))


def _sysctl_refusal(key: str, config: Object, namespaces: Object) -> str:
    # As JSON has it, so that no name breaks the line.
    shown = encode_basestring_ascii(key)
    # sysctl.d(5): the separator is the one of "." and "/" that comes first, and each stands for the other in names.
    first = next((character for character in key if character in "./"), ".")
    dotted = key if first == "." else key.translate({0x2E: "/", 0x2F: "."})
    for part in dotted.split("."):
        # A part of slashes only is one of dots on disk: `..`. CVE-2022-0811 came in by `+` and `=`.
        if (
            not part.strip("/")
            or not part.replace("/", "")
            .replace("_", "")
            .replace("-", "")
            .replace("@", "")
            .isalnum()
        ):
            return f"{shown} is not the name of a sysctl"
    if dotted in _IPC_SYSCTLS or dotted.startswith("fs.mqueue."):
        if "ipc" not in namespaces:
            return f"sysctl {shown} is not allowed in the hosts ipc namespace"
    elif dotted.startswith("net."):
        if "network" not in namespaces:
            return f"sysctl {shown} not allowed in host network namespace"
    elif dotted == "kernel.hostname" and "uts" in namespaces:
        return f'sysctl {shown} is not allowed as it conflicts with the OCI "hostname" field'
    elif dotted == "kernel.domainname" and "uts" in namespaces:
        if config.get("domainname"):
            return f'sysctl {shown} is not allowed as it conflicts with the OCI "domainname" field'
    elif not (dotted.startswith("user.") and "user" in namespaces):
        return f"sysctl {shown} is not in a separate kernel namespace"
    return ""


_IPC_SYSCTLS = frozenset(
    {
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    }
)


def _intel_rdt(_config: Object, linux: Object, _namespaces: Object, found: Found) -> None:
    rdt = linux.get("intelRdt")
    if not rdt:
        return
    group = rdt.get("closID") or ""
    # "/" alone is the default group.
    if group in (".", "..") or ("/" in group and group != "/") or "\n" in group:
        found.append(("linux.intelRdt.closID", f"invalid intelRdt.ClosID {group!r}"))
    if "\n" in (rdt.get("l3CacheSchema") or ""):
        # One line each; a second one could set what memBwSchema forbids.
        found.append(("linux.intelRdt.l3CacheSchema", "has more than one line"))
    for index, line in enumerate(rdt.get("schemata") or ()):
        if "\n" in line:
            found.append((f"linux.intelRdt.schemata[{index}]", "has more than one line"))


def _memory_policy(_config: Object, linux: Object, _namespaces: Object, found: Found) -> None:
    policy = linux.get("memoryPolicy")
    if not policy:
        return
    mode, nodes = policy.get("mode"), policy.get("nodes")
    if not mode:
        found.append(("linux.memoryPolicy.mode", "is required"))
    elif mode in ("MPOL_DEFAULT", "MPOL_LOCAL"):
        if nodes:
            found.append(("linux.memoryPolicy.nodes", f"{mode} takes no nodes"))
    elif mode != "MPOL_PREFERRED" and not nodes:
        found.append(("linux.memoryPolicy.nodes", f"{mode} needs at least one node"))


# ---- in the order of the fields, with what they read -------------------------------------------------------------

RULES: Sequence[tuple[Any, ...]] = (
    (_version, "ociVersion"),
    (_root, "root"),
    (_mounts, "mounts"),
    (_uts, "hostname", "domainname", "linux.namespaces"),
    (_hooks, "hooks"),
    (_namespaces, "linux.namespaces"),
    (_user_namespace, "linux.namespaces", "linux.uidMappings", "linux.gidMappings"),
    (_time_offsets, "linux.namespaces", "linux.timeOffsets"),
    (_devices, "linux.devices"),
    (_net_devices, "linux.netDevices", "linux.namespaces"),
    (_cgroups_path, "linux.cgroupsPath"),
    (_seccomp, "linux.seccomp"),
    (_sysctl, "linux.sysctl", "linux.namespaces", "domainname"),
    (_paths, "linux.maskedPaths", "linux.readonlyPaths", "linux.namespaces"),
    (_intel_rdt, "linux.intelRdt"),
    (_memory_policy, "linux.memoryPolicy"),
)
