"""The fixtures themselves: a net with a hole would make other tests pass for nothing."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Once

pytest_plugins = ["pytester"]


def test_rng_is_seeded(rng: np.random.Generator) -> None:
    np.testing.assert_array_equal(rng.random(3), np.random.default_rng(0).random(3))


def test_no_network_refuses_and_remembers(no_network: list[str]) -> None:
    with pytest.raises(OSError, match="no network in this test: getaddrinfo"):
        socket.getaddrinfo("localhost", 80)
    with socket.socket() as client, pytest.raises(OSError, match="no network in this test"):
        client.connect(("127.0.0.1", 9))
    with socket.socket(type=socket.SOCK_DGRAM) as client, pytest.raises(OSError, match="sendto"):
        client.sendto(b"", ("127.0.0.1", 9))
    with pytest.raises(urllib.error.URLError, match="no network in this test"):
        urllib.request.urlopen("http://localhost:9/")
    assert [attempt.split("(")[0] for attempt in no_network] == [
        "getaddrinfo",
        "connect",
        "sendto",
        "create_connection",
    ]
    no_network.clear()  # these were meant


def test_no_network_lets_local_sockets_pass(no_network: list[str]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"x")
        assert theirs.recv(1) == b"x"
    assert no_network == []


FIXTURE_USERS = """
import socket
import pytest

def test_swallows(no_network):
    try:
        socket.create_connection(("localhost", 9))
    except OSError:
        pass

def test_uses_shared(shared):
    assert shared.is_dir()
"""


@pytest.fixture
def fixture_users(pytester: pytest.Pytester, request: pytest.FixtureRequest) -> pytest.Pytester:
    """A checkout without ../shared whose tests use our conftest."""
    conftest = request.config.rootpath / "tests" / "conftest.py"
    tests = pytester.mkpydir("checkout").joinpath("tests")
    tests.mkdir()
    tests.joinpath("conftest.py").write_text(conftest.read_text())
    tests.joinpath("test_users.py").write_text(FIXTURE_USERS)
    return pytester


def test_swallowed_attempts_fail_and_absent_data_skip(
    fixture_users: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    result = fixture_users.runpytest_subprocess("-rs")
    result.assert_outcomes(passed=1, errors=1, skipped=1)
    result.stdout.fnmatch_lines(["*the network was asked for: *create_connection*localhost*"])
    result.stdout.fnmatch_lines(["*needs the real data in ../shared, which is not there"])


def test_absent_data_fail_in_ci(
    fixture_users: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    result = fixture_users.runpytest_subprocess("-k", "shared")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*needs the real data in ../shared*with CI=true*failure*"])


def test_a_folder_is_filled_once(once: Once) -> None:
    """An error leaves it unfilled, so that the next call tries again."""
    filled: list[Path] = []

    def fill(folder: Path) -> None:
        filled.append(folder)
        (folder / "new").mkdir()
        if len(filled) == 1:
            raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        once("conftest", fill)
    assert once("conftest", fill) == once("conftest", fill) == filled[-1]
    assert len(filled) == 2
    assert once("other", fill) != filled[0]
