"""Configs that nobody should write, for tests: from the schema, and from real ones with something changed.

`configs` is a strategy of hypothesis for values, `texts` one for the bytes of a config.json. `confine` makes any of them
safe to create on this machine: what it may touch lies in the test's own folder, cgroups and namespaces.
"""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path

from hypothesis import strategies as st

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "core"))

import documents  # noqa: E402

SCHEMAS = documents.load_schemas(TESTS.parent / "core/src/ocifw/schema")

UP = "../" * 30
PATHS = (
    "", "/", ".", "..", "/..", "//", "/./x//y/", "relative", f"{UP}victim", f"/{UP}victim/new", "/link", "/link/below",
    "/link-up", "/loop", "/loop/x", "/bin", "/bin/sh", "/bin/sh/x", "/etc/passwd", "/dev", "/dev/null", "/dev/fifo", "/dev/x/y",
    "/dev/shm", "/dev/pts/0", "/proc", "/proc/1", "/proc/self/ns/net", "/proc/self/fd/0", "/proc/self/exe", "/proc/sys",
    "/sys/fs/cgroup", "/nonexistent/x", "/tmp/" + "d/" * 100, "/tmp/" + "n" * 255, "/tmp/" + "n" * 256, "/" + "p" * 5000,
    "/tmp/a b", "/tmp/a\nb", "/tmp/\t", "/tmp/\x1b[31m", "/tmp/é", "/tmp/\u202e", "/tmp/\U0001f4a9", "/tmp/,:=\\",
)  # fmt: skip
WORDS = {
    "ociVersion": ("1.0.2", "1.2.0", "1.3.0", "2.0.0", "1", "1.0.2-dev", "99999999999999999999.0.0"),
    "hostname": ("box", "", "x" * 64, "x" * 65, "a\nb", "é"),
    "source": ("tmpfs", "proc", "none", "source", "source/file", "source/link", "source/none", "."),
    "type": (
        "bind", "tmpfs", "proc", "sysfs", "devpts", "mqueue", "cgroup", "cgroup2", "ramfs", "overlay", "nonexistentfs", "c",
        "b", "u", "p", "a", "pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time", "RLIMIT_NOFILE", "RLIMIT_CORE",
    ),
    "options": (
        "bind", "rbind", "ro", "rw", "rro", "nosuid", "noexec", "nodev", "shared", "rslave", "unbindable", "idmap", "ridmap",
        "tmpcopyup", "mode=1777", "mode=99999", "size=64k", "size=-1", "size=many", "size=" + "9" * 40, "uid=0", "gid=5", "a=b",
        "x" * 5000, "lowerdir=/", "remount", "newinstance", "nr_inodes=1", "context=x",
    ),
    "names": ("read", "write", "clone3", "nonexistent_call", "", "kill", "x32_read", "0"),
    "capabilities": ("CAP_KILL", "CAP_SYS_ADMIN", "CAP_NONE", "KILL", "cap_kill", ""),
    "env": ("A=b", "PATH=/bin", "PATH=", "A", "=b", "", "HOME=/", "A=" + "x" * 200_000, "A=\n", "LISTEN_FDS=3"),
    "args": ("/bin/true", "true", "", "/nonexistent", "bin", "x" * 200_000),
    "cpus": ("0", "0-1", "9999", "0-", "-1", "1-0", "", "a", "0,,1", "0\n", "0-99999999999999999999"),
    "access": ("r", "rwm", "rwx", "", "rrr"),
    "cgroupsPath": (
        "", "a", "a/b/c", "../../a", "..", "a/../../..", "./a", "a//b", "a\nb", "é", "n" * 255, "n" * 300, ":", "a:b:c",
    ),
    "limit": ("1 1", "max", "default 1", ""),
    "sysctl": (
        "net.ipv4.ip_forward", "net/ipv4/ip_forward", "kernel.shmmax", "kernel.msgmax", "fs.mqueue.msg_max", "kernel.hostname",
        "net/../vm/swappiness", "net.ipv4/../../vm/swappiness", "net..ipv4", "fs.mqueue/../../vm/swappiness", "vm.swappiness",
        "net.", ".", "", "/", "net.ipv4.conf.eth0/1.forwarding", "net.nonexistent", "kernel.sem\n", "kernel.domainname",
        "net/" + "x/" * 3000,
    ),
    "netDevices": ("nonexistent0", "", "x" * 15, "x" * 16, "a/b", "..", "a b"),
    "annotations": ("", "a", "org.systemd.property.X", "run.oci.x", "é", "x" * 5000),
    "unified": ("memory.high", "../x", "", "cgroup.procs", "memory.high/../../x", "n" * 300),
    "rdma": ("mlx5_0", "", "../x"),
}  # fmt: skip
for alias, name in {
    "domainname": "hostname", "mems": "cpus", "nodes": "cpus", "initial": "cpus", "final": "cpus",
    **dict.fromkeys(("bounding", "effective", "permitted", "inheritable", "ambient"), "capabilities"),
}.items():  # fmt: skip
    WORDS[alias] = WORDS[name]
