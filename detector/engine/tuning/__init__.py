"""Search for the settings of a training, on Optuna."""
