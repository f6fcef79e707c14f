"""Construction of modules from the rows of a model file, by the contract of each module.

Contracts are declared in :mod:`detector.registry`; no module is known here by name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

import detector.heads
import detector.layers  # noqa: F401  (both register their modules)
from detector.model.keys import MAX_NUMBER
from detector.model.model_file import ModelFile, RawRow, RowSource
from detector.registry import ULTRALYTICS, RowContract, contract, dialect_of, registered
from detector.utils.errors import DetectorError, one_line, shown

IMAGE = -1
"""Index of the network's input among the sources of a row."""
LEFT_OUT = "nn.Identity"
"""Module of a row that is left out: it passes on the first row that it reads."""
WIDTH_DIVISOR = 8
MAX_CHANNELS = 1 << 16
MAX_STRIDE = 1024
MAX_PARAMETERS = 1 << 29
MAX_TENSORS = 10_000


class Feature(NamedTuple):
    """Channels and stride, input pixels per cell, of a feature map."""

    channels: int
    stride: Fraction


@dataclass(frozen=True)
class Row:
    """One row of a model file as it was built.

    Attributes:
        index: number of the row, counted through backbone and head.
        sources: indices of the rows that it reads; ``IMAGE`` is the network's input.
        module: name of the module in the file.
        number: repeats of the module after ``depth_multiple``; 0 for a row that is left out.
        arguments: arguments by name after ``width_multiple``, without those that the builder adds.
        channels: channels of the output; 0 for a head, or a row with several outputs.
        stride: input pixels per output cell, of several outputs the largest; 0 for a head.
        frees: rows whose outputs are not needed after this one.
        outputs: channels and stride of each output, for a row that has several.
    """

    index: int
    sources: tuple[int, ...]
    module: str
    number: int
    arguments: dict[str, Any]
    channels: int
    stride: Fraction
    frees: tuple[int, ...]
    outputs: tuple[Feature, ...] = ()


def row_contracts(model_file: ModelFile) -> list[RowContract]:
    """Return the contract of each row's module; the last one is the head's.

    Raises:
        DetectorError: a module is unknown, the last row is not a head, or there are two heads.
    """
    rows = model_file.rows
    _check_modules(rows)
    dialect = _dialect(model_file)
    contracts = [contract(raw.module, dialect) for raw in rows]
    heads = [raw for raw, known in zip(rows, contracts, strict=True) if known.head]
    if not heads:
        names = ", ".join(name for name, known in registered().items() if known.head)
        raise rows[-1].error(f"the last row must be a head ({names}), the file has none")
    if len(heads) > 1:
        first = f"row {heads[0].index} ({heads[0].module})"
        raise heads[1].error(f"only one head is allowed, {first} is one already")
    if heads[0] is not rows[-1]:
        raise heads[0].error(f"a head must be the last row, which is {rows[-1].index}")
    return contracts


def _dialect(model_file: ModelFile) -> str | None:
    """Return the dialect of a file: that of its ``scales``, or the one that its head needs."""
    head = model_file.rows[-1]
    if model_file.scale:
        return ULTRALYTICS
    return dialect_of(head.module, head.args) if model_file.anchors is None else None


def _check_modules(rows: Sequence[RawRow]) -> None:
    """Raise DetectorError if modules are unknown: about the first one, with the names of all."""
    errors: dict[str, DetectorError] = {}
    for raw in rows:
        try:
            contract(raw.module)
        except DetectorError as error:
            message = f"row {raw.index}: {error.message}"
            located = DetectorError(message, file=raw.scope.file.path, line=raw.line)
            errors.setdefault(raw.module, located)
    if errors:
        first, *others = errors
        more = f"; unknown, too: {', '.join(map(shown, others))}" if others else ""
        at = errors[first]
        raise DetectorError(f"{at.message}{more}", file=at.file, line=at.line)


