"""Data sets: definitions, label readers, the check before training, transforms, the loader."""
