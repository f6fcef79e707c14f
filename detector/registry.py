"""Registry of the modules that a model file may name, with the contract of a row.

A row ``[from, number, module, args]`` names a registered class. The signature of its constructor
tells the builder what the module needs, by these parameter names:

=============  ===================================================================================
``c_in``       receives the input's channels (a list of them if the module reads several rows);
               never written in a row
``c_out``      number of output channels
``repeats``    receives the row's ``number``; without it, the module is stacked ``number`` times
``strides``    receives the strides of the rows that a head reads
``imgsz``      receives the file's input side, in a head that accepts this input size only
``activation`` receives the file's ``activation`` unless the row gives one
=============  ===================================================================================

All other parameters are the row's args, in order or as a mapping. Args are checked against the
annotations (``Count``, ``Size`` and ``Odd`` are integers with a range). A parameter annotated
``Width`` is scaled by the file's ``width_multiple``. Arguments that the file implies, whatever the
row gives, are declared in ``register(implied=…)``.
Output channels and stride that do not follow from ``c_out`` and ``stride`` are declared in
``register(channels=…, stride=…)``; a module that joins rows of different sizes declares them in
``register(joins=…)``; one that returns a list of features declares theirs in
``register(outputs=…)``, and rows of ``Index`` read one each. A block that can be fused has a method
``fuse() -> nn.Module``.

Example:
    >>> @register()
    ... class Scale(nn.Module):
    ...     def __init__(self, c_in: int, value: float = 1.0) -> None: ...

Third-party packages are found through the entry-point group ``detector.modules``: each entry point
names a module or class whose import registers it.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from importlib.metadata import entry_points
from typing import Annotated, Any

import pydantic
from torch import nn

from detector.settings.heads import MODULES_GROUP
from detector.utils.errors import DetectorError, nearest, one_line, shown

MAX_ARGUMENT = 2**31 - 1
"""Largest absolute value of an integer in a row."""


def _odd(number: int) -> int:
    if number < 1 or number % 2 == 0:
        raise ValueError
    return number


Count = Annotated[int, pydantic.Field(ge=1)]
Size = Annotated[int, pydantic.Field(ge=0)]
Positive = Annotated[float, pydantic.Field(gt=0)]
Odd = Annotated[int, pydantic.AfterValidator(_odd)]
"""Annotation of a kernel's side that must be odd, so that it has a central pixel."""
Width = Annotated[int, pydantic.Field(ge=1), "width"]
"""Annotation of a constructor's parameter that ``width_multiple`` scales."""

Arguments = Mapping[str, Any]
ChannelRule = Callable[[Arguments, list[int]], int]
StrideRule = Callable[[Arguments], Fraction | int]
ImpliedRule = Callable[[str | None, Collection[str]], Arguments]
OutputRule = Callable[[Arguments], Sequence[tuple[int, Fraction | int]]]

_FILLED_BY_BUILDER = ("self", "c_in", "repeats", "strides", "imgsz")


def _resolved(constructor: Callable[..., None]) -> dict[str, Any]:
    """Return the constructor's annotations that can be resolved, and leave out the others.

    They are resolved one by one: some name types that are imported for type checkers only.
    """
    hints: dict[str, Any] = {}
    for name, annotation in constructor.__annotations__.items():
        one = types.SimpleNamespace(__annotations__={name: annotation})
        with suppress(NameError):
            hints |= typing.get_type_hints(one, constructor.__globals__, include_extras=True)
    return hints


