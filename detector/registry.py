"""Modules that a model file may name, and the contract of a row.

A row ``[from, number, module, args]`` names a registered class. What the builder must know about
it stands in its constructor's signature, by these parameter names:

=============  ===================================================================================
``c_in``       receives the input's channels (a list of them where the row reads several layers);
               never written in a row
``c_out``      the number of output channels
``repeats``    receives the row's ``number``; without it, the module is stacked ``number`` times
``strides``    receives the strides of the layers that the row reads (heads)
``imgsz``      receives the side of the file's input (heads); such a head takes that size alone
``activation`` receives the file's ``activation`` unless the row gives one
=============  ===================================================================================

All other parameters are the row's args, in order or as a mapping; their annotations are checked
(``Count``, ``Size`` and ``Odd`` here are whole numbers with a range). One annotated ``Width`` is
scaled by the file's ``width_multiple``.
Output channels and stride that do not follow from ``c_out`` and ``stride`` are declared in
``register(channels=…, stride=…)``. A block that can be fused has a method ``fuse() -> nn.Module``.

Example:
    >>> @register()
    ... class Scale(nn.Module):
    ...     def __init__(self, c_in: int, value: float = 1.0) -> None: ...

Packages of others are found through the entry-point group ``detector.modules``: each entry point
names a module or class whose import registers it.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from importlib.metadata import entry_points
from typing import Annotated, Any

import pydantic
from torch import nn

from detector.utils.errors import DetectorError, nearest, one_line, shown

ENTRY_POINT_GROUP = "detector.modules"
MAX_ARGUMENT = 2**31 - 1
"""Of either sign, for every whole number in a row."""


def _odd(number: int) -> int:
    if number < 1 or number % 2 == 0:
        raise ValueError
    return number


Count = Annotated[int, pydantic.Field(ge=1)]
Size = Annotated[int, pydantic.Field(ge=0)]
Positive = Annotated[float, pydantic.Field(gt=0)]
Odd = Annotated[int, pydantic.AfterValidator(_odd)]
"""Of a kernel's side: it has a pixel in its centre."""
Width = Annotated[int, pydantic.Field(ge=1), "width"]
"""Annotation of a constructor's parameter that ``width_multiple`` scales."""

Arguments = Mapping[str, Any]
ChannelRule = Callable[[Arguments, list[int]], int]
StrideRule = Callable[[Arguments], Fraction | int]

_FILLED_BY_BUILDER = ("self", "c_in", "repeats", "strides", "imgsz")


def _resolved(constructor: Callable[..., None]) -> dict[str, Any]:
    """Annotations of parameters, one by one: some name what is imported for type checkers only."""
    hints: dict[str, Any] = {}
    for name, annotation in constructor.__annotations__.items():
        one = types.SimpleNamespace(__annotations__={name: annotation})
        with suppress(NameError):
            hints |= typing.get_type_hints(one, constructor.__globals__, include_extras=True)
    return hints


@dataclass(frozen=True)
class RowContract:
    """What the builder asks a registered module.

    Attributes:
        name: the word in model files.
        module: the class.
        channels: bound arguments, input channels → output channels.
        stride: bound arguments → how much smaller the output is (½ for an upsampling by 2).
        head: it ends the graph and decides the task.
        joins: it reads several layers, which must have one size.
    """

    name: str
    module: type[nn.Module]
    channels: ChannelRule
    stride: StrideRule
    head: bool
    joins: bool

    @cached_property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The constructor's parameters, with annotations resolved."""
        signature = inspect.signature(self.module.__init__)
        hints = _resolved(self.module.__init__)
        return {
            name: parameter.replace(annotation=hints.get(name, Any))
            for name, parameter in signature.parameters.items()
            if name != "self"
        }

    @cached_property
    def row_parameters(self) -> dict[str, inspect.Parameter]:
        """Those parameters that a row may give."""
        return {
            name: parameter
            for name, parameter in self.parameters.items()
            if name not in _FILLED_BY_BUILDER
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        }

    @property
    def reads_list(self) -> bool:
        """Whether ``forward`` takes a list of maps, and the constructor a list of channels."""
        return self.head or self.joins

    @property
    def fixes_size(self) -> bool:
        """Whether the network takes inputs of the file's size alone."""
        return self.takes("imgsz")

    @cached_property
    def widths(self) -> tuple[str, ...]:
        """Names of the parameters that ``width_multiple`` scales."""
        return tuple(name for name, p in self.parameters.items() if p.annotation == Width)

    def takes(self, parameter: str) -> bool:
        """Whether the constructor has such a parameter."""
        return parameter in self.parameters

    def bind(self, args: Sequence[Any] | Mapping[str, Any]) -> dict[str, Any]:
        """Match a row's args, in order or as a mapping, with the parameters, and check types.

        Raises:
            ValueError: too many, unknown, missing or of a wrong type; one line.
        """
        named = self.named(args)
        for name, value in named.items():
            named[name] = _checked(name, value, self.row_parameters[name].annotation)
        for name, parameter in self.row_parameters.items():
            if parameter.default is inspect.Parameter.empty and name not in named:
                raise ValueError(f"argument {name!r} is missing; {self.usage()}")
        return named

    def usage(self) -> str:
        """The row's arguments, for error messages."""
        return f"expected [{', '.join(self.row_parameters)}]"

    def named(self, args: Sequence[Any] | Mapping[str, Any]) -> dict[str, Any]:
        """A row's args by name, with unchecked values.

        Raises:
            ValueError: too many or unknown; one line.
        """
        names = list(self.row_parameters)
        if isinstance(args, Mapping):
            for name in args:
                if name not in names:
                    hint = nearest(str(name), names) or f"; {self.usage()}"
                    raise ValueError(f"unknown argument {shown(name)}{hint}")
            return dict(args)
        if len(args) > len(names):
            raise ValueError(
                f"takes at most {len(names)} arguments, found {len(args)}; {self.usage()}"
            )
        named = dict(zip(names, args, strict=False))
        if "activation" in names and args and _names_an_activation(args[-1]):
            # Files of YOLOv7 write it last, whatever stands between.
            del named[names[len(args) - 1]]
            named["activation"] = args[-1]
        return named


