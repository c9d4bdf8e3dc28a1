"""Profiles: which count, in which order they lie over config.json, whom they trust, and that every mistake is named."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ocifw import boot, profile, profile_compile, profile_files
from ocifw.commands.plan import as_document
from ocifw.context import Globals, Host, Request
from ocifw.effective import note_update
from ocifw.errors import ConfigError, OcifwError, PlanError
from ocifw.layers import MISSING
from ocifw.plan import make_plan
from ocifw.plugins import Implementation, Plugin, PluginSet, Terms
from ocifw.profile import Origin, Roots

ENGINES = Path(__file__).parent / "engines"
CONFIG = {
    "ociVersion": "1.3.0",
    "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["sh"], "env": ["A=1"]},
    "root": {"path": "rootfs"},
    "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
    "linux": {
        "namespaces": [{"type": "pid"}, {"type": "uts"}, {"type": "network"}, {"type": "mount"}],
        "maskedPaths": ["/proc/kcore"],
        "resources": {"pids": {"limit": 1000}},
    },
}
REQUEST = Request("create", "c", "/bundle", "/bundle/rootfs", "/run/ocifw/c")
FILES = {
    "/sys/fs/cgroup/cgroup.controllers": b"",
    "/sys/kernel/security/lsm": b"capability,apparmor\n",
}


class Settings:
    """A plugin with settings, as a module."""

    @staticmethod
    def ocifw_settings_schema():
        return {
            "type": "object",
            "additionalProperties": False,
            "required": ["level"],
            "properties": {"level": {"type": "integer"}, "log": {"type": "boolean"}},
        }


class Layers:
    """A plugin with layers of its own."""

    @staticmethod
    def ocifw_layers(config):
        yield {"process": {"env": ["A=0", "PLUGIN=yes"]}, "hostname": "plugin"}


def plugin(name, owns=()):
    return Plugin(name, name, f"ocifw-{name}", "1", owns, False, __file__, 0, 0)


ACTIVE = PluginSet(
    [plugin("tuned"), plugin("cgroups", ("linux.resources",)), plugin("plain")],
    {
        "ocifw_settings_schema": (Implementation("tuned", "ocifw_settings_schema", (), False),),
        "ocifw_prepare": (Implementation("cgroups", "ocifw_prepare", ("settings",), False),),
    },
    frozenset(),
    modules={"tuned": Settings},
)


class Machine:
    """Folders of profiles in a place of their own."""

    def __init__(self, folder):
        self.folder = folder
        self.roots = Roots(
            distribution=(f"{folder}/distribution",),
            administrator=(f"{folder}/administrator",),
            user=(f"{folder}/user",),
            settings=f"{folder}/config.yaml",
            owners=(0, os.geteuid()),
            cached=False,
        )
        for name in ("distribution", "administrator", "user", "bundle"):
            (folder / name).mkdir(mode=0o755)

    def write(self, name, text, mode=0o644):
        """A file, with its folders; names without a folder are the administrator's profiles."""
        path = self.folder / (
            name if "/" in name or name == "config.yaml" else f"administrator/{name}.yaml"
        )
        path.parent.mkdir(mode=0o755, exist_ok=True, parents=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def __call__(
        self, *names, config=CONFIG, sets=(), active=ACTIVE, request=REQUEST, bundle="", **globals_
    ):
        """What comes out for these profiles."""
        request = request.changed(bundle=bundle or str(self.folder / "bundle"))
        host = Host(FILES, euid=0)
        options = Globals("/run/ocifw", profiles=names, sets=sets, **globals_)
        return profile.effective(options, config, request, host, active, self.roots)

    def wrong(self, *names, **options):
        """The error of these profiles, without the folder's own path."""
        with pytest.raises(OcifwError) as caught:
            self(*names, **options)
        return str(caught.value).replace(f"{self.folder}/", "")


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


# ---- layers ------------------------------------------------------------------------------------------------------


def test_nothing_is_chosen(machine):
    """Without a profile there is nothing to lay over config.json."""
    assert machine() is None


def test_a_profile_lies_over_config_json(machine):
    """Its values replace and merge; config.json as it was given is not changed; each value has its origin."""
    path = machine.write(
        "site", "config:\n  hostname: box\n  linux:\n    maskedPaths+: [/proc/keys]\n"
    )
    before = copy.deepcopy(CONFIG)
    made = machine("site")
    assert before == CONFIG
    assert made.config["hostname"] == "box"
    assert made.config["linux"]["maskedPaths"] == ["/proc/kcore", "/proc/keys"]
    assert made.origins["hostname"] == Origin("site", str(path), 2, 3)
    assert made.origins["linux.maskedPaths[1]"] == Origin("site", str(path), 4, 20)
    assert made.origins["linux.maskedPaths[0]"].layer == "config.json"
    assert [change.path for change in made.changes] == ["hostname", "linux.maskedPaths"]


def test_order(machine):
    """What is extended comes first, drop-ins after, several profiles in order, --set last; each file counts once."""
    machine.write("base", "config: {hostname: base, domainname: base}\n")
    machine.write("one", "extends: [base]\nconfig: {hostname: one}\n")
    machine.write("two", "extends: base\nconfig: {process: {cwd: /two}}\n")
    machine.write("administrator/one.d/20.yaml", "config: {domainname: twenty}\n")
    machine.write("administrator/one.d/10.yaml", "config: {domainname: ten}\n")
    made = machine("one", "two", sets=("process.cwd=/set",))
    assert [name for name, _ in made.layers] == [
        "config.json",
        "base",
        "one",
        "one",
        "one",
        "two",
        "--set",
    ]
    assert made.config["hostname"] == "one" and made.config["domainname"] == "twenty"
    assert made.config["process"]["cwd"] == "/set"
    assert [(c.old, c.new) for c in made.history("domainname")] == [
        (MISSING, "base"), ("base", "ten"), ("ten", "twenty")
    ]  # fmt: skip
    assert str(made.origins["process.cwd"]) == "--set process.cwd=/set"


def test_search_path(machine):
    """The administrator's profile counts before the distribution's of the same name, the user's before both."""
    for folder in ("distribution", "administrator", "user"):
        machine.write(f"{folder}/same.yaml", f"config: {{hostname: {folder}}}\n")
        assert machine("same").config["hostname"] == folder
    found = profile_files.available(machine.roots)
    assert [(one.name, one.trust, one.hidden) for one in found] == [
        ("same", "user", False), ("same", "administrator", True), ("same", "distribution", True)
    ]  # fmt: skip


def test_extends_by_path(machine):
    """A path is relative to the file that names it."""
    machine.write("other/base.yaml", "config: {hostname: base}\n")
    machine.write("site", "extends: ../other/base.yaml\n")
    assert machine("site").config["hostname"] == "base"


def test_plugin_layers_lie_below_config_json(machine):
    """A plugin's values count where config.json says nothing, and keep their origin."""
    active = PluginSet(
        [plugin("tuned")],
        {"ocifw_layers": (Implementation("tuned", "ocifw_layers", ("config",), False),)},
        frozenset(),
        modules={"tuned": Layers},
    )
    made = machine(active=active)
    assert made.config["process"]["env"] == ["A=1", "PLUGIN=yes"]
    assert made.config["hostname"] == "plugin"
    assert made.origins["hostname"].layer == made.origins["process.env[1]"].layer == "plugin tuned"
    assert (
        made.origins["process.env[0]"].layer == made.origins["process.cwd"].layer == "config.json"
    )


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("{rootless: false}", True),
        ("{rootless: true}", False),
        ("{cgroup: 2}", True),
        ("{cgroup: 1}", False),
        ("{kernel: '>= 3.0'}", True),
        ("{kernel: ['>= 3.0', '< 3.1']}", False),
        ("{kernel: '99.1'}", False),
        (f"{{architecture: [{os.uname().machine}, other]}}", True),
        ("{architecture: other}", False),
        ("{lsm: apparmor}", True),
        ("{lsm: [apparmor, selinux]}", False),
        ("{annotations: {a.b: 'x*'}}", True),
        ("{annotations: {a.b: [y, z]}}", False),
        ("{annotations: {c: '*'}}", False),
        ("{}", True),
    ],
)
def test_conditions(machine, condition, holds):
    """`when` decides about a whole profile or a part of its config; what `requires` does not find is an error."""
    config = {**CONFIG, "annotations": {"a.b": "xyz"}}
    machine.write("whole", f"when: {condition}\nconfig: {{hostname: box}}\n")
    machine.write("part", f"config: [{{when: {condition}, config: {{hostname: box}}}}]\n")
    machine.write("needs", f"requires: {condition}\nconfig: {{hostname: box}}\n")
    for name in ("whole", "part"):
        assert ("hostname" in machine(name, config=config).config) == holds
    if holds:
        assert machine("needs", config=config).config["hostname"] == "box"
    else:
        assert "administrator/needs.yaml:1:1: requires: profile needs requires " in machine.wrong(
            "needs", config=config
        )