@dataclass(frozen=True)
class RowContract:
    """Contract between a registered module and the builder.

    Attributes:
        name: name of the module in model files.
        module: the registered class.
        channels: function from bound arguments and input channels to output channels.
        stride: function from bound arguments to the factor by which the output is smaller than the
            input (½ for upsampling by 2).
        head: True for a head, which is the last row and decides the task.
        joins: True for a module that reads several rows, which must have one size.
        joined_strides: strides of the rows that it reads, relative to each other, for a module that
            joins a fixed number of rows of different sizes; empty for any number of one size.
        implied: function from the chosen one of a file's ``scales`` and the names of its modules to
            arguments that replace those of the row.
        outputs: function from bound arguments to channels and stride of each feature, for a module
            that returns a list of them; None for others.
        picks: True for a module that reads a row with several outputs, and returns the one whose
            number is its argument ``index``.
    """

    name: str
    module: type[nn.Module]
    channels: ChannelRule
    stride: StrideRule
    head: bool
    joins: bool
    joined_strides: tuple[Fraction, ...]
    implied: ImpliedRule
    outputs: OutputRule | None
    picks: bool

    @cached_property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """Parameters of the constructor by name, with resolved annotations."""
        signature = inspect.signature(self.module.__init__)
        hints = _resolved(self.module.__init__)
        return {
            name: parameter.replace(annotation=hints.get(name, Any))
            for name, parameter in signature.parameters.items()
            if name != "self"
        }

    @cached_property
    def row_parameters(self) -> dict[str, inspect.Parameter]:
        """Parameters that a row may give, by name."""
        return {
            name: parameter
            for name, parameter in self.parameters.items()
            if name not in _FILLED_BY_BUILDER
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        }

    @property
    def reads_list(self) -> bool:
        """True if ``forward`` takes a list of features, and ``c_in`` is a list of channels."""
        return self.head or self.joins

    @property
    def fixes_size(self) -> bool:
        """True if the network accepts inputs of the file's size only."""
        return self.takes("imgsz")

    @cached_property
    def widths(self) -> tuple[str, ...]:
        """Names of the parameters that ``width_multiple`` scales."""
        return tuple(name for name, p in self.parameters.items() if p.annotation == Width)

    def takes(self, parameter: str) -> bool:
        """Return whether the constructor has a parameter of this name."""
        return parameter in self.parameters

    def bind(self, args: Sequence[Any] | Mapping[str, Any]) -> dict[str, Any]:
        """Bind a row's args, a list or a mapping, to the parameters, and check their types.

        Raises:
            ValueError: an arg is unknown, missing, of a wrong type or one too many; one line.
        """
        named = self.named(args)
        for name, value in named.items():
            named[name] = _checked(name, value, self.row_parameters[name].annotation)
        for name, parameter in self.row_parameters.items():
            if parameter.default is inspect.Parameter.empty and name not in named:
                raise ValueError(f"argument {name!r} is missing; {self.usage()}")
        return named

    def accepts(self, args: Sequence[Any] | Mapping[str, Any]) -> bool:
        """Return whether a row's args are known and complete, whatever their values."""
        try:
            named = self.named(args)
        except ValueError:
            return False
        required = (n for n, p in self.row_parameters.items() if p.default is p.empty)
        return all(name in named for name in required)

    def usage(self) -> str:
        """Return the expected args as text, for error messages."""
        return f"expected [{', '.join(self.row_parameters)}]"

    def named(self, args: Sequence[Any] | Mapping[str, Any]) -> dict[str, Any]:
        """Return a row's args by name, with unchecked values.

        Raises:
            ValueError: an arg is unknown or one too many; one line.
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
            # YOLOv7's files write the activation last, even if args before it are left out.
            del named[names[len(args) - 1]]
            named["activation"] = args[-1]
        return named


def _names_an_activation(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("nn.", "torch.nn."))


def _checked(name: str, value: Any, annotation: Any) -> Any:
    """Return a value that fits the annotation; raise ValueError for others.

    Numbers must be finite, and a bool is not a number.
    """
    if annotation is Any:
        return value
    message = f"argument {name!r}: expected {_described(annotation)}, found {shown(value)}"
    if isinstance(value, int) and abs(value) > MAX_ARGUMENT:
        raise ValueError(message)
    try:
        return pydantic.TypeAdapter(annotation, config=_CHECKS).validate_python(value)
    except pydantic.ValidationError:
        if name in SIDES and _is_equal_pair(value):
            return _checked(name, value[0], annotation)
        raise ValueError(message) from None


def _is_equal_pair(value: Any) -> bool:
    """Return whether a value is height and width in one number, such as a kernel of ``[3, 3]``."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(type(side) is int for side in value)
        and value[0] == value[1]
    )


_CHECKS = pydantic.ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "a word",
    types.NoneType: "None",
}


