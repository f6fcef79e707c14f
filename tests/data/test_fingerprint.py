"""Fingerprints of data sets."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from detector.data.dataset import open_dataset
from detector.data.fingerprint import fingerprint


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text on this system")
def test_a_name_that_is_no_text(yolo_folder, tmp_path: Path) -> None:
    """File names are bytes, and people's archives hold Latin-1 ones."""
    definition = yolo_folder({"a": "0 .5 .5 .5 .5\n"})
    before = fingerprint(open_dataset(definition, "train"))
    for file in (tmp_path / "images/train/a.png", tmp_path / "labels/train/a.txt"):
        file.rename(file.with_name(os.fsdecode(b"caf\xe9") + file.suffix))
    after = fingerprint(open_dataset(definition, "train"))
    assert {name for name in after if after[name] != before[name]} == {"image files"}
