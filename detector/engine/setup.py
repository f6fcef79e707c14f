"""From settings to a trainer: data, model with its start weights, device, run folder."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.nn import BatchNorm2d

from detector.anchors import best_possible_recall
from detector.checkpoint import load
from detector.data.box_sizes import letterboxed_sizes
from detector.data.dataset import DetectionDataset, open_dataset
from detector.engine.freeze import freeze
from detector.engine.recipe import given_values, resolve
from detector.engine.run import Run
from detector.engine.trainer import Trainer
from detector.errors import DetectorError
from detector.graph import Definition, Detector, build, rebuild
from detector.settings import TrainSettings
from detector.start_weights import start_backbone_from, start_from, transfer
from detector.tasks import task_of
from detector.torch_backend import choose_device

HOW_IT_RUNS = {"device", "workers", "cache", "cache_dir"}
GIVEN_WITH_RESUME = HOW_IT_RUNS | {"resume", "project", "debug", "json_file"}
"""Flags that may stand beside ``--resume``: they change nothing of what is computed."""

ENOUGH_RECALL = 0.98
"""Below it, a person is told how to fit the anchors; they are never changed by themselves."""

NO_NORMS = (
    "the network has no batch norm and starts from random weights, which trains slowly or not at "
    "all; SSD's paper started from VGG16 trained on ImageNet: --backbone-weights FILE "
    "(torchvision's vgg16), or take cfg/ssd300_vgg16bn.yaml, or cfg/vgg.yaml --variant 16-bn"
)


def prepare(flags: TrainSettings) -> Trainer:
    """Everything up to the first epoch, or up to the next one of a run that goes on."""
    if flags.resume is not None:
        return _resumed(flags)
    settings, notes = resolve(flags)
    print(*notes, sep="\n")
    accelerator = _accelerator(settings)
    train_set, val_set = _datasets(settings)
    set_seed(settings.seed)
    model = _model(settings, train_set.names)
    train_set.check_task(model.task)
    val_set.check_task(model.task)
    unused = sorted(task_of(model).unused & given_values(settings).keys())
    if unused:
        print(f"{type(model.head).__name__} does not use: {', '.join(unused)}")
    settings = settings.model_copy(update={"imgsz": model.preprocess.size_hw[0]})
    print(*_recall_of_anchors(model, train_set, settings), sep="\n")
    run = Run.create(settings)
    print(f"run {run.folder}: {_described(settings, model, accelerator)}")
    return Trainer(settings, model, train_set, val_set, run, accelerator)


def _resumed(flags: TrainSettings) -> Trainer:
    assert flags.resume is not None
    run = Run.find(flags.resume, flags.project)
    settings = run.read_settings()
    for name, value in given_values(flags).items():
        if name not in GIVEN_WITH_RESUME and value != getattr(settings, name):
            raise DetectorError(
                f"--{name.replace('_', '-')} {value} does not go with --resume: the run was "
                f"started with {getattr(settings, name)}"
            )
    chosen = {k: v for k, v in given_values(flags).items() if k in HOW_IT_RUNS}
    settings = settings.model_copy(update=chosen)
    accelerator = _accelerator(settings)
    train_set, val_set = _datasets(settings)
    model = load(run.last)
    freeze(model, settings.freeze)
    trainer = Trainer(settings, model, train_set, val_set, run, accelerator)
    trainer.resume()
    print(f"run {run.folder}: goes on after epoch {trainer.progress.epoch} of {settings.epochs}")
    return trainer


def _datasets(settings: TrainSettings) -> tuple[DetectionDataset, DetectionDataset]:
    assert settings.data is not None
    train_set = open_dataset(
        settings.data,
        settings.train_split,
        data_root=settings.data_root,
        skip_bad=settings.skip_bad,
        limit=settings.limit,
    )
    val_set = open_dataset(
        settings.data,
        settings.val_split,
        data_root=settings.data_root,
        names=train_set.names,
        skip_bad=settings.skip_bad,
        limit=settings.limit,
    )
    print(*train_set.report, *val_set.report, sep="\n")
    return train_set, val_set


def _model(settings: TrainSettings, names: tuple[str, ...]) -> Detector:
    """Build for the data's classes and copy whatever fits of the start weights."""
    if settings.cfg is not None:
        model = build(settings.cfg, names, settings.variant)
        if settings.weights is not None:
            print(*start_from(model, settings.weights).lines(), sep="\n")
    else:
        assert settings.weights is not None
        model = _continued(settings.weights, names)
    if settings.backbone_weights is not None:
        print(*start_backbone_from(model, settings.backbone_weights).lines(), sep="\n")
    elif settings.weights is None and not any(isinstance(m, BatchNorm2d) for m in model.modules()):
        print(f"warning: {NO_NORMS}")
    side = settings.imgsz or model.preprocess.size_hw[0]
    model.preprocess = model.preprocess.with_size(model.square_size(side))
    freeze(model, settings.freeze)
    return model.train()


