"""ocifw-init on the real kernel: the protocol, clone, namespaces, waiting, execution."""

from __future__ import annotations

import os
import select
import struct
import traceback

import pytest
from baton import CLONED, ERROR, FDS, GO, PASS, PROGRAM, REPORT, Container, receive, send
from conftest import needs_root

from ocifw.program import encode
from ocifw.steps import (
    AwaitStart,
    BecomeRoot,
    BringUp,
    Clone,
    CloseFds,
    Execute,
    JoinCgroup,
    JoinKeyring,
    JoinNamespace,
    JoinNamespaces,
    LoadFilter,
    LookupExecutable,
    NewSession,
    PassBaton,
    Report,
    SendPidfd,
    SetCpuAffinity,
    SetDomainname,
    SetHostname,
    SetIoPriority,
    SetMemoryPolicy,
    SetNoNewPrivileges,
    SetPersonality,
    SetScheduler,
    SetTimeOffsets,
    SetUid,
    SetUmask,
    Unshare,
)  # fmt: skip

NEWTIME, NEWNS, NEWCGROUP, NEWUTS = 0x80, 0x20000, 0x2000000, 0x4000000
NEWIPC, NEWUSER, NEWPID, NEWNET = 0x8000000, 0x10000000, 0x20000000, 0x40000000
NO_STEP = 0xFFFFFFFF


def shell(script, *env):
    return Execute(("/bin/sh", "-c", script), env)


def namespace(pid, kind):
    return os.readlink(f"/proc/{pid}/ns/{kind}")


# ---- the protocol ----


def test_execution_closes_the_baton(spawn):
    """The container process is the runtime's child; its execution is the end of file, its exit status its own."""
    container = spawn([Clone(), shell("exit 7")])
    container.cloned()
    assert container.receive() is None
    assert container.wait() == 7


def test_a_program_without_execute_ends_with_0(spawn):
    """A program that ends without executing anything ends the process with 0."""
    container = spawn([SetUmask(0o22)])
    assert container.receive() is None
    assert container.wait() == 0


def test_environment_is_the_programs(spawn, tmp_path):
    """The container's environment is exactly what Execute says."""
    out = tmp_path / "env"
    container = spawn([Clone(), Execute(("/usr/bin/env",), ("A=1", "B=x y"))])
    container.cloned()
    container.wait()
    container = spawn(
        [Clone(), shell(f"tr '\\0' '\\n' < /proc/$$/environ > {out}", "A=1", "B=x y")]
    )
    container.cloned()
    assert container.wait() == 0
    assert out.read_text() == "A=1\nB=x y\n"


def test_signals_are_clean(spawn):
    """Nothing is ignored or blocked, though Python ignores SIGPIPE and SIGXFSZ."""
    container = spawn([PassBaton(1)])
    container.expect(PASS)
    status = container.status()
    assert {int(status[name], 16) for name in ("SigBlk", "SigIgn", "SigCgt")} == {0}


def test_a_failure_names_step_call_and_errno(spawn):
    """ERROR carries the step's index, the errno, the call and what it was about; the process ends with 1."""
    container = spawn([SetUmask(0o22), JoinCgroup("/nonexistent/tasks"), Clone()])
    assert container.receive() == (ERROR, 1, 2, 0, "open", "/nonexistent/tasks")
    assert container.receive() is None
    assert container.wait() == 1


def test_a_failure_after_clone_is_the_container_processs(spawn):
    """After Clone, the steps' numbers go on, and the container process reports for itself."""
    container = spawn([Clone(), Execute(("/nonexistent",), ())])
    container.cloned()
    assert container.receive() == (ERROR, 1, 2, 0, "execve", "/nonexistent")
    assert container.wait() == 1


@pytest.mark.parametrize(
    ("program", "detail"),
    [
        (b"ocifwop2" + bytes(32), "magic"),
        (encode([SetUmask(1)], {})[:-8], "total size"),
    ],
)
def test_a_broken_program_is_reported(init_fd, program, detail):
    """A program that the checker refuses is an error of no step; nothing of it is executed."""
    container = Container(init_fd, [], {}, program=program)
    try:
        assert container.receive() == (ERROR, NO_STEP, 22, 0, "program", detail)
        assert container.wait() == 1
    finally:
        container.end()


