"""benchfw plugin: PyTorch, eager and compiled; models from Python; their export to ONNX."""
