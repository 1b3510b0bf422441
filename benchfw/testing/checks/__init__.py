"""The checks of `BackendConformance`, by what they are about."""
