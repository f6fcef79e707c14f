"""Loggers of a training, one service a file; ``callback.py`` joins them to the events of a run."""
