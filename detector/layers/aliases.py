"""Other names that model files in circulation use for our blocks, and other orders of arguments."""

from detector.layers.activation import Activation
from detector.layers.osa import OSAModule
from detector.layers.se import ESEBlock
from detector.registry import Count, Width, register

register("eSE", "eSEModule")(ESEBlock)


@register("_OSA_module", "OSA_module", "OSAModule")
class NamedOSAModule(OSAModule):
    """One OSA module with the arguments of VoVNet.pytorch's (models_vovnet/vovnet.py).

    Args:
        stage_ch: width of the chained convolutions.
        c_out: width after the concatenation.
        layer_per_block: chained convolutions.
        module_name: names its layers there and nothing here.
        identity: with the input added; then c_in is c_out.
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
