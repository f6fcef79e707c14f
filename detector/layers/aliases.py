"""Aliases of blocks: names and orders of arguments that published model files use."""

from detector.layers.activation import Activation
from detector.layers.osa import OSAModule
from detector.layers.se import ESEBlock
from detector.registry import Count, Width, register

register("eSE", "eSEModule")(ESEBlock)


@register("_OSA_module", "OSA_module", "OSAModule")
class NamedOSAModule(OSAModule):
    """OSA module with the argument order of VoVNet.pytorch (models_vovnet/vovnet.py).

    Args:
        stage_ch: width of the chained convolutions.
        c_out: width after the concatenation.
        layer_per_block: number of chained convolutions.
        module_name: ignored; VoVNet.pytorch names its layers by it.
        identity: add the input to the output, for which c_in must be c_out.
    """

    def __init__(
        self,
        c_in: int,
        stage_ch: Width,
        c_out: Width,
        layer_per_block: Count = 5,
        module_name: str = "",
        identity: bool = False,
        activation: Activation = "SiLU",
    ) -> None:
        super().__init__(
            c_in, c_out, stage_ch, layer_per_block, identity=identity, activation=activation
        )
