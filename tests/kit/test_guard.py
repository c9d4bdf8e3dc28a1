"""Plugins that misbehave: each has an error that names plugin and hook, and nothing of it is left."""

from __future__ import annotations

import copy
import json
import os
import sys
import time
import types

import pytest

from ocifw import guard, linking, phases, plugins
from ocifw.container import Container
from ocifw.context import Context, Request
from ocifw.errors import OcifwError, PluginError
from ocifw.hookspecs import API_VERSION
from ocifw.plugins import PluginSet
from ocifw.sets import Member
from ocifw.testing import config_of, linked, plan_of

HEAD = "import time\nfrom ocifw import hookimpl\nfrom ocifw.steps import Mkdir, SetHostname\n\n@hookimpl\n"


@pytest.fixture
def plugin(request):
    """`plugin(source)` is the module of a third-party plugin with this source, called `bad`."""
    made = []

    def make(source, name="ocifw_bad"):
        module = types.ModuleType(f"{name}.plugin")
        module.__file__ = __file__
        exec(source, module.__dict__)
        for key, value in list(vars(module).items()):
            if callable(value) and key.startswith("ocifw_"):
                value.__module__ = module.__name__
        made.append(module)
        return module

    return make


def error_of(module, **options):
    with pytest.raises(OcifwError) as caught:
        plan_of(None, [module], **options)
    return str(caught.value)


@pytest.fixture(autouse=True)
def short_limit(monkeypatch):
    """Plugins that hang are given up after 50 ms."""
    monkeypatch.setattr(
        plugins.Terms, "_defaults", {**plugins.Terms._defaults, "time_limit_s": 0.05}
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def ocifw_enter():\n    raise KeyError('colour')", "ocifw_enter: KeyError: 'colour'"),
        ("def ocifw_enter():\n    yield Mkdir('/a')\n    raise OSError(2, 'gone')", "ocifw_enter: FileNotFoundError"),
        ("def ocifw_enter():\n    raise SystemExit(3)", "ocifw_enter: SystemExit: 3"),
        ("def ocifw_enter():\n    time.sleep(60)", "ocifw_enter: took longer than 0.05 s and was interrupted"),
        ("def ocifw_enter():\n    while True: pass", "ocifw_enter: took longer than 0.05 s and was interrupted"),
        ("def ocifw_enter():\n    yield Mkdir('/a')\n    time.sleep(60)", "ocifw_enter: took longer than 0.05 s"),
        ("def ocifw_enter():\n    try:\n        time.sleep(60)\n    except BaseException:\n        return []",
         "ocifw_enter: took longer than 0.05 s"),
        ("def ocifw_enter():\n    return 5", "ocifw_enter: answered with a value of type int, expected ContainerSteps"),
        ("def ocifw_enter():\n    return Mkdir('/a')", "ocifw_enter: answered with a value of type Mkdir, expected"),
        ("def ocifw_enter():\n    yield 'mkdir /a'", "ocifw_enter: answered with a value of type str among ContainerSteps"),
        ("def ocifw_prepare():\n    yield Mkdir('/a')", "ocifw_prepare: answered with a value of type Mkdir among"),
        ("def ocifw_validate():\n    return ['wrong']", "ocifw_validate: answered with a value of type str among Problems"),
        ("def ocifw_enter(config):\n    config['linux']['seccomp'] = {}", "ocifw_enter: changed config.linux.seccomp, which"),
        ("def ocifw_enter(config):\n    config['process']['args'][0] = 'x'\n    yield Mkdir('/a')",
         "ocifw_enter: changed config.process.args[0], which is for reading only"),
        ("def ocifw_rootfs(mounts):\n    mounts[0] += ('x',)", "ocifw_rootfs: TypeError"),
        ("def ocifw_rootfs(request):\n    request.id = 'x'", "ocifw_rootfs: AttributeError: Request.id cannot be changed"),
    ],
)  # fmt: skip
def test_one_hook(plugin, body, message):
    """What raises, hangs, answers with something else or changes what it was given is named, with its hook."""
    assert f"plugin bad: {message}" in error_of(plugin(HEAD + body))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("    try:\n        result = yield\n    except Exception:\n        yield []\n    else:\n        yield result",
         "ocifw_enter: the wrapper has a second yield"),
        ("    for _ in range(3):\n        try:\n            yield\n        except BaseException:\n            pass",
         "ocifw_enter: the wrapper has a second yield"),
        ("    return []\n    yield", "ocifw_enter: StopIteration"),
        ("    yield\n    return 5", "ocifw_enter: the wrapper returned a value of type int, expected the list of answers"),
        ("    yield\n    return [['x']]", "ocifw_enter: answered with a value of type str among ContainerSteps"),
        ("    yield\n    raise ValueError('late')", "ocifw_enter: ValueError: late"),
        ("    yield\n    time.sleep(60)", "ocifw_enter: took longer than 0.05 s"),
        ("    time.sleep(60)\n    yield", "ocifw_enter: took longer than 0.05 s"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_wrappers(plugin, body, message):
    """A wrapper that yields again, returns something else, raises or hangs is named."""
    head = HEAD.replace("@hookimpl\n", "@hookimpl(wrapper=True)\n")
    assert f"plugin bad: {message}" in error_of(plugin(f"{head}def ocifw_enter():\n{body}"))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("    try:\n        yield\n    except Exception:\n        yield []",
         "plugin bad: ocifw_enter: the wrapper has a second yield"),
        ("    return (yield)", "plugin inner: ocifw_enter: KeyError: 'inner'"),
    ],
)  # fmt: skip
def test_wrappers_around_a_failure(plugin, body, message):
    """A wrapper that yields after an exception is named; one that lets it pass is not: the error is another's."""
    head = HEAD.replace("@hookimpl\n", "@hookimpl(wrapper=True)\n")
    inner = plugin(f"{HEAD}def ocifw_enter():\n    raise KeyError('inner')", "ocifw_inner")
    with pytest.raises(PluginError) as caught:
        plan_of(None, [plugin(f"{head}def ocifw_enter():\n{body}"), inner])
    assert str(caught.value) == message


