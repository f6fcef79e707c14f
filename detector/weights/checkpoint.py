"""Weights on disk: saved with all that is needed to build the network again, and nothing that runs.

A ``.safetensors`` file holds the weights in float32 and a card: the model file's text, class
names, preprocessing, and how far the training was. The state that a training run goes on from
is a file of its own.
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
from detector.settings import TaskName
from detector.structures.preprocess import Preprocess
from detector.utils.archive import Archive
from detector.utils.errors import DetectorError, nearest, one_line
from detector.utils.files import as_path, atomic
from detector.utils.keywords import refuses_unknown_keywords
from detector.utils.yaml_file import Strict, explain
from detector.weights.interop.ssd import is_ssd, load_ssd
from detector.weights.interop.state_dict import read_state_dict
from detector.weights.interop.yolov5 import is_foreign, load_yolov5, read_yolov5

SUFFIX = ".safetensors"
EXPORTED = (".onnx", ".xml", ".pt2")
STATE_SUFFIX = ".state.pt"
CARD_KEY, CHECKSUM_KEY = "detector", "crc32"
MAX_HEADER_BYTES = 1 << 24


class CheckpointMetadata(Strict):
    """What a weights file says about itself."""

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
    """Write the weights and the card; the network stays as it is, the file appears whole.

    Args:
        path: ends in ``.safetensors``.
        model: its weights are written in float32.
        training: epoch, metrics: anything that JSON can say.

    Raises:
        DetectorError: it cannot be written, or reads differently; what was there before stays.
    """
    card = metadata_of(model, training).model_dump_json()
    tensors = {name: _portable(tensor) for name, tensor in model.state_dict().items()}
    metadata = {CARD_KEY: card, CHECKSUM_KEY: _checksum(card, tensors)}
    with atomic(path) as temporary:
        temporary.write_bytes(save(tensors, metadata))
        _check_sum(*_open(temporary), temporary)


def metadata_of(model: Detector, training: Mapping[str, Any] | None = None) -> CheckpointMetadata:
    """What there is to say about a network: all that it can be built from, without weights."""
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
    """The network of a card in JSON, which stands in the file ``path``, with random weights.

    Raises:
        DetectorError: it is no card, or says nothing that can be built.
    """
    card = _card(text, path)
    try:
        model = rebuild(Definition(card.model, card.model_path, card.variant, card.names))
    except DetectorError as error:
        raise DetectorError(f"its network cannot be built: {one_line(error)}", file=path) from error
    if card.deployed:
        model = fuse_modules(model)
    model.preprocess = card.preprocess
    _mark_fitted(model)
    return model


@refuses_unknown_keywords
def load(path: str | Path, device: torch.device | str = "cpu") -> Detector:
    """Load a network with its weights, in eval mode.

    Args:
        path: ``.safetensors``, a YOLOv5 checkpoint, or SSD weights of torchvision or ssd.pytorch.
        device: where its weights go.

    Raises:
        DetectorError: missing, damaged, of another kind, or the weights do not fit the network.
    """
    path = as_path(path, "path")
    _check_kind(path)
    model = _load_foreign(path) if _is_foreign(path) else _load_own(path)
    return model.eval().to(device)


def read_metadata(path: str | Path) -> CheckpointMetadata:
    """What a ``.safetensors`` file says about itself; the weights stay on disk."""
    metadata, _ = _open(Path(path), weights=False)
    return _card(_card_text(metadata, Path(path)), Path(path))


def find_metadata(path: str | Path) -> CheckpointMetadata | None:
    """What a weights file says about itself; nothing, if it was not saved here.

    Raises:
        DetectorError: missing, damaged, or no weights.
    """
    path = Path(path)
    _check_kind(path)
    if _is_foreign(path):
        return None
    metadata, _ = _open(path, weights=False)
    return _card(metadata[CARD_KEY], path) if CARD_KEY in metadata else None


def read_state(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file or of a foreign checkpoint, for start weights.

    Raises:
        DetectorError: as :func:`load`.
    """
    path = Path(path)
    _check_kind(path)
    if not _is_foreign(path):
        metadata, tensors = _open(path)
        if CARD_KEY in metadata:
            _check_sum(metadata, tensors, path)
        return tensors
    try:
        return read_yolov5(path).state
    except DetectorError as no_network:
        try:
            return read_state_dict(path)
        except DetectorError:
            raise no_network from None


