"""Linking and calling plugins: the linked table answers as live pluggy does, and mistakes are named."""

from __future__ import annotations

import types

import pluggy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocifw import hookimpl, linking
from ocifw.errors import PlanError, PluginError
from ocifw.plugins import PluginSet, from_table
from ocifw.steps import Mkdir

HOOKS = sorted(name for name in vars(linking.hookspecs) if name.startswith("ocifw_"))
FIRST_RESULT = {
    name for name in HOOKS if getattr(linking.hookspecs, name).ocifw_spec["firstresult"]
}


def found(name, functions, owns=(), always=False):
    """A plugin made of functions, as `linking.describe` would find it."""
    module = types.ModuleType(f"test_{name}")
    module.__file__ = __file__
    for key, function in functions.items():
        setattr(module, key, function)
    record = linking.Plugin(name, module.__name__, name, "1", owns, always, __file__, 0, 0)
    return name, module, record


def linked(plugins, plugin_settings=None):
    """The linked plugin set of such plugins."""
    table = linking.link(plugins)
    modules = {name: module for name, module, _ in plugins}
    own = from_table(table, plugin_settings)
    return PluginSet(own.plugins, own.hooks, own.first_result, plugin_settings, modules)


def behaviour(kind, number, hook):
    """A hook implementation of one kind of behaviour; all parameters are the hook's own."""
    parameters = list(
        linking.implementation("x", getattr(linking.hookspecs, hook), False).arguments
    )
    code = {
        "list": f"    return [{number}]",
        "none": "    return None",
        "generator": f"    yield {number}",
        "raise": f"    raise ValueError({number})",
    }.get(kind)
    if kind == "wrapper":
        code = f"    result = yield\n    return [result, {number}]"
    elif kind == "passing wrapper":
        code = "    return (yield)"
    elif kind == "catching wrapper":
        code = f"    try:\n        return (yield)\n    except Exception:\n        return ['caught', {number}]"
    elif kind == "raising wrapper":
        code = f"    yield\n    raise ValueError({number})"
    namespace = {}
    exec(f"def {hook}({', '.join(parameters)}):\n{code}", namespace)
    return namespace[hook]


implementations = st.lists(
    st.tuples(
        st.sampled_from(
            ["list", "list", "none", "generator", "raise", "wrapper", "passing wrapper",
             "catching wrapper", "raising wrapper"]
        ),
        st.sampled_from([{}, {"tryfirst": True}, {"trylast": True}]),
    ),
    max_size=6,
)  # fmt: skip


def materialized(answer):
    """Generators as lists: live pluggy leaves them as they are."""
    if isinstance(answer, types.GeneratorType):
        return list(answer)
    return [materialized(item) for item in answer] if isinstance(answer, list) else answer


def outcome(call):
    """What a call comes to: its answer, or what kind of failure it is."""
    try:
        return "answer", materialized(call())
    except PluginError as error:
        return "failure", str(error.__cause__)
    except ValueError as error:
        return "failure", str(error)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(HOOKS), implementations)
def test_linked_dispatch_answers_as_pluggy_does(hook, kinds):
    """For every hook and every kind of implementation, the linked table gives what a PluginManager gives."""
    plugins = []
    for number, (kind, options) in enumerate(kinds):
        function = behaviour(kind, number, hook)
        hookimpl(wrapper="wrapper" in kind, **options)(function)
        plugins.append(found(f"p{number}", {hook: function}))
    manager = linking.manager()
    for name, module, _ in reversed(plugins):
        manager.register(module, name)
    arguments = dict.fromkeys(
        linking.implementation("x", getattr(linking.hookspecs, hook), False).arguments
    )
    arguments = {**arguments, "settings": {}} if "settings" in arguments else arguments
    live = outcome(lambda: getattr(manager.hook, hook)(**arguments))
    ours = outcome(lambda: linked(plugins).ask(hook, arguments))
    assert ours == live


def test_every_hook_is_in_the_table():
    """First-result hooks are known as such even when nobody implements them."""
    table = linking.link([])
    assert set(table["first_result"]) == FIRST_RESULT
    assert linked([]).ask("ocifw_clone", {}) is None
    assert linked([]).ask("ocifw_enter", {}) == []


