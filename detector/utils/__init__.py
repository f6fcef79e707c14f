"""Errors, files, YAML, OpenCV and what else knows nothing of detectors."""