def save_training_state(
    path: str | Path, state: Mapping[str, Any], previous: Path | None = None
) -> None:
    """Write what a training run goes on from; read back before it takes the old one's place.

    Args:
        path: ends in ``.state.pt``.
        state: tensors and plain values.
        previous: where the state that was there before is kept.

    Raises:
        DetectorError: it cannot be written, or reads differently; what was there before stays.
    """
    with atomic(path, previous) as temporary:
        with temporary.open("wb") as file:
            _write_state(state, file)
        with Archive(temporary) as archive:
            archive.check()


def load_training_state(path: str | Path) -> dict[str, Any]:
    """Read it again: tensors and plain values only.

    Raises:
        DetectorError: missing, damaged, or it holds something else.
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
    except RuntimeError as error:  # torch's writer covers what the file said, a full disk say
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def _check_kind(path: Path) -> None:
    if path.suffix.lower() in EXPORTED:
        raise DetectorError(
            "an exported file, which detect and val run; expected .safetensors or .pt", file=path
        )
    if not path.is_file():
        raise DetectorError("no such file; expected weights", file=path)
    if path.name.endswith(STATE_SUFFIX):
        raise DetectorError(
            "what a training run goes on from; its weights lie beside it, in a .safetensors file",
            file=path,
        )


def _is_foreign(path: Path) -> bool:
    return path.suffix.lower() != SUFFIX and is_foreign(path)


def _load_foreign(path: Path) -> Detector:
    """A YOLOv5 checkpoint, or a dictionary of SSD weights."""
    try:
        return load_yolov5(path)
    except DetectorError as no_network:
        try:
            state = read_state_dict(path)
        except DetectorError:
            raise no_network from None
        if not is_ssd(state):
            raise no_network
        return load_ssd(state, path)


def _load_own(path: Path) -> Detector:
    metadata, tensors = _open(path)
    text = _card_text(metadata, path)
    _check_sum(metadata, tensors, path)
    model = build_from_metadata(text, path)
    _load_strictly(model, tensors, path)
    return model


def _open(path: Path, weights: bool = True) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a safetensors file."""
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


def _card_text(metadata: Mapping[str, str], path: Path) -> str:
    text = metadata.get(CARD_KEY)
    if text is None:
        raise DetectorError(
            f"no {CARD_KEY!r} metadata (model file, class names): not weights that were saved here",
            file=path,
        )
    return text


def _card(text: str, path: Path) -> CheckpointMetadata:
    try:
        return CheckpointMetadata.model_validate_json(text)
    except pydantic.ValidationError as error:
        problem = explain(CheckpointMetadata, error.errors()[0])
        raise DetectorError(f"{CARD_KEY!r} metadata: {problem}", file=path) from error


def _portable(tensor: Tensor) -> Tensor:
    """A copy on the CPU, floating-point numbers as float32."""
    dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to("cpu", dtype, copy=True).contiguous()


def _checksum(card: str, tensors: Mapping[str, Tensor]) -> str:
    """CRC-32 of the card, then of each tensor's name, type, shape and bytes."""
    value = zlib.crc32(card.encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        about = json.dumps([name, str(tensor.dtype), list(tensor.shape)])
        value = zlib.crc32(about.encode(), value)
        value = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, value)
    return f"{value:08x}"


def _check_sum(metadata: Mapping[str, str], tensors: Mapping[str, Tensor], path: Path) -> None:
    found = _checksum(metadata[CARD_KEY], tensors)
    if metadata.get(CHECKSUM_KEY) != found:
        raise DetectorError("damaged: its checksum does not match its content", file=path)


def _load_strictly(model: Detector, tensors: Mapping[str, Tensor], path: Path) -> None:
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
    """Tell the head that all its tensors came with weights."""
    hook(model.head, "mark_loaded")(model.head.state_dict().keys())


def shape_of(tensor: Tensor) -> str:
    """A shape as people write it, 3×64×64."""
    return "×".join(map(str, tensor.shape)) or "one number"
