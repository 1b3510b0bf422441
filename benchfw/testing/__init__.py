"""Kit for tests of benchfw and of plugins. Anything of the core may be imported here; nothing of it imports this."""
