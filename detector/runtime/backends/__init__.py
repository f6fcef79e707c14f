"""Backends: exported files run by ONNX Runtime or OpenVINO, without torch."""
