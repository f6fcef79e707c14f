"""Validation of ``.pt2`` files, so that reading one runs no code from it.

``torch.export.load`` trusts its file: it unpickles example inputs and some weights, evaluates
symbolic sizes as Python expressions, executes guards, looks up operators by their path from
``torch``, and inserts names into source code that it compiles. A file is therefore parsed here
first. Parts that a network does not need are dropped, every remaining string must match the
pattern of its place, and torch receives a new archive made of the validated parts.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from detector.export.pt2.sizes import is_size
from detector.runtime.backends.seal import UNSEALED
from detector.utils.archive import Archive
from detector.utils.errors import DetectorError, shown

MAX_JSON_BYTES = 1 << 26
MAX_METADATA_BYTES = 1 << 24

METADATA = "extra/detector"
GRAPH = "models/model.json"
CONFIGS = (
    "data/weights/model_weights_config.json",
    "data/constants/model_constants_config.json",
)
EXAMPLE = "data/sample_inputs/model.pt"
FORMAT = ("archive_format", "archive_version", ".data/version", "byteorder")
IGNORED = (".data/serialization_id",)
NUMBERS = re.compile(r"data/weights/weight_\d+|data/constants/tensor_\d+")

EMPTIED = {"metadata": dict, "guards_code": list, "treespec_namedtuple_fields": dict}
"""Keys whose values are emptied: source locations, and Python expressions that torch executes."""
REFUSED = ("as_graph", "as_custom_obj", "as_operator", "custom_obj")
"""Keys that are refused: nested programs and objects of custom classes."""

WORD = re.compile(r"[A-Za-z0-9_]{0,300}")
PATH = re.compile(r"(?!__)([A-Za-z0-9_]+(\.(?!__)[A-Za-z0-9_]+)*)?")
NUMBER = re.compile(r"-?Infinity|NaN")
RANGE = re.compile(r"[A-Za-z0-9_*+/%(), -]{1,300}")
VERSION = re.compile(r"[\w.+<=-]{0,100}")

OPERATOR = re.compile(
    r"torch\.ops\.(aten|torchvision)\.([a-z_][A-Za-z0-9_]*)\.([A-Za-z][A-Za-z0-9_]*)"
)
SIZE_OPERATORS = re.compile(
    r"_operator\.(add|sub|mul|floordiv|truediv|mod|neg|eq|ne|lt|le|gt|ge|and_|or_)"
    r"|torch\.sym_(max|min|not|float|int)|math\.(floor|ceil|trunc)"
)
MORE_OPERATORS = frozenset(
    re.findall(
        r"\w+",
        """
    _assert_tensor_metadata _upsample_bicubic2d_aa _upsample_bilinear2d_aa
    _upsample_nearest_exact2d _weight_norm adaptive_avg_pool2d adaptive_max_pool2d addcmul
    affine_grid_generator argsort baddbmm batch_norm bilinear cdist celu channel_shuffle chunk
    clamp_min complex concat contiguous conv1d conv2d conv_transpose2d detach dropout einsum
    expand_as feature_dropout fft_fft fft_fft2 fft_fftn fft_fftshift fft_ifft fft_ifft2 fft_ifftn
    fft_ifftshift fft_irfft fft_irfft2 fft_irfftn fft_rfft fft_rfft2 fft_rfftn flatten floor_divide
    full_like glu grid_sampler group_norm hardshrink hardsigmoid hardswish hstack im2col imag
    instance_norm kron layer_norm lerp lift_fresh_copy linalg_vector_norm linear linspace
    log_sigmoid log_softmax logsumexp masked_fill matmul max_pool2d max_unpool2d median meshgrid
    mish movedim mT mv nan_to_num narrow new_ones new_zeros numel one_hot ones ones_like outer pad
    pixel_shuffle pixel_unshuffle prelu real repeat_interleave reshape rms_norm roll rot90 rsub
    scaled_dot_product_attention selu silu softmax softplus softshrink split square stack std
    swapaxes tensor_split tensordot tile to transpose tril triu true_divide type_as unbind
    unflatten unfold upsample_bicubic2d upsample_nearest2d vdot view_as_complex view_as_real vstack
    zeros zeros_like
    """,
    )
)
"""Operators of torch outside its core set that networks use. They only compute on tensors."""
TORCHVISION_OPERATORS = frozenset({"deform_conv2d", "roi_align"})
STRING_ARGUMENTS = (
    *("approximate", "equation", "indexing", "mode", "norm", "padding", "rounding_mode"),
)

EQUATION = re.compile(r"[A-Za-z., ]{1,100}(->[A-Za-z. ]{0,100})?")
"""Pattern of einsum's argument, such as ``bchw,cd->bdhw``."""


