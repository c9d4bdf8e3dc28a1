"""The plans of ocifw-namespaces, compared as values."""

from __future__ import annotations

import pytest

from ocifw.errors import Problem
from ocifw.steps import (
    BecomeRoot,
    BringUp,
    Clone,
    JoinKeyring,
    JoinNamespace,
    JoinNamespaces,
    NewSession,
    SetDomainname,
    SetHostname,
    SetSysctl,
    SetTimeOffsets,
    Unshare,
)
from ocifw_namespaces import idmap, plugin, sysctl

TIME, MOUNT, CGROUP, UTS = 0x80, 0x20000, 0x2000000, 0x4000000
IPC, USER, PID, NET = 0x8000000, 0x10000000, 0x20000000, 0x40000000


def config(*kinds, **linux):
    """A config with namespaces given as `pid` (made) or `network:/path` (joined)."""
    namespaces = []
    for kind in kinds:
        name, _, path = kind.partition(":")
        namespaces.append({"type": name, "path": path} if path else {"type": name})
    return {"linux": {"namespaces": namespaces, **linux}}


def test_new_namespaces_are_made_by_one_clone(create_request, machine):
    """Namespaces without a path are flags of Clone, a cgroup namespace among them."""
    steps = plugin.ocifw_clone(
        config("pid", "mount", "network", "ipc", "uts", "cgroup", "user"),
        create_request(),
        machine(),
    )
    assert steps == [Clone(PID | MOUNT | NET | IPC | UTS | CGROUP | USER)]


def test_without_namespaces_there_is_only_a_clone(create_request, machine):
    """A container without namespaces is a plain process, with a session and a keyring of its own."""
    assert plugin.ocifw_clone({}, create_request(), machine()) == [Clone(0)]
    assert list(plugin.ocifw_enter({}, create_request())) == [
        NewSession(),
        JoinKeyring("_ses.box"),
    ]


def test_root_joins_a_user_namespace_last(create_request, machine):
    """Root joins the others while it has its rights over the host, then the user namespace, then makes the rest."""
    steps = plugin.ocifw_clone(
        config("user:/u", "network:/n", "pid", "ipc:/i"), create_request(), machine()
    )
    assert steps == [
        JoinNamespace("/i", IPC),
        JoinNamespace("/n", NET),
        JoinNamespace("/u", USER),
        Clone(PID),
    ]
    assert steps[0].at == "linux.namespaces[3]"


def test_others_join_a_user_namespace_first(create_request, machine):
    """Who is not root has rights over the other namespaces only in the user namespace that owns them."""
    steps = plugin.ocifw_clone(
        config("network:/n", "user:/u", "pid"), create_request(), machine(euid=1000)
    )
    assert steps == [JoinNamespace("/u", USER), JoinNamespace("/n", NET), Clone(PID)]


def test_time_offsets_are_written_before_the_clone(create_request, machine):
    """A time namespace with offsets is unshared with the user namespace that owns it, and set before it is entered."""
    offsets = {"monotonic": {"secs": -5}, "boottime": {"secs": 7, "nanosecs": 9}}
    steps = plugin.ocifw_clone(
        config("time", "user", "pid", timeOffsets=offsets), create_request(), machine()
    )
    assert steps == [
        Unshare(TIME | USER),
        SetTimeOffsets("monotonic -5 0\nboottime 7 9\n"),
        Clone(PID),
    ]


def test_a_time_namespace_without_offsets(create_request, machine):
    """Alone it is Clone's affair; with a user namespace both are unshared, so that the right to is there."""
    made = plugin.ocifw_clone(config("time", "pid"), create_request(), machine())
    assert made == [Clone(TIME | PID)]
    made = plugin.ocifw_clone(config("time", "user", "pid"), create_request(), machine(euid=1000))
    assert made == [Unshare(TIME | USER), Clone(PID)]


def test_exec_joins_all_namespaces_of_the_container(exec_request, machine):
    """exec joins what the container has, made or joined, and makes nothing."""
    own = config("pid", "network:/n", "user", "cgroup", "time")
    request = exec_request(own)
    assert plugin.ocifw_clone(own, request, machine()) == [
        JoinNamespaces("container", 77, PID | NET | USER | CGROUP | TIME),
        Clone(0),
    ]
    assert list(plugin.ocifw_attach(own, request, machine())) == []
    assert list(plugin.ocifw_finalize({**own, "hostname": "h"}, request)) == []
    assert list(plugin.ocifw_enter(own, request)) == [
        BecomeRoot(),
        NewSession(),
        JoinKeyring("_ses.box"),
    ]


