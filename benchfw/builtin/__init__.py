"""The plugin that comes with the core: the null backend, ONNX files as models, and making them static."""