def _described(annotation: Any) -> str:
    """Return an annotation in words, such as 'a whole number of at least 1 or None'."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_described(option) for option in inner)
    if annotation == Odd:
        return "an odd number"
    if origin is Annotated:
        return _described(inner[0]) + "".join(_limits(annotation.__metadata__))
    if origin is typing.Literal:
        return " or ".join(repr(option) for option in inner)
    if origin in (list, tuple, Sequence):
        return "a list of " + _described(inner[0]).removeprefix("a ") + "s"
    return _WORDS.get(annotation) or str(getattr(annotation, "__name__", annotation))


def _limits(metadata: Sequence[Any]) -> Iterator[str]:
    words = {"ge": "of at least", "gt": "above", "le": "of at most", "lt": "below"}
    for field in metadata:
        for limit in getattr(field, "metadata", ()):
            for name, word in words.items():
                if hasattr(limit, name):
                    yield f" {word} {getattr(limit, name)}"


SIDES = ("kernel", "stride", "padding", "dilation")
"""Parameters for which torch accepts a pair, height and width; here both are one number."""

ULTRALYTICS = "ultralytics"
"""Dialect of the files of YOLOv8 and later, where some names of YOLOv5 mean other modules."""

_REGISTRY: dict[str, RowContract] = {}
_DIALECTS: dict[str, dict[str, RowContract]] = {}
"""Contracts of names that mean another module in a dialect, by dialect and name."""


def _default_channels(arguments: Arguments, c_in: list[int]) -> int:
    return int(arguments["c_out"]) if "c_out" in arguments else c_in[0]


def _default_stride(arguments: Arguments) -> int:
    return int(arguments.get("stride", 1))


def _nothing_implied(scale: str | None, modules: Collection[str]) -> Arguments:
    return {}


def register(
    *names: str,
    channels: ChannelRule = _default_channels,
    stride: StrideRule = _default_stride,
    head: bool = False,
    joins: bool | Sequence[Fraction | int] = False,
    implied: ImpliedRule = _nothing_implied,
    outputs: OutputRule | None = None,
    picks: bool = False,
    dialect: str | None = None,
) -> Callable[[type[nn.Module]], type[nn.Module]]:
    """Return a decorator that registers a class under its own name or under ``names``.

    A class that is defined again, as by a notebook cell that runs twice, replaces its older
    definition.

    Args:
        names: names in model files; by default the name of the class.
        channels: function from bound arguments and input channels to output channels; by default
            ``c_out``, else the input's channels.
        stride: function from bound arguments to the factor by which the output is smaller than the
            input; by default ``stride``, else 1.
        head: True for a head, which is the last row and decides the task.
        joins: True for a module that reads several rows, which must have one size; or, for rows of
            different sizes, the stride of each as a multiple of one common stride, of which
            ``stride`` gives the output's.
        implied: function from the chosen one of a file's ``scales`` and the names of its modules to
            arguments that replace those of the row.
        outputs: function from bound arguments to channels and stride of each feature, for a module
            that returns a list of them, of which other rows pick one each.
        picks: True for a module that picks the output ``index`` of a row that has several.
        dialect: the names have this meaning only in model files of the dialect.

    Raises:
        DetectorError: another class is registered under the name.
    """
    table = _REGISTRY if dialect is None else _DIALECTS.setdefault(dialect, {})

    def decorate(module: type[nn.Module]) -> type[nn.Module]:
        for name in names or (module.__name__,):
            known = table.get(name)
            if known is not None and not _is_redefinition(known.module, module):
                raise DetectorError(
                    f"module name {name!r} is registered twice: by "
                    f"{known.module.__module__} and {module.__module__}"
                )
            table[name] = RowContract(
                name,
                module,
                channels,
                stride,
                head,
                bool(joins),
                () if isinstance(joins, bool) else tuple(map(Fraction, joins)),
                implied,
                outputs,
                picks,
            )
        return module

    return decorate


def _is_redefinition(known: type[nn.Module], module: type[nn.Module]) -> bool:
    """Return whether both classes are made by the same class statement."""
    return (known.__module__, known.__qualname__) == (module.__module__, module.__qualname__)


def contract(name: str, dialect: str | None = None) -> RowContract:
    """Return the contract of a module by name, from this registry or installed packages.

    Args:
        name: name in the model file.
        dialect: the file's dialect, in which the name may mean another module.

    Raises:
        DetectorError: the name is unknown; names the nearest known one.
    """
    if dialect is not None and name in _DIALECTS.get(dialect, {}):
        return _DIALECTS[dialect][name]
    if name not in _REGISTRY:
        load_entry_points()
    if name not in _REGISTRY:
        hint = nearest(name, _REGISTRY) or f"; known modules: {', '.join(sorted(_REGISTRY))}"
        raise DetectorError(f"unknown module {shown(name)}{hint}")
    return _REGISTRY[name]


def dialect_of(name: str, args: Sequence[Any] | Mapping[str, Any]) -> str | None:
    """Return the dialect in which a module's args are complete, if they are not without one."""
    if contract(name).accepts(args):
        return None
    dialects = (dialect for dialect, table in _DIALECTS.items() if name in table)
    return next((d for d in dialects if contract(name, d).accepts(args)), None)


def registered() -> dict[str, RowContract]:
    """Return the contracts of all modules registered so far, by name."""
    return dict(sorted(_REGISTRY.items()))


_loaded_entry_points: set[str] = set()


def load_entry_points() -> None:
    """Import the modules that installed packages offer, each once.

    Raises:
        DetectorError: an entry point cannot be imported.
    """
    for entry_point in entry_points(group=MODULES_GROUP):
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
