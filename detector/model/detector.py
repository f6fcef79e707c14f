"""The network that is built from the rows of a model file.

:func:`build` reads the file, looks up each row's contract (:mod:`detector.registry`) and makes a
:class:`Detector`. Neither knows any module by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.hooks import RemovableHandle

from detector.heads.head import hook, in_float32
from detector.layers.activation import make_activation
from detector.model.builder import IMAGE, Row, RowBuilder
from detector.model.expand import expanded
from detector.model.keys import MAX_CLASSES
from detector.model.model_file import ModelFile, check_model_file, read_model_file
from detector.model.recompute import recomputed
from detector.model.rounded import Int8Rounding
from detector.model.row_error import RowRunError
from detector.registry import contract
from detector.runtime.decoding.known import KnownDecoding
from detector.settings.nms import NmsSettings
from detector.settings.values import TaskName
from detector.structures.class_names import class_name_issue, placeholder_names
from detector.structures.preprocess import (
    Preprocess,
    divisible_size,
    nearest_size,
    size_of_imgsz,
)
from detector.utils.errors import DetectorError, shown
from detector.utils.keywords import refuses_unknown_keywords
from detector.utils.yaml_file import YamlFile

FEATURE_AXES = 4
"""Number of axes of a feature map: batch, channels, height, width."""

MIN_CHECKED_SIDE = 16
"""Side of a row's input, pixels, below which its output's size says too little about the stride."""

Watch = Callable[[Row, Any], None]
"""Function that gets a row and its output."""

Running = tuple[Row, tuple[Any, ...]]
"""The row that runs, and what its module is called with."""


@dataclass(frozen=True)
class Definition:
    """Metadata needed to rebuild the architecture (no weights); stored in checkpoints.

    Attributes:
        text: content of a model file with all its rows; no other file is read.
        path: path of the file that the network was built from.
        variant: name of the chosen variant, or None.
        names: class names.
    """

    text: str
    path: str
    variant: str | None
    names: tuple[str, ...]


class Detector(nn.Module):
    """A network built from rows; the last row is the head, which decides the task.

    ``forward`` takes normalized images, (b, 3, h, w), and returns the head's raw outputs, in
    training and evaluation alike; ``decode`` turns them into boxes and scores.

    Attributes:
        deployed: its blocks are fused.
        rounds: ``forward`` rounds weights and activations to 8 bits; False but in training for it.
        rounds_per_tensor: and weights in steps of one size a layer.
        recomputes: training keeps what rows read, and computes the rest again in backward.
    """

    def __init__(
        self,
        modules: Sequence[nn.Module],
        rows: Sequence[Row],
        definition: Definition,
        preprocess: Preprocess,
    ) -> None:
        super().__init__()
        self.rows = nn.ModuleList(modules)
        self.plan = tuple(rows)
        self.definition = definition
        self.preprocess = preprocess
        fixed = contract(rows[-1].module).fixes_size or _fixes_size(modules)
        self.fixed_size_hw = preprocess.size_hw if fixed else None
        self.deployed = False
        self.rounds = False
        self.rounds_per_tensor = False
        self.recomputes = False

    @property
    def head(self) -> nn.Module:
        """The last row's module."""
        return self.rows[-1]

    @property
    def names(self) -> tuple[str, ...]:
        """Class names."""
        return self.definition.names

    @property
    def task(self) -> TaskName:
        """Task that the head solves, by default ``detect``."""
        found: TaskName = hook(self.head, "task")
        return found

    @property
    def eval_nms(self) -> NmsSettings:
        """NMS settings for evaluating AP: the head's ``eval_nms``, by default YOLO's usual ones."""
        found: NmsSettings = hook(self.head, "eval_nms")
        return found

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides of the features that the head reads for inference, pixels."""
        sources = self.plan[-1].sources
        count = hook(self.head, "inference_sources")(len(sources))
        return tuple(int(self.plan[source].stride) for source in sources[:count])

    @property
    def max_stride(self) -> int:
        """Divisor of the input's height and width, pixels, unless the input size is fixed."""
        return math.lcm(*(row.stride.numerator for row in self.plan[:-1]))

    def size_of(self, imgsz: int | tuple[int, int]) -> tuple[int, int]:
        """Return height and width of an input, pixels, from ``imgsz``: a side, or both.

        Raises:
            DetectorError: the network does not accept this size; names the nearest.
        """
        if self.fixed_size_hw is None:
            return divisible_size(imgsz, self.max_stride)
        size_hw = size_of_imgsz(imgsz)
        self.check_size(size_hw)
        return size_hw

    def check_size(self, size_hw: tuple[int, int]) -> None:
        """Raise DetectorError unless the network accepts inputs of this size, (h, w) pixels."""
        height, width = size_hw
        if self.fixed_size_hw is not None:
            if size_hw != self.fixed_size_hw:
                made = "backbone is" if _fixes_size(self.rows) else "default boxes are"
                raise DetectorError(
                    f"input size {height}×{width}: the network takes "
                    f"{'×'.join(map(str, self.fixed_size_hw))} only, its {made} made for it"
                )
        elif height % self.max_stride or width % self.max_stride:
            nearest = nearest_size(size_hw, self.max_stride)
            raise DetectorError(
                f"input size {height}×{width} is not a multiple of the network's stride "
                f"{self.max_stride}; the nearest is {'×'.join(map(str, nearest))}"
            )

    def normalize(self, images: Tensor) -> Tensor:
        """Normalize (b, 3, h, w) uint8 RGB images as the model's preprocessing does for prediction.

        Returns:
            The network's input, channels-last, on the images' device, in the weights' dtype.
        """
        dtype = next(self.parameters()).dtype
        mean = images.new_tensor(self.preprocess.mean_rgb, dtype=dtype).view(1, 3, 1, 1)
        scale = images.new_tensor(self.preprocess.scale_rgb, dtype=dtype).view(1, 3, 1, 1)
        planes = images.contiguous(memory_format=torch.channels_last).to(dtype)
        planes = planes.sub_(mean).div_(scale)
        return planes if self.preprocess.channel_order == "rgb" else planes.flip(1)

    def forward(self, images: Tensor) -> Any:
        """Return the head's raw outputs for (b, 3, h, w) normalized images."""
        recomputes = self.recomputes and self.training and torch.is_grad_enabled()
        outputs: dict[int, Any] = {IMAGE: images}
        for row, module in zip(self.plan, self.rows, strict=True):
            features = [outputs[source] for source in row.sources]
            if recomputes and any(weight.requires_grad for weight in module.parameters()):
                run = partial(self._run_row, row, module)
                outputs[row.index] = recomputed(module, run, *features)
            else:
                outputs[row.index] = self._run_row(row, module, *features)
            del features
            for source in row.frees:
                del outputs[source]
        return outputs[self.plan[-1].index]

    def _run_row(self, row: Row, module: nn.Module, *features: Any) -> Any:
        """Return the output of a row's module."""
        inputs = list(features) if contract(row.module).reads_list else features[0]
        with Int8Rounding(self.rounds_per_tensor) if self.rounds else nullcontext():
            if module is self.head and hook(module, "runs_in_float32"):
                return in_float32(module, inputs)
            return module(inputs)

    def decode(self, raw_outputs: Any) -> tuple[Tensor, ...]:
        """Decode raw outputs into boxes and scores, or into probabilities of a classifier.

        Returns:
            (b, n, 4) boxes_xyxy in pixels of the input and (b, n, classes) scores; of a classifier
            (b, classes) probabilities alone.
        """
        outputs: Any = self.head.decode(raw_outputs)  # type: ignore[operator]
        return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)

    @property
    def decoding(self) -> KnownDecoding | None:
        """How :meth:`maps` encode boxes and scores; None for heads that only decode all of them."""
        found: KnownDecoding | None = hook(self.head, "decoding")()
        return found

    def maps(self, raw_outputs: Any) -> list[Tensor]:
        """Return raw outputs as maps (b, channels, h, w), if the head has a :attr:`decoding`."""
        found: list[Tensor] = hook(self.head, "maps")(raw_outputs)
        return found

    def train(self, mode: bool = True) -> Detector:
        """Set training or evaluation mode.

        Raises:
            DetectorError: training mode is set on a deployed network, unless it :attr:`rounds`.
        """
        if mode and self.deployed and not self.rounds:
            raise DetectorError(
                "a deployed network cannot be trained: its branches and batch norms are fused; "
                "train the checkpoint that it was deployed from"
            )
        super().train(mode)
        return self