def test_time_is_given_back(plugin):
    """The caller's timer and handler of SIGALRM are as they were after a plugin was called."""
    import signal

    seen = []
    before = signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 100)
        plan_of(None, [plugin(f"{HEAD}def ocifw_enter():\n    yield Mkdir('/a')")])
        assert 99 < signal.getitimer(signal.ITIMER_REAL)[0] <= 100
        assert signal.getsignal(signal.SIGALRM) not in (signal.SIG_DFL, guard._time_up)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_in_a_thread_the_time_is_measured(plugin):
    """Where no signal can interrupt it, a plugin that took too long is an error all the same."""
    import threading

    module = plugin(f"{HEAD}def ocifw_enter():\n    time.sleep(0.06)")
    errors = []

    def work():
        try:
            plan_of(None, [module])
        except PluginError as error:
            errors.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert errors and "plugin bad: ocifw_enter: took longer than 0.05 s" in errors[0]


def test_nothing_of_a_change_is_left(plugin):
    """The config that a plugin changed is a copy: the plan's own is as it was."""
    config = config_of("plain")
    before = copy.deepcopy(config)
    with pytest.raises(PluginError, match=r"changed config\.hostname"):
        plan_of(config, [plugin(f"{HEAD}def ocifw_enter(config):\n    config['hostname'] = 'x'")])
    assert config == before


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("request.container.state['pid'] = 1", "changed request.container.pid"),
        ("request.container.config['hostname'] = 'x'", "changed request.container.config.hostname"),
        ("request.container = None", "Request.container cannot be changed"),
    ],
)
def test_the_container_of_exec(plugin, body, message):
    """A plugin that changes the container that `exec` is about is named; the container is as it was."""
    state = {"id": "box", "pid": 7, "config": config_of("plain"), "notes": {}}
    before = copy.deepcopy(state)
    request = Request("exec", "box", "/b", "/b/r", "/s", container=Container("/s", state))
    active = linked([plugin(f"{HEAD}def ocifw_enter(request):\n    {body}")], first_party=False)
    with pytest.raises(PluginError, match=f"plugin bad: ocifw_enter: .*{message}"):
        active.ask("ocifw_enter", {"request": request})
    assert state == before and request.container.state is state


def test_watchers_get_a_copy(plugin):
    """What a watcher does to the context, nobody else sees; it has no file descriptors, and its warnings are kept by name."""
    context = Context("box", "/b", "/s", annotations={"a": "b"}, pid=7, notes={"own": [1]})
    context.fds["start"] = 99
    body = (
        "    assert (context.id, context.pid, context.notes) == ('box', 7, {'own': [1]})\n"
        "    assert context.oci_state('created')['annotations'] == {'a': 'b'}\n"
        "    assert not context.fds\n"
        "    context.warn('slow')\n    context.pid = 1\n    context.notes['own'].append(2)\n"
        "    context.annotations.clear()\n    context.close()\n    context.undoing = True\n"
        "    context.fds['start'] = 3\n    steps.append(4) if hasattr(steps, 'append') else None\n"
    )
    source = f"{HEAD}def ocifw_run_phase(phase, side, steps, context):\n{body}"
    steps = []
    arguments = {"phase": phases.CREATED, "side": "runtime", "steps": steps, "context": context}
    linked([plugin(source)], first_party=False).ask("ocifw_run_phase", arguments)
    assert context.warnings == ["plugin bad: slow"]
    assert (context.pid, context.notes, context.annotations) == (7, {"own": [1]}, {"a": "b"})
    assert context.fds == {"start": 99} and not context.undoing and steps == []


