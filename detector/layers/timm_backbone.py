"""Backbones of timm (PyTorch Image Models, Apache-2.0), an optional dependency.

A model file names one in place of its backbone's rows, ``backbone: {timm: resnet50, out: [P3, P4,
P5]}``, or in a row ``[-1, 1, TimmBackbone, {model: resnet50, out: [P3, P4, P5]}]``, whose outputs
rows of ``Index`` read. Building one downloads nothing: its weights are random.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Annotated, Any

import pydantic
import torch
from torch import Tensor, nn

from detector.layers.traced_fuse import fold_batch_norms, trace
from detector.registry import register
from detector.structures.preprocess import PreprocessKeys
from detector.utils.errors import nearest, shown
from detector.utils.system import require

Rate = Annotated[float, pydantic.Field(ge=0, lt=1)]

_LEVEL = re.compile(r"P([0-9]|10)")


@dataclass(frozen=True)
class Published:
    """Weights that timm publishes for a name.

    Attributes:
        repository: their repository on the Hugging Face hub, or None.
        licence: their licence according to timm, or None.
        input: mean and scale of the input that they were trained with.
    """

    repository: str | None
    licence: str | None
    input: PreprocessKeys


@dataclass(frozen=True)
class Features:
    """Features of one of timm's networks at the levels that a row asks for.

    Attributes:
        indices: numbers of the features in timm's order.
        channels: channels of each.
        strides: input pixels per cell of each.
        side: side of the only images that the network takes, pixels; None for any.
        published: weights of the network.
    """

    indices: tuple[int, ...]
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    side: int | None
    published: Published


def import_timm() -> Any:
    """Import timm, with the usage reports of its hub client switched off.

    Raises:
        DetectorError: it is not installed; names the command that installs it.
    """
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    return require("timm", extra="timm")


def check_name(name: str) -> None:
    """Raise ValueError unless timm has a model of this name, with or without a tag of weights."""
    if ":" in name or "/" in name:
        raise ValueError(
            f"argument 'model': expected a name of timm.list_models(), found {shown(name)}; "
            "models of a hub or a folder are not built"
        )
    timm = import_timm()
    architecture, _, tag = name.partition(".")
    known = timm.list_models()
    if architecture not in known:
        hint = nearest(architecture, known) or "; timm.list_models() lists the names"
        raise ValueError(f"argument 'model': unknown timm model {shown(architecture)}{hint}")
    tags = [full.partition(".")[2] for full in timm.list_pretrained(architecture)]
    if "." in name and tag not in tags:
        hint = nearest(tag, tags) or f"; its tags: {', '.join(tags) or 'none'}"
        raise ValueError(f"argument 'model': {architecture} has no weights {shown(tag)}{hint}")


@lru_cache(maxsize=256)
def describe(name: str, out: tuple[str, ...]) -> Features:
    """Return the features of a timm model at levels such as ``P3``, of stride 2³.

    Where several features have the stride, the last one is meant, as in a model file.

    Raises:
        ValueError: the name or a level is unknown, or the levels do not rise.
    """
    check_name(name)
    levels = [_level(text) for text in out]
    if not levels or levels != sorted(set(levels)):
        raise ValueError(f"argument 'out': expected rising levels such as P3, found {list(out)}")
    with torch.device("meta"):
        net = _create(name)
    channels, reductions = net.feature_info.channels(), net.feature_info.reduction()
    numbers = {stride: number for number, stride in enumerate(reductions)}
    known = [f"P{stride.bit_length() - 1}" for stride in dict.fromkeys(reductions)]
    for text, level in zip(out, levels, strict=True):
        if 2**level not in numbers:
            raise ValueError(f"argument 'out': {name} has no {text}, expected {', '.join(known)}")
    positions = [numbers[2**level] for level in levels]
    config = net.pretrained_cfg
    return Features(
        indices=tuple(net.feature_info.out_indices[position] for position in positions),
        channels=tuple(channels[position] for position in positions),
        strides=tuple(2**level for level in levels),
        side=config["input_size"][-1] if config.get("fixed_input_size") else None,
        published=_published(config),
    )


def _published(config: Mapping[str, Any]) -> Published:
    """Return what timm's ``pretrained_cfg`` says of the weights."""
    mean, scale = (tuple(round(255 * v, 4) for v in config[key]) for key in ("mean", "std"))
    values = PreprocessKeys.model_validate({"mean_rgb": mean, "scale_rgb": scale})
    return Published(config.get("hf_hub_id") or None, config.get("license"), values)