def test_steps_are_stamped_with_their_plugin():
    """A step carries the plugin that answered with it; a wrapper's own steps carry the wrapper's."""

    @hookimpl
    def ocifw_rootfs():
        yield Mkdir("/a")

    def wrap():
        results = yield
        return [*results, [Mkdir("/b")]]

    wrap.__name__ = "ocifw_rootfs"
    plugins = linked(
        [
            found("plain", {"ocifw_rootfs": ocifw_rootfs}),
            found("wrapping", {"ocifw_rootfs": hookimpl(wrapper=True)(wrap)}),
        ]
    )
    (first,), (second,) = plugins.ask("ocifw_rootfs", {})
    assert (first.plugin, second.plugin) == ("plain", "wrapping")


def test_settings_are_the_plugins_own():
    """`settings` is what the profile says to this plugin; {} when it says nothing."""

    @hookimpl
    def ocifw_features(): ...

    def ocifw_enter(settings):
        return [settings]

    plugins = [
        found("one", {"ocifw_enter": hookimpl(ocifw_enter)}),
        found("two", {"ocifw_enter": hookimpl(ocifw_enter)}),
    ]
    assert linked(plugins, {"two": {"a": 1}}).ask("ocifw_enter", {}) == [[{}], [{"a": 1}]]


def test_a_failing_plugin_is_named_with_its_hook():
    """Whatever a plugin raises becomes an error that names plugin and hook."""

    @hookimpl
    def ocifw_enter():
        raise KeyError("colour")

    with pytest.raises(PluginError, match="plugin painter: ocifw_enter: KeyError: 'colour'"):
        linked([found("painter", {"ocifw_enter": ocifw_enter})]).ask("ocifw_enter", {})


@pytest.mark.parametrize(
    ("functions", "words"),
    [
        ({"ocifw_misspelt": lambda: None}, "ocifw_misspelt"),
        ({"ocifw_enter": lambda colour: None}, "colour"),
    ],
)
def test_mistakes_in_hooks_are_refused_when_linking(functions, words):
    """An unknown hook, or a parameter that the hook does not have, is an error that names the plugin."""
    for function in functions.values():
        hookimpl(function)
    with pytest.raises(PluginError, match=f"(?s)plugin painter: registration:.*{words}"):
        linking.link([found("painter", functions)])


def test_a_wrapper_with_two_yields_is_refused():
    """A wrapper yields exactly once."""

    def ocifw_enter():
        yield
        yield

    plugins = linked([found("twice", {"ocifw_enter": hookimpl(wrapper=True)(ocifw_enter)})])
    with pytest.raises(PluginError, match="twice: ocifw_enter: the wrapper has a second yield"):
        plugins.ask("ocifw_enter", {})


def test_only_owners_of_set_fields_are_asked():
    """A plugin none of whose fields is set is not asked; one that owns nothing, or says always, is."""
    plugins = linked(
        [
            found("owner", {}, owns=("hostname",)),
            found("other", {}, owns=("hooks",)),
            found("ownerless", {}),
            found("eager", {}, owns=("mounts",), always=True),
        ]
    )
    assert plugins.asked(["hostname", "process.args"]) == {"owner", "ownerless", "eager"}


def test_a_field_that_nobody_owns_names_the_missing_plugin():
    """A set field without an owner is an error: a set without the plugin must not silently leave it out."""
    with pytest.raises(
        PlanError,
        match="linux.seccomp: no active plugin handles it: install the plugin ocifw-seccomp",
    ):
        linked([]).asked(["linux.seccomp"])


def test_two_owners_of_one_field_are_refused():
    """Two plugins that own one field are an error that names both."""
    plugins = linked([found("a", {}, owns=("hostname",)), found("b", {}, owns=("hostname",))])
    with pytest.raises(PlanError, match="hostname is owned by two plugins, a and b"):
        plugins.asked([])


def test_pluggy_is_the_mechanism():
    """The hooks are pluggy's: a manager with our specifications accepts a plugin and orders it."""
    assert isinstance(linking.manager(), pluggy.PluginManager)