def test_plugins(machine):
    """false switches a plugin off, and then its fields have no owner; a mapping gives it settings, which merge."""
    path = machine.write("off", "plugins:\n  cgroups: false\n  tuned: {level: 1, log: true}\n")
    machine.write("more", "plugins: {tuned: {level: 2}}\n")
    made = machine("off", "more")
    assert made.settings == {"tuned": {"level": 2, "log": True}}
    assert made.disabled == {"cgroups": f"{path}:2:3"}
    limited = ACTIVE.limited(made.settings, made.disabled)
    with pytest.raises(PlanError) as caught:
        limited.asked(["linux.resources"])
    assert str(caught.value) == (
        f"linux.resources: no active plugin handles it: plugin cgroups is switched off by {path}:2:3"
    )
    machine.write("on", "extends: off\nplugins: {cgroups: true}\n")
    assert machine("on").disabled == {}


def test_variables(machine):
    """The caller's ids can be written as variables."""
    machine.write("ids", "config: {process: {user: {uid: '${euid}', gid: '${egid}'}}}\n")
    assert machine("ids").config["process"]["user"] == {"uid": os.geteuid(), "gid": os.getegid()}


def test_compat(machine):
    """The last profile that says something decides; without one it is runc."""
    machine.write("spec", "compat: spec\n")
    machine.write("other", "{}")
    assert machine("spec", "other").compat == "spec"
    assert machine("other").compat == "runc"


