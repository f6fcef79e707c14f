"""Shared values: boxes, images, samples, detections, preprocessing."""
