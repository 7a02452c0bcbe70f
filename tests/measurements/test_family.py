"""The family of measurements: nothing is left out."""

import pkgutil
from importlib import import_module

from jembench import measurements
from jembench.measurements import MEASUREMENTS


def test_every_measurement_of_the_package_is_there() -> None:
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
