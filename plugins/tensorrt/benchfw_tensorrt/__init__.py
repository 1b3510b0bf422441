"""benchfw plugin: TensorRT."""