class _UnsafeError(Exception):
    """Unsafe content; the message says what was found."""


def clean(path: str | Path, stream: io.BytesIO | None = None) -> tuple[bytes, str]:
    """Validate an archive and return a new one made of its validated parts.

    Args:
        path: the file; only used in error messages if ``stream`` is given.
        stream: content of the file.

    Returns:
        The bytes of an archive that is safe for ``torch.export.load``, with a placeholder for a
        seal; and the text of the metadata, "" if there is none.

    Raises:
        DetectorError: damaged, or it contains something that a network does not need.
    """
    try:
        with Archive(path, stream) as archive:
            return _clean(archive)
    except _UnsafeError as error:
        raise DetectorError(f"refused, nothing in it was run: {error}", file=path) from error
    except (ValueError, RecursionError) as error:
        raise DetectorError("damaged, or not a program of torch.export", file=path) from error


def _clean(archive: Archive) -> tuple[bytes, str]:
    read = {name: _part(archive, name) for name in archive.names if name not in IGNORED}
    parts = {EXAMPLE: b"", METADATA: b"", **read}
    if GRAPH not in parts or parts.get("archive_format") != b"pt2":
        raise _UnsafeError("not a program of torch.export")
    fresh = io.BytesIO()
    with zipfile.ZipFile(fresh, "w", zipfile.ZIP_STORED) as written:
        for name, data in parts.items():
            written.writestr(zipfile.ZipInfo(f"archive/{name}"), data)
        written.comment = UNSEALED.encode()
    return fresh.getvalue(), parts[METADATA].decode()


def _part(archive: Archive, name: str) -> bytes:
    """Return the validated content of a member of the archive."""
    if name in FORMAT:
        return archive.read(name, 64)
    if name == METADATA:
        return archive.read(name, MAX_METADATA_BYTES)
    if name == EXAMPLE:
        return b""  # a pickle, not needed to run the program
    if name == GRAPH:
        return _json(archive, name, _check_graph)
    if name in CONFIGS:
        return _json(archive, name, _check_config)
    if NUMBERS.fullmatch(name) and archive.size(name):  # torch would fill an empty tensor
        return archive.read(name)
    raise _UnsafeError(f"a member {shown(name)}")


def _json(archive: Archive, name: str, check: Callable[[Any], None]) -> bytes:
    """Return a JSON member, with unneeded values emptied, after checking it."""
    content = _emptied(json.loads(archive.read(name, MAX_JSON_BYTES)))
    check(content)
    return json.dumps(content).encode()


def _emptied(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: EMPTIED[key]() if key in EMPTIED else _emptied(child)
            for key, child in value.items()
        }
    return [_emptied(child) for child in value] if isinstance(value, list) else value


def _check_config(config: Any) -> None:
    _check_words(config)
    entries = config.get("config") if isinstance(config, dict) else None
    if not isinstance(entries, dict):
        raise _UnsafeError("no list of weights")
    for name, entry in entries.items():
        if not isinstance(entry, dict) or entry.get("use_pickle") is not False:
            raise _UnsafeError(f"the pickled weight {shown(name)}")


def _check_graph(content: Any) -> None:
    _check_words(content)
    try:
        nodes = content["graph_module"]["graph"]["nodes"]
        for node in nodes:
            _check_node(node)
    except (KeyError, TypeError, AttributeError) as error:
        raise _UnsafeError("not a graph") from error


def _check_node(node: Mapping[str, Any]) -> None:
    for argument in node["inputs"]:
        strings = {"as_string", "as_strings"} & set(argument["arg"])
        if strings and argument["name"] not in STRING_ARGUMENTS:
            raise _UnsafeError(f"text for argument {argument['name']!r} of {node['target']}")


