"""Prediction without torch: backends, suppression, sources, drawing and writers.

The way of an image: ``sources`` → ``pipeline`` (preprocess → backend → ``nms``) → ``writers``.
"""