TEXTS = (
    "", "x", "\n", "a" * 70_000, "é", "\u202e", "\x01\x1b[2J", "%s%n", "$(id)", "{0}", "-1", "0x10", "a: b", "null", "true",
)  # fmt: skip
WRONG = [*documents.VALUES, "\0", "a\0b", "\ud800", "\udcff", 10**400, -(10**30), 2**64 - 1, 0.1]
WRONG += [[[[[[]]]]], {"a": {"a": {"a": {"a": []}}}}, ["x"] * 1000, {str(n): n for n in range(200)}]

wrong_values = st.sampled_from(WRONG).map(copy.deepcopy)


def texts_for(name):
    """Strings for a property of this name: those that it may have, those that it must not, and any."""
    known = WORDS.get(name, ()) + (() if name in ("type", "options") else PATHS)
    return st.one_of(
        st.sampled_from(WORDS.get(name) or PATHS), st.sampled_from((*known, *TEXTS)), st.text(max_size=20)
    )  # fmt: skip


def integers_for(schema):
    low, high = schema["minimum"], schema["maximum"]
    edges = [
        n
        for n in (low, 0, 1, 2, 5, 100, 1000, 4096, 65536, 2**31, 2**32 - 1, high)
        if low <= n <= high
    ]
    return st.one_of(st.sampled_from(edges), st.integers(low, high))


@st.composite
def instances(draw, schema, home="config", name=""):
    """A value that a schema describes, now and then with something that it does not."""
    while "$ref" in schema:
        document, _, pointer = schema["$ref"].partition("#/$defs/")
        home = document.removeprefix("urn:ocifw:") or home
        schema = SCHEMAS[home]["$defs"][pointer]
    if draw(st.integers(0, 79)) == 79:
        return draw(wrong_values)
    if "enum" in schema:
        return draw(st.sampled_from(schema["enum"]))
    match schema["type"]:
        case "object" if "properties" in schema:
            required = schema.get("required", ())
            often = 9 if name == "" else 5
            return {
                key: draw(instances(value, home, key))
                for key, value in schema["properties"].items()
                if key in required or draw(st.integers(0, 9)) < often
            }
        case "object":
            keys = draw(st.lists(texts_for(name), max_size=3, unique=True))
            return {
                key: draw(instances(schema["additionalProperties"], home, name)) for key in keys
            }
        case "array":
            least = schema.get("minItems", 0)
            return [
                draw(instances(schema["items"], home, name))
                for _ in range(draw(st.integers(least, 3)))
            ]
        case "integer":
            return draw(integers_for(schema))
        case "boolean":
            return draw(st.booleans())
        case "string":
            return draw(texts_for(name))
    raise AssertionError(schema)


def places(value, name=""):
    """Every place below a value: what holds it, its key, and the property it belongs to."""
    if isinstance(value, (dict, list)):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            own = key if isinstance(value, dict) else name
            yield value, key, own
            yield from places(value[key], own)


@st.composite
def mutations(draw, sources):
    """One of the sources with one to six changes."""
    config = copy.deepcopy(draw(st.sampled_from(sources)))
    for _ in range(draw(st.integers(1, 6))):
        found = list(places(config))
        holder, key, name = found[draw(st.integers(0, len(found) - 1))]
        match draw(st.integers(0, 7)):
            case 0:
                holder[key] = draw(wrong_values)
            case 1:
                del holder[key]
            case 2 if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[key]))
            case 3:
                other, its_key, _ = found[draw(st.integers(0, len(found) - 1))]
                holder[key] = copy.deepcopy(other[its_key])
            case 4:
                above = draw(st.sampled_from(sorted(SCHEMAS["config"]["properties"])))
                config[above] = draw(
                    instances(SCHEMAS["config"]["properties"][above], "config", above)
                )
            case _:
                if isinstance(holder[key], str):
                    holder[key] = draw(texts_for(name))
                elif type(holder[key]) is int:
                    holder[key] = draw(st.sampled_from([n for n in WRONG if type(n) is int]))
                else:
                    holder[key] = draw(wrong_values)
        if not isinstance(config, dict) or not config:
            break
    return config


