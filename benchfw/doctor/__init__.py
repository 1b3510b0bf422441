"""Looks at a machine before it is measured on: what is there, what disturbs, what to do about it."""
