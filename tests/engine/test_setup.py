"""What is said before the first epoch: start weights that are missing, settings without effect."""

import shutil
from pathlib import Path

import pytest
import torch

from detector.engine.head_settings import train_settings
from detector.engine.recipe import resolve
from detector.engine.setup import NO_NORMS, prepare
from detector.model.detector import build
from detector.structures.samples import Targets
from detector.utils.errors import DetectorError
from detector.weights.checkpoint import save_weights
from tests.engine.conftest import TINY_SSD


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
        where = {"data": str(tiny_data), "project": tmp_path / "runs", "device": "cpu"} | values
        caplog.clear()
        capfd.readouterr()
        with caplog.at_level("INFO", "detector"):
            prepare(train_settings(**where))
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
    assert "start weights: 6 of 6 tensors loaded" in lines
    assert "  not in the start weights: rows.4.offsets.0.weight" in lines
    lines = said(cfg=str(ssd_cfg), weights=weights)
    assert NO_NORMS not in lines
    # 4 boxes · (1 + classes); the offsets fit whatever the classes.
    assert "start weights: 12 of 16 tensors loaded" in lines
    assert "  skipped rows.4.classes.0.weight and 1 more: is 24×16×3×3, expected 12×16×3×3" in lines
    assert NO_NORMS not in said(weights=weights)


def test_a_backbone_in_place_of_the_one_in_the_weights(said, ssd_cfg: Path, tmp_path: Path):
    for name, classes in (("all", 2), ("backbone", 5)):
        save_weights(tmp_path / f"{name}.safetensors", build(ssd_cfg, classes))
    weights, backbone = tmp_path / "all.safetensors", tmp_path / "backbone.safetensors"
    lines = said(cfg=str(ssd_cfg), weights=weights, backbone_weights=backbone)
    taken = [line for line in lines if line.startswith("start weights: ")]
    assert taken == [f"start weights: {n} of {n} tensors loaded" for n in (16, 6)]


SSD_HAS = "this network's head is SSDHead"
ALL_OF_SSD = "SSDHead has albumentations, fliplr and label_smoothing"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"mosaic": 0.0},
            f"mosaic is a setting of Detect and other heads, and {SSD_HAS}; {ALL_OF_SSD}",
        ),
        (
            {"fliplr": 0.0, "anchor_ratio": 3.0, "box_gain": 0.1},
            f"anchor_ratio is a setting of Detect and other heads, and {SSD_HAS}; {ALL_OF_SSD}",
        ),
        (
            {"flipud": 1.0},
            f"flipud is a setting of Detect and other heads, and {SSD_HAS}; did you mean 'fliplr'?",
        ),
        ({"flop": 1.0}, "unknown key 'flop'; did you mean 'fliplr'?"),
    ],
)
def test_a_setting_of_another_head(said, ssd_cfg: Path, values: dict, message: str):
    with pytest.raises(DetectorError) as caught:
        said(cfg=str(ssd_cfg), **values)
    assert str(caught.value) == message


def test_settings_of_the_head(said, ssd_cfg: Path, tiny_cfg: Path):
    chosen = {"fliplr": 0.0, "label_smoothing": 0.1, "learning_rate": 0.1}
    assert train_settings(cfg=str(ssd_cfg), **chosen).model_dump().items() >= chosen.items()
    assert any(line.startswith("run ") for line in said(cfg=str(ssd_cfg), **chosen))
    chosen = {"mosaic": 1.0, "box_gain": 0.1, "anchor_ratio": 3.0}
    assert train_settings(cfg=str(tiny_cfg), **chosen).model_dump().items() >= chosen.items()
    assert any(line.startswith("run ") for line in said(cfg=str(tiny_cfg), **chosen))


def test_a_preset_with_a_setting_of_another_head(said, ssd_cfg: Path, tmp_path: Path):
    preset = tmp_path / "preset.yaml"
    preset.write_text("epochs: 1\nscale: 0.9\n")
    with pytest.raises(DetectorError) as caught:
        said(cfg=str(ssd_cfg), preset=str(preset))
    assert str(caught.value) == (
        f"{preset}:2: scale is a setting of Detect and other heads, and {SSD_HAS}; {ALL_OF_SSD}"
    )