def _fixes_size(modules: Iterable[nn.Module]) -> bool:
    """Return whether a row takes features of one size only, as its attribute of this name says."""
    return any(getattr(module, "fixes_size", False) for module in modules)


def check_detector(model: object) -> None:
    """Raise DetectorError unless the object is a network of ours, as a program passes it."""
    if not isinstance(model, Detector):
        raise DetectorError(f"expected a network of detector.build or load, found {shown(model)}")


@refuses_unknown_keywords
def build(
    cfg: str | Path, classes: int | Sequence[str] | None = None, variant: str | None = None
) -> Detector:
    """Build a network with fresh weights.

    Args:
        cfg: path of a model file, or name of a packaged one (``yolov5n``).
        classes: number or names of the classes; by default the file's.
        variant: name of one of the file's variants.

    Raises:
        DetectorError: the network cannot be built; names file, line and row, what was found and
            what was expected.
    """
    return build_model_file(read_model_file(cfg, variant), classes)


def rebuild(definition: Definition) -> Detector:
    """Build the network that a checkpoint describes, with fresh weights."""
    file = YamlFile(Path(definition.path), definition.text)
    return build_model_file(check_model_file(file, definition.variant), definition.names)


def build_model_file(model_file: ModelFile, classes: int | Sequence[str] | None = None) -> Detector:
    """Build the network of a checked model file."""
    names = _class_names(model_file, classes)
    _check_activations(model_file)
    rows, modules = RowBuilder(model_file, len(names)).build()
    keys, file = model_file.keys, model_file.file
    text = expanded(model_file, rows) if model_file.names_backbone else file.text
    definition = Definition(text, str(file.path), model_file.variant, names)
    size_hw = (keys.imgsz, keys.imgsz)
    preprocess = Preprocess(size_hw=size_hw, **keys.preprocess.model_dump())
    model = Detector(modules, rows, definition, preprocess)
    _dry_run(model, model_file)
    return model


