"""benchfw plugin: ONNX Runtime."""
