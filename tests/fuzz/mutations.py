"""Changes of valid files: of their bytes, their words, their values, and the members of archives.

Each function takes the content of a file and a generator, and returns another content. Equal
generators make equal changes, so that a number names an input for good.
"""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from detector.runtime.backends import seal

Rng = np.random.Generator
Mutation = Callable[[bytes, Rng], bytes]

ODD_NUMBERS = (
    *(0, -1, 1, 2, 3, 7, 255, 256, 65_535, 65_536, 10**6, 2**31 - 1, 2**31, -(2**31), 2**32),
    *(2**53, 2**63 - 1, 2**63, 2**64, -(2**63), 10**30, 10**400),
    *(0.0, -0.0, 0.5, 1.5, -0.5, 1e-320, 1e-9, 1e9, 1e38, 1e39, 1e308, -1e308),
    *(float("nan"), float("inf"), float("-inf")),
)
ODD_TEXTS = (
    *(
        "",
        " ",
        "\0",
        "a\0b",
        "\n",
        "a\nb",
        "\r",
        "\u2028",
        "\x1b[31m",
        "\udcff",
        "\ud800",
        "\ufeff",
    ),
    *("é" * 3, "日本語", "𝔘", "../..", "/", "/dev/zero", "/etc/passwd", "~", "C:\\x", "a" * 300),
    *("x" * 100_000, "%s%n", "{0}", "nan", "inf", "1e999", "-", "--", "null", "true", "0x10"),
    *("[", "{", "!!python/name:os.system", "&a [*a, *a]", "*a", "007", "1:30", "2024-13-01"),
)
MAX_BYTES = 4 << 20
"""Largest changed file: longer ones are cut, since repeated changes multiply."""
DEPTH = 5000
"""Levels of lists in lists, far more than Python's stack allows."""

WORD = re.compile(rb"[-+.\w]+")
INT64 = (*(0, -1, 1, 2, 3, 7, 64, 1000, 2**20, 2**31 - 1, 2**31, 2**40), 2**63 - 1)
INTEGERS = {1: "B", 2: "H", 4: "I", 8: "Q"}


def choose(rng: Rng, items: Any) -> Any:
    """Return one of a sequence's items."""
    return items[int(rng.integers(len(items)))]


# ----------------------------------------------------------------------------------------- bytes


def flip_bits(data: bytes, rng: Rng) -> bytes:
    content = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        if content:
            content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    return bytes(content)


def truncate(data: bytes, rng: Rng) -> bytes:
    return data[: int(rng.integers(len(data) + 1))]


def splice(data: bytes, rng: Rng) -> bytes:
    """Copy, move or remove a piece."""
    start, stop = sorted(int(i) for i in rng.integers(len(data) + 1, size=2))
    stop = min(stop, start + int(choose(rng, (1, 4, 16, 256, 4096))))
    place = int(rng.integers(len(data) + 1))
    piece = data[start:stop] * int(choose(rng, (0, 1, 1, 2, 1000)))
    return data[:place] + piece + data[int(choose(rng, (place, min(place + len(piece), stop)))) :]


def set_length(data: bytes, rng: Rng) -> bytes:
    """Overwrite one to eight bytes by a number that a length or an offset should not be."""
    size = int(choose(rng, list(INTEGERS)))
    near = (len(data), len(data) - 1, len(data) + 1, 0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63)
    number = int(choose(rng, (*near, 2 ** (8 * size) - 1))) % 2 ** (8 * size)
    packed = struct.pack(choose(rng, "<>") + INTEGERS[size], number)
    place = int(rng.integers(min(len(data), choose(rng, (64, 1024, 2**40))) + 1))
    return data[:place] + packed + data[place + size :]


def noise(data: bytes, rng: Rng) -> bytes:
    place = int(rng.integers(len(data) + 1))
    return data[:place] + rng.bytes(int(rng.integers(1, 200))) + data[place:]


BLUNT: tuple[Mutation, ...] = (flip_bits, flip_bits, truncate, splice, set_length, noise)


