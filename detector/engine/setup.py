"""Setup of a training: data, model with its start weights, device, run folder."""

from __future__ import annotations

import copy
import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.nn import BatchNorm2d, GroupNorm, LayerNorm, SyncBatchNorm

from detector.data.dataset import DetectionDataset
from detector.engine.auto.choose import Start, choose_settings
from detector.engine.callbacks import Callback
from detector.engine.data_check import train_lines
from detector.engine.datasets import open_datasets
from detector.engine.distillation import open_teacher
from detector.engine.final_size import final_size
from detector.engine.int8_training import fused_start
from detector.engine.loggers.choose import check_installed, logger_callbacks
from detector.engine.norm_statistics import restore_statistics
from detector.engine.optim import Schedule, freeze
from detector.engine.pictures import Curves, TrainingPictures, ValidationPictures
from detector.engine.presets import preset_text
from detector.engine.recipe import given_values, read_run_settings, resolve
from detector.engine.run import FROM_NOW_ON, THIS_TIME, Run
from detector.engine.small_objects import small_objects
from detector.engine.tasks import task_of
from detector.engine.time_budget import within_minutes
from detector.engine.trainer import Trainer
from detector.evaluation.run import check_library
from detector.model.detector import Definition, Detector, build_model_file, rebuild
from detector.model.lint import check_anchor_order, find_contradictions, log_warnings
from detector.model.model_file import read_model_file
from detector.model.torch_backend import choose_device, fastest_precision
from detector.runtime.tiling import check_tile
from detector.settings.train import AUTO_PRESET, TrainSettings
from detector.settings.values import typed_text
from detector.structures.preprocess import imgsz_of_size
from detector.utils import system
from detector.utils.collectives import from_main
from detector.utils.errors import DetectorError
from detector.utils.files import write_text
from detector.utils.yaml_file import read_yaml
from detector.weights.checkpoint import build_from_metadata, find_metadata, load
from detector.weights.timm_download import download_timm_weights
from detector.weights.transfer import start_backbone_from, start_from, trainable_metadata, transfer

logger = logging.getLogger(__name__)

NORMS = (BatchNorm2d, GroupNorm, LayerNorm)
NO_NORMS = (
    "the network has no batch norm and starts from random weights, which trains slowly or not at "
    "all; SSD's paper started from VGG16 trained on ImageNet: --backbone-weights FILE "
    "(torchvision's vgg16), or take cfg/ssd300_vgg16bn.yaml, or cfg/vgg.yaml --variant 16-bn"
)


def prepare(flags: TrainSettings) -> Trainer:
    """Prepare a trainer for the first epoch, or for the next one of a resumed run."""
    if flags.resume is not None:
        return _resumed(flags)
    started = time.monotonic()
    settings, notes = resolve(flags)
    check_installed(settings.log)
    check_library(settings.evaluator)
    _say(notes)
    _check_weights(settings)
    accelerator = _accelerator(settings)
    train_set, val_set = _datasets(settings, accelerator)
    set_seed(settings.seed)
    model = _model(settings, train_set.names)
    train_set.check_task(model.task)
    val_set.check_task(model.task)
    _check_boxes(train_set, val_set)
    settings = _with_preset(settings, flags, model, train_set, accelerator)
    if settings.weights is not None or settings.backbone_weights is not None:
        _say(restore_statistics(model, train_set))
    model = _trainable(model, settings, accelerator)
    open_teacher(settings, model)  # one that does not fit leaves no folder behind
    if settings.tiles is not None:
        check_tile(settings.tiles, model.max_stride)
    settings = _with_size(settings, model)
    _say(task_of(type(model.head)).hints(model, train_set, settings))
    _say(small_objects(model, train_set) if model.task == "detect" else [])
    for line in train_lines(str(settings.data), (train_set, val_set)):
        logger.warning(line)
    if settings.minutes is not None:
        settings, line = within_minutes(
            settings,
            lambda run: Trainer(
                settings, copy.deepcopy(model), train_set, val_set, run, accelerator
            ),
            started,
        )
        _say([line])
    _say(_closed_mixing(settings))
    run = from_main(lambda: Run.create(settings))
    from_main(run.claim)
    run.write_settings(settings)
    _write_preset(run, settings)
    logger.info(f"run {run.folder}: {_described(settings, model, accelerator)}")
    trainer = Trainer(settings, model, train_set, val_set, run, accelerator)
    _say(trainer.notes)
    trainer.callbacks += _watchers(settings, model)
    return trainer