def _class_names(model_file: ModelFile, classes: int | Sequence[str] | None) -> tuple[str, ...]:
    keys = model_file.keys
    if classes is None:
        classes = keys.names or keys.nc
    if isinstance(classes, Integral) and not isinstance(classes, bool):
        count = int(classes)
        if not 1 <= count <= MAX_CLASSES:
            raise DetectorError(f"expected 1 to {MAX_CLASSES} classes, found {count}")
        if keys.names is not None and len(keys.names) == count:
            return keys.names
        return placeholder_names(count)
    if isinstance(classes, str) or not isinstance(classes, Sequence) or not classes:
        raise DetectorError(f"expected class names or their number, found {shown(classes)}")
    if len(classes) > MAX_CLASSES:
        raise DetectorError(f"expected 1 to {MAX_CLASSES} classes, found {len(classes)}")
    issue = class_name_issue(classes)
    if issue:
        raise DetectorError(f"class {issue[0]}: {issue[1]}")
    return tuple(classes)


def _check_activations(model_file: ModelFile) -> None:
    """Validate file-level activations first, so that errors name the line of ``activation:``.

    Otherwise the first row that uses the activation would be named.
    """
    for scope in (model_file, model_file.rows[0].scope):
        try:
            with torch.device("meta"):  # PReLU's argument may ask for more memory than there is
                make_activation(scope.activation)
        except ValueError as error:
            file, place = scope.activation_at
            raise file.error(str(error), *place) from error


