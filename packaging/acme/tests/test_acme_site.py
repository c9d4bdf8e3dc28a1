"""The plugin alone; the packages are tried in tests/packaging."""

from __future__ import annotations

from ocifw.context import Host
from ocifw.testing import PluginContract
from ocifw_acme_site.plugin import ocifw_edits


class TestContract(PluginContract):
    """What every plugin of ocifw keeps to."""

    plugin = "ocifw_acme_site.plugin"


def test_the_site_of_the_file():
    """The variable has the file's first and only line, without its end."""
    host = Host({"/etc/acme/site": b"berlin\n"})
    assert list(ocifw_edits({}, host)) == [{"process": {"env": ["ACME_SITE=berlin"]}}]


def test_no_file():
    """Where nobody wrote the file, the container is told so."""
    assert list(ocifw_edits({}, Host({}))) == [{"process": {"env": ["ACME_SITE=unknown"]}}]