def refused_operator(target: Any) -> str | None:
    """Return an operator's name if files with it are refused, None if they are accepted.

    Python's functions, which compute sizes, are checked in the file.

    >>> refused_operator(torch.ops.aten.im2col.default)
    >>> refused_operator(torch.ops.aten.from_file.default)
    'aten.from_file.default'
    """
    if not isinstance(target, (torch._ops.OpOverload, torch._ops.HigherOrderOperator)):
        return None
    try:
        _check_operator(f"torch.ops.{target}")
    except _UnsafeError:
        return str(target)
    return None


@lru_cache(maxsize=1000)
def _check_operator(target: str) -> None:
    """Raise unless an operator is core ATen, decomposes into it, or is arithmetic of sizes."""
    if SIZE_OPERATORS.fullmatch(target):
        return
    match = OPERATOR.fullmatch(target)
    if match is None:
        raise _UnsafeError(f"operator {shown(target)}")
    library, name, overload = match.groups()
    plain = name[:-1] if name.endswith("_") else name  # in place
    if library == "torchvision":
        is_known = name in TORCHVISION_OPERATORS
    else:
        is_known = plain in MORE_OPERATORS or _is_core(plain)
    if not is_known:
        raise _UnsafeError(f"operator {shown(target)}, which is not among those of networks")
    packet = getattr(getattr(torch.ops, library), name, None)
    if overload not in getattr(packet, "overloads", list)():
        raise _UnsafeError(f"operator {shown(target)}, which this torch does not have")


def _is_core(name: str) -> bool:
    packet = getattr(torch.ops.aten, name, None)
    if not isinstance(packet, torch._ops.OpOverloadPacket):
        return False
    return any(torch.Tag.core in getattr(packet, overload).tags for overload in packet.overloads())


def _check_words(value: Any, place: str = "") -> None:
    """Raise unless each string under the key ``place`` matches the pattern of its key."""
    if isinstance(value, dict):
        keys = RANGE if place == "range_constraints" else PATH
        for key, child in value.items():
            if key in REFUSED or not keys.fullmatch(key):
                raise _UnsafeError(f"{shown(key)} in {place or 'the graph'!r}")
            _check_words(child, key)
    elif isinstance(value, list):
        for child in value:
            _check_words(child, place)
    elif isinstance(value, str):
        _FORMS.get(place, _check_word)(value)


def _check_word(text: str) -> None:
    if not (WORD.fullmatch(text) or NUMBER.fullmatch(text)):
        raise _UnsafeError(shown(text))


def _check_text(text: str) -> None:
    if not EQUATION.fullmatch(text):
        _check_word(text)


def _matches(form: re.Pattern[str]) -> Callable[[str], None]:
    def check(text: str) -> None:
        if not form.fullmatch(text):
            raise _UnsafeError(shown(text))

    return check


def _check_structure(text: str) -> None:
    """Raise unless a JSON text nests only tuples, lists and dictionaries (a pytree spec)."""
    waiting = [json.loads(text)]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, dict):
            if value.get("type") not in (None, "builtins.tuple", "builtins.list", "builtins.dict"):
                raise _UnsafeError(f"a structure of {shown(value.get('type'))}")
            context = value.get("context")
            if context not in (None, "null"):
                _check_words(json.loads(context))
            waiting.extend(child for key, child in value.items() if key not in ("type", "context"))
        elif not (value is None or isinstance(value, int)):
            raise _UnsafeError(f"{shown(value)} in a structure")


def _check_size(text: str) -> None:
    if not is_size(text):
        raise _UnsafeError(f"the size {shown(text)}")


_FORMS: dict[str, Callable[[str], None]] = {
    "target": _check_operator,
    "as_string": _check_text,
    "expr_str": _check_size,
    "in_spec": _check_structure,
    "out_spec": _check_structure,
    "torch_version": _matches(VERSION),
    **dict.fromkeys(
        ("parameter_name", "buffer_name", "tensor_constant_name", "fqn"), _matches(PATH)
    ),
}
