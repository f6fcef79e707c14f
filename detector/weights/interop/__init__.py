"""Readers for other projects' checkpoints, one file per project: weights and model YAML only."""
