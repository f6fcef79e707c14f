"""Distillation in training: what is learned of which teacher, checkpoints, resumed runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from detector.engine.distillation import head_inputs
from detector.engine.trainer import Trainer
from detector.losses.distillation import DistanceDistillation, MainDistillation, YoloDistillation
from detector.model.detector import build
from detector.utils.errors import DetectorError, Interrupted
from detector.weights.checkpoint import load, load_training_state, save_weights
from tests.conftest import TINY_MODEL
from tests.engine.conftest import AfterStep, digest

Start = Callable[..., Trainer]

WIDE = TINY_MODEL.replace("RepVGGBlock, [16", "RepVGGBlock, [24").replace("Conv, [16", "Conv, [40")
"""The tiny network with other channels: 24 and 40 in place of 16."""

POINTS = WIDE.replace("Detect, [nc, anchors]", "DFLHead, [nc, 4]")
COARSE = WIDE.replace(
    "  - [[2, 3], 1, Detect", "  - [-1, 1, Conv, [16, 3, 2]]\n  - [[3, 4], 1, Detect"
)
"""The same with features of strides 16 and 32."""

NAMES = ("red", "green")


@pytest.fixture
def teacher(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a teacher with random weights."""

    def teacher(text: str = WIDE, names: tuple[str, ...] = NAMES) -> Path:
        (tmp_path / "teacher.yaml").write_text(text)
        torch.manual_seed(5)
        model = build(tmp_path / "teacher.yaml", names)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
        save_weights(tmp_path / "teacher.safetensors", model)
        return tmp_path / "teacher.safetensors"

    return teacher


def test_outputs_of_a_wider_network(start: Start, teacher, caplog) -> None:
    caplog.set_level("INFO", "detector")
    path = teacher()
    trainer = start("run", teacher=path)
    assert isinstance(trainer.distillation.outputs, YoloDistillation)
    parameters = sum(p.numel() for p in load(path).parameters())
    line = f"teacher {path.name}, {parameters:,} parameters: classes and boxes of its outputs"
    assert line in caplog.messages
    trainer.fit()
    assert trainer.progress.history[-1]["loss_distillation"] > 0


def test_the_teacher_stays_as_it_is(start: Start, teacher) -> None:
    """Weights, statistics and mode; and its images are those of the batch, to the bit."""
    path = teacher()
    trainer = start("run", teacher=path)
    distillation, seen = trainer.distillation, []
    normalize = distillation.teacher.normalize
    distillation.teacher.normalize = lambda images: seen.append(images) or normalize(images)
    shown = []
    own = trainer.state.raw_model.normalize
    trainer.state.raw_model.normalize = lambda images: shown.append(images) or own(images)
    trainer.fit()
    assert len(seen) == 9
    assert all(torch.equal(one, other) for one, other in zip(seen, shown, strict=True))
    before = load(path).state_dict()
    for name, tensor in distillation.teacher.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert not any(module.training for module in distillation.teacher.modules())
    assert not any(parameter.requires_grad for parameter in distillation.teacher.parameters())


def test_a_network_that_is_its_own_teacher(start: Start, tiny_cfg: Path, tmp_path: Path) -> None:
    """In evaluation mode there is nothing to learn."""
    torch.manual_seed(0)
    path = tmp_path / "own.safetensors"
    save_weights(path, build(tiny_cfg, NAMES))
    for distill in ("outputs", "features"):
        trainer = start(distill, teacher=path, weights=path, distill=distill)
        model = trainer.state.raw_model.eval()
        images = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
        with head_inputs(model) as features:
            raw_outputs = model(model.normalize(images))
        lesson = trainer.distillation.lesson(images)
        (loss,) = trainer.distillation(raw_outputs, features, lesson).values()
        assert float(loss.detach()) == pytest.approx(0, abs=1e-5)


