"""General tools without knowledge of detectors: errors, files, YAML, OpenCV, the machine."""
