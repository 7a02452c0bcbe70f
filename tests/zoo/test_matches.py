"""Names of a network are the ends of a checkpoint's paths, under every prefix that there is."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from jembench.zoo.matches import bare, matches, starts, tensors, ties

NAMES = ("0.weight", "0.bias", "head.weight")
OWN = {name: torch.full((2,), float(n)) for n, name in enumerate(NAMES)}


@given(st.lists(st.sampled_from(["module", "_orig_mod", "model", "net", "ema", "0"]), max_size=6), st.integers(0, 6))
def test_any_stack_of_prefixes_and_dictionaries_is_found(parts, nested):
    """The first ``nested`` parts are keys of dictionaries, the others stand before the names."""
    keys, prefix = parts[:nested], "".join(f"{part}." for part in parts[nested:])
    content = {prefix + name: tensor for name, tensor in OWN.items()}
    for key in reversed(keys):
        content = {key: content}
    found = [match for match in matches(OWN, tensors(content), "", None) if match.leaves.keys() == OWN.keys()]
    assert len(found) == 1
    assert all(torch.equal(found[0].leaves[name].tensor, OWN[name]) for name in OWN)
    assert found[0].key == ".".join(parts)


def test_a_match_of_another_network_is_in_part():
    [match] = matches(OWN, tensors({"head.weight": torch.ones(2), "other": torch.ones(2)}), "", None)
    assert match.leaves.keys() == {"head.weight"}
    assert match.prefix == ""


def test_averages_are_told_by_whole_words():
    def averaged(*keys):
        content = OWN
        for key in reversed(keys):
            content = {key: content}
        return matches(OWN, tensors(content), "", None)[0].averaged

    assert all(averaged(key) for key in ("ema", "model_ema", "EMA_model", "ema2", "swa_state", "averaged"))
    assert averaged("model", "ema_state_dict")
    assert not any(averaged(key) for key in ("schema", "cinema", "emailer", "model", "teachers"))


def test_the_ends_of_shared_names():
    assert starts(["a.b.x", "a.b.y.z"]) == ["a.b.", "a."]
    assert starts(["a.x", "b.x"]) == []
    assert starts(["x"]) == []
    assert bare("module.model._orig_mod.module.x") == "model.x"
    assert bare("modules.x") == "modules.x"


def test_names_of_one_memory_are_tied():
    shared = torch.ones(4)
    own = {
        "a": shared,
        "b": shared,
        "part": shared[:2],
        "other": torch.ones(4),
        "none": torch.ones(0),
        "no": torch.ones(0),
    }
    assert ties(own) == [["a", "b"]]
