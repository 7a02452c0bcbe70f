"""A family: a mapping in the order of its table that imports what is looked up, and one unknown-name error."""

import subprocess
import sys

import pytest

from jembench.ground.families import Family
from jembench.types import UserError

TABLE = {
    "pi": ("math:pi", "half a turn"),
    "tau": ("math:tau", "a turn"),
    "lost": ("jembench.nowhere:LOST", "a thing whose module is not there"),
}
ANGLES: Family[float] = Family("angle", TABLE)


def test_it_is_a_mapping_in_the_order_of_its_table() -> None:
    assert list(ANGLES) == list(TABLE)
    assert len(ANGLES) == len(TABLE)
    assert {name: ANGLES[name] for name in ("pi", "tau")} == {"pi": 3.141592653589793, "tau": 6.283185307179586}
    assert ANGLES.get("pi") == ANGLES["pi"]


def test_a_module_with_a_dot_before_it_is_one_of_the_package() -> None:
    family: Family[type] = Family("family", {"family": (".families:Family", "this one")}, "jembench.ground")
    assert family["family"] is Family


def test_only_what_is_looked_up_is_imported() -> None:
    assert "lost" in ANGLES
    assert ANGLES.about("lost") == TABLE["lost"][1]
    with pytest.raises(ModuleNotFoundError):
        ANGLES["lost"]


def test_the_module_of_an_entry_is_imported_late() -> None:
    """Neither by the table, nor by its lines."""
    code = (
        "import sys; from jembench.ground.families import Family;"
        "family = Family('x', {'a': ('fractions:Fraction', 'a line')});"
        "list(family), family.about('a'), 'a' in family; assert 'fractions' not in sys.modules;"
        "family['a']; assert 'fractions' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("look", [ANGLES.__getitem__, ANGLES.about])
def test_an_unknown_name_is_answered_with_the_nearest(look) -> None:
    with pytest.raises(UserError) as caught:
        look("tauu")
    assert str(caught.value) == "unknown angle 'tauu'; did you mean 'tau'? (known: lost, pi, tau)"


def test_it_lacks_an_unknown_name_as_mappings_do() -> None:
    assert "tauu" not in ANGLES
    assert ANGLES.get("tauu") is None
    assert ANGLES.get("tauu", 1.0) == 1.0