def _continued(weights: Path, names: tuple[str, ...]) -> Detector:
    """The network of a weights file, built for the data's classes, with what fits of it."""
    start = load(weights)
    if start.deployed:
        raise DetectorError(
            "is deployed: its branches and batch norms are fused and cannot be trained; "
            "use the checkpoint that it was deployed from",
            file=weights,
        )
    definition = start.definition
    model = rebuild(Definition(definition.text, definition.path, definition.variant, names))
    model.preprocess = start.preprocess
    print(*transfer(model, start.state_dict()).lines(), sep="\n")
    return model


def _recall_of_anchors(
    model: Detector, train_set: DetectionDataset, settings: TrainSettings
) -> list[str]:
    """What the anchors can match of the training boxes, and the command that fits better ones."""
    anchors_wh = getattr(model.head, "anchors_wh", None)
    side = model.preprocess.size_hw[0]
    sizes_wh = letterboxed_sizes(train_set, side)
    if anchors_wh is None or not len(sizes_wh):
        return []
    recall = best_possible_recall(
        sizes_wh, anchors_wh.reshape(-1, 2).numpy(), settings.anchor_ratio
    )
    lines = [f"anchors: best possible recall {recall:.4f} of {len(sizes_wh)} training boxes"]
    if recall < ENOUGH_RECALL:
        lines.append(
            f"hint: python tools/anchors.py --cfg {settings.cfg or 'FILE'} --data {settings.data} "
            f"--imgsz {side} fits others; write its line into the model file"
        )
    return lines


def _accelerator(settings: TrainSettings) -> Accelerator:
    """Device, precision and processes, by accelerate; mixed precision where it is a gain."""
    device = choose_device(settings.device)
    if settings.device != "auto":
        os.environ["ACCELERATE_TORCH_DEVICE"] = str(device)
    precision = {"fp32": "no"}.get(settings.precision, settings.precision)
    if precision == "auto":
        on_cuda = device.type == "cuda"
        precision = ("bf16" if torch.cuda.is_bf16_supported() else "fp16") if on_cuda else "no"
    return Accelerator(mixed_precision=precision, cpu=device.type == "cpu")


def _described(settings: TrainSettings, model: Detector, accelerator: Accelerator) -> str:
    params = sum(p.numel() for p in model.parameters())
    name = Path(settings.cfg or str(settings.weights)).name
    variant = f" variant {model.definition.variant}" if model.definition.variant else ""
    height, width = model.preprocess.size_hw
    return (
        f"{name}{variant}, {params:,} parameters, {len(model.names)} classes, {height}×{width} px, "
        f"{settings.epochs} epochs, batch {settings.batch}, {settings.optimizer} learning rate "
        f"{settings.learning_rate}, {accelerator.device.type}, {torch.get_num_threads()} threads"
    )
