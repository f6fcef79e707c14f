"""Blocks, one architecture a file; importing the package registers them for model files."""

from detector.layers import conv, csp, osa, plain, repvgg, se, vgg

__all__ = ["conv", "csp", "osa", "plain", "repvgg", "se", "vgg"]
