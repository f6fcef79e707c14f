"""Weights of timm's networks as they are, for a backbone that is one of them.

``features_only`` renames layers: ``stages.0.blocks.1`` becomes ``stages_0.blocks.1``, and some
networks are put below ``model.``. Names are compared without dots, so that a classifier's weights
and those of its features both find their places.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from detector.layers.timm_backbone import TimmBackbone
from detector.model.detector import Detector
from detector.weights.interop.input_layers import fit_input_layers

WRAPPER = "model."
"""Prefix of the names in networks that timm wraps to get their features."""


def find_timm_backbone(model: Detector) -> tuple[str, TimmBackbone] | None:
    """Return path and module of the row that is one of timm's networks, or None."""
    found = (i for i, module in enumerate(model.rows) if isinstance(module, TimmBackbone))
    index = next(found, None)
    if index is None:
        return None
    backbone = model.rows[index]
    assert isinstance(backbone, TimmBackbone)
    return f"rows.{index}", backbone


def is_of_timm_backbone(state: Mapping[str, Tensor], model: Detector) -> bool:
    """Return whether weights of another project have names of the network's timm backbone."""
    found = find_timm_backbone(model)
    ours = any(name.startswith("rows.") for name in state)
    return found is not None and not ours and bool(_places(state, found[1]))


def with_our_names(state: Mapping[str, Tensor], model: Detector) -> dict[str, Tensor]:
    """Return the weights under our names; those without a place, a classifier's, keep theirs.

    Args:
        state: weights that satisfy :func:`is_of_timm_backbone`.
        model: the network to load them into. They are converted to its input's
            mean, scale and channel order.

    Raises:
        DetectorError: they cannot be converted to the input; names the input that they expect.
    """
    found = find_timm_backbone(model)
    assert found is not None
    path, backbone = found
    places = _places(state, backbone)
    placed = {
        f"{path}.net.{places[name]}" if name in places else name: tensor
        for name, tensor in state.items()
    }
    return fit_input_layers(placed, backbone.published.input, model)


def _places(state: Mapping[str, Tensor], backbone: TimmBackbone) -> dict[str, str]:
    """Return the names of weights that have a place in the backbone → the names there."""
    own = {_plain(name.removeprefix(WRAPPER)): name for name in backbone.net.state_dict()}
    plain = {name: _plain(name.removeprefix(WRAPPER)) for name in state}
    return {name: own[key] for name, key in plain.items() if key in own}


def _plain(name: str) -> str:
    return name.replace(".", "_")
