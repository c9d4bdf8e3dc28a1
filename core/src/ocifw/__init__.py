"""ocifw: an OCI container runtime built as a framework of plugins."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar, overload

    Implementation = TypeVar("Implementation", bound=Callable[..., Any])

    @overload
    def hookimpl(function: Implementation) -> Implementation: ...
    @overload
    def hookimpl(
        *,
        wrapper: bool = ...,
        tryfirst: bool = ...,
        trylast: bool = ...,
        specname: str | None = ...,
    ) -> Callable[[Implementation], Implementation]: ...
    def hookimpl(function: Any = None, **options: Any) -> Any: ...

    from .library import Container, Process, Runtime

else:

    def __getattr__(name):
        """The library, imported when it is first asked for: the command never is, and does not pay for it."""
        if name not in ("Container", "Process", "Runtime"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from . import library

        return getattr(library, name)

    def hookimpl(function=None, *, wrapper=False, tryfirst=False, trylast=False, specname=None):
        """Mark a function as the implementation of a hook. See `ocifw.hookspecs` for the hooks.

        Sets what `pluggy.HookimplMarker("ocifw")` sets, without importing pluggy (19 ms), which reads it when the
        plugin set is linked. The options are pluggy's.
        """

        def mark(implementation):
            implementation.ocifw_impl = {
                "wrapper": wrapper,
                "hookwrapper": False,
                "optionalhook": False,
                "tryfirst": tryfirst,
                "trylast": trylast,
                "specname": specname,
            }
            return implementation

        return mark if function is None else mark(function)


__all__ = ["Container", "Process", "Runtime", "__version__", "hookimpl"]
__version__ = "0.1.0"
