"""Versions of what is installed, and nothing of what is not."""

from importlib.metadata import version

from detector.utils.system import installed_versions


def test_installed_versions():
    assert installed_versions([]) == {}
    assert installed_versions(["numpy", "no-such-thing"]) == {"numpy": version("numpy")}