def test_baton_and_report_carry_the_phase(spawn):
    """PASS and REPORT carry the number of the phase; REPORT does not wait."""
    container = spawn([Report(2), PassBaton(3), Report(4)])
    assert container.receive()[:4] == (REPORT, 0, 0, 2)
    assert container.receive()[:4] == (PASS, 1, 0, 3)
    container.go()
    assert container.receive()[:4] == (REPORT, 2, 0, 4)
    assert container.wait() == 0


def test_nothing_survives_the_runtime(spawn):
    """When the runtime closes the baton, the waiting container process ends at once."""
    container = spawn([Clone(NEWPID if os.geteuid() == 0 else 0), PassBaton(3), shell("sleep 100")])
    container.cloned()
    container.expect(PASS)
    container.close()
    assert container.wait() == 1


def test_nothing_survives_before_the_program(init_fd, kernel):
    """A runtime that dies before it sent the program leaves no process."""
    from ocifw.linux.unix import socketpair

    ours, theirs = socketpair()
    pid = kernel.spawn(init_fd, theirs)
    os.close(theirs)
    os.close(ours)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1


def test_an_error_of_the_runtime_ends_the_container(spawn):
    """ERROR instead of GO: the runtime gives up, and so does the container process, in silence."""
    container = spawn([PassBaton(3)])
    container.expect(PASS)
    send(container.baton, ERROR)
    assert container.receive() is None
    assert container.wait() == 1


def test_an_unexpected_message_is_an_error(spawn):
    """PROGRAM instead of GO breaks the protocol."""
    container = spawn([PassBaton(3)])
    container.expect(PASS)
    send(container.baton, PROGRAM)
    assert container.receive() == (ERROR, NO_STEP, 22, 0, "message", "unexpected kind")


# ---- slots ----


def receive_fd(fd):
    from ocifw.linux._kernel import receive_message

    return receive_message(fd, 100)


@pytest.mark.parametrize("late", [False, True])
def test_slots_come_with_the_program_and_with_go(spawn, late):
    """A slot may be passed with PROGRAM or with a later GO; the pidfd sent through it is the process's own."""
    from ocifw.linux.unix import socketpair

    ours, theirs = socketpair()
    steps = [PassBaton(3), SendPidfd("channel", "hello"), PassBaton(4)]
    container = spawn(steps) if late else spawn(steps, channel=theirs)
    container.expect(PASS)
    container.go(**({"channel": theirs} if late else {}))
    os.close(theirs)
    payload, (pidfd,) = receive_fd(ours)
    assert payload == b"hello"
    with open(f"/proc/self/fdinfo/{pidfd}") as info:
        assert f"Pid:\t{container.pid}\n" in info.readlines()
    os.close(pidfd)
    os.close(ours)


def test_a_slot_nothing_was_passed_for_is_an_error(spawn):
    """A step whose slot stayed empty fails with EBADF."""
    container = spawn([SendPidfd("channel", "hello")])
    assert container.receive()[:3] == (ERROR, 0, 9)


def test_more_slots_than_one_message_carries(init_fd, kernel):
    """FDS messages bring slots before PROGRAM; the numbers of the slots count, not their order."""
    from ocifw.linux.memfd import sealed
    from ocifw.linux.unix import socketpair

    ours, theirs = socketpair()
    answers, channel = socketpair()
    null = os.open("/dev/null", os.O_RDONLY)
    pid = kernel.spawn(init_fd, theirs)
    os.close(theirs)
    send(ours, FDS, range(250, 0, -1), [null] * 250)
    send(ours, FDS, range(251, 501), [null] * 249 + [channel])
    memory = sealed("program", encode([SendPidfd("x", "hi")], {"x": 500}))
    send(ours, PROGRAM, [0], [memory, null])
    for fd in (memory, null, channel):
        os.close(fd)
    payload, (pidfd,) = receive_fd(answers)
    assert payload == b"hi"
    assert receive(ours) is None
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    for fd in (pidfd, answers, ours):
        os.close(fd)


