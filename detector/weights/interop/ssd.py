"""SSD weights of torchvision (``ssd300_vgg16``) and of ssd.pytorch, as state dictionaries.

ssd.pytorch (amdegroot): ``vgg.N``, ``extras.N``, ``L2Norm.weight``, ``loc.N``, ``conf.N``.
torchvision: ``backbone.features.N``, ``backbone.extra.…``, ``backbone.scale_weight``,
``head.regression_head.module_list.N``, ``head.classification_head.module_list.N``.
Both order a level's predictions as we do: box after box, with the background as class 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from detector.model.detector import Detector, build
from detector.utils.errors import DetectorError, one_line
from detector.weights.interop.order import convolutions, layers, pair
from detector.weights.interop.packaged_names import COCO_CLASSES, packaged_names

CFG_OF_LEVELS = {6: "ssd300_vgg16", 7: "ssd512_vgg16"}
"""Packaged model file by number of feature levels."""
BOXES_OF_FIRST_LEVEL = 4
"""Number of default boxes per cell on the first level."""
VOC_CLASSES, COCO_IDS = 20, 90
"""Numbers of classes by which VOC's and, beside 80, COCO's class names are recognized."""
UNUSED_COCO_IDS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
"""Ids from 1 to 90 that COCO's 80 categories leave out; torchvision's head predicts them too."""


@dataclass(frozen=True)
class _NamePrefixes:
    """Name prefixes of the parts of SSD in one project.

    Attributes:
        body: prefixes of backbone and extra layers.
        norm: full name of the L2 norm's scale.
        offsets: prefix of the box regression layers.
        classes: prefix of the classification layers.
    """

    body: tuple[str, ...]
    norm: str
    offsets: str
    classes: str


_LAYOUTS = (
    _NamePrefixes(("vgg.", "extras."), "L2Norm.weight", "loc.", "conf."),
    _NamePrefixes(
        ("backbone.features.", "backbone.extra."),
        "backbone.scale_weight",
        "head.regression_head.module_list.",
        "head.classification_head.module_list.",
    ),
)


def is_ssd(state: Mapping[str, Tensor]) -> bool:
    """Return whether the names are those of one of the two projects."""
    return _layout(state) is not None


def with_our_names(state: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """Return the weights under the names of one of our SSD networks.

    Args:
        state: weights that satisfy :func:`is_ssd`.
        names: names in the network's state dictionary.

    Raises:
        DetectorError: the network has another number of convolutions or levels.
    """
    names = list(names)
    layout = _layout(state)
    assert layout is not None
    body = [path for prefix in layout.body for path in layers(state, prefix)]
    result = pair(state, body, convolutions(names), "SSD weights")
    for theirs, ours in ((layout.offsets, ".offsets."), (layout.classes, ".classes.")):
        heads = sorted({n.rpartition(".")[0] for n in names if ours in n and n.endswith("weight")})
        result |= pair(state, layers(state, theirs), heads, "SSD head")
    norm = [name for name in names if name.endswith(".weight") and name.count(".") == 2]
    if len(norm) == 1:
        result[norm[0]] = state[layout.norm].flatten()
    return result


def load_ssd(state: Mapping[str, Tensor], path: Path) -> Detector:
    """Build SSD300 or SSD512 on VGG16 and load all weights; the network is in eval mode.

    Default boxes are those that the projects use: VOC's for ssd.pytorch with 20 classes, else
    COCO's. Class names are VOC's or COCO's if the number of classes matches.

    Raises:
        DetectorError: the weights do not fit the network.
    """
    layout = _layout(state)
    assert layout is not None
    levels = len(layers(state, layout.classes))
    if levels not in CFG_OF_LEVELS:
        raise DetectorError(f"SSD weights of {levels} levels, expected 6 or 7", file=path)
    classes = count_classes(state)
    voc = layout.norm == "L2Norm.weight" and classes == VOC_CLASSES
    try:
        model = build(CFG_OF_LEVELS[levels], class_names(classes), "voc" if voc else "coco")
        ours = with_our_names(state, model.state_dict())
        _check_places(state, layout)
        model.load_state_dict(ours, strict=True)
    except (DetectorError, RuntimeError) as error:
        raise DetectorError(f"its SSD weights do not fit: {one_line(error)}", file=path) from error
    return model.eval()


def count_classes(state: Mapping[str, Tensor]) -> int:
    """Return the number of classes, without the background, of weights in a known layout."""
    layout = _layout(state)
    assert layout is not None
    first = layers(state, layout.classes)[0]
    return state[f"{first}.weight"].shape[0] // BOXES_OF_FIRST_LEVEL - 1


def known_names(state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return VOC's or COCO's class names if their number matches, else nothing."""
    names = class_names(count_classes(state))
    return names if isinstance(names, tuple) else ()


def class_names(classes: int) -> int | tuple[str, ...]:
    """Return VOC's or COCO's class names if their number matches, else the number itself."""
    if classes == VOC_CLASSES:
        return packaged_names("voc")
    if classes in (COCO_CLASSES, COCO_IDS):
        names = iter(packaged_names("coco"))
        if classes == COCO_CLASSES:
            return tuple(names)
        ids = range(1, COCO_IDS + 1)
        return tuple(f"unused {i}" if i in UNUSED_COCO_IDS else next(names) for i in ids)
    return classes


def _check_places(state: Mapping[str, Tensor], layout: _NamePrefixes) -> None:
    """Raise DetectorError for a tensor that SSD has no layer for, such as a batch norm's."""
    prefixes = (*layout.body, layout.offsets, layout.classes)
    paths = [path for prefix in prefixes for path in layers(state, prefix)]
    known = {layout.norm, *(f"{path}.{part}" for path in paths for part in ("weight", "bias"))}
    for name in state:
        if name not in known:
            raise DetectorError(f"{name!r} has no place in the network")


def _layout(state: Mapping[str, Tensor]) -> _NamePrefixes | None:
    for layout in _LAYOUTS:
        if layout.norm in state and f"{layout.classes}0.weight" in state:
            return layout
    return None