def test_exec_without_namespaces_is_a_plain_clone(exec_request, machine):
    """A container without namespaces has none to join."""
    assert plugin.ocifw_clone({}, exec_request({}), machine()) == [Clone(0)]


MAP = [{"containerID": 0, "hostID": 100000, "size": 65536}]


@pytest.mark.parametrize(
    ("euid", "gids", "deny"),
    [
        (0, [{"containerID": 0, "hostID": 5, "size": 1}], False),
        (1000, [{"containerID": 0, "hostID": 1000, "size": 1}], True),
        (1000, MAP, False),
    ],
)
def test_id_maps(create_request, machine, euid, gids, deny):
    """The maps of a new user namespace are written; setgroups is denied only for a single id mapped without privileges."""
    own = config("user", uidMappings=MAP, gidMappings=gids)
    rows = tuple((row["containerID"], row["hostID"], row["size"]) for row in gids)
    assert list(plugin.ocifw_attach(own, create_request(), machine(euid=euid))) == [
        idmap.WriteIdMaps(((0, 100000, 65536),), rows, deny)
    ]


def test_a_joined_user_namespace_is_mapped_already(create_request, machine):
    """Mappings beside the path of a user namespace, which containerd sends, are not written."""
    own = config("user:/u", uidMappings=MAP, gidMappings=MAP)
    assert list(plugin.ocifw_attach(own, create_request(), machine())) == []
    assert BecomeRoot() in plugin.ocifw_enter(own, create_request())


def test_enter_brings_up_the_loopback_of_a_new_network(create_request):
    """Only a network namespace that was made for the container gets its loopback interface set up."""
    assert BringUp("lo") in plugin.ocifw_enter(config("network"), create_request())
    assert BringUp("lo") not in plugin.ocifw_enter(config("network:/n"), create_request())
    assert BringUp("lo") not in plugin.ocifw_enter(config("pid"), create_request())


def test_no_new_keyring(create_request):
    """--no-new-keyring leaves the caller's session keyring."""
    assert list(plugin.ocifw_enter({}, create_request(no_new_keyring=True))) == [NewSession()]


def test_finalize_names_and_sysctls(create_request):
    """Host name, domain name, then sysctls in the order of config.json."""
    own = config("uts", sysctl={"net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "0"})
    own |= {"hostname": "box", "domainname": "example"}
    steps = list(plugin.ocifw_finalize(own, create_request()))
    assert steps == [
        SetHostname("box"),
        SetDomainname("example"),
        SetSysctl("net/ipv4/ip_forward", "1"),
        SetSysctl("kernel/shm_rmid_forced", "0"),
    ]
    assert steps[2].at == "linux.sysctl.net.ipv4.ip_forward"
    assert list(plugin.ocifw_finalize({"hostname": ""}, create_request())) == []


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/conf/eno2.100/forwarding", "net/ipv4/conf/eno2.100/forwarding"),
        ("net.ipv4.conf.eno2/100.forwarding", "net/ipv4/conf/eno2.100/forwarding"),
    ],
)
def test_sysctl_separators(key, path):
    """The separator of a sysctl's name is whichever of dot and slash comes first."""
    assert sysctl.path(key) == path


def test_validate_joined_paths(create_request, machine, exec_request):
    """Namespaces that are joined must be there; exec does not ask again."""
    own = config("network:/run/netns/a", "uts:/run/uts", "pid")
    host = machine({"/run/uts": b""})
    assert list(plugin.ocifw_validate(own, create_request(), host)) == [
        Problem(
            "linux.namespaces[0].path",
            "cannot join '/run/netns/a': no such file or directory",
        )
    ]
    assert list(plugin.ocifw_validate(own, exec_request(own), host)) == []


def test_features_name_all_namespaces():
    """The program knows all eight types of the specification."""
    assert plugin.ocifw_features()["linux"]["namespaces"] == [
        "cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts",
    ]  # fmt: skip
