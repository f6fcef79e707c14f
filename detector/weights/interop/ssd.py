"""SSD weights of torchvision (``ssd300_vgg16``) and of ssd.pytorch, as state dictionaries.

ssd.pytorch (amdegroot): ``vgg.N``, ``extras.N``, ``L2Norm.weight``, ``loc.N``, ``conf.N``.
torchvision: ``backbone.features.N``, ``backbone.extra.…``, ``backbone.scale_weight``,
``head.regression_head.module_list.N``, ``head.classification_head.module_list.N``.
Both order a level's predictions as we do: box after box, with the background as class 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from detector.model.detector import Detector, build
from detector.utils.errors import DetectorError
from detector.weights.interop.order import convolutions, count_outputs, layers, pair
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


_SSD_PYTORCH = _NamePrefixes(("vgg.", "extras."), "L2Norm.weight", "loc.", "conf.")
_TORCHVISION = _NamePrefixes(
    ("backbone.features.", "backbone.extra."),
    "backbone.scale_weight",
    "head.regression_head.module_list.",
    "head.classification_head.module_list.",
)


def is_ssd(state: Mapping[str, Tensor]) -> bool:
    """Return whether the names are those of one of the two projects."""
    return _layout(state) is not None


def is_ssd_pytorch(state: Mapping[str, Tensor]) -> bool:
    """Return whether the names are those of ssd.pytorch."""
    return _layout(state) is _SSD_PYTORCH


def is_torchvision(state: Mapping[str, Tensor]) -> bool:
    """Return whether the names are those of torchvision's SSD."""
    return _layout(state) is _TORCHVISION


def with_our_names(state: Mapping[str, Tensor], model: Detector) -> dict[str, Tensor]:
    """Return the weights under the names of one of our SSD networks; others keep their names.

    Args:
        state: weights that satisfy :func:`is_ssd`.
        model: the network to load them into.

    Raises:
        DetectorError: the network has another number of convolutions or levels.
    """
    names = list(model.state_dict())
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
    return result | _without_a_place(state, layout)


def build_network(state: Mapping[str, Tensor], path: Path) -> Detector:
    """Build SSD300 or SSD512 on VGG16 with fresh weights.

    Default boxes are those that the projects use: VOC's for ssd.pytorch with 20 classes, else
    COCO's. Class names are VOC's or COCO's if the number of classes matches.

    Raises:
        DetectorError: the weights are of another number of levels.
    """
    layout = _layout(state)
    assert layout is not None
    levels = len(layers(state, layout.classes))
    if levels not in CFG_OF_LEVELS:
        raise DetectorError(f"SSD weights of {levels} levels, expected 6 or 7", file=path)
    classes = count_classes(state)
    voc = layout is _SSD_PYTORCH and classes == VOC_CLASSES
    return build(CFG_OF_LEVELS[levels], class_names(classes), "voc" if voc else "coco")


def count_classes(state: Mapping[str, Tensor]) -> int:
    """Return the number of classes, without the background, of weights in a known layout."""
    layout = _layout(state)
    assert layout is not None
    return count_outputs(state, f"{layout.classes}0.weight") // BOXES_OF_FIRST_LEVEL - 1


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


def _without_a_place(state: Mapping[str, Tensor], layout: _NamePrefixes) -> dict[str, Tensor]:
    """Return tensors that SSD has no layer for, such as a batch norm's, under their names."""
    prefixes = (*layout.body, layout.offsets, layout.classes)
    paths = [path for prefix in prefixes for path in layers(state, prefix)]
    known = {layout.norm, *(f"{path}.{part}" for path in paths for part in ("weight", "bias"))}
    return {name: tensor for name, tensor in state.items() if name not in known}


def _layout(state: Mapping[str, Tensor]) -> _NamePrefixes | None:
    for layout in (_SSD_PYTORCH, _TORCHVISION):
        if layout.norm in state and f"{layout.classes}0.weight" in state:
            return layout
    return None