# ---- clone and namespaces ----


@needs_root
def test_clone_makes_namespaces(spawn):
    """Clone's kinds are new, all others are shared; CLONED names the pid as the runtime sees it."""
    kinds = NEWNS | NEWUTS | NEWIPC | NEWPID | NEWNET
    container = spawn(
        [Clone(kinds), SetHostname("box"), SetDomainname("domain"), BringUp(), PassBaton(3)]
    )
    container.cloned()
    container.expect(PASS)
    new = {
        k
        for k in os.listdir("/proc/self/ns")
        if namespace(container.pid, k) != namespace("self", k)
    }
    assert new == {"mnt", "uts", "ipc", "pid", "pid_for_children", "net"}
    assert container.status()["NSpid"].split() == [str(container.pid), "1"]
    with open(f"/proc/{container.pid}/net/fib_trie") as routes:
        assert "127.0.0.1" in routes.read()


@needs_root
def test_hostname_is_set(spawn, tmp_path):
    """SetHostname and SetDomainname are seen by the container, not by the host."""
    out = tmp_path / "names"
    script = f"cat /proc/sys/kernel/hostname /proc/sys/kernel/domainname > {out}"
    before = os.uname().nodename
    container = spawn([Clone(NEWUTS), SetHostname("box"), SetDomainname("domain"), shell(script)])
    container.cloned()
    assert container.wait() == 0
    assert out.read_text() == "box\ndomain\n"
    assert os.uname().nodename == before


def map_ids(pid, uid, gid):
    for name, value in (("uid_map", uid), ("gid_map", gid)):
        with open(f"/proc/{pid}/{name}", "w") as file:
            file.write(f"0 {value} 1\n")


@needs_root
def test_user_namespace_is_mapped_by_the_runtime(spawn):
    """The runtime writes the maps after the first PASS; then the container process becomes the namespace's root."""
    steps = [Clone(NEWUSER | NEWNS), PassBaton(3), BecomeRoot(), NewSession(), PassBaton(4)]
    container = spawn(steps)
    container.cloned()
    container.expect(PASS)
    map_ids(container.pid, 100000, 200000)
    container.go()
    container.expect(PASS)
    status = container.status()
    assert status["Uid"].split() == ["100000"] * 4
    assert status["Gid"].split() == ["200000"] * 4
    assert status["Groups"].strip() == ""
    assert os.getsid(container.pid) == container.pid
    # Not dumpable: its files in /proc belong to the host's root.
    assert os.stat(f"/proc/{container.pid}/environ").st_uid == 0


