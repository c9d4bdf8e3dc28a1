"""Plugin sets: which file counts, what it may say, and what it makes of the installed plugins."""

from __future__ import annotations

import os

import pytest

from ocifw import sets, versions
from ocifw.errors import ConfigError, OcifwError
from ocifw.plugins import FIRST_PARTY
from ocifw.selection import Selection


@pytest.fixture
def folders(tmp_path):
    """The distribution's and the administrator's folder."""
    made = (tmp_path / "distribution", tmp_path / "administrator")
    for folder in made:
        folder.mkdir()
    return made


def resolve(folders, name="", **changes):
    return sets.resolve(Selection(name, folders=tuple(map(str, folders)), **changes))


def names(made):
    return [member.name for member in made.members]


def test_without_files_it_is_ocifws_own(folders):
    """The set `default` is there without any file: the plugins of ocifw, none of them required."""
    made = resolve(folders)
    assert (made.name, names(made), made.files) == ("default", list(FIRST_PARTY), ())
    assert not any(member.required for member in made.members)


def test_default_adds_to_ocifws_own(folders):
    """A file named default adds plugins behind those of ocifw, and takes away with false."""
    (folders[0] / "default.yaml").write_text("plugins: {acme: true, criu: false}")
    made = resolve(folders)
    assert names(made) == [name for name in FIRST_PARTY if name != "criu"] + ["acme"]
    assert made.members[-1].required and made.members[-1].origin.endswith("default.yaml:1:11")


def test_a_set_extends_another(folders):
    """Values of the set count before those of what it extends; plugins keep their place."""
    (folders[0] / "base.yaml").write_text(
        "plugins: {a: {version: '1'}, b: true}\nprofile: p\npolicy: q"
    )
    (folders[0] / "top.yaml").write_text(
        "extends: base\nplugins: {a: {failure: warn}, c: true}\non-change: refuse\npolicy: r"
    )
    made = resolve(folders, "top")
    assert names(made)[-3:] == ["a", "b", "c"]
    assert (made.members[-3].version, made.members[-3].failure) == ("1", "warn")
    assert (made.profile, made.policy, made.on_change) == ("p", ("q", "r"), "refuse")


def test_a_set_from_nothing(folders):
    """`extends: none` leaves out even the plugins of ocifw."""
    (folders[0] / "bare.yaml").write_text("extends: none\nplugins: {mounts: true}")
    assert names(resolve(folders, "bare")) == ["mounts"]


def test_the_administrators_file_counts(folders):
    """Of two files of one name, that in the administrator's folder counts, as a whole."""
    (folders[0] / "acme.yaml").write_text("plugins: {a: true}")
    (folders[1] / "acme.yaml").write_text("plugins: {b: true}")
    assert names(resolve(folders, "acme"))[-1] == "b"
    states = [(one.path.split("/")[-2], one.state) for one in sets.found(tuple(map(str, folders)))]
    assert states == [("administrator", "active"), ("distribution", "overridden")]


@pytest.mark.parametrize("mask", ["link", "disabled"])
def test_masking(folders, mask):
    """A link to /dev/null, or `enabled: false`, takes a distribution's set away."""
    (folders[0] / "acme.yaml").write_text("plugins: {a: true}")
    if mask == "link":
        (folders[1] / "acme.yaml").symlink_to("/dev/null")
    else:
        (folders[1] / "acme.yaml").write_text("enabled: false")
    with pytest.raises(OcifwError, match="plugin set acme is masked by .*administrator/acme.yaml"):
        resolve(folders, "acme")
    assert [one.state for one in sets.found(tuple(map(str, folders)))] == ["masked", "overridden"]


def test_an_unknown_set(folders):
    """A set that is not there is an error that names where it was looked for, and one of nearly that name."""
    (folders[0] / "acme.yaml").write_text("plugins: {a: true}")
    with pytest.raises(OcifwError, match="plugin set acne: no such file in .*: did you mean acme"):
        resolve(folders, "acne")


