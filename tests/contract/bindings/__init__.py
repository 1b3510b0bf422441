"""TensorRT's real bindings, over libraries that are stubs: everything but the work is there."""
