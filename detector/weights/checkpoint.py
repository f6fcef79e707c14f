"""Checkpoints: weights stored with everything needed to rebuild the network, and no code.

A ``.safetensors`` file holds the weights in float32 and, as JSON, a :class:`CheckpointMetadata`:
the model file's text, class names, preprocessing, and training progress. The state from which a
training run is resumed is a separate file.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Annotated, Any, Literal

import pydantic
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from detector import __version__
from detector.heads.head import hook
from detector.model.deploy import fuse_modules
from detector.model.detector import Definition, Detector, rebuild
from detector.settings.values import TaskName
from detector.structures.preprocess import Preprocess
from detector.utils.archive import Archive
from detector.utils.errors import DetectorError, nearest, one_line
from detector.utils.files import (
    as_path,
    atomic,
    check_start,
    is_file,
    missing_weights,
    refuse_special,
)
from detector.utils.keywords import refuses_unknown_keywords
from detector.utils.yaml_file import Strict, explain
from detector.weights.interop.networks import YOLO, Origin, find_network
from detector.weights.interop.state_dict import NoStateDictError, StateDict, read_state_dict
from detector.weights.interop.yolov5 import (
    find_yolov5_names,
    is_foreign,
    load_yolov5,
    read_yolov5,
)

SUFFIX = ".safetensors"
EXPORTED = (".onnx", ".xml", ".pt2")
STATE_SUFFIX = ".state.pt"
METADATA_KEY, CHECKSUM_KEY = "detector", "crc32"
"""Keys in the header of a ``.safetensors`` file: the metadata as JSON, and the checksum."""
MAX_HEADER_BYTES = 1 << 24
"""Largest header of a ``.safetensors`` file that is read."""


class CheckpointMetadata(Strict):
    """Description of a network that a weights file carries: enough to rebuild it."""

    format: Literal[1] = 1
    version: str
    task: TaskName = "detect"
    model: str
    model_path: str
    variant: str | None
    names: Annotated[tuple[str, ...], pydantic.Field(min_length=1)]
    preprocess: Preprocess
    deployed: bool
    training: dict[str, Any] = {}


def save_weights(
    path: str | Path, model: Detector, training: Mapping[str, Any] | None = None
) -> None:
    """Write weights and metadata atomically, and verify the file's checksum.

    Args:
        path: ends in ``.safetensors``.
        model: its weights are written in float32; it is not changed.
        training: training progress, such as epoch and metrics; any values that JSON supports.

    Raises:
        DetectorError: the file cannot be written, or fails verification; a file that existed
            before is kept.
    """
    metadata = metadata_of(model, training).model_dump_json()
    tensors = {name: _portable(tensor) for name, tensor in model.state_dict().items()}
    header = {METADATA_KEY: metadata, CHECKSUM_KEY: _checksum(metadata, tensors)}
    with atomic(path) as temporary:
        temporary.write_bytes(save(tensors, header))
        _verify_checksum(*_open(temporary), temporary)


def metadata_of(model: Detector, training: Mapping[str, Any] | None = None) -> CheckpointMetadata:
    """Return the metadata needed to rebuild the architecture (no weights)."""
    definition = model.definition
    return CheckpointMetadata(
        version=__version__,
        task=model.task,
        model=definition.text,
        model_path=definition.path,
        variant=definition.variant,
        names=definition.names,
        preprocess=model.preprocess,
        deployed=model.deployed,
        training=dict(training or {}),
    )


def build_from_metadata(text: str, path: Path) -> Detector:
    """Build the network that metadata describes, with random weights.

    Args:
        text: a :class:`CheckpointMetadata` as JSON.
        path: the file that holds it, for error messages.

    Raises:
        DetectorError: the JSON is invalid, or the network cannot be built.
    """
    metadata = _parse_metadata(text, path)
    definition = Definition(metadata.model, metadata.model_path, metadata.variant, metadata.names)
    try:
        model = rebuild(definition)
    except DetectorError as error:
        raise DetectorError(f"its network cannot be built: {one_line(error)}", file=path) from error
    if metadata.deployed:
        model = fuse_modules(model)
    model.preprocess = metadata.preprocess
    _mark_fitted(model)
    return model


@refuses_unknown_keywords
def load(path: str | Path, device: torch.device | str = "cpu") -> Detector:
    """Load a network with its weights, in eval mode.

    Args:
        path: ``.safetensors``, a checkpoint that holds its YAML (YOLOv5, YOLOv7, YOLOv8 and
            later), or the weights of a family without one (SSD, YOLOX, PP-YOLOE, …), whose licence
            is logged.
        device: device that the network is moved to.

    Raises:
        DetectorError: the file is missing, damaged or of another kind, or its weights do not fit
            the network.
    """
    path = as_path(path, "path")
    model, origin = _load(path)
    if origin is not None:
        origin.say(path)
    return model.to(device)


def load_quietly(path: Path) -> Detector:
    """Load a network as :func:`load` does, to look at it: the licence is not logged."""
    return _load(path)[0]


def read_metadata(path: str | Path) -> CheckpointMetadata:
    """Return the metadata of a ``.safetensors`` file without reading its weights."""
    header, _ = _open(Path(path), weights=False)
    return _parse_metadata(_metadata_text(header, Path(path)), Path(path))


def find_metadata(path: str | Path) -> CheckpointMetadata | None:
    """Return the metadata of a weights file, or None for a file of another project.

    Raises:
        DetectorError: the file is missing, damaged, or not a weights file.
    """
    path = Path(path)
    _check_kind(path)
    if _is_foreign(path):
        return None
    header, _ = _open(path, weights=False)
    return _parse_metadata(header[METADATA_KEY], path) if METADATA_KEY in header else None


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a ``.safetensors`` file or of a foreign checkpoint, for start weights.

    The licence of published weights is logged.

    Raises:
        DetectorError: the file is missing, damaged or of another kind.
    """
    path = Path(path)
    _check_kind(path)
    if not _is_foreign(path):
        header, tensors = _open(path)
        if METADATA_KEY in header:
            _verify_checksum(header, tensors, path)
        return tensors
    state, origin = _read_foreign(path)
    if origin is not None:
        origin.say(path)
    return state


