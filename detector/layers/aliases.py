"""Other names that model files in circulation use for our blocks."""

from detector.layers.se import ESEBlock
from detector.registry import register

register("eSE", "eSEModule")(ESEBlock)
