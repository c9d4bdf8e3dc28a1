"""The hooks of ocifw-lsm, in the order of a container's life. config.md, Process; config-linux.md, Mount Label."""

from __future__ import annotations

from ocifw import hookimpl

from . import labels

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from typing import Any

    from ocifw.context import Host, Request
    from ocifw.errors import Problem
    from ocifw.steps import ContainerStep

    Config = dict[str, Any]
    Answers = list[list[ContainerStep]]

owns = ("process.apparmorProfile", "process.selinuxLabel", "linux.mountLabel")


@hookimpl
def ocifw_validate(config: Config, request: Request, host: Host) -> Iterable[Problem]:
    return labels.problems(config, request, host)


@hookimpl(wrapper=True)
def ocifw_enter(config: Config, request: Request) -> Generator[None, Answers, Answers]:
    answers = yield
    label = labels.selinux_label(config, request)
    return [labels.label_keyring(steps, label) for steps in answers] if label else answers


@hookimpl(wrapper=True)
def ocifw_mount(
    config: Config,
) -> Generator[None, list[ContainerStep] | None, list[ContainerStep] | None]:
    steps = yield
    label = labels.mount_label(config)
    return labels.label_mounts(steps, label) if steps and label else steps


@hookimpl(specname="ocifw_finalize", wrapper=True)
def ocifw_finalize_masks(config: Config) -> Generator[None, Answers, Answers]:
    answers = yield
    label = labels.mount_label(config)
    return [labels.label_masks(steps, label) for steps in answers] if label else answers


@hookimpl
def ocifw_finalize(config: Config, request: Request, host: Host) -> Iterator[ContainerStep]:
    # Before no_new_privs, which is process's, and before the seccomp filter.
    return labels.exec_steps(config, request, host)


@hookimpl
def ocifw_features() -> dict[str, Any]:
    return {"linux": {"apparmor": {"enabled": True}, "selinux": {"enabled": True}}}