def test_features_of_another_head(start: Start, teacher, caplog) -> None:
    caplog.set_level("INFO", "detector")
    trainer = start("run", teacher=teacher(POINTS), distill_gain=0.1)
    message = "its features of stride 8 and 16, since its head is DFLHead, the network's Detect"
    assert caplog.messages[-1].endswith(message)
    adapters = trainer.distillation.features.adapters
    assert [tuple(a.weight.shape) for a in adapters] == [(24, 16, 1, 1), (40, 16, 1, 1)]
    before = [parameter.clone() for parameter in adapters.parameters()]
    trainer.fit()
    pairs = zip(before, adapters.parameters(), strict=True)
    assert not any(torch.equal(one, other) for one, other in pairs)
    assert trainer.state.optimizer.param_groups[0]["scale"] == 1


def test_the_checkpoint_is_a_plain_network(start: Start, teacher, tiny_cfg: Path) -> None:
    trainer = start("run", teacher=teacher(), distill="features")
    trainer.fit()
    names = set(build(tiny_cfg).state_dict())
    for path in (trainer.run.best, trainer.run.last):
        assert set(load(path).state_dict()) == names


def test_the_gain_is_the_weight(start: Start, teacher) -> None:
    path = teacher()
    losses = []
    for gain in (1.0, 3.0):
        trainer = start(f"gain{gain:g}", teacher=path, distill_gain=gain)
        next(trainer.train_epoch())
        losses.append(trainer.progress.totals["loss_distillation"])
    assert losses[1] == pytest.approx(3 * losses[0], rel=1e-6)


@pytest.mark.parametrize("distill", ["outputs", "features"])
def test_resumed(start: Start, resume: Start, teacher, distill: str) -> None:
    values = {"teacher": teacher(), "distill": distill}
    whole, cut = start("whole", **values), start("cut", **values)
    whole.fit()
    cut.callbacks.append(AfterStep(lambda: os.kill(os.getpid(), signal.SIGINT), 4))
    with pytest.raises(Interrupted):
        cut.fit()
    again = resume("cut")
    assert again.progress.step == 4
    again.fit()
    assert digest(again) == digest(whole)
    for one, other in zip(
        whole.distillation.features.parameters(),
        again.distillation.features.parameters(),
        strict=True,
    ):
        assert torch.equal(one, other)
    state = load_training_state(whole.run.state)["distillation"]
    assert len(state["features"]) == (0 if distill == "outputs" else 2)


def test_resumed_with_the_teacher_elsewhere(start, resume, teacher, tmp_path: Path) -> None:
    path = teacher()
    start("run", teacher=path).save()
    moved = tmp_path / "moved.safetensors"
    path.rename(moved)
    with pytest.raises(DetectorError) as caught:
        resume("run")
    assert str(caught.value) == f"{path}: no such file; did you mean 'moved.safetensors'?"
    assert resume("run", teacher=moved).settings.teacher == moved
    teacher(WIDE.replace("24", "32"))
    with pytest.raises(DetectorError) as caught:
        resume("run", teacher=path)
    assert str(caught.value) == (
        "--teacher: the file has changed since the run was started; a run can only be resumed with "
        "the same teacher"
    )


def test_a_run_without_a_teacher_gets_none(start, resume, teacher) -> None:
    start("run").save()
    path = teacher()
    message = f"--teacher {path} does not go with --resume: the run was started with None"
    with pytest.raises(DetectorError, match=message):
        resume("run", teacher=path)


def test_two_heads(start: Start, teacher, tmp_path: Path) -> None:
    """A student with an auxiliary head learns with its main one."""
    text = TINY_MODEL.replace("[[2, 3], 1, Detect", "[[2, 3, 2, 3], 1, IAuxDetect")
    (tmp_path / "two.yaml").write_text(text)
    trainer = start("run", cfg=str(tmp_path / "two.yaml"), teacher=teacher())
    assert isinstance(trainer.distillation.outputs, MainDistillation)
    trainer.fit()
    assert trainer.progress.history[-1]["loss_distillation"] > 0


def test_distances(start: Start, teacher, tmp_path: Path) -> None:
    (tmp_path / "points.yaml").write_text(POINTS.replace("24", "16"))
    trainer = start("run", cfg=str(tmp_path / "points.yaml"), teacher=teacher(POINTS))
    assert isinstance(trainer.distillation.outputs, DistanceDistillation)
    trainer.fit()


