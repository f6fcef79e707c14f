"""What is said before the first epoch: start weights that are missing, settings without effect."""

from pathlib import Path

import pytest
import torch

from detector.engine.setup import NO_NORMS, prepare
from detector.model.detector import build
from detector.settings import TrainSettings
from detector.structures.samples import Targets
from detector.utils.errors import DetectorError
from detector.weights.checkpoint import save_weights

TINY_SSD = """
nc: 2
imgsz: 64
anchors: [[10, 20], [20, 40]]
activation: ReLU
backbone:
  - [-1, 1, ConvAct, [8, 3, 2]]
  - [-1, 1, ConvAct, [8, 3, 2]]
  - [-1, 1, ConvAct, [16, 3, 2]]
head:
  - [-1, 1, ConvAct, [16, 3, 2]]
  - [[2, 3], 1, SSDHead, {nc: nc, anchors: anchors, ratios: [[2], [2]], steps: [8, 16]}]
"""


@pytest.fixture
def ssd_cfg(tmp_path: Path) -> Path:
    path = tmp_path / "ssd.yaml"
    path.write_text(TINY_SSD)
    return path


@pytest.fixture
def said(
    tiny_data: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
):
    """A function that prepares a run, and returns the lines that it logs; it prints nothing."""

    def said(**values: object) -> list[str]:
        where = {"data": str(tiny_data), "project": tmp_path / "runs", "device": "cpu"}
        caplog.clear()
        capfd.readouterr()
        with caplog.at_level("INFO", "detector"):
            prepare(TrainSettings(**where, **values))
        assert capfd.readouterr() == ("", "")
        return "\n".join(caplog.messages).splitlines()

    return said


def test_random_weights_without_batch_norm(
    said, ssd_cfg: Path, tiny_cfg: Path, tmp_path: Path, caplog
):
    assert said(cfg=str(ssd_cfg)).count(NO_NORMS) == 1
    assert [one.message for one in caplog.records if one.levelname == "WARNING"] == [NO_NORMS]
    assert NO_NORMS not in said(cfg=str(tiny_cfg))
    weights = tmp_path / "ssd.safetensors"
    save_weights(weights, build(ssd_cfg, 5))
    # The backbone's 3 convolutions; one more in the neck, 2 for each of the head's 2 levels.
    lines = said(cfg=str(ssd_cfg), backbone_weights=weights)
    assert NO_NORMS not in lines
    assert "start weights: 6 of 6 tensors taken" in lines
    assert "  not in the start weights: rows.4.offsets.0.weight" in lines
    lines = said(cfg=str(ssd_cfg), weights=weights)
    assert NO_NORMS not in lines
    # 4 boxes · (1 + classes); the offsets fit whatever the classes.
    assert "start weights: 12 of 16 tensors taken" in lines
    assert "  left rows.4.classes.0.weight: is 24×16×3×3, expected 12×16×3×3" in lines
    assert NO_NORMS not in said(weights=weights)


def test_a_backbone_in_place_of_the_one_in_the_weights(said, ssd_cfg: Path, tmp_path: Path):
    for name, classes in (("all", 2), ("backbone", 5)):
        save_weights(tmp_path / f"{name}.safetensors", build(ssd_cfg, classes))
    weights, backbone = tmp_path / "all.safetensors", tmp_path / "backbone.safetensors"
    lines = said(cfg=str(ssd_cfg), weights=weights, backbone_weights=backbone)
    taken = [line for line in lines if line.startswith("start weights: ")]
    assert taken == [f"start weights: {n} of {n} tensors taken" for n in (16, 6)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, []),
        ({"fliplr": 0.0, "label_smoothing": 0.1, "learning_rate": 0.1}, []),
        ({"mosaic": 0.0}, ["SSDHead does not use: mosaic"]),
        (
            {"mosaic": 1.0, "fliplr": 0.0, "hsv_h": 0.1, "anchor_ratio": 3.0, "box_gain": 0.1},
            ["SSDHead does not use: anchor_ratio, box_gain, hsv_h, mosaic"],
        ),
    ],
)
def test_settings_that_mean_nothing_to_a_head(said, ssd_cfg: Path, values: dict, expected: list):
    lines = said(cfg=str(ssd_cfg), **values)
    assert [line for line in lines if "does not use" in line] == expected


