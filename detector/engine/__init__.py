"""Training: settings in, checkpoints and metrics out."""
