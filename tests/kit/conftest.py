"""What the tests of plugin sets, trust and the author's kit share: an installation of ocifw that a test may change."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

PATIENCE_S = 60


class Installation:
    """A copy of the installed ocifw below a prefix of its own, with its own distribution's set files and cache."""

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self.library = prefix / f"lib/python3.{sys.version_info[1]}/site-packages"
        self.sets = prefix / "lib/ocifw/sets.d"
        self.program = prefix / "bin/ocifw"

    def ocifw(self, *words, env=None, **options):
        """Run the command, with a cache of this installation's own."""
        command = [str(self.program), *map(str, words)]
        if os.geteuid() == 0:
            cache = self.prefix / "cache"
            cache.mkdir(mode=0o700, exist_ok=True)
            script = 'mount --bind "$1" /var/cache/ocifw && shift && exec "$@"'
            private = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh"]
            command = [*private, str(cache), *command]
        environment = {**os.environ, "XDG_CACHE_HOME": str(self.prefix / "cache"), **(env or {})}
        # Files: a container that goes on keeps a pipe open.
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            done = subprocess.run(
                command, stdout=out, stderr=err, check=False, timeout=PATIENCE_S, env=environment, **options
            )  # fmt: skip
            for file in (out, err):
                file.seek(0)
            done.stdout, done.stderr = out.read(), err.read()
        return done

    def names(self, *words, **options):
        """The plugins that `ocifw plugins list` shows as active."""
        done = self.ocifw(*words, "plugins", "list", **options)
        assert done.returncode == 0, done.stderr
        return [line.split()[0] for line in done.stdout.splitlines()[1:] if " active " in line]

    def plugin(self, name, source="", distribution="", version="1.0", library=None):
        """Install a plugin's distribution, as a wheel would be; returns its package's folder."""
        distribution = distribution or f"ocifw-{name}"
        module = f"ocifw_{name.replace('-', '_')}"
        folder = library or self.library
        package = folder / module
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "plugin.py").write_text(source or HARMLESS)
        information = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\nSummary: A test.\n"
        )
        (information / "entry_points.txt").write_text(f"[ocifw]\n{name} = {module}.plugin\n")
        return package

    def set(self, name, text):
        """Write a set file of the distribution."""
        self.sets.mkdir(parents=True, exist_ok=True)
        (self.sets / f"{name}.yaml").write_text(text)


HARMLESS = """
from ocifw import hookimpl

@hookimpl
def ocifw_features():
    return None
"""


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    """A copy of the installed distributions of ocifw, for copies by hard link."""
    import ocifw

    library = Path(ocifw.__file__).parents[1]
    program = Path(sys.executable).parent / "ocifw"
    if not program.exists() or not (library / "ocifw/bin/ocifw-init").exists():
        pytest.skip("needs an installed ocifw")
    made = Installation(tmp_path_factory.mktemp("pristine") / "prefix")
    made.library.mkdir(parents=True)
    made.program.parent.mkdir()
    shutil.copy2(program, made.program)
    foreign = [path for path in library.glob("ocifw*") if not _is_ours(path)]
    for path in library.iterdir():
        if path.name.startswith("ocifw") and path not in foreign:
            shutil.copytree(path, made.library / path.name)
        elif path.suffix not in (".pth", ".virtualenv") and not path.name.startswith(
            ("pip", "mypy", "ocifw")
        ):
            (made.library / path.name).symlink_to(path)
    return made


def _is_ours(path):
    """Whether a folder is of ocifw or one of its own plugins, not of an example that is installed, too."""
    from ocifw.plugins import FIRST_PARTY

    stem = path.name.partition("-")[0]
    return stem in ("ocifw", "ocifw_core", *[f"ocifw_{name}" for name in FIRST_PARTY])


@pytest.fixture
def installation(pristine, tmp_path):
    """An installation of ocifw that the test may change."""
    prefix = tmp_path / "prefix"
    shutil.copytree(pristine.prefix, prefix, symlinks=True)
    return Installation(prefix)
