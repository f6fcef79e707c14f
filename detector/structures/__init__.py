"""Values that the rooms exchange: boxes, samples, detections, preprocessing."""