def blunt(data: bytes, rng: Rng) -> bytes:
    """Change bytes, whatever they mean."""
    return choose(rng, BLUNT)(data, rng)  # type: ignore[no-any-return]


# ----------------------------------------------------------------------------------------- texts


def odd_text(rng: Rng) -> bytes:
    """Return a number or text that few readers expect."""
    if rng.random() < 0.5:
        number = choose(rng, ODD_NUMBERS)
        return b"1" + b"0" * 400 if number == 10**400 else str(number).encode()
    return str(choose(rng, ODD_TEXTS)).encode("utf-8", "surrogatepass")


def words(data: bytes, rng: Rng) -> bytes:
    """Replace, repeat or drop words and lines of a text."""
    for _ in range(int(rng.integers(1, 4))):
        change = choose(rng, (_replace_word, _replace_word, _swap_words, _repeat_line, _nest))
        data = change(data, rng)[:MAX_BYTES]
    return data


def _replace_word(data: bytes, rng: Rng) -> bytes:
    found = list(WORD.finditer(data))
    if not found:
        return data + odd_text(rng)
    match = choose(rng, found)
    return data[: match.start()] + odd_text(rng) + data[match.end() :]


def _swap_words(data: bytes, rng: Rng) -> bytes:
    """Put the text of one word in the place of another."""
    found = list(WORD.finditer(data))
    if not found:
        return data
    one, other = choose(rng, found), choose(rng, found)
    return data[: one.start()] + other[0] + data[one.end() :]


def _repeat_line(data: bytes, rng: Rng) -> bytes:
    lines = data.splitlines(keepends=True)
    if not lines:
        return data
    place = int(rng.integers(len(lines)))
    lines[place] *= int(choose(rng, (0, 2, 3, 2000)))
    return b"".join(lines)


def _nest(data: bytes, rng: Rng) -> bytes:
    opening, closing = choose(rng, ((b"[", b"]"), (b"{a: ", b"}"), (b"<a>", b"</a>"), (b"- ", b"")))
    depth = int(choose(rng, (1, 3, 70, DEPTH)))
    match = WORD.search(data, int(rng.integers(len(data) + 1)))
    start, stop = match.span() if match else (0, len(data))
    return data[:start] + opening * depth + data[start:stop] + closing * depth + data[stop:]


# ------------------------------------------------------------------------------------------ JSON