def as_user(uid, function):
    """Run `function` in a throw-away process of an unprivileged user; its exception is the test's."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            # Becoming another user has made the process's own files in /proc root's.
            from ocifw.linux.process import PR_SET_DUMPABLE, prctl

            prctl(PR_SET_DUMPABLE, 1)
            function()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@needs_root
def test_user_namespace_without_privileges(init_fd):
    """A user without any privileges can write the maps, though the process is hidden afterwards."""

    def rootless():
        steps = [
            Clone(NEWUSER | NEWNS | NEWUTS),
            PassBaton(3),
            BecomeRoot(),
            SetHostname("box"),
            PassBaton(4),
        ]
        container = Container(init_fd, steps, {})
        container.cloned()
        container.expect(PASS)
        with open(f"/proc/{container.pid}/setgroups", "w") as file:
            file.write("deny")
        map_ids(container.pid, 1000, 1000)
        container.go()
        container.expect(PASS)
        with pytest.raises(PermissionError):
            os.readlink(f"/proc/{container.pid}/exe")
        container.end()

    as_user(1000, rootless)


@needs_root
def test_joining_by_pidfd(spawn):
    """JoinNamespaces joins several namespaces of a process at once; the pid namespace holds for the clone."""
    kinds = NEWNS | NEWUTS | NEWIPC | NEWPID | NEWNET
    first = spawn([Clone(kinds), PassBaton(3)])
    first.cloned()
    first.expect(PASS)
    pidfd = os.pidfd_open(first.pid)
    second = spawn(
        [JoinNamespaces("process", first.pid, kinds), Clone(), PassBaton(3)], process=pidfd
    )
    os.close(pidfd)
    second.cloned()
    second.expect(PASS)
    for kind in ("mnt", "uts", "ipc", "pid", "net"):
        assert namespace(second.pid, kind) == namespace(first.pid, kind)
    assert second.status()["NSpid"].split() == [str(second.pid), "2"]


def refuse_setns_of(kinds):
    """A filter under which setns(2) with exactly these kinds gives EINVAL, as a kernel before 5.8 does for a pidfd."""
    setns = {"x86_64": 308, "aarch64": 268}[os.uname().machine]
    load, equal, answer = 0x20, 0x15, 0x06
    instructions = [
        (load, 0, 0, 0), (equal, 0, 3, setns), (load, 0, 0, 24), (equal, 0, 1, kinds),
        (answer, 0, 0, 0x00050000 | 22), (answer, 0, 0, 0x7FFF0000),
    ]  # fmt: skip
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in instructions)


@needs_root
@pytest.mark.parametrize("owned", [False, True])
def test_joining_one_by_one(spawn, owned):
    """Where setns(2) takes no pidfd, the namespaces are joined one after the other, in an order that works."""
    kinds = NEWNS | NEWUTS | NEWIPC | NEWPID | NEWNET | (NEWUSER if owned else 0)
    first = spawn([Clone(kinds), PassBaton(3), BecomeRoot(), PassBaton(4)])
    first.cloned()
    first.expect(PASS)
    if owned:
        map_ids(first.pid, 100000, 100000)
    first.go()
    first.expect(PASS)
    pidfd = os.pidfd_open(first.pid)
    steps = [
        LoadFilter(refuse_setns_of(kinds)),
        JoinNamespaces("process", first.pid, kinds),
        Clone(),
        PassBaton(3),
    ]
    second = spawn(steps, process=pidfd)
    os.close(pidfd)
    second.cloned()
    second.expect(PASS)
    for kind in ("mnt", "uts", "ipc", "pid", "net", "user"):
        assert namespace(second.pid, kind) == namespace(first.pid, kind)


@needs_root
def test_joining_by_path(spawn):
    """JoinNamespace joins by path; paths are opened before a mount namespace changes what they mean."""
    first = spawn([Clone(NEWNS | NEWUTS | NEWNET), PassBaton(3)])
    first.cloned()
    first.expect(PASS)
    kinds = (("mnt", NEWNS), ("uts", NEWUTS), ("net", NEWNET))
    joins = [JoinNamespace(f"/proc/{first.pid}/ns/{name}", kind) for name, kind in kinds]
    second = spawn([*joins, Clone(), PassBaton(3)])
    second.cloned()
    second.expect(PASS)
    for name, _ in kinds:
        assert namespace(second.pid, name) == namespace(first.pid, name)


@needs_root
def test_joining_reports_the_path(spawn):
    """A namespace file that is missing, or of another kind, is named by its own step."""
    container = spawn(
        [JoinNamespace("/proc/self/ns/uts", NEWUTS), JoinNamespace("/nonexistent", NEWNET)]
    )
    assert container.receive() == (ERROR, 1, 2, 0, "open", "/nonexistent")
    container = spawn([JoinNamespace("/proc/self/ns/uts", NEWNET)])
    assert container.receive() == (ERROR, 0, 22, 0, "setns", "/proc/self/ns/uts")


@needs_root
def test_unshare_and_time_offsets(spawn):
    """Time offsets are written between Unshare and Clone; the container process lives in the new namespace."""
    steps = [Unshare(NEWTIME), SetTimeOffsets("boottime 1000 0\n"), Clone(), PassBaton(3)]
    container = spawn(steps)
    message = container.receive()
    if message.kind == ERROR:
        pytest.skip("needs time namespaces")
    assert message.kind == CLONED
    container.expect(PASS)
    assert namespace(container.pid, "time") != namespace("self", "time")
    with open(f"/proc/{container.pid}/timens_offsets") as file:
        assert ["boottime", "1000", "0"] in [line.split() for line in file]


# ---- what a process has ----


@needs_root
def test_scheduling_and_personality(spawn):
    """Affinity, policy, I/O priority and personality are the process's own."""
    attributes = struct.pack("<IIQiIQQQ", 48, 3, 0, 5, 0, 0, 0, 0)
    steps = [
        SetCpuAffinity((1).to_bytes(8, "little")), SetScheduler(attributes), NewSession(), SetIoPriority(2 << 13 | 6),
        SetPersonality(0x40000), SetNoNewPrivileges(), SetUmask(0o27), PassBaton(3),
    ]  # fmt: skip
    container = spawn(steps)
    container.expect(PASS)
    assert os.sched_getaffinity(container.pid) == {0}
    assert os.sched_getscheduler(container.pid) == os.SCHED_BATCH
    from ocifw.linux._kernel import numbers, syscall

    assert syscall(numbers["ioprio_get"], 1, container.pid) == 2 << 13 | 6
    with open(f"/proc/{container.pid}/personality") as file:
        assert int(file.read(), 16) == 0x40000
    assert container.status()["NoNewPrivs"] == "1"
    assert container.status()["Umask"] == "0027"


