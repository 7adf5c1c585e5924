"""A terminal dashboard and controller for long GPU runs."""

__version__ = "0.1.0"
