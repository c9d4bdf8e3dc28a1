"""The plans of ocifw-lsm, compared as values, on machines with and without AppArmor and SELinux."""

from __future__ import annotations

import pytest

from ocifw.steps import Bind, JoinKeyring, MaskPath, Mount, NewSession, SetExecLabel, SetXattr
from ocifw_lsm import plugin

LABEL = "system_u:object_r:container_file_t:s0:c1,c2"
PROCESS = "system_u:system_r:container_t:s0:c1,c2"
APPARMOR = {"/sys/module/apparmor/parameters/enabled": b"Y\n"}
SELINUX = {
    "/sys/fs/selinux/status": b"",
    "/proc/self/attr/current": b"unconfined_u:unconfined_r:unconfined_t:s0\0",
}


def config(process=None, **linux):
    return {"process": process or {}, "linux": linux}


def through(wrapper, answers):
    """What a wrapper makes of the answers."""
    next(wrapper)
    with pytest.raises(StopIteration) as stop:
        wrapper.send(answers)
    return stop.value.value


def texts(asked, request, host):
    return [f"{p.path}: {p.message}" for p in plugin.ocifw_validate(asked, request, host)]


def test_apparmor(create_request, machine):
    """The profile is put on for the next execve(2)."""
    asked = config({"apparmorProfile": "docker-default"})
    [step] = plugin.ocifw_finalize(asked, create_request(), machine(APPARMOR))
    assert step == SetExecLabel("apparmor/exec", "exec docker-default")
    assert step.at == "process.apparmorProfile"
    assert texts(asked, create_request(), machine(APPARMOR)) == []


def test_selinux(create_request, machine):
    """The label is put on for the next execve(2)."""
    asked = config({"selinuxLabel": PROCESS})
    [step] = plugin.ocifw_finalize(asked, create_request(), machine(SELINUX))
    assert step == SetExecLabel("exec", PROCESS) and step.at == "process.selinuxLabel"
    assert texts(asked, create_request(), machine(SELINUX)) == []


def test_both(create_request, machine):
    """AppArmor's comes first, as in runc."""
    asked = config({"selinuxLabel": PROCESS, "apparmorProfile": "p"})
    steps = list(plugin.ocifw_finalize(asked, create_request(), machine(APPARMOR | SELINUX)))
    assert [step.name for step in steps] == ["apparmor/exec", "exec"]


@pytest.mark.parametrize(
    "files",
    [{}, {"/sys/module/apparmor/parameters/enabled": b"N\n"}],
    ids=["absent", "off"],
)
def test_apparmor_that_is_not_there(create_request, machine, files):
    """A profile on a machine without AppArmor is an error; `unconfined` is what every process is there."""
    [text] = texts(config({"apparmorProfile": "p"}), create_request(), machine(files))
    assert text.startswith("process.apparmorProfile: unable to apply apparmor profile 'p'")
    asked = config({"apparmorProfile": "unconfined"})
    assert texts(asked, create_request(), machine(files)) == []
    assert list(plugin.ocifw_finalize(asked, create_request(), machine(files))) == []
    [step] = plugin.ocifw_finalize(asked, create_request(), machine(APPARMOR))
    assert step.label == "exec unconfined"


@pytest.mark.parametrize(
    "files",
    [{}, SELINUX | {"/proc/self/attr/current": b"kernel\0"}],
    ids=["absent", "no policy"],
)
def test_selinux_that_is_not_there(create_request, machine, files):
    """A label on a machine without SELinux is an error, of the process as of mounts."""
    wanted = "selinux label is specified in config, but selinux is disabled or not supported"
    asked = config({"selinuxLabel": PROCESS}, mountLabel=LABEL)
    assert texts(asked, create_request(), machine(files)) == [
        f"process.selinuxLabel: {wanted}",
        f"linux.mountLabel: {wanted}",
    ]