def test_rules_are_removed_by_name_only(machine):
    """A later profile can take a rule away only by naming it."""
    machine.write("strict", "policy:\n  - {name: a, deny: root exists, reason: r}\n"
                            "  - {deny: mounts exists, reason: r}\n")  # fmt: skip
    machine.write("looser", "policy-: [a]\n")
    machine.write("other", "policy: []\n")
    assert [rule.name for rule in machine("strict", "looser", "other").policy] == [
        "deny mounts exists"
    ]
    assert len(machine("strict", "other").policy) == 2
    assert "policy-[0]: 'b' is no rule of an earlier layer" in machine.wrong(
        "strict", str(machine.write("bad", "policy-: [b]\n"))
    )


def test_rules_of_a_plugin_set_stay(machine):
    """The profiles that a plugin set names as its policy come last, even when they came before: nothing removes their rules."""
    machine.write("acme", "policy: [{name: a, deny: root exists, reason: r}]\n")
    machine.write("looser", "policy-: [a]\nconfig: {hostname: x}\n")
    terms = Terms("acme", "acme", ("acme",))
    active = PluginSet(ACTIVE.plugins, ACTIVE.hooks, frozenset(), terms=terms)
    assert [rule.name for rule in machine(active=active).policy] == ["a"]
    made = machine("acme", "looser", active=active)
    assert [rule.name for rule in made.policy] == ["a"] and made.config["hostname"] == "x"
    assert machine("acme", "looser").policy == ()


# ---- --set -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("hostname=box", ("hostname",), "box"),
        ("hostname=a=b", ("hostname",), "a=b"),
        ("process.noNewPrivileges=true", ("process", "noNewPrivileges"), True),
        ("linux.resources.pids.limit=7", ("linux", "resources", "pids", "limit"), 7),
        ("linux.maskedPaths+=/x", ("linux", "maskedPaths"), ["/proc/kcore", "/x"]),
        ('linux.maskedPaths+=["/x","/y"]', ("linux", "maskedPaths"), ["/proc/kcore", "/x", "/y"]),
        ("linux.maskedPaths-=/proc/kcore", ("linux", "maskedPaths"), []),
        ("linux.maskedPaths=[]", ("linux", "maskedPaths"), []),
        ("process.env[A]=2", ("process", "env"), ["A=2"]),
        ("process.env[B]=x y", ("process", "env"), ["A=1", "B=x y"]),
        ("process.env[A]=null", ("process", "env"), []),
        ("linux.namespaces[pid].path=/p", ("linux", "namespaces", 0), {"type": "pid", "path": "/p"}),
        ("linux.namespaces[ipc]=null", ("linux", "namespaces"), CONFIG["linux"]["namespaces"]),
        ("linux.namespaces[pid]=null", ("linux", "namespaces"), CONFIG["linux"]["namespaces"][1:]),
        ('linux.namespaces[user]={"path":"/u"}', ("linux", "namespaces", 4), {"type": "user", "path": "/u"}),
        ("annotations[a.b/c]=d", ("annotations",), {"a.b/c": "d"}),
        ("linux.sysctl[net.ipv4.ip_forward]=\"1\"", ("linux", "sysctl"), {"net.ipv4.ip_forward": "1"}),
    ],
)  # fmt: skip
def test_set(machine, text, path, value):
    """PATH=VALUE, where the value is JSON or a text, and a key in brackets names a member."""
    found = machine(sets=(text,)).config
    for part in path:
        found = found[part]
    assert found == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hostname", "--set hostname: expected PATH=VALUE"),
        ("=x", "--set =x: expected PATH=VALUE"),
        ("a..b=1", "a..b is not a path"),
        ("hostname.=1", "hostname. is not a path"),
        ("linux.namespaces[pid=1", "expected PATH=VALUE"),
        ("linux.namespaces[]=1", "expected a key in brackets"),
        ("linux.namespaces[pid]=1", "linux.namespaces[pid] is an object"),
        ("linux.maskedPaths[x]=1", "members of linux.maskedPaths have no key"),
        ("linux.namespaces=[{type: pid}]", "--set linux.namespaces=[{type: pid}]: linux.namespaces: must be an array"),
        ("hostnme=x", "--set hostnme=x: hostnme: is not known: did you mean hostname?"),
        ("linux.resources.pids.limit=many", "--set linux.resources.pids.limit=many: linux.resources.pids.limit: must be"),
        ("process.cwd=null", "process.cwd: is required"),
    ],
)  # fmt: skip
def test_wrong_sets(machine, text, message):
    """What --set cannot mean is an error that repeats it."""
    assert message in machine.wrong(sets=(text,))


# ---- choosing ----------------------------------------------------------------------------------------------------


def chosen(annotations=None, settings=None, **globals_):
    options = Globals("/run/ocifw", **globals_)
    return profile.choose(options, annotations or {}, {"file": "config.yaml", **(settings or {})})


def test_choosing():
    """--profile, the program's name, OCIFW_PROFILE, an allowed annotation, the default: the first that says something."""
    settings = {"profile": ("d",), "annotation": {"key": "k", "values": ["a*"]}}
    everything = {"profiles": ("p", "q"), "program": "n", "own_profile": "o,m"}
    annotations = {"k": "abc"}
    assert chosen(annotations, settings, **everything) == (("p", "q"), "--profile")
    del everything["profiles"]
    assert chosen(annotations, settings, **everything) == (("n",), "the program's name, ocifw-n")
    del everything["program"]
    assert chosen(annotations, settings, **everything) == (("o", "m"), "OCIFW_PROFILE")
    assert chosen(annotations, settings) == (("abc",), "annotation k")
    assert chosen({}, settings) == (("d",), "config.yaml")
    assert chosen(annotations) == ((), "config.yaml")