class RowBuilder:
    """Builds the rows of a model file in their order.

    Args:
        model_file: a checked model file.
        classes: number of classes, the value of ``nc`` in rows.

    Attributes:
        features: output of each row built so far, by index; a tuple for a row with several.
    """

    def __init__(self, model_file: ModelFile, classes: int) -> None:
        self.model_file = model_file
        self.classes = classes
        self.modules = {raw.module for raw in model_file.rows}
        self.features: dict[int, Feature | tuple[Feature, ...]] = {IMAGE: Feature(3, Fraction(1))}

    @cached_property
    def rounds_widths(self) -> bool:
        """True if widths are rounded even where the file gives no ``width_multiple``."""
        return _dialect(self.model_file) == ULTRALYTICS

    def build(self) -> tuple[tuple[Row, ...], list[nn.Module]]:
        """Return all rows of the file, and their modules.

        Raises:
            DetectorError: a row cannot be built; the first such row is named.
        """
        contracts = row_contracts(self.model_file)
        with _Budget():
            pairs = zip(self.model_file.rows, contracts, strict=True)
            built = [self._row(raw, known) for raw, known in pairs]
        return with_frees([row for row, _ in built]), [module for _, module in built]

    def _row(self, raw: RawRow, known: RowContract) -> tuple[Row, nn.Module]:
        try:
            sources = self._sources(raw, known)
            arguments = self._arguments(raw, known)
            number = self._number(raw, known)
            inputs = [self._input(source, known, arguments) for source in sources]
            if number == 0:
                return self._left_out(raw, sources[0], inputs[0], arguments)
            self._check_strides(known, sources, inputs)
            outputs = _outputs(known, arguments, inputs)
            module, channels = self._stack(known, arguments, number, inputs)
            stride = max((output.stride for output in outputs), default=Fraction(0))
            if not outputs:
                stride = self._stride(known, arguments, number, inputs)
        except DetectorError as error:
            raise raw.error(error.message) from error
        except Exception as error:  # third-party blocks may raise anything
            raise raw.error(one_line(error)) from error
        self.features[raw.index] = outputs or Feature(channels, stride)
        row = Row(raw.index, sources, raw.module, number, arguments, channels, stride, (), outputs)
        return row, module

    def _left_out(
        self, raw: RawRow, source: int, feature: Feature, arguments: dict[str, Any]
    ) -> tuple[Row, nn.Module]:
        """Return a row that passes on what it reads first."""
        self.features[raw.index] = feature
        row = Row(raw.index, (source,), LEFT_OUT, 0, arguments, *feature, ())
        return row, nn.Identity()

    def _sources(self, raw: RawRow, known: RowContract) -> tuple[int, ...]:
        sources = [self._index(source) for source in raw.sources]
        if len(sources) > 1 and not known.reads_list:
            raise ValueError(f"reads one row, found 'from' {raw.source}")
        if known.joined_strides and len(sources) != len(known.joined_strides):
            raise ValueError(f"reads {len(known.joined_strides)} rows, found 'from' {raw.source}")
        image = IMAGE - raw.index
        for source in sources:
            if not image <= source < raw.index:
                last = f" to {raw.index - 1}" if raw.index else ""
                raise ValueError(
                    f"'from' {source} is not an earlier row, expected {image} (the image){last}"
                )
        return tuple(raw.index + source if source < 0 else source for source in sources)

    def _index(self, source: RowSource) -> int:
        """Return a row's index as given, or that of the last backbone row of a level like P4."""
        if isinstance(source, int):
            return source
        stride = 2 ** int(source.removeprefix("P"))
        backbone = [raw.index for raw in self.model_file.rows if raw.section == "backbone"]
        features = {index: self.features[index] for index in backbone}
        strides = {i: one.stride for i, one in features.items() if isinstance(one, Feature)}
        found = [index for index in strides if strides[index] == stride]
        if not found:
            known = ", ".join(map(str, dict.fromkeys(strides.values())))
            raise ValueError(
                f"'from' {source}: no backbone row has stride {stride}; their strides are {known}"
            )
        return found[-1]

    def _arguments(self, raw: RawRow, known: RowContract) -> dict[str, Any]:
        args: Any
        if isinstance(raw.args, dict):
            args = {name: self._value(value, raw) for name, value in raw.args.items()}
        else:
            args = [self._value(value, raw) for value in raw.args]
        arguments = known.bind(args)
        if known.head and arguments.get("nc", self.classes) != self.classes:
            raise ValueError(
                f"argument 'nc': expected {self.classes}, the number of classes, "
                f"found {arguments['nc']}"
            )
        arguments |= known.implied(raw.scope.scale, self.modules)
        activation = raw.scope.activation
        if activation is not None and "activation" in known.row_parameters:
            arguments.setdefault("activation", activation)
        multiple = raw.scope.width_multiple
        if self.rounds_widths and multiple is None:
            multiple = 1.0
        for name in known.widths:
            if name in arguments and multiple is not None:
                width = min(arguments[name], raw.scope.max_channels or arguments[name])
                arguments[name] = scale_width(width, multiple)
        return arguments

    def _value(self, value: Any, raw: RawRow) -> Any:
        """Replace ``nc``, ``anchors``, the file's own words and ``'None'`` by their values."""
        if value == "None":
            return None
        values = {**raw.scope.values, "nc": self.classes, "anchors": raw.scope.anchors}
        if not isinstance(value, str) or value not in values:
            return value
        if values[value] is None:
            raise ValueError(f"refers to {value!r}, but the file has no such key")
        return values[value]

    def _number(self, raw: RawRow, known: RowContract) -> int:
        """Return the row's number scaled by ``depth_multiple``, but for 0 (left out) and 1."""
        number = raw.number
        if number > 1:
            number = max(round(number * raw.scope.depth_multiple), 1)
        only_one = known.reads_list or known.outputs or known.picks
        if number != 1 and only_one and (number or known.head):
            raise ValueError(f"'number' must be 1 here, found {number}")
        if number > MAX_NUMBER:
            raise ValueError(f"'number' is {number} after scaling, at most {MAX_NUMBER} is built")
        return number

    def _input(self, source: int, known: RowContract, arguments: dict[str, Any]) -> Feature:
        """Return the feature that a row reads: a source's output, or the one that it picks."""
        found, name = self.features[source], "the image" if source == IMAGE else f"row {source}"
        if isinstance(found, Feature):
            if known.picks:
                raise ValueError(f"picks one of several outputs, {name} has one only")
            return found
        if not known.picks:
            raise ValueError(
                f"{name} has {len(found)} outputs, expected a row of Index that reads it"
            )
        index = arguments["index"]
        if index >= len(found):
            raise ValueError(
                f"argument 'index': expected at most {len(found) - 1}, {name} has {len(found)} "
                f"outputs; found {index}"
            )
        picked: Feature = found[index]
        return picked

    def _check_strides(
        self, known: RowContract, sources: tuple[int, ...], inputs: list[Feature]
    ) -> None:
        strides = [feature.stride for feature in inputs]
        relative = known.joined_strides or (Fraction(1),) * len(strides)
        units = {stride / part for stride, part in zip(strides, relative, strict=True)}
        if known.joins and len(units) > 1:
            found = ", ".join(
                f"{'the image' if source == IMAGE else f'row {source}'} has stride {stride}"
                for source, stride in zip(sources, strides, strict=True)
            )
            if known.joined_strides:
                ratio = " : ".join(map(str, relative))
                raise ValueError(f"joins feature maps of strides {ratio}: {found}")
            raise ValueError(f"joins feature maps of different sizes: {found}")
        for source, stride in zip(sources, strides, strict=True):
            if known.head and stride.denominator != 1:
                raise ValueError(
                    f"row {source} has stride {stride}, a head reads rows of integer stride"
                )

    def _stack(
        self,
        known: RowContract,
        arguments: dict[str, Any],
        number: int,
        inputs: list[Feature],
    ) -> tuple[nn.Module, int]:
        """Return the row's module and the channels of its output (0 for a head, or several)."""
        channels = [feature.channels for feature in inputs]
        filled = dict(arguments)
        if known.takes("strides"):
            filled["strides"] = [int(feature.stride) for feature in inputs]
        if known.takes("imgsz"):
            filled["imgsz"] = self.model_file.keys.imgsz
        if known.takes("repeats"):
            filled["repeats"], number = number, 1
        modules: list[nn.Module] = []
        for _ in range(number):
            if known.takes("c_in"):
                filled["c_in"] = channels if known.reads_list else channels[0]
            several = known.head or known.outputs is not None
            width = 0 if several else known.channels(arguments, channels)
            if width > MAX_CHANNELS:
                raise ValueError(f"{width} channels, at most {MAX_CHANNELS} are built")
            modules.append(known.module(**filled))
            channels = [width]
        return (modules[0] if number == 1 else nn.Sequential(*modules)), channels[0]

    def _stride(
        self, known: RowContract, arguments: dict[str, Any], number: int, inputs: list[Feature]
    ) -> Fraction:
        """Return the stride of the row's output (0 for a head)."""
        if known.head:
            return Fraction(0)
        times = 1 if known.takes("repeats") else number
        stride = inputs[0].stride * Fraction(known.stride(arguments)) ** times
        if known.joined_strides:
            stride /= known.joined_strides[0]
        if not 1 / MAX_STRIDE <= stride <= MAX_STRIDE:
            raise ValueError(
                f"the output has stride {stride}, expected 1/{MAX_STRIDE} to {MAX_STRIDE}"
            )
        return stride


