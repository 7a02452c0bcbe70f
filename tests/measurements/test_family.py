"""The family of measurements: every measurement of the package, each under its own name."""

import pkgutil
from importlib import import_module

from jembench import measurements
from jembench.measurements import MEASUREMENTS


def test_each_is_there_under_its_own_name() -> None:
    modules = [
        import_module(f"jembench.measurements.{module.name}") for module in pkgutil.iter_modules(measurements.__path__)
    ]
    classes = {
        kind
        for module in modules
        for kind in vars(module).values()
        if hasattr(kind, "columns") and hasattr(kind, "name")
    }
    assert classes == set(MEASUREMENTS.values())
    assert [kind.name for kind in MEASUREMENTS.values()] == list(MEASUREMENTS)
