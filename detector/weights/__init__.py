"""Checkpoints, start weights, and readers for other projects' weights."""