def test_a_circle(folders):
    """A set that extends itself is an error that names the way."""
    (folders[0] / "a.yaml").write_text("extends: b")
    (folders[0] / "b.yaml").write_text("extends: a")
    with pytest.raises(OcifwError, match="plugin set a extends itself: a -> b -> a"):
        resolve(folders, "a")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("plugin: {}", "plugin: is not known: did you mean plugins?"),
        ("plugins: [a]", "plugins: must be a mapping"),
        ("plugins: {a: 1}", "plugins.a: must be true, false or a mapping"),
        ("plugins: {a: {versoin: '1'}}", "plugins.a.versoin: is not known: did you mean version?"),
        ("plugins: {a: {version: 'latest'}}", "plugins.a.version: 'latest' is no version"),
        ("plugins: {a: {version: 1}}", "plugins.a.version: must be a text"),
        ("plugins: {a: {sha256: abc}}", "plugins.a.sha256: must be 64 hexadecimal digits"),
        ("plugins: {a: {failure: ignore}}", "plugins.a.failure: must be fail or warn"),
        ("on-change: never", "on-change: must be warn or refuse"),
        ("time-limit-s: 0", "time-limit-s: must be a number of seconds"),
        ("enabled: maybe", "enabled: must be true or false"),
        ("[a]", "a set is a mapping"),
        ("a: b: c", "not YAML"),
    ],
)
def test_mistakes_in_files(folders, text, message):
    """What a file says wrong is an error with file, line and column."""
    path = folders[0] / "acme.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        resolve(folders, "acme")
    assert f"{path}:1:" in str(caught.value) and message in str(caught.value)


@pytest.mark.parametrize("name", ["../x", "", "A", ".x", "a/b"])
def test_names(name):
    """A set's name cannot lead out of the folder."""
    with pytest.raises(OcifwError, match="is no name of a plugin set"):
        sets.check_name(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file away")
def test_files_that_others_could_write(folders):
    """A set file that belongs to somebody else is not read."""
    path = folders[0] / "acme.yaml"
    path.write_text("plugins: {a: true}")
    os.chown(path, 1234, 1234)
    with pytest.raises(OcifwError, match="acme.yaml belongs to user 1234"):
        resolve(folders, "acme")


@pytest.mark.parametrize(
    ("version", "wanted", "fits"),
    [
        ("1.2.3", "", True), ("1.2.3", "==1.2.*", True), ("1.3", "==1.2.*", False), ("1.2", "1.2.0", True),
        ("1.10", ">=1.9,<2", True), ("2.0", ">=1.9,<2", False), ("1.4.5", "~=1.4.2", True), ("1.5", "~=1.4.2", False),
        ("1.2", "!=1.2", False), ("1.2rc1", "==1.2", True), ("1", ">1", False), ("0.9", "<=1", True),
    ],
)  # fmt: skip
def test_versions(version, wanted, fits):
    """The operators of PEP 440, on numbers."""
    assert versions.matches(version, wanted) is fits


# ---- with an installation ----------------------------------------------------------------------------------------

pytestmark = pytest.mark.filterwarnings("default")


@pytest.mark.slow
def test_what_no_set_names_is_inert(installation):
    """A wheel that advertises the entry point and is in no set is listed as inert, and not imported."""
    installation.plugin("loud", "raise SystemExit('imported')")
    done = installation.ocifw("plugins", "list")
    assert "inert: not in set default" in done.stdout and "loud" not in installation.names()


@pytest.mark.slow
def test_a_named_plugin_is_active(installation):
    """A set that names an installed plugin has it, and only with that set."""
    installation.plugin("extra")
    installation.set("acme", "plugins: {extra: {version: '==1.*'}}")
    assert installation.names("--set", "acme")[-1] == "extra"
    assert "extra" not in installation.names()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("{absent: true}", "plugin set acme requires plugin absent (.*), which is not installed: install ocifw-absent"),
        ("{extra: {version: '==2.*'}}", "plugin extra: discovery: is version 1.0, .*acme.yaml:1:11 wants ==2"),
        ("{extra: {sha256: '%s'}}" % ("0" * 64), "plugin extra: discovery: its files hash to [0-9a-f]{64}, .* wants 000"),
        ("{other: true}", "which is not installed: evil offers one of this name, and is not ocifw-other or other"),
    ],
)  # fmt: skip
def test_what_a_set_asks_for(installation, wanted, message):
    """A plugin that is missing, of another version, with other files or from another distribution is refused by name."""
    import re

    installation.plugin("extra")
    installation.plugin("other", "raise SystemExit('imported')", distribution="evil")
    installation.set("acme", f"plugins: {wanted}")
    done = installation.ocifw("--set", "acme", "plugins", "list")
    assert done.returncode == 1
    assert re.search(message.replace("(.*)", r"\(.*\)"), done.stderr), done.stderr