def test_two_that_set_the_same(plugin):
    """A plugin that claims what another sets is refused, both named, before anything runs."""
    module = plugin(f"{HEAD}def ocifw_finalize():\n    yield SetHostname('mine', at='here')")
    message = error_of(module)
    assert "hostname is set by two plugins: " in message
    assert "namespaces (set hostname" in message and "bad (set hostname mine, here)" in message


def test_anothers_field(plugin):
    """A plugin that owns another's field is refused, both named."""
    message = error_of(
        plugin(f"owns = ('linux.seccomp',)\n{HEAD}def ocifw_enter():\n    return None")
    )
    assert message.endswith("linux.seccomp is owned by two plugins, seccomp and bad")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (f"{HEAD}def ocifw_rootf():\n    return None", "unknown hook 'ocifw_rootf'.*did you mean ocifw_rootfs"),
        (f"{HEAD}def ocifw_enter(confg):\n    return None", "registration: .*confg"),
        ("def ocifw_enter():\n    return None", "registration: ocifw_enter is not marked with @hookimpl"),
        ("owns = ('linux.secomp',)", "owns: linux.secomp is no field of config.json: did you mean linux.seccomp"),
        ("owns = ('process.args',)", "owns: process.args is the core's own"),
        ("owns = 'hostname'", "owns: must be a tuple"),
        ("api = '2'", f"api: was written for version 2 of ocifw's hooks and steps, this is {API_VERSION}"),
        ("api = '1.99'", "api: was written for version 1.99 of"),
        ("api = 1", "api: must be a text as"),
    ],
)  # fmt: skip
def test_declarations(plugin, source, message):
    """A misspelt hook, parameter or field, a forgotten @hookimpl, and another API version are refused when linking."""
    import re

    with pytest.raises(PluginError) as caught:
        linked([plugin(source)])
    assert re.search(f"(?s)^plugin bad: .*{message}", str(caught.value)), caught.value


@pytest.mark.parametrize("api", ["1", "1.0", API_VERSION])
def test_an_api_version_that_fits(plugin, api):
    """A plugin written for this version, or an older one with the same first number, is accepted."""
    assert linked([plugin(f"api = {api!r}\n{HEAD}def ocifw_enter():\n    return None")])


def test_deprecated_hooks_warn(plugin, capfd):
    """Hooks that are to go say so when a plugin that implements them is linked."""
    import pluggy

    specifications = types.ModuleType("specifications")
    marker = pluggy.HookspecMarker("ocifw")

    def ocifw_old(config):
        """Old."""

    warning = DeprecationWarning("ocifw_old goes in 2.0: use ocifw_new")
    specifications.ocifw_old = marker(warn_on_impl=warning)(ocifw_old)
    module = plugin(f"{HEAD}def ocifw_old(config):\n    return None")
    record = linking.Plugin("bad", "ocifw_bad.plugin", "bad", "1", (), False, __file__, 0, 0)
    linking.link([("bad", module, record)], specifications)
    assert "plugin bad: ocifw_old goes in 2.0: use ocifw_new" in capfd.readouterr().err


# ---- failures that are warnings ----------------------------------------------------------------------------------


def tolerant(module, first=()):
    """A plugin set in which failures of `module` are warnings."""
    own = linked([*first, module], first_party=False)
    rows = [p.changed(failure="warn") if p.name == "bad" else p for p in own.plugins]
    return PluginSet(
        rows, own.hooks, own.first_result, {}, {p.name: own.module(p.name) for p in rows}, own.terms
    )


@pytest.mark.parametrize("wrapper", [False, True])
def test_failures_can_be_warnings(plugin, capfd, wrapper):
    """With failure: warn, a plugin that raises is left out, with a warning that names it; the others' answers stay."""
    good = plugin(f"{HEAD}def ocifw_enter():\n    yield Mkdir('/good')", "ocifw_good")
    head = HEAD.replace("@hookimpl\n", "@hookimpl(wrapper=True)\n") if wrapper else HEAD
    first = "    yield\n" if wrapper else ""
    bad = plugin(f"{head}def ocifw_enter():\n{first}    raise ValueError('broken')")
    answers = tolerant(bad, [good]).ask("ocifw_enter", {})
    assert [step.path for answer in answers for step in answer] == ["/good"]
    assert "plugin bad: ocifw_enter: ValueError: broken (left out" in capfd.readouterr().err


