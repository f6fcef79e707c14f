"""Prediction without torch: backends, NMS, sources and writers.

Data flow: ``sources`` → ``pipeline`` (preprocess → backend → ``nms``) → ``writers``.
"""
