"""GPUs as their driver describes them."""