@pytest.mark.parametrize("label", ['a",mode=777,x="', "a\nb"])
def test_no_label(create_request, machine, label):
    """What would end the quotes among the mount options is no label."""
    for asked in (config({"selinuxLabel": label}), config(mountLabel=label)):
        [text] = texts(asked, create_request(), machine(SELINUX))
        assert "is no SELinux label" in text
    [text] = texts(config({"apparmorProfile": "a\nb"}), create_request(), machine(APPARMOR))
    assert "is no name of a profile" in text


def test_exec_is_confined_like_its_container(exec_request, machine):
    """A process that is added without a profile of its own gets the container's."""
    container = config({"apparmorProfile": "theirs", "selinuxLabel": PROCESS})
    request, host = exec_request(container), machine(APPARMOR | SELINUX)
    steps = list(plugin.ocifw_finalize(config({}), request, host))
    assert [step.label for step in steps] == ["exec theirs", PROCESS]
    steps = list(plugin.ocifw_finalize(config({"apparmorProfile": "own"}), request, host))
    assert [step.label for step in steps] == ["exec own", PROCESS]
    assert len(texts(config({}), request, machine({}))) == 2


def test_the_keyring_has_the_label(create_request):
    """While the session keyring is made, new keys get the process's label; then no more."""
    steps = [NewSession(), JoinKeyring("_ses.box")]
    wrapper = plugin.ocifw_enter(config({"selinuxLabel": PROCESS}), create_request())
    assert through(wrapper, [steps]) == [
        [
            NewSession(),
            SetExecLabel("keycreate", PROCESS),
            JoinKeyring("_ses.box"),
            SetExecLabel("keycreate", "\n"),
        ]
    ]
    assert through(plugin.ocifw_enter(config(), create_request()), [steps]) == [steps]


@pytest.mark.parametrize(
    ("step", "wanted"),
    [
        (
            Mount("tmpfs", "tmpfs", "/dev", options="mode=755"),
            [Mount("tmpfs", "tmpfs", "/dev", options=f'mode=755,context="{LABEL}"')],
        ),
        (Mount("devpts", "d", "/p"), [Mount("devpts", "d", "/p", options=f'context="{LABEL}"')]),
        (Mount("proc", "proc", "/proc"), [Mount("proc", "proc", "/proc")]),
        (Mount("sysfs", "sysfs", "/sys"), [Mount("sysfs", "sysfs", "/sys")]),
        (Mount("cgroup2", "c", "/c"), [Mount("cgroup2", "c", "/c")]),
        (
            Mount("mqueue", "m", "/q"),
            [Mount("mqueue", "m", "/q"), SetXattr("/q", "security.selinux", LABEL.encode())],
        ),
        (Bind("/a", "/b"), [Bind("/a", "/b")]),
    ],
)
def test_mounts(step, wanted):
    """New filesystems are mounted with the label, where they take one; binds have their own."""
    assert through(plugin.ocifw_mount(config(mountLabel=LABEL)), [step]) == wanted
    assert through(plugin.ocifw_mount(config()), [step]) == [step]
    assert through(plugin.ocifw_mount(config(mountLabel=LABEL)), None) is None


def test_a_labelled_step_is_still_its_plugins():
    """What is amended keeps its plugin and its place in config.json, for errors."""
    step = Mount("tmpfs", "tmpfs", "/dev", at="mounts[1]")
    step.stamp("mounts", "rootfs")
    [labelled] = through(plugin.ocifw_mount(config(mountLabel=LABEL)), [step])
    assert (labelled.at, labelled.plugin, labelled.phase) == ("mounts[1]", "mounts", "rootfs")


def test_masks():
    """What covers masked directories has the label, too."""
    wrapper = plugin.ocifw_finalize_masks(config(mountLabel=LABEL))
    assert through(wrapper, [[MaskPath("/proc/acpi")]]) == [
        [MaskPath("/proc/acpi", f'context="{LABEL}"')]
    ]
