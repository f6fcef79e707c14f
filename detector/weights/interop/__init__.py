"""Checkpoints of other projects, one file a project. They give weights and their YAML, no more."""
