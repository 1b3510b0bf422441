"""benchfw plugin: tract."""
