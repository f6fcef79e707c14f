"""Typed settings of the tools, from which flags, presets and quick-start blocks are made."""