def _with_preset(
    settings: TrainSettings,
    flags: TrainSettings,
    model: Detector,
    train_set: DetectionDataset,
    accelerator: Accelerator,
) -> TrainSettings:
    """Return the settings that the preset ``auto`` chooses; the model gets its input size.

    With another preset they stay as they are.
    """
    if settings.preset != AUTO_PRESET:
        return settings
    alone = settings.model_copy(update={"sync_bn": False})  # the main process measures by itself
    start = Start(
        settings,
        model,
        train_set,
        accelerator,
        lambda copied: _trainable(copied, alone, accelerator),
    )
    given = {name: value for name, value in given_values(flags).items() if value is not None}
    chosen, lines = choose_settings(start, given)
    _say(lines)
    imgsz = chosen.final_imgsz or chosen.imgsz
    assert imgsz is not None
    model.preprocess = model.preprocess.with_size(model.size_of(imgsz))
    return chosen


def _write_preset(run: Run, settings: TrainSettings) -> None:
    """Write what the preset ``auto`` has chosen as a file; main process only."""
    if settings.preset != AUTO_PRESET or not system.is_main():
        return
    values = settings.model_dump(mode="json", exclude={"minutes"})  # its epochs are known
    comment = "Settings of --preset auto and those that were given: --preset with this file"
    write_text(run.preset, preset_text(values, f"{comment} gives the same training."))
    logger.info(f"preset auto: the same training again: --preset {run.preset}")


def _check_weights(settings: TrainSettings) -> None:
    """Raise DetectorError for weights that do not go: before minutes of reading data."""
    for weights in (settings.weights, settings.backbone_weights):
        if weights is not None and not settings.qat:
            trainable_metadata(weights)
    if settings.teacher is not None:
        find_metadata(settings.teacher)
    if settings.download and settings.backbone_weights is not None:
        raise DetectorError("--download and --backbone-weights: expected one of both")


def _with_size(settings: TrainSettings, model: Detector) -> TrainSettings:
    """Return the settings with the size of the network's input, unless it is that of its end."""
    if final_size(model, settings) is not None:
        return settings
    return settings.model_copy(update={"imgsz": imgsz_of_size(model.preprocess.size_hw)})


def _closed_mixing(settings: TrainSettings) -> list[str]:
    """Say that no epoch mixes images, where the last ones without mixing are all there are."""
    closed = getattr(settings, "close_mixing", 0)
    mixing = [n for n in ("mosaic", "mixup", "copy_paste") if getattr(settings, n, 0)]
    if not (settings.augment and mixing and closed >= settings.epochs):
        return []
    return [f"no epoch has {', '.join(mixing)}: close_mixing {closed}, epochs {settings.epochs}"]


def _check_boxes(*datasets: DetectionDataset) -> None:
    """Raise DetectorError for a split that has images and not a single object."""
    for dataset in datasets:
        if not any(len(sample.class_ids) for sample in dataset.samples):
            raise DetectorError(
                f"split {dataset.split!r}: none of its {len(dataset)} images has an object; "
                "there is nothing to learn from or to measure"
            )


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        logger.info(line)