@pytest.mark.parametrize("value", ["b", "a/../b", "", "/abc"])
def test_annotations_must_be_allowed(value):
    """A value that the administrator's patterns do not allow is an error, not another profile."""
    settings = {"profile": ("d",), "annotation": {"key": "k", "values": ["a*"]}}
    with pytest.raises(OcifwError) as caught:
        chosen({"k": value}, settings)
    assert str(caught.value) == f"annotation k: profile {value!r} is not allowed by config.yaml"


def test_settings_file(machine):
    """/etc/ocifw/config.yaml names the default, the annotation, and whether bundles may have profiles of their own."""
    machine.write("strict", "config: {hostname: strict}\n")
    machine.write(
        "config.yaml", "profile: strict\nannotation: {key: k, values: [strict]}\nbundle: true\n"
    )
    made = machine()
    assert made.config["hostname"] == "strict" and made.how == str(machine.folder / "config.yaml")
    machine.write("bundle/ocifw.yaml", "config: {linux: {maskedPaths+: [/x]}}\n")
    assert machine().config["linux"]["maskedPaths"] == ["/proc/kcore", "/x"]
    machine.write("config.yaml", "profile: strict\n")
    assert machine().config["linux"]["maskedPaths"] == ["/proc/kcore"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("profil: x", "config.yaml:1:1: profil: is not known: did you mean profile?"),
        ("profile: 1", "config.yaml:1:1: profile: must be a text or a list, not 1"),
        ("profile: a/b", "config.yaml:1:1: profile: 'a/b': expected the name of a profile"),
        ("annotation: {key: a}", "config.yaml:1:1: annotation: lacks values"),
        ("[", "config.yaml:1:2: not YAML"),
    ],
)
def test_wrong_settings(machine, text, message):
    """A mistake in /etc/ocifw/config.yaml stops everything: what it would choose is not known."""
    machine.write("config.yaml", text)
    assert message in machine.wrong()


# ---- bad profiles ------------------------------------------------------------------------------------------------

