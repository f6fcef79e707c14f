"""Ray Train's processes are those of torchrun: two of them train the same weights.

Needs ``pip install "ray[train]>=2.60,<3"``; run by
``python -m pytest -m heavy -n 0 tests/examples/test_ray_train.py``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.heavy


def test_two_processes_for_an_epoch(tiny_cfg: Path, tiny_data: Path, tmp_path: Path):
    pytest.importorskip("ray")
    from detector.weights.checkpoint import load

    flags = f"--cfg {tiny_cfg} --data {tiny_data} --epochs 1 --batch 4 --device cpu --workers 0"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    commands = {
        "torchrun": [*torchrun, "-m", "detector", "train"],
        "ray": [sys.executable, str(ROOT / "examples" / "ray_train.py"), "--processes", "2"],
    }
    weights = {}
    for name, command in commands.items():
        (tmp_path / name).mkdir()
        words = [*command, *flags.split()]
        subprocess.run(words, cwd=tmp_path / name, env=environment, check=True)
        best = tmp_path / name / "runs" / "train" / "1" / "last.safetensors"
        weights[name] = load(best).state_dict()
    assert weights["ray"].keys() == weights["torchrun"].keys()
    for key, value in weights["ray"].items():
        assert value.equal(weights["torchrun"][key]), key
