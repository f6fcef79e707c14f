"""Fixtures of all tests."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}

# Examples take as long as the machine needs, and are the same on each run in CI.
hypothesis.settings.register_profile("repdet", deadline=None, derandomize=IN_CI)
hypothesis.settings.load_profile("repdet")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and reference weights beside the checkout; read only."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        reason = "needs the real data in ../shared, which is not there"
        if IN_CI:
            pytest.fail(f"{reason}; with CI=true that is a failure")
        pytest.skip(reason)
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same on each run."""
    return np.random.default_rng(0)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Refuse every connection and look-up, and fail at the end if one was tried.

    Failing at the end matters: libraries that ask for their newest version swallow the error.
    Sockets between processes of this machine (AF_UNIX) pass, PyTorch's loader uses them.
    The value is the list of attempts so far.
    """
    attempts: list[str] = []

    def refuse(what: str) -> Any:
        def refused(*args: Any, **kwargs: Any) -> Any:
            attempts.append(f"{what}{args}")
            raise OSError(f"no network in this test: {what}{args}")

        return refused

    def unless_local(what: str) -> Any:
        original = getattr(socket.socket, what)

        def method(self: socket.socket, *args: Any) -> Any:
            if self.family == getattr(socket, "AF_UNIX", None):
                return original(self, *args)
            return refuse(what)(*args)

        return method

    for method in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, method, unless_local(method))
    for function in ("create_connection", "getaddrinfo", "gethostbyname"):
        monkeypatch.setattr(socket, function, refuse(function))
    yield attempts
    assert not attempts, f"the network was asked for: {attempts}"
