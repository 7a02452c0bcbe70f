"""The version of jembench."""

__version__ = "0.2.0"
