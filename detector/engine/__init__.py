"""Training: settings in, checkpoints and figures out."""