BOMB = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{new}: &{new} [*{old},*{old},*{old},*{old},*{old},*{old},*{old},*{old},*{old}]\n"
    for old, new in zip("abcdefgh", "bcdefghi")
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # syntax
        ("config: [", "bad.yaml:1:10: not YAML: "),
        ("a: b: c", "bad.yaml:1:5: not YAML: mapping values are not allowed"),
        ("config:\n\thostname: x", "bad.yaml:2:1: not YAML: "),
        ("config: {hostname: a, hostname: b}", "1:23: config.hostname: 'hostname' is given twice, first in line 1"),
        ("description: a\ndescription: b", "bad.yaml:2:1: description: 'description' is given twice"),
        ("config: !!python/object:os.system x", "profiles have no tags"),
        ("config: {<<: {a: 1}}", "merge keys are not supported"),
        ("---\na: 1\n---\nb: 2", "has a second document"),
        ("config: {process: {user: {umask: 0022}}}", "1:34: config.process.user.umask: 0022 could be octal or decimal:"
         " write 0o22 for an octal number, or 22 for a decimal one"),
        ("1: 2", "a key must be a string"),
        ("- a", "bad.yaml:1:1: must be a mapping, not a list"),
        ("x", "bad.yaml:1:1: must be a mapping, not \"x\""),
        # keys
        ("extend: default", "bad.yaml:1:1: extend: is not known: did you mean extends?"),
        ("config: {proces: {cwd: /}}", "bad.yaml:1:10: config.proces: is not known: did you mean process?"),
        ("config: {linux: {maskedpaths+: [/x]}}", "maskedpaths: is not known: did you mean maskedPaths?"),
        ("when: {kernl: '5.0'}", "when.kernl: is not known: did you mean kernel?"),
        ("policy: [{deny: root exists, reason: r, nam: x}]", "policy[0].nam: is not known: did you mean name?"),
        # types
        ("description: 1", "description: must be a text, not 1"),
        ("extends: {a: b}", "extends: must be a text or a list, not a mapping"),
        ("config: {process: {noNewPrivileges: yes}}", "1:20: config.process.noNewPrivileges: must be true or false, not"),
        ("config: {linux: {maskedPaths: /x}}", "config.linux.maskedPaths: must be an array, not \"/x\""),
        ("config: {linux: {maskedPaths+: /x}}", "1:18: config.linux.maskedPaths+: appends members, and must be a list"),
        ("config: {linux: {resources: {pids: {limit<: many}}}}", "is a limit and must be an integer, not 'many'"),
        ("config: {mounts: [{type: tmpfs}]}", "1:19: config.mounts[0]: must be a mapping with destination"),
        ("config: {linux: {namespaces: [{type: usr}]}}", "1:32: config.linux.namespaces[0].type: namespace \"usr\" does not"),
        ("config: [{confg: {}}]", "config[0].confg: is not known: did you mean config?"),
        ("plugins: {cgroups: 1}", "plugins.cgroups: must be true or false or a mapping, not 1"),
        ("plugins: {tuned: {level: high}}", "1:19: plugins.tuned.level: must be an integer, not \"high\""),
        ("plugins: {tuned: {levl: 1}}", "plugins.tuned.levl: is not known: did you mean level?"),
        ("plugins: {plain: {a: 1}}", "plugins.plain: plugin plain has no settings"),
        ("compat: crun", "compat: \"crun\" is not one of runc, spec"),
        ("when: {cgroup: 3}", "when.cgroup: 3 is greater than the maximum of 2"),
        ("when: {kernel: new}", "when.kernel: 'new' is not a version, as '>= 5.10'"),
        ("policy: [{deny: root exists}]", "policy[0]: lacks reason"),
        ("policy: [{deny: root exist, reason: r}]", "policy[0].deny: 'exist' is not an operator"),
        ("policy: [{deny: rot exists, reason: r}]", "'rot' is not a property of config.json: did you mean root?"),
        ("config: {linux: {seccomp: {base: docker-defalt}}}", "did you mean docker-default?"),
        ("config: {linux: {seccomp: {base: ./none.json}}}", "administrator/none.json: no such file or directory"),
        # plugins
        ("plugins: {cgrups: false}", "1:11: plugins.cgrups: 'cgrups' is not a plugin: did you mean cgroups?"),
        ("plugins: {seccomp: {}}", "plugins.seccomp: plugin seccomp is not installed: install ocifw-seccomp"),
        ("requires: {plugins: [sekcomp]}", "'sekcomp' is not a plugin: did you mean seccomp?"),
        # files
        ("extends: nothing", "bad.yaml:1:1: extends: there is no profile 'nothing' in "),
        ("extends: [godo]", "bad.yaml:1:11: extends: there is no profile 'godo' in user, administrator,"),
        ("extends: ./nothing.yaml", "administrator/nothing.yaml: no such file or directory"),
        ("extends: ../../x", "bad.yaml:1:1: extends: /"),
        ("extends: .hidden", "'.hidden' is not the name of a profile"),
        ("extends: bad", "bad.yaml:1:1: extends: is a cycle: bad extends bad"),
        ("extends: other", "other.yaml:1:1: extends: is a cycle: bad extends other extends bad"),
        # bombs
        (BOMB, "values, aliases resolved"),
        ("a: " + "[" * 40, "nested deeper than 32 levels"),
        ("a: &a [1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1 if i else ''}]\n" for i in range(40)), "nested deeper than 32"),
        ("#" * (256 << 10) + "\n", "larger than 262144 bytes"),
        ("description: \"\\ud800\"", "1:14: description: has half of a surrogate pair"),
        ("description: \"\\0\"", "1:14: description: has a NUL character"),
    ],
)  # fmt: skip
def test_bad_profiles(machine, text, message):
    """Every mistake is named with its file, line, column and key, and with what may have been meant."""
    machine.write("bad", text)
    machine.write("other", "extends: bad")
    machine.write("good", "{}")
    found = machine.wrong("bad")
    assert message in found
    assert "administrator/" in found


def test_all_mistakes_at_once(machine):
    """A file is not mended one error at a time."""
    machine.write(
        "bad", "config: {hostnam: x}\nplugins: {x: false}\npolicy: [{deny: y exists, reason: r}]\n"
    )
    with pytest.raises(ConfigError) as caught:
        machine("bad")
    assert [p.path for p in caught.value.problems] == [
        "config.hostnam",
        "plugins.x",
        "policy[0].deny",
    ]


def test_mistakes_that_only_the_result_has(machine):
    """What a profile makes invalid together with config.json is told with the profile's place."""
    machine.write(
        "bad",
        "config:\n  process:\n    cwd: null\n  linux:\n    namespaces-: [mount]\n    maskedPaths: [x]\n",
    )
    found = machine.wrong("bad")
    assert "process.cwd: is required" in found


# ---- trust -------------------------------------------------------------------------------------------------------


def test_files_that_others_may_write_to(machine):
    """A profile that others may write to, or below a folder that they may write to, is refused."""
    path = machine.write("open", "{}", mode=0o666)
    assert machine.wrong("open") == (
        "administrator/open.yaml: is not trusted: administrator/open.yaml is writable by others (mode 0666)"
    )
    path.chmod(0o644)
    machine("open")
    path.parent.chmod(0o777)
    assert "administrator is writable by others (mode 0777)" in machine.wrong("open")
    path.parent.chmod(0o755)
    machine.write("administrator/open.d/x.yaml", "{}", mode=0o666)
    assert "open.d/x.yaml: is not trusted" in machine.wrong("open")


def test_sticky_folders(machine):
    """Above a file's own folder a sticky one, as /tmp, is fine: others cannot rename what is ours in it."""
    (machine.folder / "sticky").mkdir()
    path = machine.write("sticky/inner/site.yaml", "{}")
    (machine.folder / "sticky").chmod(0o1777)
    assert machine(str(path)).names == (str(path),)
    (machine.folder / "sticky").chmod(0o777)
    assert "sticky is writable by others" in machine.wrong(str(path))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give files away")