def values(data: bytes, rng: Rng) -> bytes:
    """Replace, drop, repeat or nest values of a JSON document; leave other data to ``words``."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return words(data, rng)
    for _ in range(int(rng.integers(1, 4))):
        content = _change_value(content, rng)
    return json.dumps(content).encode()


def _change_value(content: Any, rng: Rng) -> Any:
    places = list(_places(content))
    if not places:
        return _odd_value(content, rng)
    parent, key = choose(rng, places)
    what = int(rng.integers(6))
    if what == 0:
        del parent[key]
    elif what == 1 and isinstance(parent, dict):
        parent[str(choose(rng, ODD_TEXTS))[:1000]] = parent.pop(key)
    elif what == 1:
        parent[key:key] = [parent[key]] * int(choose(rng, (1, 1000)))
    elif what == 2:
        other, place = choose(rng, places)
        if key in parent if isinstance(parent, dict) else key < len(parent):
            parent[key] = json.loads(json.dumps(other[place]))
    else:
        parent[key] = _odd_value(parent[key], rng)
    return content


def _places(content: Any) -> Any:
    """Yield all dictionaries and lists with each of their keys."""
    waiting = [content]
    while waiting:
        parent = waiting.pop()
        if isinstance(parent, (dict, list)):
            for key in list(parent) if isinstance(parent, dict) else range(len(parent)):
                yield parent, key
                waiting.append(parent[key])


def _odd_value(value: Any, rng: Rng) -> Any:
    if rng.random() < 0.4:
        return choose(rng, ODD_NUMBERS[:-1] if rng.random() < 0.9 else ODD_NUMBERS)
    if rng.random() < 0.5:
        return choose(rng, ODD_TEXTS)
    nested: Any = value
    for _ in range(int(choose(rng, (1, 2, 80, 400)))):
        nested = [nested]
    return choose(rng, (None, True, False, [], {}, [value, value], {"a": value}, nested))


# -------------------------------------------------------------------------------------- archives


def member(inner: Mutation) -> Mutation:
    """Return a change of one member of a zip file, whose checksums are right afterwards."""

    def mutate(data: bytes, rng: Rng) -> bytes:
        if not zipfile.is_zipfile(io.BytesIO(data)):
            return inner(data, rng)
        changed = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(changed, "w") as target:
            infos, target.comment = source.infolist(), source.comment
            small = [i for i, info in enumerate(infos) if info.file_size < 1 << 20]
            chosen = int(choose(rng, small))
            for index, info in enumerate(infos):
                content = source.read(info)
                target.writestr(info, inner(content, rng) if index == chosen else content)
        return changed.getvalue()

    return mutate


def safetensors_header(data: bytes, rng: Rng) -> bytes:
    """Change the JSON at the start of a ``.safetensors`` file, whose length is right afterwards."""
    size = int.from_bytes(data[:8], "little")
    header = values(data[8 : 8 + size], rng)
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


def safetensors_metadata(data: bytes, rng: Rng) -> bytes:
    """Change the metadata of a checkpoint and make its checksum right, which covers the tensors."""
    from safetensors.torch import load, save

    from detector.weights.checkpoint import CHECKSUM_KEY, METADATA_KEY, _checksum

    size = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + size])["__metadata__"]
    text = choose(rng, (values, words))(metadata[METADATA_KEY].encode(), rng)
    metadata[METADATA_KEY] = text.decode("utf-8", "replace")
    tensors = load(data)
    metadata[CHECKSUM_KEY] = _checksum(metadata[METADATA_KEY], tensors)
    return save(tensors, metadata)


def sealed(inner: Mutation) -> Mutation:
    """Return a change of an exported file whose seal is right afterwards."""

    def mutate(data: bytes, rng: Rng) -> bytes:
        return reseal(inner(data, rng))

    return mutate


def reseal(data: bytes, *beside: bytes) -> bytes:
    """Return the content with the right digest in its seal, if it has one.

    Args:
        data: content of the file.
        beside: contents of the files that belong to it.
    """
    start = data.rfind(seal._MARK) + len(seal._MARK)
    if start < len(seal._MARK):
        return data
    return data[:start] + seal._digest(data, start, beside) + data[start + 64 :]


def onnx_fields(data: bytes, rng: Rng) -> bytes:
    """Change sizes, attributes, names and operators of an ONNX graph."""
    import onnx

    model = onnx.load_from_string(data)
    graph = model.graph
    node, tensor = choose(rng, graph.node), choose(rng, graph.initializer)
    what = int(rng.integers(6))
    if what == 0 and tensor.dims:
        tensor.dims[int(rng.integers(len(tensor.dims)))] = int(choose(rng, INT64))
    elif what == 1 and node.attribute:
        attribute = choose(rng, node.attribute)
        if attribute.ints:
            attribute.ints[int(rng.integers(len(attribute.ints)))] = int(choose(rng, INT64))
        attribute.i, attribute.f = (
            int(choose(rng, INT64)),
            float(choose(rng, (0, 1e30, -1, np.nan))),
        )
    elif what == 2:
        node.op_type = choose(rng, graph.node).op_type
    elif what == 3 and node.input:
        node.input[int(rng.integers(len(node.input)))] = choose(rng, choose(rng, graph.node).output)
    elif what == 4:
        tensor.raw_data = blunt(tensor.raw_data, rng)
    else:
        shape = choose(rng, [*graph.input, *graph.output]).type.tensor_type.shape
        choose(rng, shape.dim).dim_value = int(choose(rng, INT64))
    return model.SerializeToString()  # type: ignore[no-any-return]