def _names_an_activation(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("nn.", "torch.nn."))


def _checked(name: str, value: Any, annotation: Any) -> Any:
    """The value, if it fits the annotation; numbers are finite, bool is no number."""
    if annotation is Any:
        return value
    found = f"argument {name!r}: expected {_spelt(annotation)}, found {shown(value)}"
    if isinstance(value, int) and abs(value) > MAX_ARGUMENT:
        raise ValueError(found)
    try:
        return pydantic.TypeAdapter(annotation, config=_CHECKS).validate_python(value)
    except pydantic.ValidationError:
        raise ValueError(found) from None


_CHECKS = pydantic.ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "a word",
    types.NoneType: "None",
}


def _spelt(annotation: Any) -> str:
    """An annotation in words, as 'a whole number of at least 1 or None'."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_spelt(option) for option in inner)
    if annotation == Odd:
        return "an odd number"
    if origin is Annotated:
        return _spelt(inner[0]) + "".join(_limits(annotation.__metadata__))
    if origin is typing.Literal:
        return " or ".join(repr(option) for option in inner)
    if origin in (list, tuple, Sequence):
        return "a list of " + _spelt(inner[0]).removeprefix("a ") + "s"
    return _WORDS.get(annotation) or str(getattr(annotation, "__name__", annotation))


def _limits(metadata: Sequence[Any]) -> Iterator[str]:
    words = {"ge": "of at least", "gt": "above", "le": "of at most", "lt": "below"}
    for field in metadata:
        for limit in getattr(field, "metadata", ()):
            for name, word in words.items():
                if hasattr(limit, name):
                    yield f" {word} {getattr(limit, name)}"


_REGISTRY: dict[str, RowContract] = {}


def _default_channels(arguments: Arguments, c_in: list[int]) -> int:
    return int(arguments["c_out"]) if "c_out" in arguments else c_in[0]


def _default_stride(arguments: Arguments) -> int:
    return int(arguments.get("stride", 1))


def register(
    *names: str,
    channels: ChannelRule = _default_channels,
    stride: StrideRule = _default_stride,
    head: bool = False,
    joins: bool = False,
) -> Callable[[type[nn.Module]], type[nn.Module]]:
    """Make a class known to model files, under its own name or under ``names``.

    The same class defined again, as by a notebook's cell that runs twice, takes the older one's
    place.

    Raises:
        DetectorError: another class has the name.
    """

    def decorate(module: type[nn.Module]) -> type[nn.Module]:
        for name in names or (module.__name__,):
            known = _REGISTRY.get(name)
            if known is not None and not _is_again(known.module, module):
                raise DetectorError(
                    f"module name {name!r} is registered twice: by "
                    f"{known.module.__module__} and {module.__module__}"
                )
            _REGISTRY[name] = RowContract(name, module, channels, stride, head, joins)
        return module

    return decorate


def _is_again(known: type[nn.Module], module: type[nn.Module]) -> bool:
    """Whether both come of one class statement."""
    return (known.__module__, known.__qualname__) == (module.__module__, module.__qualname__)


def contract(name: str) -> RowContract:
    """Look a module's name up, here and in installed packages.

    Raises:
        DetectorError: unknown; names the nearest known one.
    """
    if name not in _REGISTRY:
        load_entry_points()
    if name not in _REGISTRY:
        hint = nearest(name, _REGISTRY) or f"; known modules: {', '.join(sorted(_REGISTRY))}"
        raise DetectorError(f"unknown module {shown(name)}{hint}")
    return _REGISTRY[name]


def registered() -> dict[str, RowContract]:
    """All modules known so far, by name."""
    return dict(sorted(_REGISTRY.items()))


_loaded_entry_points: set[str] = set()


def load_entry_points() -> None:
    """Import the modules that installed packages offer; each once."""
    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        if entry_point.value in _loaded_entry_points:
            continue
        _loaded_entry_points.add(entry_point.value)
        try:
            entry_point.load()
        except DetectorError:
            raise
        except Exception as error:
            place = f"entry point {entry_point.name!r} = {entry_point.value!r}"
            raise DetectorError(f"{place} does not import: {one_line(error)}") from error