def test_files_of_others(machine):
    """A profile that belongs to another user is refused, and so is a link through that user's folder."""
    path = machine.write("theirs", "{}")
    os.chown(path, 1234, 1234)
    roots = machine.roots
    machine.roots = roots.changed(owners=(0,))
    assert machine.wrong("theirs") == (
        "administrator/theirs.yaml: is not trusted: administrator/theirs.yaml belongs to user 1234:"
        " it must belong to root"
    )
    machine.write("good", "{}")
    outside = machine.folder / "outside"
    outside.mkdir()
    (outside / "way").symlink_to(machine.folder / "administrator")
    os.chown(outside, 1234, 1234)
    assert "outside belongs to user 1234" in machine.wrong(f"{outside}/way/good.yaml")
    (machine.folder / "link.yaml").symlink_to("administrator/good.yaml")
    assert machine(f"{machine.folder}/link.yaml") is not None
    (machine.folder / "link2.yaml").symlink_to("outside/way/good.yaml")
    assert "outside belongs to user 1234" in machine.wrong(f"{machine.folder}/link2.yaml")


def test_no_regular_files(machine):
    """A FIFO, a folder and a loop of links are errors, and nobody waits for them."""
    os.mkfifo(machine.folder / "administrator/pipe.yaml")
    (machine.folder / "administrator/folder.yaml").mkdir()
    (machine.folder / "administrator/loop.yaml").symlink_to("loop.yaml")
    assert "pipe.yaml: is not a regular file" in machine.wrong("pipe")
    assert "folder.yaml: is not a regular file" in machine.wrong("folder")
    assert "too many symbolic links" in machine.wrong(f"{machine.folder}/administrator/loop.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "config: {linux: {maskedPaths+: [/x], readonlyPaths+: [/y]}}",
        "config: {process: {noNewPrivileges: true, capabilities: {keep: [CAP_KILL], drop: [CAP_KILL]}}}",
        "config: {root: {readonly: true}}",
        "config: {linux: {seccomp: {deny: [mount]}}}",
        "config: {linux: {seccomp: {base: keep, deny: [mount]}}}",
        "config: {linux: {resources: {pids: {limit<: 5}, memory: {limit<: 1000000, swap<: 1000000}, cpu: {quota<: 1000}}}}",
        "config: {process: {rlimits: [{type: RLIMIT_NOFILE, soft<: 5, hard<: 5}]}}",
        "policy: [{deny: hooks exists, reason: r}]\ndescription: d\nwhen: {cgroup: 2}\nrequires: {cgroup: 2}",
        "config: [{when: {cgroup: 2}, config: {linux: {maskedPaths+: [/x]}}}]",
    ],
)  # fmt: skip
def test_a_bundle_may_tighten(machine, text):
    """What only takes away is allowed to a profile that came with the bundle."""
    path = machine.write("bundle/ocifw.yaml", text, mode=0o666)
    assert machine(str(path)) is not None


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("extends: default", "extends"),
        ("plugins: {cgroups: false}", "plugins"),
        ("compat: spec", "compat"),
        ("policy-: []", "policy-"),
        ("config: {hostname: x}", "config.hostname"),
        ("config: {linux: {maskedPaths: []}}", "config.linux.maskedPaths"),
        ("config: {linux: {maskedPaths-: [/x]}}", "config.linux.maskedPaths-"),
        ("config: {linux: {maskedPaths: null}}", "config.linux.maskedPaths"),
        ("config: {linux: null}", "config.linux"),
        ("config: {linux: {namespaces-: [pid]}}", "config.linux.namespaces-"),
        ("config: {linux: {resources: {pids: {limit: 5}}}}", "config.linux.resources.pids.limit"),
        ("config: {linux: {resources: {pids: {limit?: 5}}}}", "config.linux.resources.pids.limit?"),
        ("config: {linux: {resources: {devices+: [{allow: true}]}}}", "config.linux.resources.devices+"),
        ("config: {linux: {resources: {cpu: {shares<: 5}}}}", "config.linux.resources.cpu.shares<"),
        ("config: {process: {noNewPrivileges: false}}", "config.process.noNewPrivileges"),
        ("config: {process: {noNewPrivileges?: true}}", "config.process.noNewPrivileges?"),
        ("config: {process: {capabilities: {add: [CAP_KILL]}}}", "config.process.capabilities.add"),
        ("config: {process: {capabilities: {bounding: []}}}", "config.process.capabilities.bounding"),
        ("config: {process: {capabilities: null}}", "config.process.capabilities"),
        ("config: {process: {capabilities-: []}}", "config.process.capabilities-"),
        ("config: {process: {oomScoreAdj<: 5}}", "config.process.oomScoreAdj<"),
        ("config: {process: {rlimits: [{type: RLIMIT_CORE, soft: 5, hard<: 5}]}}", "config.process.rlimits[0].soft"),
        ("config: {process: {rlimits+: []}}", "config.process.rlimits+"),
        ("config: {process: {env: [LD_PRELOAD=/x]}}", "config.process.env"),
        ("config: {root: {readonly: false}}", "config.root.readonly"),
        ("config: {root: {path: /}}", "config.root.path"),
        ("config: {linux: {seccomp: {base: docker-default}}}", "config.linux.seccomp.base"),
        ("config: {linux: {seccomp: {base: [keep]}}}", "config.linux.seccomp.base"),
        ("config: {linux: {seccomp: {allow: [mount]}}}", "config.linux.seccomp.allow"),
        ("config: {linux: {seccomp: {defaultAction: SCMP_ACT_ALLOW}}}", "config.linux.seccomp.defaultAction"),
        ("config: {linux: {seccomp: null}}", "config.linux.seccomp"),
        ("config: {hooks: {prestart: [{path: /x}]}}", "config.hooks"),
        ("config: {mounts: [{destination: /x, type: bind, source: /}]}", "config.mounts"),
    ],
)  # fmt: skip
def test_a_bundle_may_not_loosen(machine, text, key):
    """Everything that is not known to tighten is an error that names the key."""
    path = machine.write("bundle/sub/p.yaml", text)
    found = machine.wrong(str(path))
    assert f": {key}: is not allowed in a profile of the bundle, which is untrusted" in found