class _Budget(TorchFunctionMode):
    """Rejects a tensor that would make the network too large, before it is allocated.

    Tensors on the meta device, which have no values, do not count.
    """

    def __init__(self) -> None:
        super().__init__()
        self.values = 0
        self.tensors = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in (torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn):
            if torch.device(kwargs.get("device") or "cpu").type == "meta":
                return func(*args, **kwargs)
            size = kwargs.get("size", args[0] if args and isinstance(args[0], Sequence) else args)
            self.values += math.prod(size)
            self.tensors += 1
            if self.values > MAX_PARAMETERS:
                raise ValueError(f"the network exceeds {MAX_PARAMETERS} parameters")
            if self.tensors > MAX_TENSORS:
                raise ValueError(f"the network exceeds {MAX_TENSORS} tensors")
        return func(*args, **kwargs)


def _outputs(
    known: RowContract, arguments: dict[str, Any], inputs: list[Feature]
) -> tuple[Feature, ...]:
    """Return the features of a row with several outputs; none for other rows."""
    if known.outputs is None:
        return ()
    stride = inputs[0].stride
    return tuple(Feature(c, stride * Fraction(s)) for c, s in known.outputs(arguments))


def scale_width(width: int, multiple: float) -> int:
    """Return width · multiple, rounded up to a multiple of 8 as in YOLOv5, even for multiple 1."""
    return math.ceil(width * multiple / WIDTH_DIVISOR) * WIDTH_DIVISOR


def with_frees(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Set each row's ``frees``: outputs that it reads last, and its own if no row reads it."""
    last_reader = {row.index: row.index for row in rows[:-1]}
    last_reader |= {source: row.index for row in rows for source in row.sources}
    frees: dict[int, list[int]] = {row.index: [] for row in rows}
    for source, reader in last_reader.items():
        frees[reader].append(source)
    return tuple(replace(row, frees=tuple(sorted(frees[row.index]))) for row in rows)
