"""Restricted reader of pickles and PyTorch checkpoints that runs no code."""
