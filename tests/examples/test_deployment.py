"""The Dockerfile and the systemd unit: what they start exists, and is granted little."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from detector.cli.flags import parse
from detector.settings.serve import ServeSettings

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "examples" / "docker" / "Dockerfile"
UNIT = ROOT / "examples" / "systemd" / "detector.service"


def instructions(name: str) -> list[str]:
    text = DOCKERFILE.read_text(encoding="utf-8").replace("\\\n", "")
    return [line.split(" ", 1)[1].strip() for line in text.splitlines() if line.startswith(name)]


def check_command(words: list[str]) -> ServeSettings:
    assert words[0].endswith("detector") and words[1] == "serve"
    settings = parse(ServeSettings, words[2:], "detector serve")
    assert isinstance(settings, ServeSettings)
    return settings


def words_of(text: str) -> list[str]:
    return re.findall(r'"([^"]+)"', text)


def test_the_container():
    assert all(
        re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+( AS build)?", base)
        for base in instructions("FROM")
    )
    (user,) = instructions("USER")
    assert int(user) > 0
    (entry,), (arguments,) = instructions("ENTRYPOINT"), instructions("CMD")
    settings = check_command([*words_of(entry), *words_of(arguments)])
    assert (settings.host, settings.port) == ("0.0.0.0", 8000)
    (health,) = instructions("HEALTHCHECK")
    assert f"http://127.0.0.1:{settings.port}/healthz" in health


def test_the_context_is_what_the_wheel_needs():
    lines = Path(f"{DOCKERFILE}.dockerignore").read_text(encoding="utf-8").splitlines()
    kept = {line[1:] for line in lines if line.startswith("!")}
    assert all((ROOT / name).exists() for name in kept)
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    named = re.search(r"wheel\]\ninclude = \[(.*)\]", project)[1]
    assert {*re.findall(r'"/(\w+)"', named), "pyproject.toml", "README.md", "LICENSE"} == kept


def test_the_service():
    text = UNIT.read_text(encoding="utf-8")
    commands = re.findall(r"^#?ExecStart=(.*)$", text, re.M)
    assert len(commands) == 2
    for command in commands:
        settings = check_command(shlex.split(command))
        assert settings.host == "127.0.0.1"
    stop = int(re.search(r"^TimeoutStopSec=(\d+)$", text, re.M)[1])
    assert stop > settings.grace_seconds
    for line in (
        "DynamicUser=yes",
        "ProtectSystem=strict",
        "NoNewPrivileges=yes",
        "Restart=on-failure",
    ):
        assert line in text.splitlines()
    assert re.search(r"^MemoryMax=\d+G$", text, re.M)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_takes_it(tmp_path: Path):
    """With a program that exists in place of an installed one."""
    unit = tmp_path / "detector.service"
    text = UNIT.read_text(encoding="utf-8").replace("/opt/detector/bin/detector", "/bin/true")
    unit.write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