def test_scheduler_attributes_must_be_whole(spawn):
    """A struct sched_attr that says it is longer than it is, is refused before the kernel reads on."""
    container = spawn([SetScheduler(struct.pack("<II", 48, 0))])
    assert container.receive() == (ERROR, 0, 22, 0, "sched_setattr", "size")


def test_memory_policy(spawn):
    """set_mempolicy(2) gets mode and nodes."""
    container = spawn([SetMemoryPolicy(2, (1).to_bytes(8, "little")), PassBaton(3)])
    message = container.receive()
    if message.kind == ERROR and message.error == 38:
        pytest.skip("needs a kernel with NUMA")
    assert message.kind == PASS
    with open(f"/proc/{container.pid}/numa_maps") as file:
        assert "bind:0" in file.read()
    container = spawn([SetMemoryPolicy(0, b""), SetMemoryPolicy(99, b"")])
    assert container.receive()[:3] == (ERROR, 1, 22)


@needs_root
def test_session_keyring_is_new(spawn, tmp_path):
    """The session keyring has the name asked for, and its user may find it."""
    if not os.path.exists("/proc/keys"):
        pytest.skip("needs a kernel with keyrings")
    out = tmp_path / "keys"
    name = f"_ses.test{os.getpid()}"
    container = spawn([Clone(), JoinKeyring(name), shell(f"cat /proc/keys > {out}")])
    container.cloned()
    assert container.wait() == 0
    (line,) = [line for line in out.read_text().splitlines() if name in line]
    assert int(line.split()[4], 16) & 0x80000


# ---- start ----


@pytest.fixture
def listener(kernel, tmp_path):
    from ocifw.linux.unix import listen

    path = str(tmp_path / "start")
    fd = listen(path)
    yield path, fd
    os.close(fd)


def created(spawn, listener, *steps):
    """A container that waits for start, its runtime gone."""
    container = spawn([Clone(), PassBaton(11), AwaitStart("start"), *steps], start=listener[1])
    container.cloned()
    container.expect(PASS)
    container.go()
    assert container.receive() is None
    return container


def test_start_lets_the_container_run(spawn, listener):
    """After GO the baton is closed; a connection gets PASS at once and the end of file when the program runs."""
    from ocifw.linux.unix import connect

    container = created(spawn, listener, CloseFds(3), shell("exit 5"))
    channel = connect(listener[0])
    assert receive(channel)[:4] == (PASS, 2, 0, 0)
    assert receive(channel) is None
    assert container.wait() == 5
    os.close(channel)


def test_a_failure_after_start_goes_through_the_channel(spawn, listener):
    """The one who starts the container is told what failed."""
    from ocifw.linux.unix import connect

    container = created(spawn, listener, CloseFds(3), Execute(("/etc/passwd",), ()))
    channel = connect(listener[0])
    assert receive(channel).kind == PASS
    assert receive(channel) == (ERROR, 4, 13, 0, "execve", "/etc/passwd")
    assert receive(channel) is None
    assert container.wait() == 1
    os.close(channel)