@st.composite
def generated(draw):
    """A config made from the schema, with a version and a root often enough."""
    config = draw(instances(SCHEMAS["config"]))
    if isinstance(config, dict) and draw(st.integers(0, 9)):
        config.update(ociVersion="1.2.0", root={"path": "rootfs"})
    return config


def configs(sources):
    """Values of a config.json: mutated sources, and what the schema describes."""
    return st.one_of(mutations(sources), generated())


@st.composite
def texts(draw, sources):
    """The bytes of a config.json: mostly what `configs` are written as, some broken as texts."""
    value = draw(configs(sources))
    text = json.dumps(value, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    match draw(st.integers(0, 15)):
        case 0:
            text = text[: draw(st.integers(0, len(text)))]
        case 1:
            place = draw(st.integers(0, len(text)))
            text = text[:place] + draw(st.binary(min_size=1, max_size=8)) + text[place:]
        case 2:
            depth = draw(st.sampled_from((60, 64, 65, 1000, 200_000)))
            text = b'{"x":' + b"[" * depth + b"]" * depth + b"," + text[1:]
        case 3:
            text = b'{"ociVersion":"1.0.0","ociVersion":null,' + text[1:]
    return text


paths = st.sampled_from(PATHS[1:])


def words(name):
    return st.sampled_from(WORDS[name])


ADDITIONS = {
    "mounts": st.fixed_dictionaries(
        {"destination": paths},
        optional={
            "type": st.sampled_from(("bind", "tmpfs", "proc", "sysfs", "devpts", "mqueue", "cgroup", "nonexistentfs")),
            "source": words("source"),
            "options": st.lists(words("options"), max_size=3),
        },
    ),
    "linux.devices": st.fixed_dictionaries(
        {"path": paths, "type": st.sampled_from("cbupx"), "major": st.integers(0, 600), "minor": st.integers(0, 2**20)},
        optional={"fileMode": st.integers(0, 0o7777), "uid": st.integers(0, 2**32 - 2)},
    ),
    "linux.maskedPaths": paths,
    "linux.readonlyPaths": paths,
    "linux.namespaces": st.fixed_dictionaries(
        {"type": st.sampled_from(("user", "time", "network", "pid"))}, optional={"path": paths}
    ),
    "linux.sysctl": words("sysctl"),
    "linux.resources.devices": st.fixed_dictionaries(
        {"allow": st.booleans(), "access": words("access")},
        optional={"type": st.sampled_from("abcx"), "major": st.integers(-2, 2**32), "minor": st.integers(-2, 2**32)},
    ),
    "linux.cgroupsPath": words("cgroupsPath"),
    "linux.resources.memory": st.dictionaries(
        st.sampled_from(("limit", "reservation", "swap", "kernel", "swappiness")),
        st.sampled_from((-2, -1, 0, 1, 4096, 2**40, 2**63 - 1)),
    ),
    "linux.resources.cpu": st.fixed_dictionaries(
        {},
        optional={
            "cpus": words("cpus"),
            "shares": st.sampled_from((0, 1, 2, 2**18, 2**64 - 1)),
            "quota": st.sampled_from((-1, 0, 1, 10**6, 2**63 - 1)),
        },
    ),
    "linux.resources.pids": st.fixed_dictionaries({"limit": st.sampled_from((-1, 0, 1, 2, 2**63 - 1))}),
    "process.cwd": paths,
    "process.args": words("args"),
    "process.env": words("env"),
    "process.rlimits": st.fixed_dictionaries(
        {"type": st.just("RLIMIT_NOFILE"), "soft": st.sampled_from((0, 3, 100)), "hard": st.sampled_from((0, 3, 100))}
    ),
    "process.scheduler": st.fixed_dictionaries(
        {"policy": st.sampled_from(("SCHED_OTHER", "SCHED_BATCH", "SCHED_IDLE", "SCHED_FIFO", "SCHED_DEADLINE"))},
        optional={
            "nice": st.integers(-21, 20),
            "priority": st.integers(0, 100),
            "runtime": st.sampled_from((0, 2**20, 2**64 - 1)),
        },
    ),
    "hostname": words("hostname"),
    "root.path": st.sampled_from(("source/file", "", "relative", "/nonexistent/x")),
    "hooks.createRuntime": st.fixed_dictionaries({"path": st.sampled_from(("/bin/true", "/bin/false", "/etc/passwd"))}),
    "hooks.createContainer": st.fixed_dictionaries({"path": st.sampled_from(("/bin/true", "/bin/false", "/etc/passwd"))}),
    "hooks.poststop": st.fixed_dictionaries({"path": st.sampled_from(("/bin/true", "/bin/false", "/nonexistent/hook"))}),
}  # fmt: skip
"""By place in a config: what is added to a list or map there, or put there."""
LISTS = (
    "mounts", "devices", "maskedPaths", "readonlyPaths", "namespaces", "env", "rlimits", "createRuntime", "createContainer",
    "poststop",
)  # fmt: skip


@st.composite
def near(draw, base):
    """A config that can be created, with one or two additions whose values look right, and lead elsewhere."""
    config = copy.deepcopy(base)
    for place in draw(st.lists(st.sampled_from(sorted(ADDITIONS)), min_size=1, max_size=2)):
        *above, last = place.split(".")
        holder = config
        for name in above:
            holder = holder.setdefault(name, {})
        value = draw(ADDITIONS[place])
        if last in LISTS:
            holder[last] = [*holder.get(last, ()), value]
        elif last == "sysctl":
            holder[last] = {**holder.get(last, {}), value: "61"}
        else:
            holder[last] = [value] if last == "args" else value
    return json.dumps(config, ensure_ascii=draw(st.booleans())).encode()


# ---- what may be created on this machine ---------------------------------------------------------------------------


KERNEL_SOURCES = ("tmpfs", "proc", "sysfs", "devpts", "mqueue", "cgroup", "none", "shm")
HOOKS = (
    "/bin/true",
    "/bin/false",
    "/nonexistent/hook",
    "relative",
    "/dev/null",
    "/etc/passwd",
    "/",
)


def confine(config, cgroup):
    """Change a config so that creating it can harm nothing but what is the test's own, if the runtime does what it says.

    A config may well ask to bind the host's root or to move its network device; that is the engine's choice, not an attack.
    cgroup: parent of the cgroups. Whatever has the wrong type, or no sense, stays as it is.
    """
    if not isinstance(config, dict):
        return config
    config = copy.deepcopy(config)
    for mount in _objects(config.get("mounts")):
        source = mount.get("source")
        if (
            isinstance(source, str)
            and source not in KERNEL_SOURCES
            and not source.startswith("source")
        ):
            mount["source"] = "source"
        if mount.get("type") not in (
            None,
            "bind",
            "none",
            "tmpfs",
            "proc",
            "sysfs",
            "devpts",
            "mqueue",
            "cgroup",
            "nonexistentfs",
        ):
            mount["type"] = "tmpfs"
        if isinstance(mount.get("options"), list):
            mount["options"] = [
                o for o in mount["options"] if not (isinstance(o, str) and "dir=" in o)
            ]
    root = config.get("root")
    if isinstance(root, dict) and isinstance(root.get("path"), str):
        path = root["path"]
        root["path"] = (
            path if path in ("", "source/file", "/nonexistent/x", "relative") else "rootfs"
        )
    if isinstance(config.get("hooks"), dict):
        for hooks in config["hooks"].values():
            for number, hook in enumerate(_objects(hooks)):
                if hook.get("path") not in HOOKS:
                    hook["path"] = HOOKS[number % len(HOOKS)]
                if isinstance(hook.get("timeout"), int) and hook["timeout"] > 5:
                    hook["timeout"] = 5
    linux = config.get("linux")
    if not isinstance(linux, dict):
        return config
    path = linux.get("cgroupsPath")
    if path is None or isinstance(path, str):
        # `..` leads out of the parent, and must not lead further.
        inside = (path or "").replace("..", "a/..")
        linux["cgroupsPath"] = f"{cgroup}/{inside.strip('/')}/box"
    for space in _objects(linux.get("namespaces")):
        if isinstance(space.get("path"), str) and not space["path"].startswith(
            ("/nonexistent", "relative", "/etc", "/bin")
        ):
            space["path"] = "/proc/self/ns/net"
    if isinstance(linux.get("netDevices"), dict):
        linux["netDevices"] = {f"none-{n}"[:15]: v for n, v in linux["netDevices"].items()}
    if isinstance(linux.get("sysctl"), dict):
        linux["sysctl"] = {n: "61" if isinstance(v, str) else v for n, v in linux["sysctl"].items()}
    seccomp = linux.get("seccomp")
    if isinstance(seccomp, dict) and isinstance(seccomp.get("listenerPath"), str):
        seccomp["listenerPath"] = "/nonexistent/listener"
    return config


def _objects(value):
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
