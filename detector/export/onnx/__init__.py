"""ONNX files: the graph, NMS inside, half-precision weights, pooling."""
