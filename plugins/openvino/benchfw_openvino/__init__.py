"""benchfw plugin: OpenVINO."""
