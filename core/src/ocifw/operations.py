"""runc's other operations on a container: pause, resume, update, and questions about it."""

from __future__ import annotations

from . import container as containers
from . import plugins
from .container import Container, Lock
from .context import SPEC_VERSION, Host
from .creation import Creation
from .errors import ContainerError, OcifwError
from .lifecycle import delete, operate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .context import Globals
    from .plan import Plan


def pause(globals_: Globals, container_id: str) -> None:
    """Freeze every process of the container."""
    with Lock(containers.folder_of(globals_.root, container_id)):
        container = containers.load(globals_.root, container_id)
        status = container.status
        if status not in ("running", "created"):
            raise ContainerError(
                "container already paused" if status == "paused" else "container not running"
            )
        _must_operate("pause", container, "ocifw_pause", {})


def resume(globals_: Globals, container_id: str) -> None:
    """Thaw a paused container."""
    with Lock(containers.folder_of(globals_.root, container_id)):
        container = containers.load(globals_.root, container_id)
        if container.status != "paused":
            raise ContainerError("container not paused")
        _must_operate("resume", container, "ocifw_resume", {})


def update(
    globals_: Globals,
    container_id: str,
    resources: dict[str, Any],
    intel_rdt: dict[str, Any] | None = None,
) -> None:
    """Change limits. What `resources` does not name stays as it is; all of it or nothing is changed.

    intel_rdt: members of linux.intelRdt that are to change.
    """
    from . import validate

    validate.check(resources, "resources", "resources")
    with Lock(containers.folder_of(globals_.root, container_id)):
        container = containers.load(globals_.root, container_id)
        if container.status in ("stopped", "creating"):
            raise ContainerError("container not running")
        changed = {key: value for key, value in resources.items() if key != "devices"}
        linux = dict(container.config.get("linux") or {})
        linux["resources"] = _updated(linux.get("resources") or {}, changed)
        config = {**container.config, "linux": linux}
        if "profile" in container.state:
            from .policy import check_update, rules

            check_update(rules(container.state["profile"]["policy"]), config, resources)
        plugins.check_unchanged(container, plugins.of(container))
        if intel_rdt:
            # An error, unless somebody is there to do it.
            plugins.of(container).asked(["linux.intelRdt"])
            linux["intelRdt"] = {**(linux.get("intelRdt") or {}), **intel_rdt}
        if resources or intel_rdt:
            arguments = {"resources": resources, "intel_rdt": intel_rdt or {}}
            _must_operate("update", container, "ocifw_update", arguments)
        container.state["config"] = config
        if changed:
            from .effective import note_update

            note_update(container.state, changed)
        container.save()


def _must_operate(verb: str, container: Container, hook: str, arguments: dict[str, Any]) -> None:
    """Apply the steps of an operation. Raises OcifwError when no plugin has any: then nothing would be done."""
    if not operate(container, hook, arguments):
        raise OcifwError(f"{verb}: no active plugin handles it: install the plugin ocifw-cgroups")


_MEANT_AS_ZERO = ("burst", "idle", "swappiness")