def test_an_owner_cannot_fail_quietly(plugin):
    """Failures of a plugin that owns a field are errors: what it isolates must not silently be missing."""
    module = plugin(f"owns = ('linux.intelRdt',)\n{HEAD}def ocifw_enter():\n    return None")
    with pytest.raises(PluginError, match="linux.intelRdt: its failure cannot be a warning"):
        linking.check_declarations("bad", module, Member("bad", failure="warn"))


# ---- what it costs -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_price_of_third_party_plugins(plugin):
    """A plugin with one hook adds at most 0.3 ms to planning once linked, 30 at most 3 ms."""
    from ocifw.context import Host, Request
    from ocifw.plan import make_plan

    modules = [
        plugin(f"{HEAD}def ocifw_enter(config, request):\n    yield Mkdir('/x')", f"ocifw_p{n}")
        for n in range(30)
    ]
    config = config_of("plain")
    times = {}
    for count in (0, 1, 30):
        table = linked(modules[:count], first_party=False)
        request = Request("create", "box", "/b", "/b/rootfs", "/s")
        arguments = {"config": config, "request": request, "host": Host()}

        def ask(table=table, arguments=arguments):
            fresh = PluginSet(
                table.plugins, table.hooks, table.first_result, {}, table._modules, table.terms
            )
            began = time.perf_counter()
            fresh.ask("ocifw_enter", arguments)
            return time.perf_counter() - began

        times[count] = min(ask() for _ in range(200)) * 1000
    assert times[1] - times[0] < 0.3 and times[30] - times[0] < 3, times
    assert callable(make_plan)


# ---- in a real container -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_nothing_is_left_of_a_create(real_containers, tmp_path):
    """A `create` that a plugin's failure ends leaves neither state nor cgroup."""
    if not _is_root_library():
        pytest.skip("needs an installation that the test may change")
    done = real_containers.run("true", None, "--without", "hooks")
    assert done.status == 0, done.err
    assert not list((tmp_path / "state").glob("*"))


def _is_root_library():
    return os.geteuid() == 0 and "site-packages" in plugins.library()


@pytest.mark.slow
@pytest.mark.parametrize("what", ["raises", "hangs", "step fails"])
def test_a_real_create_fails_as_a_whole(installation, tmp_path, what):
    """In a real `create`, a plugin that raises, hangs or whose step fails is named; nothing of the container is left."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    bodies = {
        "raises": "@hookimpl\ndef ocifw_created():\n    raise ValueError('broken')\n",
        "hangs": "@hookimpl\ndef ocifw_created():\n    import time\n    time.sleep(60)\n",
        "step fails": (
            "class Leave(RuntimeStep):\n    undoable = True\n    path: str\n"
            "    def apply(self, context):\n        open(self.path, 'w').close()\n        raise OSError(5, 'x')\n"
            "    def undo(self, context):\n        import os\n        os.unlink(self.path)\n"
            f"@hookimpl\ndef ocifw_created():\n    yield Leave({str(tmp_path / 'left')!r})\n"
        ),
    }
    messages = {
        "raises": "plugin extra: ocifw_created: ValueError: broken",
        "hangs": "plugin extra: ocifw_created: took longer than 0.2 s",
        "step fails": "created: extra: Leave path=",
    }
    source = "from ocifw import hookimpl\nfrom ocifw.steps import RuntimeStep\n" + bodies[what]
    installation.plugin("extra", source)
    installation.set("acme", "plugins: {extra: true}\ntime-limit-s: 0.2")
    bundle = tmp_path / "bundle"
    assert installation.ocifw("bundle", bundle).returncode == 0
    config = json.loads((bundle / "config.json").read_text())
    name = f"guard-{os.getpid()}-{what.replace(' ', '')}"
    config["process"].update(terminal=False, args=["true"])
    config["linux"]["cgroupsPath"] = f"/{name}"
    (bundle / "config.json").write_text(json.dumps(config))
    done = installation.ocifw(
        "--root", tmp_path / "state", "--set", "acme", "create", "--bundle", bundle, name
    )
    assert done.returncode == 1 and messages[what] in done.stderr, done.stderr
    assert not (tmp_path / "left").exists()
    assert not (tmp_path / "state" / name).exists()
    found = [folder for folder, names, _ in os.walk("/sys/fs/cgroup") if name in names]
    assert found == [] and sys.version_info >= (3, 11)
