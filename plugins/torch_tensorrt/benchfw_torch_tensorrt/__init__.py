"""benchfw plugin: torch-tensorrt, which compiles models of PyTorch with TensorRT."""