@pytest.mark.slow
def test_two_distributions_of_one_name(installation):
    """Two distributions that offer the plugin of a set are refused, both named."""
    installation.plugin("twin")
    package = installation.plugin("twin2", distribution="twin")
    entry = package.parent / "twin-1.0.dist-info/entry_points.txt"
    entry.write_text("[ocifw]\ntwin = ocifw_twin2.plugin\n")
    installation.set("acme", "plugins: {twin: true}")
    done = installation.ocifw("--set", "acme", "plugins", "list")
    assert "plugin twin: discovery: offered by both ocifw-twin and twin" in done.stderr


@pytest.mark.slow
def test_check_and_lock(installation):
    """A locked set is a set file with exact versions and hashes, which holds until a file is changed."""
    package = installation.plugin("extra")
    installation.set("acme", "plugins: {extra: true}\ndescription: Acme's")
    assert "plugins can be used" in installation.ocifw("sets", "check", "acme").stdout
    locked = installation.ocifw("sets", "lock", "acme", "-o", installation.sets / "acme.yaml")
    assert locked.returncode == 0, locked.stderr
    text = (installation.sets / "acme.yaml").read_text()
    assert 'distribution: "ocifw-extra"\n    version: "==1.0"\n    sha256: "' in text
    assert installation.ocifw("sets", "check", "acme").returncode == 0
    (package / "more.py").write_text("")
    done = installation.ocifw("sets", "check", "acme")
    assert done.returncode == 1 and "plugin extra: discovery: its files hash to" in done.stderr


@pytest.mark.slow
def test_list_and_show(installation):
    """`sets list` shows files and built-in set; `sets show` what a set comes to."""
    installation.plugin("extra")
    installation.set("acme", "plugins: {extra: {failure: warn}}\nprofile: hardened")
    listed = installation.ocifw("sets", "list").stdout
    assert "default" in listed and "(built in)" in listed and "acme.yaml" in listed
    shown = installation.ocifw("sets", "show", "acme").stdout
    assert "profile:       hardened" in shown and "failure: warn" in shown


@pytest.mark.slow
def test_without(installation):
    """--without leaves a plugin out; what it owned is then an error that names it; one that is not there is an error."""
    assert "criu" not in installation.names("--without", "criu")
    done = installation.ocifw("--without", "nothing", "plugins", "list")
    assert "--without nothing: plugin set default has no such plugin" in done.stderr


@pytest.mark.slow
def test_a_missing_first_party_plugin(installation):
    """Without one of ocifw's own packages the rest works, and says precisely what it can no longer do."""
    import shutil

    for path in installation.library.glob("ocifw_seccomp*"):
        shutil.rmtree(path)
    assert "seccomp" not in installation.names()
    done = installation.ocifw("plugins", "which", "linux.seccomp")
    assert done.returncode == 1
    assert (
        "linux.seccomp: no active plugin handles it: install the plugin ocifw-seccomp"
        in done.stderr
    )