def find_class_names(path: Path, state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return the class names of start weights; empty if the file has none.

    Weights of a family without names have those of VOC or COCO if their number of classes matches.

    Args:
        path: the file.
        state: its tensors, as :func:`read_state` returns them.
    """
    metadata = find_metadata(path)
    if metadata is not None:
        return metadata.names
    network = find_network(state)
    if network is not None:
        return network.class_names(state)
    return find_yolov5_names(path) if _is_foreign(path) else ()


def save_training_state(
    path: str | Path, state: Mapping[str, Any], previous: Path | None = None
) -> None:
    """Write the state from which a training run is resumed, verified before it replaces a file.

    Args:
        path: ends in ``.state.pt``.
        state: tensors and plain values.
        previous: where the file that is replaced is kept; None discards it.

    Raises:
        DetectorError: the file cannot be written, or fails verification; a file that existed
            before is kept.
    """
    with atomic(path, previous) as temporary:
        with temporary.open("wb") as file:
            _write_state(state, file)
        with Archive(temporary) as archive:
            archive.check()


def load_training_state(path: str | Path) -> dict[str, Any]:
    """Read the state of a training run: tensors and plain values only.

    Raises:
        DetectorError: the file is missing, damaged, or holds something else.
    """
    path = Path(path)
    with Archive(path) as archive:
        archive.check()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle may fail in any way
        message = f"not the state of a training run: {one_line(error)}"
        raise DetectorError(message, file=path) from error
    if not isinstance(state, dict):
        raise DetectorError("not the state of a training run", file=path)
    return state


def _write_state(state: Mapping[str, Any], file: IO[bytes]) -> None:
    try:
        torch.save(dict(state), file)
    except RuntimeError as error:  # torch's writer hides the file's own error, such as a full disk
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def _check_kind(path: Path) -> None:
    if path.suffix.lower() in EXPORTED:
        raise DetectorError(
            "an exported file, for detect and val only; expected .safetensors or .pt", file=path
        )
    refuse_special(path, "weights")
    if not is_file(path):
        raise missing_weights(path)
    check_start(path, "weights")
    if path.name.endswith(STATE_SUFFIX):
        raise DetectorError(
            "the state of a training run; its weights are in the .safetensors file beside it",
            file=path,
        )


def _is_foreign(path: Path) -> bool:
    return path.suffix.lower() != SUFFIX and is_foreign(path)


def _read_foreign(path: Path) -> StateDict:
    """Read the tensors of a checkpoint with its YAML, or a dictionary of weights."""
    try:
        return StateDict(read_yolov5(path).state, YOLO)
    except DetectorError as no_network:
        return _read_dictionary(path, no_network)


def _read_dictionary(path: Path, no_network: DetectorError) -> StateDict:
    """Read a dictionary of weights; raise the error about the missing network if there is none."""
    try:
        return read_state_dict(path)
    except NoStateDictError:
        raise no_network from None


def _load(path: Path) -> tuple[Detector, Origin | None]:
    """Load a network in eval mode; return it and its family of published weights, if any."""
    _check_kind(path)
    model, origin = _load_foreign(path) if _is_foreign(path) else (_load_own(path), None)
    return model.eval(), origin


def _load_foreign(path: Path) -> tuple[Detector, Origin]:
    """Load a checkpoint with its YAML, or a dictionary of weights of a family known by names."""
    try:
        return load_yolov5(path), YOLO
    except DetectorError as no_network:
        state = _read_dictionary(path, no_network).tensors
        network = find_network(state)
        if network is None:
            raise no_network
        return network.load(state, path), network.origin


def _load_own(path: Path) -> Detector:
    header, tensors = _open(path)
    text = _metadata_text(header, path)
    _verify_checksum(header, tensors, path)
    model = build_from_metadata(text, path)
    _load_strictly(model, tensors, path)
    return model


def _open(path: Path, weights: bool = True) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return header and tensors of a safetensors file; no tensors unless ``weights``."""
    refuse_special(path, "weights")
    try:
        with path.open("rb") as file:
            start = file.read(8)
        header_size = int.from_bytes(start, "little")
        if len(start) < 8 or header_size + 8 > path.stat().st_size:
            raise DetectorError("damaged or not a .safetensors file", file=path)
        if header_size > MAX_HEADER_BYTES:
            raise DetectorError(
                f"its header has {header_size} bytes, at most {MAX_HEADER_BYTES} are read",
                file=path,
            )
        with safe_open(path, framework="pt") as opened:
            names = opened.keys() if weights else ()
            return opened.metadata() or {}, {name: opened.get_tensor(name) for name in names}
    except OSError as error:
        raise DetectorError(f"cannot be read: {error.strerror or error}", file=path) from error
    except (SafetensorError, ValueError, TypeError, RuntimeError) as error:
        message = f"damaged or not a .safetensors file: {one_line(error)}"
        raise DetectorError(message, file=path) from error


def _metadata_text(header: Mapping[str, str], path: Path) -> str:
    text = header.get(METADATA_KEY)
    if text is None:
        raise DetectorError(
            f"no {METADATA_KEY!r} metadata (model file, class names): "
            "not saved by this package, usable as start weights only",
            file=path,
        )
    return text


def _parse_metadata(text: str, path: Path) -> CheckpointMetadata:
    try:
        return CheckpointMetadata.model_validate_json(text)
    except pydantic.ValidationError as error:
        issue = explain(CheckpointMetadata, error.errors()[0])
        raise DetectorError(f"{METADATA_KEY!r} metadata: {issue}", file=path) from error


def _portable(tensor: Tensor) -> Tensor:
    """Copy a tensor to the CPU, floating-point numbers as float32."""
    dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to("cpu", dtype, copy=True).contiguous()


def _checksum(metadata: str, tensors: Mapping[str, Tensor]) -> str:
    """Return the CRC-32 of the metadata and of each tensor's name, type, shape and bytes."""
    value = zlib.crc32(metadata.encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        description = json.dumps([name, str(tensor.dtype), list(tensor.shape)])
        value = zlib.crc32(description.encode(), value)
        value = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, value)
    return f"{value:08x}"


def _verify_checksum(header: Mapping[str, str], tensors: Mapping[str, Tensor], path: Path) -> None:
    found = _checksum(header[METADATA_KEY], tensors)
    if header.get(CHECKSUM_KEY) != found:
        raise DetectorError("damaged: its checksum does not match its content", file=path)


def _load_strictly(model: Detector, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load tensors by name; raise DetectorError if names or shapes differ from the network's."""
    own = model.state_dict()
    for name, tensor in own.items():
        if name not in tensors:
            raise DetectorError(f"weight {name!r} is missing", file=path)
        if tensors[name].shape != tensor.shape:
            raise DetectorError(
                f"weight {name!r} is {shape_of(tensors[name])}, expected {shape_of(tensor)}",
                file=path,
            )
    for name in tensors:
        if name not in own:
            hint = nearest(name, own)
            raise DetectorError(f"weight {name!r} has no place in the network{hint}", file=path)
    model.load_state_dict(tensors, strict=True)


def _mark_fitted(model: Detector) -> None:
    """Tell the head that all its tensors are loaded, so that none is fitted to data again."""
    hook(model.head, "mark_loaded")(model.head.state_dict().keys())


def shape_of(tensor: Tensor) -> str:
    """Return a shape as text for messages, such as ``3×64×64``."""
    return "×".join(map(str, tensor.shape)) or "one number"
