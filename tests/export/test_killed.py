"""An export that is killed at any moment leaves the whole old export or the whole new one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from detector.export.formats import FORMATS
from detector.export.run import ExportReport, export_model
from detector.model.detector import Detector
from detector.runtime.certified import check_certificate
from detector.utils.together import committed

ROOT = Path(__file__).resolve().parents[2]

KILLED = textwrap.dedent("""
    import os, shutil, sys
    from pathlib import Path

    from detector.utils.together import atomic_together

    new, old, calls = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    rename = os.replace

    def killed(*paths):
        global calls
        if calls == 0:
            os._exit(9)
        calls -= 1
        rename(*paths)

    os.replace = killed
    with atomic_together(*[old / name for name in sys.argv[4:]]) as written:
        for temporary in written:
            shutil.copy(new / temporary.name, temporary)
    os._exit(7)
""")
"""Replaces an export by another, as ``export_model`` does, and dies instead of a certain rename."""


@pytest.fixture(scope="module")
def exports(
    network: Detector, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[ExportReport, ExportReport]]:
    """Two exports of a format that differ in their certificates."""
    made: dict[str, tuple[ExportReport, ExportReport]] = {}

    def export(name: str) -> tuple[ExportReport, ExportReport]:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            old, new = (
                export_model(network, name, folder / command / "best", command=command)
                for command in ("old", "new")
            )
            made[name] = old, new
        return made[name]

    return export


RENAMES = {"onnx": 3, "openvino": 4, "pt2": 3}
"""The folder, then the file, the certificate and, of OpenVINO, the weights."""


@pytest.mark.parametrize(
    ("name", "calls"), [(name, calls) for name, n in RENAMES.items() for calls in range(n + 1)]
)
def test_a_kill_at_each_rename(
    name: str,
    calls: int,
    exports: Callable[[str], tuple[ExportReport, ExportReport]],
    tmp_path: Path,
) -> None:
    old, new = exports(name)
    shutil.copytree(old.path.parent, tmp_path / "here")
    path = tmp_path / "here" / old.path.name
    names = [part.name for part in FORMATS[name].files(path)] + [f"{path.name}.certificate.json"]
    arguments = [str(new.path.parent), str(path.parent), str(calls), *names]
    ended = subprocess.run([sys.executable, "-c", KILLED, *arguments], cwd=ROOT, check=False)
    assert ended.returncode == (9 if calls < RENAMES[name] else 7)
    backend = FORMATS[name].open(path)
    expected = old if calls == 0 else new
    assert check_certificate(backend) == expected.certificate
    for part in names:
        same = expected.path.with_name(part)
        assert path.with_name(part).read_bytes() == same.read_bytes()
    assert not committed(path).exists()


@pytest.mark.parametrize("name", RENAMES)
def test_the_next_export_takes_the_place_of_a_killed_one(
    name: str,
    exports: Callable[[str], tuple[ExportReport, ExportReport]],
    network: Detector,
    tmp_path: Path,
) -> None:
    old, new = exports(name)
    path = tmp_path / old.path.name
    shutil.copytree(old.path.parent, committed(path))
    leftover = tmp_path / f".best.{2**22 + 1}.tmp{path.suffix}"  # above Linux's largest number
    shutil.copytree(new.path.parent, leftover)
    report = export_model(network, name, path, command="third")
    assert check_certificate(FORMATS[name].open(path)) == report.certificate
    parts = [*FORMATS[name].files(path), path.with_name(f"{path.name}.certificate.json")]
    assert sorted(tmp_path.iterdir()) == sorted(parts)


def test_other_files_are_not_moved(
    exports: Callable[[str], tuple[ExportReport, ExportReport]], tmp_path: Path
) -> None:
    old, new = exports("onnx")
    path = Path(shutil.copytree(old.path.parent, tmp_path / "here")) / old.path.name
    planted = Path(shutil.copytree(new.path.parent, committed(path)), "best.pt")
    planted.write_bytes(b"another's")
    assert check_certificate(FORMATS["onnx"].open(path)) == new.certificate
    assert planted.exists() and not path.with_suffix(".pt").exists()


def test_a_link_is_not_followed(
    exports: Callable[[str], tuple[ExportReport, ExportReport]], tmp_path: Path
) -> None:
    old, new = exports("onnx")
    path = Path(shutil.copytree(old.path.parent, tmp_path / "here")) / old.path.name
    elsewhere = Path(shutil.copytree(new.path.parent, tmp_path / "elsewhere"))
    committed(path).symlink_to(elsewhere)
    assert check_certificate(FORMATS["onnx"].open(path)) == old.certificate
    assert len(os.listdir(elsewhere)) == 2


def test_a_folder_that_cannot_be_changed(
    exports: Callable[[str], tuple[ExportReport, ExportReport]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from detector.utils.errors import DetectorError

    old, new = exports("onnx")
    path = Path(shutil.copytree(old.path.parent, tmp_path / "here")) / old.path.name
    shutil.copytree(new.path.parent, committed(path))

    def refuse(*paths: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(DetectorError) as caught:
        FORMATS["onnx"].open(path)
    assert str(caught.value) == (
        f"{path}: its writing was interrupted; the rest of it lies in .best.onnx.new, which cannot "
        "be moved: Permission denied"
    )
