"""The specifications in /etc/cdi and /var/run/cdi: which devices there are. Read when a container asks for one."""

from __future__ import annotations

import os

from ocifw import document
from ocifw.errors import ConfigError, OcifwError, Problem

from .names import split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

FOLDERS = ("/etc/cdi", "/var/run/cdi")
VERSIONS = ("0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0")


class Registry:
    """Finds devices. folders: later ones count before earlier ones."""

    def __init__(self, folders: Sequence[str] | None = None) -> None:
        self.folders = tuple(folders or FOLDERS)
        self._specs: dict[str, list[tuple[str, dict[str, Any]]]] = {}

    def find(self, name: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """File, specification and entry of a device. Raises ConfigError when there is none, or two of one priority."""
        kind, device = split(name)
        for folder in reversed(self.folders):
            found = [
                (file, spec, entry)
                for file, spec in self._read(folder)
                if spec.get("kind") == kind
                for entry in spec.get("devices") or ()
                if entry.get("name") == device
            ]
            if len(found) > 1:
                files = " and ".join(file for file, _, _ in found)
                raise ConfigError([Problem("", f"device {name} is described twice, in {files}")])
            if found:
                return found[0]
        where = " or ".join(self.folders)
        raise ConfigError([Problem("", f"device {name} is described nowhere in {where}")])

    def _read(self, folder: str) -> list[tuple[str, dict[str, Any]]]:
        if folder not in self._specs:
            self._specs[folder] = list(_specs(folder))
        return self._specs[folder]


def _specs(folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The specifications of a folder, with their files, which only root may have written."""
    from ocifw.trust import read

    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        path = f"{folder}/{name}"
        if name.endswith(".json"):
            spec = document.parse(read(path), path)
        elif name.endswith((".yaml", ".yml")):
            from ocifw.profile_yaml import load

            spec = load(read(path), path).value
        else:
            continue
        if not isinstance(spec, dict) or not isinstance(spec.get("kind"), str):
            raise OcifwError(f"{path}: no specification of CDI: it has no kind")
        if spec.get("cdiVersion") not in VERSIONS:
            raise OcifwError(f"{path}: cdiVersion {spec.get('cdiVersion')!r} is not known")
        yield path, spec
