"""runc's other operations on a container: pause, resume, update, and questions about it."""

from __future__ import annotations

from . import container as containers
from . import execute, plugins
from .container import Container, Lock
from .context import Context, Host
from .creation import SPEC_VERSION, Creation
from .errors import ContainerError, OcifwError
from .lifecycle import operate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .context import Globals
    from .plan import Plan


def pause(globals_: Globals, container_id: str) -> None:
    """Freeze every process of the container."""
    container = containers.load(globals_.root, container_id)
    with Lock(container.folder):
        status = container.status
        if status not in ("running", "created"):
            raise ContainerError(
                "container already paused" if status == "paused" else "container not running"
            )
        operate(container, "ocifw_pause", {})


def resume(globals_: Globals, container_id: str) -> None:
    """Thaw a paused container."""
    container = containers.load(globals_.root, container_id)
    with Lock(container.folder):
        if container.status != "paused":
            raise ContainerError("container not paused")
        operate(container, "ocifw_resume", {})


def update(globals_: Globals, container_id: str, resources: dict[str, Any]) -> None:
    """Change limits. What `resources` does not name stays as it is; all of it or nothing is changed."""
    from . import validate

    validate.check(resources, "resources", "resources")
    container = containers.load(globals_.root, container_id)
    with Lock(container.folder):
        container = containers.load(globals_.root, container_id)
        if container.status in ("stopped", "creating"):
            raise ContainerError("container not running")
        operate(container, "ocifw_update", {"resources": resources})
        linux = container.config.setdefault("linux", {})
        changed = {key: value for key, value in resources.items() if key != "devices"}
        linux["resources"] = _merged(linux.get("resources") or {}, changed)
        container.save()


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
    found = plugins.load().ask("ocifw_processes", {"container": container, "host": Host()})
    return [container.pid] if found is None else list(found)


def stats(globals_: Globals, container_id: str) -> dict[str, Any]:
    """Figures about a container: the answers of all plugins, merged."""
    container = _running(globals_, container_id)
    figures: dict[str, Any] = {}
    for answer in plugins.load().ask("ocifw_stats", {"container": container, "host": Host()}):
        figures = _merged(figures, answer)
    return figures


def oom(globals_: Globals, container_id: str) -> Any:
    """What tells of out-of-memory events; None when the host cannot tell. See `ocifw_oom`."""
    container = _running(globals_, container_id)
    return plugins.load().ask("ocifw_oom", {"container": container, "host": Host()})


def _running(globals_: Globals, container_id: str) -> Container:
    container = containers.load(globals_.root, container_id)
    if container.status in ("stopped", "creating"):
        raise ContainerError(f"container with id {container_id} is not running")
    return container


def features() -> dict[str, Any]:
    """The features document: what the core and each active plugin can do."""
    document_: dict[str, Any] = {"ociVersionMin": "1.0.0", "ociVersionMax": SPEC_VERSION}
    for answer in plugins.load().ask("ocifw_features", {}):
        document_ = _merged(document_, answer)
    return document_


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
    """Dump a container's processes to disk."""
    container = containers.load(globals_.root, container_id)
    with Lock(container.folder):
        status = container.status
        if status not in ("running", "paused"):
            raise ContainerError(f"Container cannot be checkpointed in {status} state")
        if not plugins.load().has("ocifw_checkpoint"):
            raise OcifwError(
                "checkpoint: no active plugin handles it: install the plugin ocifw-criu"
            )
        operate(container, "ocifw_checkpoint", {"options": options})


def restore(
    globals_: Globals, container_id: str, bundle: str, options: dict[str, Any]
) -> Container:
    """Bring a dumped container back. Raises OcifwError: the plugin that does it says what it lacks."""
    creation = Creation(globals_, container_id, bundle)
    arguments = {
        "config": creation.config,
        "options": options,
        "request": creation.request.changed(operation="restore"),
        "host": creation.host,
    }
    if not creation.plugins.has("ocifw_restore"):
        raise OcifwError("restore: no active plugin handles it: install the plugin ocifw-criu")
    steps = [s for a in creation.plugins.ask("ocifw_restore", arguments) for s in a]
    context = Context(container_id, creation.bundle, creation.folder)
    execute.apply_all(steps, context)
    return containers.load(globals_.root, container_id)