def _updated(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """linux.resources after an update: merged, but a 0 that stands for "not given" leaves the old value."""
    meant = {
        key: {
            name: part
            for name, part in value.items()
            if part != 0 or part is False or name in _MEANT_AS_ZERO or key == "pids"
        }
        if isinstance(value, dict)
        else value
        for key, value in new.items()
    }
    return _merged(old, meant)


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Two mappings as one; values of the second win, mappings merge, lists replace."""
    merged = dict(old)
    for key, value in new.items():
        before = merged.get(key)
        merged[key] = (
            _merged(before, value)
            if isinstance(before, dict) and isinstance(value, dict)
            else value
        )
    return merged


def processes(globals_: Globals, container_id: str) -> list[int]:
    """The pids of a container's processes, in the runtime's pid namespace."""
    container = containers.load(globals_.root, container_id)
    if container.status in ("stopped", "creating"):
        return []
    found = plugins.of(container).ask("ocifw_processes", {"container": container, "host": Host()})
    return [container.pid] if found is None else list(found)


def stats(globals_: Globals, container_id: str) -> dict[str, Any]:
    """Figures about a container: the answers of all plugins, merged."""
    container = _running(globals_, container_id)
    figures: dict[str, Any] = {}
    for answer in plugins.of(container).ask(
        "ocifw_stats", {"container": container, "host": Host()}
    ):
        figures = _merged(figures, answer)
    return figures


def oom(globals_: Globals, container_id: str) -> Any:
    """What tells of out-of-memory events; None when the host cannot tell. See `ocifw_oom`."""
    container = _running(globals_, container_id)
    return plugins.of(container).ask("ocifw_oom", {"container": container, "host": Host()})


def _running(globals_: Globals, container_id: str) -> Container:
    container = containers.load(globals_.root, container_id)
    if container.status in ("stopped", "creating"):
        raise ContainerError(f"container with id {container_id} is not running")
    return container


def features() -> dict[str, Any]:
    """The features document (features.md): what the core and each active plugin can do."""
    active = plugins.load()
    document_: dict[str, Any] = {"ociVersionMin": "1.0.0", "ociVersionMax": SPEC_VERSION}
    for answer in active.ask("ocifw_features", {}):
        document_ = _composed(document_, answer)
    names = [f"{plugin.name} {plugin.version}" for plugin in active.plugins]
    return _composed(document_, {"annotations": {"org.ocifw.plugins": ", ".join(names)}})


def features_by_plugin() -> dict[str, Any]:
    """What each active plugin adds to the features document, and which fields of config.json are its own."""
    active = plugins.load()
    found: dict[str, Any] = {}
    for plugin in active.plugins:
        own: dict[str, Any] = {}
        for answer in active.ask("ocifw_features", {}, frozenset({plugin.name})):
            own = _composed(own, answer)
        found[plugin.name] = {
            "version": plugin.version,
            "owns": list(plugin.owns),
            "features": own,
        }
    return found


def _composed(one: dict[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Two contributions as one: mappings merge, lists are joined."""
    found = dict(one)
    for key, value in other.items():
        before = found.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            found[key] = _composed(before, value)
        elif isinstance(before, list) and isinstance(value, list):
            found[key] = [*before, *[item for item in value if item not in before]]
        else:
            found[key] = value
    return found


def plan(
    globals_: Globals,
    container_id: str,
    bundle: str,
    *,
    config_file: str = "config.json",
    no_pivot: bool = False,
    no_new_keyring: bool = False,
    preserve_fds: int = 0,
    console: bool = False,
    pidfd: bool = False,
) -> Plan:
    """What `create` would do. Changes nothing."""
    creation = Creation(
        globals_,
        container_id,
        bundle,
        config_file,
        no_pivot=no_pivot,
        no_new_keyring=no_new_keyring,
        preserve_fds=preserve_fds,
        console=console,
        pidfd=pidfd,
    )
    return creation.plan()


def checkpoint(globals_: Globals, container_id: str, options: dict[str, Any]) -> None:
    """Dump a container's processes to disk. As with runc, the container is gone then, unless it was to run on."""
    with Lock(containers.folder_of(globals_.root, container_id)):
        container = containers.load(globals_.root, container_id)
        status = container.status
        if status not in ("running", "paused"):
            raise ContainerError(f"Container cannot be checkpointed in {status} state")
        if not plugins.load().has("ocifw_checkpoint"):
            raise OcifwError(
                "checkpoint: no active plugin handles it: install the plugin ocifw-criu"
            )
        operate(container, "ocifw_checkpoint", {"options": options})
        from .dumped_policy import note

        note(options["image-path"], container)
    if not (options["leave-running"] or options["pre-dump"]):
        delete(globals_, container_id, force=True)


def checkpoint_report(globals_: Globals, container_id: str) -> dict[str, Any]:
    """Whether a container can be dumped, and what its restore will need. Changes nothing. See `ocifw_checkpoint_report`."""
    container = _running(globals_, container_id)
    found = plugins.of(container).ask("ocifw_checkpoint_report", {"container": container})
    if found is None:
        raise OcifwError("checkpoint: no active plugin handles it: install the plugin ocifw-criu")
    return dict(found)
