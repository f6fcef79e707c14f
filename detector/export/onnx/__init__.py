"""Export to ONNX: the graph, NMS inside it, fp16 weights, pooling."""