def _resumed(flags: TrainSettings) -> Trainer:
    assert flags.resume is not None
    run = Run.find(flags.resume, flags.project)
    from_main(run.claim)
    file = read_yaml(run.settings)
    state = from_main(run.read_state)
    model = build_from_metadata(str(state.get("card")), run.resumed_from)
    before, notes = read_run_settings(file, type(model.head))
    _say(notes)
    settings = _resumed_settings(before, flags)
    check_installed(settings.log)
    check_library(settings.evaluator)
    accelerator = _accelerator(settings)
    train_set, val_set = _datasets(settings, accelerator)
    model = _trainable(model, settings, accelerator)
    trainer = Trainer(settings, model, train_set, val_set, run, accelerator)
    _say(trainer.notes)
    trainer.resume(state)
    trainer.callbacks += _watchers(settings, model)
    progress = trainer.progress
    batch = f", batch {progress.batch}" if progress.batch else ""
    logger.info(f"run {run.folder}: resumed at epoch {progress.epoch} of {settings.epochs}{batch}")
    if settings.epochs != before.epochs:
        logger.info(_difference(before, trainer))
    run.write_settings(settings.model_copy(update=_values(before, THIS_TIME)))
    return trainer


def _resumed_settings(before: TrainSettings, flags: TrainSettings) -> TrainSettings:
    """Return the run's settings, updated by the flags that may change on resuming."""
    given = given_values(flags)
    for name, value in given.items():
        allowed = name in THIS_TIME | FROM_NOW_ON and not (
            (name == "epochs" and value < before.epochs)
            or (name == "teacher" and before.teacher is None)
        )
        if name not in type(before).model_fields:
            flag = f"--{name.replace('_', '-')}"
            raise DetectorError(f"{flag} {type(before).elsewhere(name)}")
        if not allowed and value != getattr(before, name):
            raise DetectorError(
                f"--{name.replace('_', '-')} {typed_text(value)} does not go with --resume: the "
                f"run was started with {typed_text(getattr(before, name))}"
            )
    return before.model_copy(update=given)


def _values(settings: TrainSettings, names: set[str]) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in names}


def _difference(before: TrainSettings, trainer: Trainer) -> str:
    """Say whether more epochs give the same training as if they had been asked for at the start."""
    settings, progress = trainer.settings, trainer.progress
    schedules = Schedule(before, before.epochs, trainer.steps_per_epoch), trainer.state.schedule
    rates = [[schedule(step) for step in range(progress.step)] for schedule in schedules]
    parts = ["learning rates"] if rates[0] != rates[1] else []
    closed = trainer.loader.dataset.close_epochs
    if closed and progress.epoch > before.epochs - closed:
        parts.append("mixed images")
    if settings.average_last and progress.epoch > before.epochs - settings.average_last:
        parts.append("averaged epochs")
    line = f"resumed with {settings.epochs} epochs, until now {before.epochs}: "
    if not parts:
        return f"{line}the same training as with --epochs {settings.epochs} from the start"
    others = " and ".join(parts)
    return (
        f"{line}not the training of --epochs {settings.epochs} from the start, which would have "
        f"had other {others} until here"
    )


def _datasets(
    settings: TrainSettings, accelerator: Accelerator
) -> tuple[DetectionDataset, DetectionDataset]:
    with accelerator.local_main_process_first():  # it may draw the built-in images
        train_set, val_set, lines = open_datasets(settings)
    _say(lines)
    return train_set, val_set


def _model(settings: TrainSettings, names: tuple[str, ...]) -> Detector:
    """Build the model for the data's classes, and copy the start weights that fit."""
    if settings.qat:
        model = fused_start(settings, names)
    elif settings.cfg is not None:
        model = _built(settings.cfg, settings.variant, names)
        if settings.weights is not None:
            _say(start_from(model, settings.weights).lines())
    else:
        assert settings.weights is not None
        model = _continued(settings.weights, names)
        log_warnings(model)
    backbone_weights = settings.backbone_weights
    if settings.download:
        backbone_weights = download_timm_weights(model)
    if backbone_weights is not None:
        _say(start_backbone_from(model, backbone_weights).lines())
    elif settings.weights is None and not any(isinstance(m, NORMS) for m in model.modules()):
        logger.warning(NO_NORMS)
    imgsz = settings.final_imgsz or settings.imgsz or model.preprocess.size_hw
    model.preprocess = model.preprocess.with_size(model.size_of(imgsz))
    return model