def test_settings_of_an_earlier_run_as_a_preset(said, ssd_cfg: Path, tmp_path: Path):
    """Earlier versions kept the settings of every head in a run's file."""
    kept = tmp_path / "settings.yaml"
    kept.write_text("epochs: 7\nmosaic: 1.0\nbox_gain: 0.05\nfliplr: 0.25\n")
    lines = said(cfg=str(ssd_cfg), preset=str(kept))
    assert f"preset {kept}: fliplr 0.25, epochs 7" in lines
    assert f"{kept}: left out, since SSDHead has no such setting: mosaic, box_gain" in lines


def test_a_quick_start_for_another_head(ssd_cfg: Path):
    """That of the drawn shapes has the gains of Detect's loss, and a variant and an input size."""
    settings, notes = resolve(train_settings(cfg=str(ssd_cfg)))
    assert (settings.epochs, settings.imgsz, settings.variant) == (48, None, None)
    assert notes[-1] == (
        "quick-start settings that this model does not have: close_mixing, box_gain, "
        "objectness_gain, class_gain, variant, imgsz"
    )


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
        f"hint: detector anchors --cfg {far} --data {tiny_data} --imgsz 64 fits others; "
        "write its line into the model file"
    )
    assert line.format("1.0000") in said(cfg=str(far), anchor_ratio=8.5)


def test_a_head_without_anchors_has_no_recall(said, ssd_cfg: Path):
    assert not [line for line in said(cfg=str(ssd_cfg)) if line.startswith("anchors")]


def test_crowded_gradients_are_the_same_each_time(tiny_cfg: Path, tiny_data: Path, tmp_path: Path):
    """With many truths at few predictions, added up by two threads."""
    settings = train_settings(
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
        prepare(train_settings(**values, **{flag: missing}, project=tmp_path / "runs"))
    assert str(caught.value) == f"{missing}: no such file; expected weights"


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_without_an_object(said, tiny_cfg: Path, tiny_data: Path, tmp_path: Path, split):
    root = tmp_path / "data"
    shutil.copytree(tiny_data.parent, root)
    for label in (root / "labels" / split).iterdir():
        label.write_text("")
    definition = root / tiny_data.name
    definition.write_text(definition.read_text().replace(str(tiny_data.parent), str(root)))
    with pytest.raises(DetectorError) as caught:
        said(cfg=str(tiny_cfg), data=str(definition))
    assert str(caught.value) == (
        f"split {split!r}: none of its 8 images has an object; there is nothing to learn from or "
        "to measure"
    )
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("epochs", "said_so"), [(5, True), (6, False)])
def test_a_training_without_any_mixing(said, tiny_cfg: Path, epochs: int, said_so: bool) -> None:
    lines = said(cfg=str(tiny_cfg), mosaic=0.6, close_mixing=5, epochs=epochs)
    line = "no epoch has mosaic: close_mixing 5, epochs 5"
    assert (line in lines) == said_so


def test_bad_labels_of_both_splits_are_listed_at_once(
    said, tiny_cfg: Path, tiny_data: Path, tmp_path: Path
):
    root = tmp_path / "data"
    shutil.copytree(tiny_data.parent, root)
    definition = root / tiny_data.name
    definition.write_text(definition.read_text().replace(str(tiny_data.parent), str(root)))
    files = [root / "labels" / split / "3.txt" for split in ("train", "val")]
    lines = [
        f"{file}:1: class 7 is out of range, expected 0 to 1 (--skip-bad leaves it out)"
        for file in files
    ]
    for count in (1, 2):  # the second split alone, then both
        files[-count].write_text("7 0.5 0.5 0.5 0.5\n")
        with pytest.raises(DetectorError) as caught:
            said(cfg=str(tiny_cfg), data=str(definition))
        assert str(caught.value).splitlines() == lines[-count:]
