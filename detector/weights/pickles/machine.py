"""Interpreter of pickles that never imports or calls what a pickle names.

A pickle is a program for a small stack machine: it names functions and classes (``GLOBAL``) and
calls them (``REDUCE``, ``BUILD``, …). Here a name is never looked up, and a call only becomes a
:class:`PickledObject` that records it. A fixed table lists the calls that stand for plain data:
tensors, parameters, ordered dictionaries, sizes, bytes.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import IO, Any, Protocol, cast

import torch
from torch import Tensor

from detector.utils.errors import one_line

MAX_PICKLE_BYTES = 1 << 23
"""Maximum size of one pickle, without the numbers of its arrays."""
MAX_ARRAY_BYTES = 1 << 30
"""Maximum size of a pickle's arrays, together."""
MIN_ARRAY_BYTES = 1 << 10
"""Size in bytes from which a literal of a pickle counts as an array's numbers."""
MAX_ELEMENTS = 1 << 31
"""Maximum number of elements of one tensor."""

MAX_DIMENSIONS = 32
"""Maximum number of dimensions of a tensor."""
MAX_ARGUMENTS = 10_000_000
"""Maximum number of arguments of all calls together, with the items of their lists and strings:
two bytes of a pickle suffice to copy a long list once more."""

DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


@dataclass(frozen=True)
class GlobalName:
    """Dotted path of a global, a function or a class; it is never looked up."""

    path: str


@dataclass(eq=False)
class PickledObject:
    """Description of an object that unpickling would have created.

    Attributes:
        name: path of its class, or of the function that returns it.
        args: arguments of that call.
        state: argument of ``BUILD``, usually the object's attributes by name.
        items: items that would have been appended to it; key-value pairs for a mapping.
    """

    name: str
    args: tuple[Any, ...] = ()
    state: Any = None
    items: list[Any] = field(default_factory=list)


class Storages(Protocol):
    """Source of the tensors' bytes."""

    def read(self, key: str, size: int) -> bytes:
        """Return the ``size`` bytes of a storage."""
        ...

    def register(self, storage: Storage) -> None:
        """Accept a storage that the pickle refers to, before any is read."""
        ...


