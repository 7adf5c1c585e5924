"""Frozen values and pure functions: no I/O, no screen, no model library."""
