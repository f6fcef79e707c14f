"""Settings of ``train``: every head's, and those that a head adds."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pydantic
from pydantic import Field

from detector.settings.common import CutSettings, DataSettings, EvaluatorSettings, ToolSettings
from detector.settings.values import (
    CacheKind,
    Count,
    CountFromZero,
    FloatPrecision,
    Fraction,
    ImageSize,
    LoggerName,
    NonNegative,
    Positive,
    Seed,
    comma_list,
)
from detector.utils.yaml_file import Strict

AUTO_PRESET = "auto"
"""Preset that is chosen for the data, the network and the machine."""

NO_PRESET = "none"
"""Preset that changes nothing: plain defaults."""

PRESET_WORDS = (AUTO_PRESET, NO_PRESET)
"""Values of ``preset`` that name no file."""


class OptimizerSettings(Strict):
    """Optimizer and schedule."""

    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="optimizer")
    learning_rate: Positive = Field(0.02, description="learning rate after the warm-up")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        "cosine", description="how the learning rate falls after the warm-up"
    )
    final_fraction: Fraction = Field(
        0.01, description="learning rate at the last step, as a fraction"
    )
    momentum: Fraction = Field(0.937, description="SGD's momentum, AdamW's β₁")
    weight_decay: NonNegative = Field(5e-4, description="of weights; not of biases and norms")
    warmup_epochs: NonNegative = Field(1.0, description="epochs of linear warm-up")
    nominal_batch: Count = Field(16, description="images per optimizer step, by accumulation")
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.9999, description="decay of the averaged weights"
    )
    ema_warmup: Positive = Field(500.0, description="steps over which that decay is reached")
    layer_decay: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0,
        description="factor of the learning rate from a row of the network to the one before it, "
        "the head having all of it",
    )
    clip_norm: Positive = Field(10.0, description="largest norm of the gradient")


class DistillationSettings(Strict):
    """Distillation."""

    teacher: Path | None = Field(
        None,
        description="trained network whose outputs or features are further targets: .safetensors, "
        "or another project's .pt",
    )
    distill: Literal["outputs", "features"] | None = Field(
        None,
        description="what is learned of it: classes and boxes of its outputs, or the features that "
        "its head reads; default: outputs, where both heads encode them alike",
    )
    distill_gain: Positive = Field(
        1.0, description="weight of that loss; 1: the gains of the head's own loss"
    )

    @pydantic.field_validator("distill", "distill_gain")
    @classmethod
    def _belongs_to_teacher(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        """Reject a value without effect: nothing is learned of anyone without ``teacher``."""
        default = cls.model_fields[str(info.field_name)].default
        if value != default and info.data.get("teacher", "") is None:
            raise ValueError("has no effect without teacher")
        return value


class TrainSettings(
    ToolSettings,
    DataSettings,
    OptimizerSettings,
    DistillationSettings,
    CutSettings,
    EvaluatorSettings,
):
    """Train a detector."""

    # A head has further settings of its own, which its task declares;
    # detector.engine.head_settings.settings_class puts both together.

    of_head: ClassVar[str] = ""
    """Name of the head whose settings are among these."""

    cfg: str | None = Field(None, description="model file, cfg/*.yaml")
    variant: str | None = Field(None, description="row of the model file's table of variants")
    weights: Path | None = Field(
        None, description="start weights: .safetensors, or another project's .pt"
    )
    backbone_weights: Path | None = Field(
        None, description="start weights of the backbone: a classifier's .pth, or .safetensors"
    )
    download: bool = Field(
        False,
        description="fetch the weights of a timm backbone from the Hugging Face hub; says which, "
        "from where, how large, under which licence",
    )
    qat: bool = Field(
        False,
        description="fuse the network of --weights and go on training it with weights and "
        "activations rounded to 8 bits, before export --precision int8",
    )
    per_tensor: bool = Field(
        False, description="with --qat: one scale for all weights of a layer, as in export"
    )
    preset: str | None = Field(
        None,
        description="settings file, cfg/train/*.yaml; auto: chosen for the data, the network and "
        "the machine; none: plain defaults; default: auto with --weights, else none",
    )
    imgsz: ImageSize | None = Field(
        None, description="side of the square network input, or HEIGHT,WIDTH, pixels"
    )
    final_imgsz: ImageSize | None = Field(
        None, description="the same in the last epochs, and of the trained network; needs imgsz"
    )
    final_epochs: Count | None = Field(
        None, description="number of last epochs with inputs of final_imgsz"
    )
    epochs: Count = Field(100, description="passes over the training images")
    minutes: Positive | None = Field(
        None,
        description="time for the whole training, in place of --epochs; steps and a validation are "
        "measured first, and the schedule is that of as many epochs as fit",
    )
    batch: Count = Field(16, description="images per forward pass, of all processes together")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps")
    precision: Literal["auto", "fp64", FloatPrecision] = Field(
        "auto", description="auto: mixed where the device gains from it; fp64: to compare runs"
    )
    checkpoint_activations: bool = Field(
        False,
        description="gradient checkpointing, for large inputs: keep what rows read, and compute "
        "the rest again in backward; less memory, more time, the same weights",
    )
    sync_bn: bool = Field(False, description="batch norm over the images of all processes' GPUs")
    skip_nonfinite: bool = Field(
        False, description="skip steps with a loss or gradient that is not finite, and count them"
    )
    workers: Annotated[int, Field(ge=0, le=64)] | None = Field(
        None,
        description="processes that load images; default: for a CPU a quarter as many as "
        "cores, for a GPU one less than cores, at most 8",
    )
    cache: CacheKind = Field("ram", description="where decoded images are kept, as many as fit")
    cache_dir: Path = Field(Path("runs/cache"), description="folder of those on disk")
    seed: Seed = Field(0, description="seed of all random numbers")
    augment: bool = Field(True, description="augment the training images")
    freeze: CountFromZero = Field(
        0, description="first rows of the model file that stay as they are, batch norms included"
    )
    average_last: CountFromZero = Field(
        0,
        description="average the weights of so many last epochs (stochastic weight averaging); "
        "they become the best ones if they measure better",
    )
    balance_classes: Fraction = Field(
        0.0,
        description="images of a class that fewer than this fraction of the images show are "
        "repeated (repeat-factor sampling)",
    )
    train_split: str = Field("train", description="split to train on")
    val_split: str = Field("val", description="split that chooses the best epoch")
    folds: Annotated[int, Field(ge=2, le=20)] | None = Field(
        None,
        description="cross-validation: hold out each of so many parts of the training images once, "
        "and measure all of them",
    )
    fold: Count | None = Field(
        None, description="train the run of one fold only, as on a machine of its own, from 1"
    )
    val_interval: Count = Field(
        1, description="epochs between validations; the last always has one"
    )
    monitor: str | None = Field(
        None, description="metric that chooses the best epoch; default: AP, or a classifier's top1"
    )
    patience: Count | None = Field(
        None, description="stop after so many epochs without a better metric"
    )
    save_minutes: NonNegative = Field(
        10.0, description="minutes between checkpoints within an epoch; 0: after each step"
    )
    pictures: bool = Field(
        True, description="draw training examples, validation images, and curves of the best epoch"
    )
    log: tuple[LoggerName, ...] = Field(
        (),
        description="loggers: tensorboard; wandb, offline unless WANDB_MODE says otherwise; "
        "mlflow, in a file unless MLFLOW_TRACKING_URI does; csv is results.csv of every run",
    )
    project: Path = Field(Path("runs/train"), description="folder of runs")
    name: str | None = Field(None, description="the run's folder; default: the next free number")
    resume: str | None = Field(
        None,
        description="resume the run in this folder; without a value: the newest one",
        json_schema_extra={"alone": "last"},
    )

    @pydantic.field_validator("per_tensor")
    @classmethod
    def _belongs_to_qat(cls, value: bool, info: pydantic.ValidationInfo) -> bool:
        if value and not info.data.get("qat"):
            raise ValueError("has no effect without qat")
        return value

    @pydantic.field_validator("final_epochs")
    @classmethod
    def _belongs_to_final_size(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        if value is not None and info.data.get("final_imgsz", 0) is None:
            raise ValueError("has no effect without final_imgsz")
        return value

    @pydantic.field_validator("fold")
    @classmethod
    def _is_one_of_the_folds(cls, value: int | None, info: pydantic.ValidationInfo) -> int | None:
        folds: int | None = info.data.get("folds")
        if value is not None and folds is None:
            raise ValueError("has no effect without folds")
        if value is not None and folds is not None and value > folds:
            raise ValueError(f"expected at most {folds}, as many as folds")
        return value

    @pydantic.model_validator(mode="before")
    @classmethod
    def _read_earlier_tensorboard(cls, values: Any) -> Any:
        """Read ``tensorboard: true`` in files of earlier versions as ``log: [tensorboard]``."""
        if not isinstance(values, dict) or not isinstance(values.get("tensorboard"), bool):
            return values
        others = {name: value for name, value in values.items() if name != "tensorboard"}
        if not values["tensorboard"]:
            return others
        if "log" in others:
            raise ValueError("tensorboard is an earlier name of log: [tensorboard]; give log alone")
        return {**others, "log": ("tensorboard",)}


def settings_of_heads(heads: Mapping[str, type[Strict]]) -> type[TrainSettings]:
    """Return a settings class with those of every training and of some heads.

    Args:
        heads: settings by the names of the heads; of a setting that several have, the first counts.
    """
    return _settings_of_heads(tuple(heads.items()))


@cache
def _settings_of_heads(heads: tuple[tuple[str, type[Strict]], ...]) -> type[TrainSettings]:
    owners: dict[str, list[tuple[str, type[Strict]]]] = {}
    for head, settings in heads:
        for name in settings.model_fields:
            owners.setdefault(name, []).append((head, settings))
    groups: dict[tuple[str, ...], dict[str, Any]] = {}
    for name, having in owners.items():
        field = having[0][1].model_fields[name]
        group = groups.setdefault(tuple(head for head, _ in having), {})
        group[name] = (field.annotation, field)
    bases: list[Any] = [
        pydantic.create_model(
            f"Of{''.join(names)}", __base__=Strict, __doc__=f"For {comma_list(names)}", **fields
        )
        for names, fields in groups.items()
    ]
    return pydantic.create_model(
        "AnyTraining", __base__=(TrainSettings, *bases), __doc__=TrainSettings.__doc__
    )