def test_yolo_s_head_uses_them_all(said, tiny_cfg: Path):
    lines = said(cfg=str(tiny_cfg), mosaic=1.0, box_gain=0.1, anchor_ratio=3.0)
    assert not [line for line in lines if "does not use" in line]


def test_a_preset_s_settings_are_named_too(said, ssd_cfg: Path, tmp_path: Path):
    (tmp_path / "preset.yaml").write_text("scale: 0.9\n")
    lines = said(cfg=str(ssd_cfg), preset=str(tmp_path / "preset.yaml"))
    assert "SSDHead does not use: scale" in lines


def test_the_anchors_recall_and_a_hint(said, tiny_cfg: Path, tiny_data: Path, tmp_path: Path):
    """Squares of 32 pixels; anchors 12×12 to 48×48 match them, 4×4 and 128×128 do not."""
    line = "anchors: best possible recall {} of 8 training boxes"
    lines = said(cfg=str(tiny_cfg))
    assert line.format("1.0000") in lines
    assert not [each for each in lines if "hint" in each]
    far = tmp_path / "far.yaml"
    far.write_text(
        tiny_cfg.read_text().replace(
            "[[12, 12, 24, 24], [32, 32, 48, 48]]", "[[4, 4, 5, 5], [128, 128, 200, 200]]"
        )
    )
    lines = said(cfg=str(far))
    at = lines.index(line.format("0.0000"))
    assert lines[at + 1] == (
        f"hint: python tools/anchors.py --cfg {far} --data {tiny_data} --imgsz 64 fits others; "
        "write its line into the model file"
    )
    assert line.format("1.0000") in said(cfg=str(far), anchor_ratio=8.5)


def test_a_head_without_anchors_has_no_recall(said, ssd_cfg: Path):
    assert not [line for line in said(cfg=str(ssd_cfg)) if line.startswith("anchors")]


def test_crowded_gradients_are_the_same_each_time(tiny_cfg: Path, tiny_data: Path, tmp_path: Path):
    """With many truths at few predictions, added up by two threads."""
    settings = TrainSettings(
        cfg=str(tiny_cfg), data=str(tiny_data), project=tmp_path / "runs", device="cpu", imgsz=320
    )
    trainer = prepare(settings)
    generator = torch.Generator().manual_seed(0)
    corners = 150 + 4 * torch.rand(1600, 2, generator=generator)
    sides = 30 + 10 * torch.rand(1600, 2, generator=generator)
    targets = Targets(
        torch.cat((corners, corners + sides), 1),
        torch.zeros(1600, dtype=torch.int64),
        torch.arange(1600) % 16,
    )
    images = torch.rand(16, 3, 320, 320, generator=generator)
    with torch.no_grad():
        maps = [raw.clone() for raw in trainer.state.model(images)]

    def gradient() -> bytes:
        leaves = [raw.clone().requires_grad_() for raw in maps]
        losses = trainer.accumulation.criterion(leaves, targets)
        torch.stack(list(losses.values())).sum().backward()
        return b"".join(leaf.grad.numpy().tobytes() for leaf in leaves)

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert len({gradient() for _ in range(5)}) == 1
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("flag", ["weights", "backbone_weights"])
def test_weights_are_looked_for_before_data(tiny_cfg: Path, tmp_path: Path, flag: str):
    data = tmp_path / "data.yaml"
    data.write_text("path: nowhere\ntrain: images\nval: images\nnames: [a]\n")
    values = {"cfg": str(tiny_cfg), "data": str(data), "device": "cpu"}
    missing = tmp_path / "typo.safetensors"
    with pytest.raises(DetectorError) as caught:
        prepare(TrainSettings(**values, **{flag: missing}, project=tmp_path / "runs"))
    assert str(caught.value) == f"{missing}: no such file; expected weights"