def test_a_starter_that_died_does_not_start(spawn, listener):
    """Whoever connects and is gone before the answer has not started the container: the next one does."""
    from ocifw.linux.unix import connect

    # Two in the queue before the container waits: the first is gone by then.
    os.close(connect(listener[0]))
    channel = connect(listener[0])
    container = created(spawn, listener, shell("exit 6"))
    assert receive(channel).kind == PASS
    assert container.wait() == 6
    os.close(channel)


@needs_root
def test_strangers_do_not_start(spawn, listener, tmp_path):
    """Another user who reaches the socket all the same gets no answer; root starts the container afterwards."""
    from ocifw.linux.unix import connect

    folder = tmp_path
    while folder.stat().st_uid == 0 and folder != folder.parent and not folder.stat().st_mode & 1:
        folder.chmod(0o711)
        folder = folder.parent
    os.chmod(listener[0], 0o777)
    container = created(spawn, listener, shell("exit 8"))

    def stranger():
        assert receive(connect(listener[0])) is None

    as_user(1234, stranger)
    channel = connect(listener[0])
    assert receive(channel).kind == PASS
    assert container.wait() == 8
    os.close(channel)


def test_waiting_takes_little_memory(spawn, listener):
    """A created container waits in less than 200 kB, most of it shared with all others."""
    steps = [Execute(("/bin/true",), tuple(f"NAME_{i}=value {i}" for i in range(60)))]
    container = created(spawn, listener, *steps)
    # It sleeps in accept4(2) once it has closed the baton, which created() has seen.
    status = container.status()
    assert int(status["VmRSS"].split()[0]) < 200
    assert int(status["RssAnon"].split()[0]) < 100


# ---- execution ----


@pytest.fixture
def programs(tmp_path):
    """A folder with an executable `run`, a file `plain`, a folder `folder`, and a `binary` of no known format."""
    (tmp_path / "run").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "run").chmod(0o755)
    (tmp_path / "plain").write_text("")
    (tmp_path / "binary").write_text("nonsense")
    (tmp_path / "binary").chmod(0o755)
    (tmp_path / "folder").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "search", "error", "call"),
    [
        ("{}/missing", "/bin", 2, "stat"),
        ("{}/plain", "/bin", 13, "stat"),
        ("{}/plain/x", "/bin", 20, "stat"),
        ("{}/folder", "/bin", 21, "stat"),
        ("missing", "/bin:{}", 2, "lookup"),
        ("plain", "{}", 2, "lookup"),
        ("folder", "{}", 2, "lookup"),
        ("run", "", 2, "lookup"),
        ("run", ":relative", 2, "lookup"),
        ("", "{}", 2, "lookup"),
        ("/" * 5000, "/bin", 36, "stat"),
    ],
)  # fmt: skip
def test_what_cannot_be_found(spawn, programs, name, search, error, call):
    """A program that is missing or cannot be executed fails at lookup, with the errno that runc would name."""
    name = name.format(programs)
    container = spawn([LookupExecutable(name, search.format(programs))])
    assert container.receive() == (ERROR, 0, error, 0, call, name[:4799])


@pytest.mark.parametrize(
    ("name", "search"),
    [("{}/run", ""), ("run", "/nonexistent:/bin:{}"), ("run", "{}:"), ("../{}/run", "")],
)
def test_what_was_found_is_executed(spawn, programs, name, search):
    """Execute runs the file that LookupExecutable found, under the name in args."""
    name = name.format(str(programs) if name[0] == "{" else str(programs).lstrip("/"))
    if name.startswith(".."):
        name = "../" * 20 + name[3:]
    container = spawn(
        [LookupExecutable(name, search.format(programs)), Execute(("other name",), ())]
    )
    assert container.receive() is None
    assert container.wait() == 3


def test_what_cannot_be_executed_is_reported(spawn, programs):
    """A file of no known format passes the lookup and fails at execution."""
    path = str(programs / "binary")
    container = spawn([LookupExecutable(path, ""), Execute((path,), ())])
    assert container.receive() == (ERROR, 1, 8, 0, "execve", path)
    container = spawn([Execute((), ())])
    assert container.receive() == (ERROR, 0, 22, 0, "execve", "no arguments")


