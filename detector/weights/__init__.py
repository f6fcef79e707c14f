"""Checkpoints, start weights, weights of other projects."""