def test_a_link_into_the_bundle_is_the_bundle(machine):
    """What counts is where a file is, not how it was named."""
    path = machine.write("bundle/p.yaml", "config: {hostname: x}\n")
    (machine.folder / "administrator/trick.yaml").symlink_to(path)
    assert "untrusted and may only tighten" in machine.wrong("trick")


# ---- the compiled form -------------------------------------------------------------------------------------------


@pytest.fixture
def cached(machine, monkeypatch):
    """A machine with a cache of its own, and a count of compilations."""
    folder = machine.folder / "cache"
    monkeypatch.setattr(boot, "cache_folder", lambda: str(folder))
    machine.roots = machine.roots.changed(cached=True)
    compile_profiles, machine.compiled = profile_compile.compile_profiles, 0

    def counted(*arguments):
        machine.compiled += 1
        return compile_profiles(*arguments)

    monkeypatch.setattr(profile_compile, "compile_profiles", counted)
    return machine


def test_compiled_once(cached):
    """The second time, the compiled form is loaded, and gives the same."""
    cached.write("site", "config: {hostname: box}\npolicy: [{deny: hooks exists, reason: r}]\n")
    first, second = cached("site"), cached("site")
    assert cached.compiled == 1
    assert first.document() == second.document() and first.config == second.config
    assert [path.stat().st_mode & 0o777 for path in (cached.folder / "cache").iterdir()] == [0o600]


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.write("site", "extends: base\nconfig: {hostname: bo2}\n"),
        lambda m: m.write("base", "config: {domainname: y}\n"),
        lambda m: m.write("user/site.yaml", "{}"),
        lambda m: m.write("administrator/site.d/new.yaml", "{}"),
        lambda m: m.write("site", "extends: base\nconfig: {hostname: box}\n", mode=0o600),
        lambda m: [path.write_bytes(b"damaged") for path in (m.folder / "cache").iterdir()],
        lambda m: [path.chmod(0o666) for path in (m.folder / "cache").iterdir()],
        lambda m: (m.folder / "cache").chmod(0o777),
    ],
    ids=["content", "extended", "hidden", "drop-in", "mode", "damaged", "open file", "open folder"],
)  # fmt: skip
def test_stale_forms_are_made_anew(cached, change):
    """Whatever a profile was made of, and whoever could have written its compiled form: it is not used."""
    cached.write("base", "config: {domainname: x}\n")
    cached.write("site", "extends: base\nconfig: {hostname: box}\n")
    cached("site")
    change(cached)
    cached("site")
    assert cached.compiled == 2


def test_a_file_that_became_writable_is_refused(cached):
    """The compiled form does not outlive the trust in what it was made of."""
    path = cached.write("site", "{}")
    cached("site")
    path.chmod(0o666)
    assert "is not trusted" in cached.wrong("site")


def test_bundles_are_not_cached(cached):
    """Nothing that came with a bundle gets into the cache."""
    path = cached.write("bundle/p.yaml", "config: {linux: {maskedPaths+: [/x]}}\n")
    cached(str(path))
    assert not (cached.folder / "cache").exists()


def test_settings_are_cached(cached):
    """config.yaml is read again when it has changed."""
    cached.write("a", "config: {hostname: a}\n")
    cached.write("b", "config: {hostname: b}\n")
    cached.write("config.yaml", "profile: a\n")
    assert [cached().config["hostname"] for _ in range(2)] == ["a", "a"]
    cached.write("config.yaml", "profile: [b]\n")
    assert cached().config["hostname"] == "b"


@pytest.mark.slow
def test_loading_imports_little(cached):
    """Of a compiled profile, choosing, loading and applying import none of the slow modules."""
    cached.write(
        "site",
        "extends: base\nplugins: {cgroups: false}\npolicy: [{deny: hooks exists, reason: r}]\n"
        "config: {linux: {maskedPaths+: [/x], seccomp: {base: docker-default, deny: [mount]}}}\n",
    )
    cached.write("base", "when: {kernel: '3.0', annotations: {a: b}}\n")
    code = f"""
import sys
from ocifw import boot, profile
from ocifw.context import Globals, Host, Request
from ocifw.plugins import Plugin, PluginSet
boot.cache_folder = lambda: {str(cached.folder / "cache")!r}
roots = profile.Roots(*{cached.roots.values()!r})
active = PluginSet([Plugin("cgroups", "cgroups", "d", "1", (), False, "", 0, 0)], {{}}, frozenset())
request = Request("create", "c", "/bundle", "/r", "/s")
made = profile.effective(Globals("/", profiles=("site",)), {CONFIG!r}, request, Host(), active, roots)
made.document()
slow = "json re enum typing dataclasses inspect argparse logging pathlib subprocess tempfile ctypes pluggy ruamel.yaml" \
       " jsonschema difflib functools collections contextlib ocifw.profile_compile ocifw.profile_yaml"
print(*[name for name in slow.split() if name in sys.modules])
"""
    library = os.path.dirname(os.path.dirname(profile.__file__))
    command = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        f"import sys; sys.path.append({library!r})\n{code}",
    ]
    first = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "ocifw.profile_compile" in first.stdout
    second = subprocess.run(command, capture_output=True, text=True, check=True)
    assert second.stdout.strip() == ""