def run_empty(
    model: Detector,
    size_hw: tuple[int, int],
    watch: Watch,
    within: AbstractContextManager[Any] | None = None,
) -> None:
    """Run one image through the rows on the meta device in eval mode, without memory or compute.

    Args:
        model: network to run; its weights and modes are not modified.
        size_hw: height and width of the image, pixels.
        watch: called after each row with the row and its output, tensors on the meta device.
        within: context manager that is entered right before the first row runs.

    Raises:
        RowRunError: a row fails, or ``watch`` refuses its output.
    """
    running: list[Running] = []
    state = {
        name: torch.empty_like(tensor, device="meta")
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
    }
    hooks: list[RemovableHandle] = []
    for row, module in zip(model.plan, model.rows, strict=True):
        begin = partial(_note_inputs, running, row)
        hooks.append(module.register_forward_pre_hook(begin))
        hooks.append(module.register_forward_hook(partial(_watch_output, watch, row)))
    training = {module: module.training for module in model.modules()}
    try:
        model.eval()
        image = torch.empty(1, 3, *size_hw, device="meta")
        with torch.no_grad(), within or nullcontext():
            functional_call(model, state, (image,))
    except Exception as error:  # third-party blocks may raise anything
        if not running:
            raise
        raise RowRunError(*running[-1], error, model.definition.path) from error
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in training.items():
            module.training = mode


def _note_inputs(running: list[Running], row: Row, _: nn.Module, inputs: tuple[Any, ...]) -> None:
    running[:] = [(row, inputs)]


def _watch_output(watch: Watch, row: Row, _: nn.Module, inputs: tuple[Any, ...], out: Any) -> None:
    watch(row, out)


def _dry_run(model: Detector, model_file: ModelFile) -> None:
    """Raise DetectorError for a row that fails, or whose output contradicts its contract."""
    imgsz = model_file.keys.imgsz
    sides, strides = {IMAGE: imgsz}, {IMAGE: Fraction(1)}

    def check(row: Row, output: Any) -> None:
        side, stride = sides[row.sources[0]], strides[row.sources[0]]
        for feature, tensor in zip(row.outputs, output if row.outputs else (), strict=True):
            _check_output(tensor, feature.channels, side, feature.stride / stride)
        if row.outputs:  # a row that picks an output is compared with the input of this one
            sides[row.index], strides[row.index] = side, stride
        elif row.channels:
            _check_output(output, row.channels, side, row.stride / stride)
            sides[row.index], strides[row.index] = output.shape[-1], row.stride
        else:
            hook(model.head, "check_sizes")(output)

    try:
        run_empty(model, (imgsz, imgsz), check)
    except RowRunError as error:
        if model.fixed_size_hw is None and imgsz % model.max_stride:
            raise model_file.file.error(
                f"imgsz: expected a multiple of the largest stride, {model.max_stride}, "
                f"found {imgsz}",
                "imgsz",
            ) from error
        raise model_file.rows[error.row].error(error.reason) from error


def _check_output(output: Tensor, channels: int, side: int, stride: Fraction) -> None:
    """Raise ValueError unless an output is as declared for an input ``side`` pixels wide."""
    if not isinstance(output, Tensor):
        raise ValueError(f"gives a {type(output).__name__}, expected one feature map, (b, c, h, w)")
    if output.ndim != FEATURE_AXES:
        raise ValueError(f"gives {output.ndim} axes, expected 4: (b, c, h, w)")
    if output.shape[1] != channels:
        raise ValueError(f"declares {channels} channels, gives {output.shape[1]}")
    # The tolerance allows for missing padding, which costs a few pixels; an undeclared stride of 2
    # loses half of them.
    for found in output.shape[2:]:
        if side >= MIN_CHECKED_SIDE and not 2 / 3 < found * stride / side < 3 / 2:
            raise ValueError(f"declares stride {stride}, makes {found} of {side} pixels")