@pytest.mark.slow
def test_plugin_commands(installation):
    """show, which and graph tell where things come from, who owns them, and in which order they stand."""
    shown = installation.ocifw("plugins", "show", "mounts").stdout
    assert "ocifw-mounts" in shown and "ocifw_rootfs" in shown and "sha256:" in shown
    assert (
        installation.ocifw("plugins", "which", "linux.maskedPaths").stdout
        == "linux.maskedPaths: mounts\n"
    )
    assert (
        installation.ocifw("plugins", "which", "process.rlimits").stdout
        == "process.rlimits: process\n"
    )
    graph = installation.ocifw("plugins", "graph").stdout
    assert "5 rootfs (container)" in graph and graph.index("cgroups") < graph.index("mounts")
    assert installation.ocifw("plugins", "verify").returncode == 0


@pytest.mark.slow
def test_verify_finds_heavy_imports(installation):
    """A plugin that imports heavy modules at the top is named, with what it imports."""
    installation.plugin("heavy", "import json, typing\n" + "from ocifw import hookimpl\n")
    installation.set("acme", "plugins: {heavy: true}")
    done = installation.ocifw("--set", "acme", "plugins", "verify")
    assert done.returncode == 1 and "mounts: ok" in done.stdout
    assert (
        "heavy: imports collections" in done.stdout
        and "json, re, typing when it is loaded" in done.stdout
    )


@pytest.mark.slow
def test_a_broken_plugin_that_may_fail(installation):
    """With failure: warn a plugin that cannot be imported is left out, with a warning in every command; else it is an error."""
    installation.plugin("broken", "import nothing_of_this_name")
    installation.set("strict", "plugins: {broken: true}")
    installation.set("mild", "plugins: {broken: {failure: warn}}")
    strict = installation.ocifw("--set", "strict", "features")
    assert strict.returncode == 1
    assert (
        "plugin broken: import: ModuleNotFoundError: No module named 'nothing_of_this_name'"
        in strict.stderr
    )
    for _ in range(2):
        mild = installation.ocifw("--set", "mild", "features")
        assert mild.returncode == 0 and "plugin broken: import: ModuleNotFoundError" in mild.stderr


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_profile_and_policy_of_a_set(installation, tmp_path):
    """A set's profile counts where no other is chosen; its policy counts whichever is."""
    import json

    profiles = tmp_path / "profiles"
    profiles.mkdir()
    (profiles / "plain.yaml").write_text("config: {hostname: from-the-set}\n")
    (profiles / "other.yaml").write_text("config: {hostname: other}\n")
    (profiles / "rules.yaml").write_text(
        "policy:\n- deny: process.args contains forbidden\n  reason: acme never runs that\n"
    )
    shipped = installation.library / "ocifw/profiles"
    for path in profiles.iterdir():
        (shipped / f"acme-{path.name}").write_text(path.read_text())
    installation.set("acme", "profile: acme-plain\npolicy: acme-rules")
    bundle = tmp_path / "bundle"
    assert installation.ocifw("bundle", bundle).returncode == 0
    config = json.loads((bundle / "config.json").read_text())

    def plan(*words, **changes):
        config["process"].update(terminal=False, **changes)
        (bundle / "config.json").write_text(json.dumps(config))
        return installation.ocifw("--set", "acme", *words, "plan", "--bundle", bundle)

    assert "set hostname from-the-set" in plan(args=["true"]).stdout
    assert "set hostname other" in plan("--profile", "acme-other", args=["true"]).stdout
    denied = plan("--profile", "acme-other", args=["sh", "forbidden"])
    assert denied.returncode == 1 and "acme never runs that" in denied.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("while True: pass", "plugin extra: import: took longer than 0.3 s and was interrupted"),
        ("raise SystemExit(0)", "plugin extra: import: SystemExit: 0"),
        ("x = (", "plugin extra: import: SyntaxError"),
    ],
)
def test_imports_that_do_not_end_well(installation, source, message):
    """A plugin that hangs, exits or is broken while it is imported is named."""
    installation.plugin("extra", source)
    installation.set("acme", "plugins: {extra: true}\ntime-limit-s: 0.3")
    done = installation.ocifw("--set", "acme", "features")
    assert done.returncode == 1 and message in done.stderr, done.stderr