@pytest.mark.parametrize("preserved", [0, 2])
def test_only_preserved_descriptors_are_passed_on(init_fd, tmp_path, preserved):
    """The container's program gets 0 to 2 and the preserved ones: neither the baton, nor slots, nor the runtime's."""
    out = tmp_path / "fds"

    def run():
        keep = [os.open("/dev/null", os.O_RDONLY) for _ in range(20)]
        for number in range(3, 3 + preserved):
            os.dup2(keep[0], number)
        leaked = os.open("/etc", os.O_RDONLY)
        os.set_inheritable(leaked, True)
        slots = {"channel": keep[1]}
        steps = [
            Clone(),
            SendPidfd("channel", ""),
            CloseFds(3 + preserved),
            shell(f"ls -l /proc/self/fd > {out}"),
        ]
        container = Container(init_fd, [steps[0], *steps[2:]], {}, preserved)
        assert slots
        container.cloned()
        assert container.receive() is None
        assert container.wait() == 0

    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            run()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    numbers = {line.split()[8]: line.split()[-1] for line in out.read_text().splitlines()[1:]}
    # `ls` itself has the folder open.
    assert {n for n, target in numbers.items() if "/proc" not in target} == {
        str(n) for n in range(3 + preserved)
    }


def test_go_brings_slots_that_were_never_asked_for(spawn):
    """More slots than the program uses do no harm; a slot number beyond the limit does."""
    container = spawn([PassBaton(3), PassBaton(4)])
    container.expect(PASS)
    null = os.open("/dev/null", os.O_RDONLY)
    send(container.baton, GO, [7, 7], [null, null])
    container.expect(PASS)
    send(container.baton, GO, [4096], [null])
    os.close(null)
    assert container.receive() == (ERROR, NO_STEP, 22, 0, "message", "slot number")


@needs_root
def test_filter_is_loaded(spawn):
    """LoadFilter is in force for the program."""
    uname = {"x86_64": 63, "aarch64": 160}[os.uname().machine]
    deny = [
        (0x20, 0, 0, 0),
        (0x15, 0, 1, uname),
        (0x06, 0, 0, 0x00050000 | 1),
        (0x06, 0, 0, 0x7FFF0000),
    ]
    program = b"".join(struct.pack("<HBBI", *instruction) for instruction in deny)
    container = spawn([Clone(), LoadFilter(program), PassBaton(3), shell("uname || exit 9")])
    container.cloned()
    container.expect(PASS)
    assert container.status()["Seccomp"] == "2"
    container.go()
    assert container.wait() == 9
    container = spawn([LoadFilter(b"1234")])
    assert container.receive() == (ERROR, 0, 22, 0, "seccomp", "size of the program")


@needs_root
def test_processes_are_hidden_after_the_attach_phase(spawn):
    """Until the first GO the runtime can write to the process's files in /proc; then they are the host's root's."""
    container = spawn([Clone(), PassBaton(3), SetUid(1000), PassBaton(4)])
    container.cloned()
    container.expect(PASS)
    container.go()
    container.expect(PASS)
    assert container.status()["Uid"].split()[0] == "1000"
    assert os.stat(f"/proc/{container.pid}/environ").st_uid == 0


def test_spawn_is_safe_among_threads(spawn):
    """Containers can be made while other threads run."""
    import threading

    stop = threading.Event()
    busy = [threading.Thread(target=stop.wait, args=(20,)) for _ in range(4)]
    for thread in busy:
        thread.start()
    try:
        containers = [spawn([Clone(), shell("exit 2")]) for _ in range(8)]
        for container in containers:
            container.cloned()
            assert container.wait() == 2
    finally:
        stop.set()
        for thread in busy:
            thread.join()


def test_spawn_reports_what_cannot_be_executed(kernel):
    """spawn raises what execveat(2) says, and leaves no zombie."""
    null = os.open("/dev/null", os.O_RDONLY)
    with pytest.raises(PermissionError):
        kernel.spawn(null, null)
    with pytest.raises(OSError, match="Bad file descriptor"):
        kernel.spawn(null, 9999)
    os.close(null)
    assert select.select([], [], [], 0) == ([], [], [])
