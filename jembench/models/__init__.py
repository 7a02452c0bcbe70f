"""Models: one file each, all behind the contract of :mod:`jembench.types`."""
