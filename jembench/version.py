"""The version of jembench."""

__version__ = "0.1.0"