# ---------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("text", "names", "values", "message"),
    [
        (
            WIDE,
            ("red", "blue"),
            {},
            "it has the classes red, blue, the data red, green; with other classes only --distill "
            "features",
        ),
        (
            WIDE.replace("nc: 2", "nc: 5"),
            ("a", "b", "c", "d", "e"),
            {},
            "it has the classes a, b, c, … (5), the data red, green; with other classes only "
            "--distill features",
        ),
        (
            WIDE.replace("[[2, 3], 1, Detect", "[[3, 2], 1, Detect"),
            NAMES,
            {"distill": "outputs"},
            "--distill outputs: its head has the strides 16, 8, the network's 8, 16; --distill "
            "features fits any teacher",
        ),
        (
            POINTS,
            NAMES,
            {"distill": "outputs"},
            "--distill outputs: its head is DFLHead, the network's Detect; --distill features fits "
            "any teacher",
        ),
        (
            WIDE.replace("[12, 12,", "[10, 10,"),
            NAMES,
            {"distill": "outputs"},
            "--distill outputs: its head has other anchors_wh than the network's; --distill "
            "features fits any teacher",
        ),
    ],
)
def test_teachers_that_do_not_fit(start, teacher, text, names, values, message) -> None:
    path = teacher(text, names)
    with pytest.raises(DetectorError) as caught:
        start("run", teacher=path, **values)
    assert str(caught.value) == f"{path}: --teacher: {message}"
    assert not (path.parent / "run").exists()


def test_other_strides_and_features(start: Start, teacher, caplog) -> None:
    caplog.set_level("INFO", "detector")
    trainer = start("run", teacher=teacher(COARSE))
    assert trainer.distillation.features.levels == [(1, 0)]
    assert caplog.messages[-1].endswith(
        "its features of stride 16, since its head has the strides 16, 32, the network's 8, 16"
    )
    trainer.fit()


def test_no_stride_in_common(start: Start, teacher) -> None:
    text = COARSE.replace("  - [[3, 4], 1", "  - [-1, 1, Conv, [16, 3, 2]]\n  - [[4, 5], 1")
    path = teacher(text)
    with pytest.raises(DetectorError) as caught:
        start("run", teacher=path)
    assert str(caught.value) == (
        f"{path}: --teacher: its features have the strides 32, 64, the network's 8, 16: none "
        "is the same"
    )


def test_a_size_that_the_teacher_does_not_take(start: Start, teacher) -> None:
    path = teacher(COARSE)
    with pytest.raises(DetectorError) as caught:
        start("run", teacher=path, imgsz=48)
    assert str(caught.value) == (
        f"{path}: --teacher: input size 48×48 is not a multiple of the network's stride 32; the "
        "nearest is 64×64"
    )
    with pytest.raises(DetectorError) as caught:
        start("run", teacher=path, multi_scale=0.5)
    assert str(caught.value) == (
        f"{path}: --teacher: the sizes of --multi-scale are multiples of 16, its stride is 32"
    )


def test_a_missing_teacher_is_found_before_the_data(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detector.engine.setup.open_datasets", None)
    with pytest.raises(DetectorError) as caught:
        start("run", teacher=tmp_path / "no.safetensors")
    assert str(caught.value) == f"{tmp_path / 'no.safetensors'}: no such file; expected weights"


def test_a_classifier_teaches_no_detector(start: Start, teacher) -> None:
    rows = "backbone:\n  - [-1, 1, Conv, [8, 3, 2]]\nhead:\n  - [-1, 1, Classify, [nc]]\n"
    path = teacher(f"nc: 2\nimgsz: 64\n{rows}")
    with pytest.raises(DetectorError) as caught:
        start("run", teacher=path)
    assert str(caught.value) == f"{path}: --teacher: it is a classifier, expected detectors"


@pytest.mark.parametrize(("name", "value"), [("distill", "features"), ("distill_gain", 2.0)])
def test_settings_without_a_teacher(start: Start, name: str, value: object) -> None:
    with pytest.raises(DetectorError) as caught:
        start("run", **{name: value})
    assert str(caught.value) == f"{name}: has no effect without teacher, found {value!r}"