# ---- what stays --------------------------------------------------------------------------------------------------


def test_state(machine):
    """What is stored with the container gives the same origins, rules, settings and history as before."""
    machine.write("site", "compat: spec\nplugins: {cgroups: false, tuned: {level: 1}}\nconfig:\n  hostname: box\n"
                          "  linux: {maskedPaths+: [/x], maskedPaths-: [/proc/kcore]}\n  domainname?: d\n"
                          "policy: [{deny: hooks exists, reason: r}]\n")  # fmt: skip
    made = machine("site", sets=("process.cwd=/x",))
    state = json.loads(json.dumps({"config": made.config, "profile": made.document()}))
    again = profile.stored(state)
    assert again.origins == made.origins
    assert again.policy == made.policy and again.settings == made.settings
    assert (again.compat, again.names, again.how) == ("spec", ("site",), "--profile")
    assert again.disabled == made.disabled
    assert again.history("hostname") == made.history("hostname")
    assert again.history("linux.maskedPaths[0]") == made.history("linux.maskedPaths[0]")
    assert profile.stored({"config": {}}) is None


def test_updates_have_an_origin():
    """What update has changed is no more a profile's or config.json's."""
    config = {"hostname": "x", "linux": {"resources": {"pids": {"limit": 5}, "cpu": {"shares": 2}}}}
    state = {"config": config}
    note_update(state, {"pids": {"limit": 5}})
    note_update(state, {"pids": {"limit": 5}})
    made = profile.stored(json.loads(json.dumps(state)))
    assert {path: origin.layer for path, origin in made.origins.items()} == {
        "hostname": "config.json",
        "linux.resources.pids.limit": "update",
        "linux.resources.cpu.shares": "config.json",
    }


def test_processes_of_exec(machine):
    """An engine's whole process gets what the profiles say of every process; its program and user stay its own."""
    machine.write("site", "config: {process: {noNewPrivileges: true, cwd: /x, capabilities: {keep: [CAP_KILL]},"
                          " rlimits: [{type: RLIMIT_CORE, soft<: 0, hard<: 0}]}}\n")  # fmt: skip
    made = machine("site", sets=("process.apparmorProfile=p",))
    again = profile.stored(
        json.loads(json.dumps({"config": made.config, "profile": made.document()}))
    )
    process = {"args": ["sh"], "cwd": "/", "user": {"uid": 1, "gid": 1},
               "capabilities": {"bounding": ["CAP_KILL", "CAP_CHOWN"]}}  # fmt: skip
    assert profile.tightened(again, process) == {
        "args": ["sh"],
        "cwd": "/",
        "user": {"uid": 1, "gid": 1},
        "capabilities": {"bounding": ["CAP_KILL"]},
        "noNewPrivileges": True,
        "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}],
        "apparmorProfile": "p",
    }


def test_changes_are_told(machine):
    """Each change reads as a sentence: who, what, and instead of what; values of the environment are not shown."""
    path = machine.write(
        "site",
        "config:\n  process: {cwd: /x, env: [A=secret]}\n"
        "  linux: {maskedPaths+: [/x], maskedPaths-: [/proc/kcore], resources: null}\n",
    )
    assert [str(change).replace(str(path), "F") for change in machine("site").changes] == [
        'F:2:13 sets process.cwd to "/x" instead of "/"',
        "F:2:28 sets process.env[0] to another value instead of another value",
        'F:3:60 takes linux.resources away, which was {"pids":{"limit":1000}}',
        'F:3:11 adds ["/x"] to linux.maskedPaths and takes ["/proc/kcore"] from linux.maskedPaths',
    ]


# ---- the default profile -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", sorted(ENGINES.glob("*.config.json")), ids=lambda path: path.stem)
def test_default_changes_nothing(file, tmp_path):
    """With the shipped default profile, a config and its plan are byte for byte what they are without."""
    from ocifw import plugins

    config = json.loads(file.read_text())
    config["root"]["path"] = str(tmp_path)
    request = REQUEST.changed(rootfs=str(tmp_path))
    active = plugins.load()
    made = profile.effective(
        Globals("/run/ocifw", profiles=("default",)),
        config,
        request,
        Host(),
        active,
        Roots(cached=False),
    )
    assert json.dumps(made.config) == json.dumps(config) and not made.changes and not made.policy
    assert planned(active.limited(made.settings, made.disabled), made.config, request) == planned(
        active, config, request
    )


def planned(active, config, request):
    """The plan as text, or the error in its place."""
    try:
        return json.dumps(as_document(make_plan(active, config, request, Host())))
    except OcifwError as error:
        return str(error)