def _built(cfg: str, variant: str | None, names: tuple[str, ...]) -> Detector:
    """Build a model file's network for the data's classes, and say what is probably wrong in it."""
    model_file = read_model_file(cfg, variant)
    model = build_model_file(model_file, names)
    check_anchor_order(model_file, model)
    for warning in find_contradictions(model_file, model):
        logger.warning(warning)
    return model


def _continued(weights: Path, names: tuple[str, ...]) -> Detector:
    """Build the network of a weights file for the data's classes, and copy the weights that fit."""
    start = load(weights)
    definition = start.definition
    model = rebuild(Definition(definition.text, definition.path, definition.variant, names))
    model.preprocess = start.preprocess
    _say(transfer(model, start.state_dict(), names=start.names).lines())
    return model


def _trainable(model: Detector, settings: TrainSettings, accelerator: Accelerator) -> Detector:
    """Prepare the network for training: precision, frozen rows, synchronized batch norms."""
    freeze(model, settings.freeze)
    model.rounds, model.rounds_per_tensor = settings.qat, settings.per_tensor
    model.recomputes = settings.checkpoint_activations
    if settings.precision == "fp64":
        model = model.double()
    if settings.sync_bn:
        if accelerator.device.type == "cpu":
            raise DetectorError("--sync-bn needs GPUs: torch has no such batch norm for the CPU")
        model = SyncBatchNorm.convert_sync_batchnorm(model)
    return model.train()


def _accelerator(settings: TrainSettings) -> Accelerator:
    """Make the Accelerator, which handles device, precision and processes."""
    device = choose_device(settings.device)
    if settings.device != "auto" and system.world_size() == 1:  # else each has its own number
        os.environ["ACCELERATE_TORCH_DEVICE"] = str(device)
    if device.type == "cpu":
        _add_in_order()
    precision = fastest_precision(device) if settings.precision == "auto" else settings.precision
    mixed = "no" if precision in ("fp32", "fp64") else precision
    return Accelerator(mixed_precision=mixed, cpu=device.type == "cpu")


def _add_in_order() -> None:
    """Make torch sum in a fixed order, so that the seed alone decides every bit.

    The gradients of a prediction with several truths are added up by all threads otherwise, as each
    one comes. It costs no time on a CPU; GPUs would get slower kernels.
    """
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def _watchers(settings: TrainSettings, model: Detector) -> list[Callback]:
    """Return the callbacks that draw and log, as the settings ask."""
    watchers: list[Callback] = []
    if settings.pictures:
        watchers.append(TrainingPictures())
        watchers += [ValidationPictures(), Curves()] if model.task == "detect" else []
    return [*watchers, *logger_callbacks(settings.log)]  # which write what the others draw


def _described(settings: TrainSettings, model: Detector, accelerator: Accelerator) -> str:
    params = sum(p.numel() for p in model.parameters())
    name = Path(settings.cfg or str(settings.weights)).name
    variant = f" variant {model.definition.variant}" if model.definition.variant else ""
    height, width = model.preprocess.size_hw
    return (
        f"{name}{variant}, {params:,} parameters, {len(model.names)} classes, {height}×{width} px, "
        f"{settings.epochs} epochs, batch {settings.batch}, {settings.optimizer} learning rate "
        f"{settings.learning_rate}, {accelerator.device.type}, {torch.get_num_threads()} threads, "
        f"{_precision(settings, accelerator)}"
    )


def _precision(settings: TrainSettings, accelerator: Accelerator) -> str:
    """Return the name of the precision that the network computes in."""
    mixed = accelerator.mixed_precision
    if mixed != "no":
        return str(mixed)
    if settings.precision == "fp64":
        return "fp64"
    rounds = accelerator.device.type == "cuda" and torch.backends.cudnn.allow_tf32
    return "fp32, convolutions in TF32" if rounds else "fp32"
