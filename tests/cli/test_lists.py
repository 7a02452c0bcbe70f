"""What there is: every family is listed, all that it names is there, under its own name, with one line."""

from collections.abc import Callable
from typing import Any

import pytest

from jembench.attacks import ATTACKS
from jembench.cli.lists import LISTS
from jembench.ground.families import Family

FAMILIES = {name: family for name, family in LISTS.items() if isinstance(family, Family)}
ALL = {**FAMILIES, "attacks": ATTACKS}  # its list has the classes of torchattacks too


@pytest.mark.parametrize("what", ALL)
def test_a_family_loads_and_each_of_it_has_its_own_name_and_one_line(what: str) -> None:
    family = ALL[what]
    assert len(family) > 1
    for name, thing in family.items():
        assert getattr(thing, "name", name) == name
        assert family.about(name) == family.about(name).strip(" .\n") != ""
        assert "\n" not in family.about(name)
    assert len({family.about(name) for name in family}) == len(family)


def test_no_two_families_call_theirs_alike() -> None:
    """Or an error would not say what is unknown."""
    assert len({family.noun for family in ALL.values()}) == len(ALL) == 13


@pytest.mark.parametrize("what", [name for name in LISTS if name != "results"])
def test_a_list_is_a_line_for_each_name(what: str, call: Callable[..., Any]) -> None:
    answer = call("list", what)
    assert (answer.code, answer.err) == (0, "")
    names = [line.split("  ")[0] for line in answer.out.splitlines()]
    assert len(set(names)) == len(names) > 1
    if what in FAMILIES:
        assert names == list(FAMILIES[what])


def test_without_a_word_it_lists_the_lists(call: Callable[..., Any]) -> None:
    assert call("list").out == call("list", "lists").out
    assert [line.split()[0] for line in call("list").out.splitlines()] == list(LISTS)


def test_models_are_of_a_track(call: Callable[..., Any]) -> None:
    everything = call("list", "models").out
    for words in ("jem (digits)", "softmax (digits)", "oracle (gauss)"):
        assert words in everything
    assert "jem" not in call("list", "models", "--track", "gauss").out


def test_the_attacks_are_ours_and_those_of_torchattacks(call: Callable[..., Any]) -> None:
    assert {*ATTACKS, "PGD", "APGD", "FAB"} <= {line.split()[0] for line in call("list", "attacks").out.splitlines()}