def _level(text: str) -> int:
    match = _LEVEL.fullmatch(text)
    if match is None:
        raise ValueError(f"argument 'out': expected levels such as P3, found {shown(text)}")
    return int(match[1])


def _create(name: str, **options: Any) -> Any:
    """Return timm's network of a checked name with random weights, as a list of features."""
    return import_timm().create_model(name, pretrained=False, features_only=True, **options)


class TimmFeatures(nn.Module):
    """One of timm's networks without its classifier. (b, 3, h, w) → [(b, c, h/s, w/s), …].

    Features that timm computes with the channels last are permuted.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.channels_last = str(getattr(net, "output_fmt", "")).endswith("NHWC")

    def forward(self, x: Tensor) -> list[Tensor]:
        features = self.net(x)
        if self.channels_last:
            return [feature.permute(0, 3, 1, 2).contiguous() for feature in features]
        return list(features)


def _outputs(arguments: Mapping[str, Any]) -> list[tuple[int, int]]:
    found = describe(arguments["model"], tuple(arguments["out"]))
    return list(zip(found.channels, found.strides, strict=True))


@register(outputs=_outputs)
class TimmBackbone(TimmFeatures):
    """One of timm's networks as a backbone, with random weights.

    Args:
        model: a name of ``timm.list_models()``, and maybe the tag of its weights: ``resnet18`` or
            ``resnet18.a1_in1k``. The tag changes nothing but what ``--download`` fetches and which
            input the weights were trained with.
        out: levels of the features to return, such as ``[P3, P4, P5]``.
        drop_path_rate: probability at which training skips a block, where timm's network can.
        imgsz: side of the file's square images, pixels; a network for one size is made for it.
    """

    def __init__(
        self,
        model: str,
        out: Sequence[str],
        drop_path_rate: Rate | None = None,
        c_in: int = 3,
        imgsz: int = 224,
    ) -> None:
        if c_in != 3:
            raise ValueError(f"reads the image, found 'from' with {c_in} channels")
        found = describe(model, tuple(out))
        options = {} if drop_path_rate is None else {"drop_path_rate": drop_path_rate}
        if found.side not in (None, imgsz):
            options["img_size"] = imgsz
        super().__init__(_created(model, found, options, imgsz))
        self.model = model
        self.published = found.published
        self.fixes_size = found.side is not None
        self.size_hw = (imgsz, imgsz)

    def fuse(self) -> TimmFeatures:
        """Return an equivalent network, its branches merged by timm, its batch norms folded here.

        Batch norms that do not follow a convolution stay.
        """
        net = copy.deepcopy(self.net).eval()
        with _default_dtype(next(net.parameters()).dtype):
            net = _merge_branches(net)
        fold_batch_norms(net, trace(net, self.size_hw))
        return TimmFeatures(net)


def _created(name: str, found: Features, options: dict[str, Any], imgsz: int) -> nn.Module:
    try:
        net: nn.Module = _create(name, out_indices=found.indices, **options)
    except TypeError as error:
        for option in options:
            if f"unexpected keyword argument '{option}'" not in str(error):
                continue
            if option == "img_size":
                raise ValueError(
                    f"{name} takes images of {found.side}×{found.side} only, expected "
                    f"imgsz: {found.side}, found {imgsz}"
                ) from None
            raise ValueError(f"argument {option!r}: {name} has no such setting") from None
        raise
    return net


def _merge_branches(net: nn.Module) -> nn.Module:
    """Return the network with re-parameterised branches merged, by timm."""
    import_timm()
    merged: nn.Module = import_module("timm.utils.model").reparameterize_model(net, inplace=True)
    return merged


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Let modules that timm makes while it merges branches have the network's precision."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