@dataclass(frozen=True, eq=False)
class Storage:
    """One-dimensional array of numbers in the file.

    Attributes:
        key: its name in the file.
        dtype: type of its numbers.
        elements: number of its numbers.
        source: reader of its bytes.
    """

    key: str
    dtype: torch.dtype
    elements: int
    source: Storages


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """Tensor that is not read yet.

    Attributes:
        storage: the storage that holds its numbers.
        offset: index of its first number in the storage.
        size: its shape.
        stride: step in the storage for each dimension.
    """

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Memory that reading takes: that of the storage, or of an expanded view of it."""
        return max(self.storage.elements, math.prod(self.size)) * self.storage.dtype.itemsize

    def read(self) -> Tensor:
        """Read the tensor in the type it is stored in."""
        if 0 in self.size:
            return torch.empty(self.size, dtype=self.storage.dtype)
        storage = self.storage
        size = storage.elements * storage.dtype.itemsize
        numbers = torch.frombuffer(
            bytearray(storage.source.read(storage.key, size)), dtype=storage.dtype
        )
        return numbers.as_strided(self.size, self.stride, self.offset).clone()


class PickleError(Exception):
    """Error in a pickle, described in one line."""


def read_pickle(file: IO[bytes], storages: Storages, max_array_bytes: int = 0) -> Any:
    """Interpret one pickle without importing or calling anything that it names.

    Args:
        file: open at the pickle's first byte.
        storages: reader of the tensors' bytes.
        max_array_bytes: maximum size of the arrays whose numbers stand in the pickle itself.

    Returns:
        Plain values, :class:`PickledObject` and :class:`StoredTensor`.

    Raises:
        PickleError: the pickle is damaged, or uses instructions that no checkpoint needs.
    """
    machine = _Machine(storages, MAX_ARGUMENTS + max_array_bytes)
    limited = cast(IO[bytes], _Limited(file, max_array_bytes))
    try:
        for opcode, argument, position in pickletools.genops(limited):
            if opcode.name == "STOP":
                return machine.pop()
            machine.step(opcode.name, argument, position)
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise PickleError(f"damaged pickle ({one_line(error)})") from error
    raise PickleError("damaged pickle (no end)")


class _Limited:
    """File that raises PickleError once more than ``MAX_PICKLE_BYTES`` are read.

    Literals of ``MIN_ARRAY_BYTES`` and more count towards ``max_array_bytes`` first.
    """

    def __init__(self, file: IO[bytes], max_array_bytes: int) -> None:
        self._file = file
        self._left = MAX_PICKLE_BYTES
        self._arrays_left = max_array_bytes
        self.tell = file.tell

    def read(self, count: int) -> bytes:
        if MIN_ARRAY_BYTES <= count <= self._arrays_left:
            self._arrays_left -= count
            return self._file.read(count)
        return self._counted(self._file.read(min(count, self._left + 1)))

    def readline(self) -> bytes:
        return self._counted(self._file.readline(self._left + 1))

    def _counted(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left < 0:
            raise PickleError(f"a pickle of more than {MAX_PICKLE_BYTES} bytes")
        return data


_MARK = object()
_PLAIN = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
_EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": list,  # so that members, which may be PickledObjects, need no hash
    "MARK": lambda: _MARK,
}


class _Machine:
    """Stack and memo of the pickle machine."""

    def __init__(self, storages: Storages, max_characters: int) -> None:
        self.storages = storages
        self.max_characters = max_characters
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.arguments = self.characters = 0

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("unexpected mark")
        return value

    def step(self, name: str, argument: Any, position: int | None) -> None:
        """Execute one instruction; ``position`` is its byte, for errors."""
        if name in _LITERALS:
            self.stack.append(argument)
        elif name in _PLAIN:
            self.stack.append(_PLAIN[name])
        elif name in _EMPTY:
            self.stack.append(_EMPTY[name]())
        elif name in _INSTRUCTIONS:
            _INSTRUCTIONS[name](self, argument)
        elif name not in ("PROTO", "FRAME"):
            raise PickleError(f"instruction {name} at byte {position}, which no checkpoint needs")

    def put(self, index: int | None) -> None:
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def to_mark(self) -> list[Any]:
        """Remove and return everything above the last mark; remove the mark, too."""
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is _MARK:
                taken = self.stack[place + 1 :]
                del self.stack[place:]
                return taken
        raise ValueError("no mark")

    def drop(self) -> None:
        self.stack.pop()

    def drop_to_mark(self) -> None:
        self.to_mark()

    def make_tuple(self, count: int | None) -> None:
        items = self.to_mark() if count is None else [self.pop() for _ in range(count)][::-1]
        self.stack.append(tuple(items))

    def extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, PickledObject):
            target = target.items
        if not isinstance(target, list):
            raise ValueError(f"appends to {_described(target)}")
        target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        pairs = list(zip(items[::2], items[1::2], strict=True))
        if isinstance(target, PickledObject):
            target.items.extend(pairs)
        elif isinstance(target, dict):
            target.update(_plain_keys(pairs))
        else:
            raise ValueError(f"sets items of {_described(target)}")

    def append(self) -> None:
        item = self.pop()
        self.extend([item])

    def set_item(self) -> None:
        value, key = self.pop(), self.pop()
        self.set_items([key, value])

    def name_from_stack(self) -> None:
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError(f"names {_described(name)} of {_described(module)}, expected strings")
        self.stack.append(GlobalName(f"{module}.{name}"))

    def call(self, keywords: bool = False) -> None:
        """Execute REDUCE, NEWOBJ or NEWOBJ_EX: record the call instead of making it."""
        named = self.pop() if keywords else {}
        args, function = self.pop(), self.pop()
        if not isinstance(function, GlobalName) or not isinstance(args, tuple):
            raise PickleError(f"calls {_described(function)}, which is no name")
        self.count(args)
        rebuild = _DATA.get(function.path)
        if rebuild is None:
            self.stack.append(PickledObject(function.path, (*args, named) if keywords else args))
        else:
            self.stack.append(rebuild(*args))

    def count(self, args: tuple[Any, ...]) -> None:
        """Count arguments of calls, and raise PickleError above the maximum."""
        sized = (argument for argument in args if isinstance(argument, (list, tuple)))
        self.arguments += len(args) + sum(map(len, sized))
        self.characters += sum(len(argument) for argument in args if isinstance(argument, str))
        if self.arguments > MAX_ARGUMENTS or self.characters > self.max_characters:
            raise PickleError(f"calls with more than {MAX_ARGUMENTS} arguments")

    def build(self) -> None:
        """Execute BUILD: keep the state of an object."""
        state, target = self.pop(), self.stack[-1]
        if isinstance(target, PickledObject):
            target.state = state
        elif not isinstance(target, dict):  # attributes of an ordered dictionary are ignored
            raise PickleError(f"changes {_described(target)}")

    def persistent(self) -> None:
        """Execute BINPERSID, whose id is ("storage", type, key, device, number of elements, …)."""
        pid = self.pop()
        if isinstance(pid, tuple) and len(pid) == 4 and pid[0] == "module":
            self.stack.append(pid[1])  # old files store a class together with its source code
            return
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage":
            raise PickleError("refers to something other than a storage")
        kind, key, elements = pid[1], pid[2], pid[4]
        dtype = DTYPES.get(kind.path.rpartition(".")[2]) if isinstance(kind, GlobalName) else None
        if dtype is None:
            raise PickleError(f"numbers of a type that is not read: {_described(kind)}")
        if len(pid) == 6 and pid[5] is not None:
            raise PickleError("a storage that is a view of another, which is not read")
        if not isinstance(key, str) or not is_count(elements):
            raise PickleError("damaged storage")
        storage = Storage(key, dtype, elements, self.storages)
        self.storages.register(storage)
        self.stack.append(storage)


_INSTRUCTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "POP": lambda machine, _: machine.drop(),
    "POP_MARK": lambda machine, _: machine.drop_to_mark(),
    "BINPUT": lambda machine, index: machine.put(index),
    "LONG_BINPUT": lambda machine, index: machine.put(index),
    "MEMOIZE": lambda machine, _: machine.put(None),
    "BINGET": lambda machine, index: machine.stack.append(machine.memo[index]),
    "LONG_BINGET": lambda machine, index: machine.stack.append(machine.memo[index]),
    "TUPLE": lambda machine, _: machine.make_tuple(None),
    "TUPLE1": lambda machine, _: machine.make_tuple(1),
    "TUPLE2": lambda machine, _: machine.make_tuple(2),
    "TUPLE3": lambda machine, _: machine.make_tuple(3),
    "APPEND": lambda machine, _: machine.append(),
    "APPENDS": lambda machine, _: machine.extend(machine.to_mark()),
    "ADDITEMS": lambda machine, _: machine.extend(machine.to_mark()),
    "FROZENSET": lambda machine, _: machine.make_tuple(None),
    "SETITEM": lambda machine, _: machine.set_item(),
    "SETITEMS": lambda machine, _: machine.set_items(machine.to_mark()),
    "GLOBAL": lambda machine, words: machine.stack.append(GlobalName(words.replace(" ", ".", 1))),
    "STACK_GLOBAL": lambda machine, _: machine.name_from_stack(),
    "REDUCE": lambda machine, _: machine.call(),
    "NEWOBJ": lambda machine, _: machine.call(),
    "NEWOBJ_EX": lambda machine, _: machine.call(keywords=True),
    "BUILD": lambda machine, _: machine.build(),
    "BINPERSID": lambda machine, _: machine.persistent(),
}


def _rebuild_tensor(
    storage: Any, offset: Any = 0, size: Any = (), stride: Any = (), *_: Any
) -> StoredTensor:
    """Return the tensor after checking that all its numbers lie in the storage.

    An expanded view (stride 0) has more numbers than its storage; they are counted when it is read.
    """
    valid = (
        isinstance(storage, Storage)
        and is_count(offset)
        and isinstance(size, tuple)
        and isinstance(stride, tuple)
        and len(size) == len(stride) <= MAX_DIMENSIONS
        and all(is_count(n) for n in (*size, *stride))
    )
    if not valid:
        raise PickleError("damaged tensor")
    count = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if count and (last >= storage.elements or count > MAX_ELEMENTS):
        raise PickleError(
            f"a tensor of {'×'.join(map(str, size)) or '1'} in a storage of "
            f"{storage.elements} numbers"
        )
    return StoredTensor(storage, offset, size, stride)


def _rebuild_dict(pairs: Any = (), *_: Any) -> dict[Any, Any]:
    if not isinstance(pairs, (list, tuple)):
        raise PickleError("damaged dictionary")
    return dict(_plain_keys((key, value) for key, value in pairs))


def _rebuild_size(sizes: Any = (), *_: Any) -> tuple[Any, ...]:
    return tuple(sizes) if isinstance(sizes, (list, tuple)) else ()


def _rebuild_bytes(text: Any = "", codec: Any = "latin1", *_: Any) -> bytes:
    """Return bytes, which pickle protocol 2 stores as Latin-1 text."""
    if not isinstance(text, str) or codec != "latin1":
        raise PickleError("damaged bytes")
    return text.encode("latin-1")


def _rebuild_empty_bytes(*args: Any) -> bytes:
    """Return no bytes, which pickle protocol 2 stores as a call without arguments."""
    if args:
        raise PickleError("damaged bytes")
    return b""


_DATA: dict[str, Callable[..., Any]] = {
    "__builtin__.bytes": _rebuild_empty_bytes,
    "_codecs.encode": _rebuild_bytes,
    "collections.OrderedDict": _rebuild_dict,
    "torch.Size": _rebuild_size,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": lambda data, *_: data,
    "torch._utils._rebuild_parameter_with_state": lambda data, *_: data,
}
"""Calls that stand for plain data → our own functions that make it."""


def _plain_keys(pairs: Iterable[tuple[Any, Any]]) -> Iterable[tuple[Any, Any]]:
    """Yield the pairs, and refuse nested keys, whose hash can overflow Python's stack."""
    for key, value in pairs:
        parts = key if isinstance(key, tuple) else (key,)
        if not all(
            part is None or isinstance(part, (str, int, float, bytes, GlobalName, PickledObject))
            for part in parts
        ):
            raise PickleError(f"a dictionary with {_described(key)} as a key")
        yield key, value


def is_count(value: Any) -> bool:
    """Return whether a value of a pickle is a number of elements that a file may have."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 48


def _described(value: Any) -> str:
    if isinstance(value, (GlobalName, PickledObject)):
        text = repr(value.path if isinstance(value, GlobalName) else value.name)
        return text if len(text) <= 80 else f"{text[:77]}..."
    return f"a {type(value).__name__}"
