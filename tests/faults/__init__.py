"""What workers do wrong, as a table."""
