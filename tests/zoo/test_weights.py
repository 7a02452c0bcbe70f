"""Only the weights of this network are loaded, whole and undamaged; nothing in a file is ever run."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from jembench.types import UserError
from jembench.zoo.checkpoints import load_tensors
from jembench.zoo.weights import load_weights, save_tensors, state_dict


def network():
    return nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))


@pytest.fixture
def refused(tmp_path):
    """Write bytes to a file, load it, and return the one line that it is refused with; nothing may be loaded."""

    def refuse(content):
        path = tmp_path / "weights.safetensors"
        path.write_bytes(content)
        model = network()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        with pytest.raises(UserError) as error:
            load_weights(model, path)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        line = str(error.value)
        assert line.startswith(f"{path}: ")
        assert "\n" not in line
        return line

    return refuse


def test_what_was_saved_is_loaded_to_the_last_bit(tmp_path):
    one, other = network(), network()
    (tmp_path / "w").write_bytes(save(one.state_dict()))
    load_weights(other, tmp_path / "w")
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_a_missing_file_and_a_folder_are_no_weights(tmp_path):
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(UserError, match="no such file"):
            load_weights(network(), path)


def test_a_file_cut_anywhere_is_refused(refused):
    content = save(network().state_dict())
    assert "is an empty file" in refused(b"")
    for length in range(5, len(content), 5):
        assert "not a readable safetensors file" in refused(content[:length])
    assert "damaged or incomplete" in refused(content + b"\0")


def test_a_corrupted_header_is_refused_or_harmless(tmp_path):
    """Whatever one byte of it becomes: one line, or exactly the saved weights."""
    saved = network().state_dict()
    content = save(saved)
    header = 8 + int.from_bytes(content[:8], "little")
    path, rng = tmp_path / "weights.safetensors", np.random.default_rng(0)
    for _ in range(800):
        broken = bytearray(content)
        broken[rng.integers(header)] = rng.integers(256)
        path.write_bytes(broken)
        model = network()
        try:
            load_weights(model, path)
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017
        else:
            assert all(torch.equal(value, saved[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code_in_a_pickle_is_not_run(refused, tmp_path, protocol, Bomb):
    target = tmp_path / "ran"
    bomb = pickle.dumps(Bomb(target), protocol=protocol)
    line = refused(bomb)
    assert not target.exists()
    if protocol >= 2:  # older ones have no mark; they are "not readable"
        assert "can run code" in line
    pickle.loads(bomb)  # noqa: S301
    assert target.exists()  # the bomb was live


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_of_torch_save_is_refused_with_the_way_out(refused, zipped):
    file = io.BytesIO()
    torch.save(network().state_dict(), file, _use_new_zipfile_serialization=zipped)
    line = refused(file.getvalue())
    assert "safetensors.torch.save_file" in line


def test_the_weights_of_another_network_are_refused_by_name(refused):
    state = network().state_dict()
    fewer = {name: value for name, value in state.items() if name != "1.bias"}
    assert "1 tensors are missing, '1.bias' first" in refused(save(fewer))
    assert "1 tensors are unknown, 'a\\nb' first" in refused(save(state | {"a\nb": torch.zeros(1)}))
    other = refused(save(state | {"0.weight": torch.zeros(3, 2)}))
    assert "0.weight has shape (3, 2), the network needs (2, 3)" in other


@pytest.mark.parametrize("kind", [torch.int32, torch.bool, torch.complex64])
def test_integers_are_not_taken_for_weights(refused, kind):
    """One flipped byte of a header makes I32 of F32: the numbers would be noise."""
    state = network().state_dict()
    assert "0.weight has type" in refused(save(state | {"0.weight": state["0.weight"].to(kind)}))


def test_half_precision_weights_are_weights(tmp_path):
    saved = {name: value.half() for name, value in network().state_dict().items()}
    (tmp_path / "w").write_bytes(save(saved))
    model = network()
    load_weights(model, tmp_path / "w")
    assert all(torch.equal(value, saved[name].float()) for name, value in model.state_dict().items())


@pytest.mark.parametrize("wrap", ["model_state_dict", "state_dict", "last", "model", None])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_state_dict_is_found_in_what_it_is_wrapped_in(wrap, prefix):
    state = network().state_dict()
    given = {f"{prefix}{name}": tensor for name, tensor in state.items()}
    content = given if wrap is None else {"epoch": 1, wrap: given, "other": torch.ones(1)}
    assert state_dict(content, Path("w")).keys() == state.keys()
    assert state_dict({"model": content}, Path("w")).keys() == state.keys()


@pytest.mark.parametrize("content", [{}, [], 3, {"a": 3}, {3: torch.ones(1)}, {"a": torch.ones(1), "b": {}}])
def test_what_is_no_state_dict_is_refused(content):
    with pytest.raises(UserError, match=r"w: is a pickle .torch.save. that holds no state dict"):
        state_dict(content, Path("w"))


def test_a_dict_that_holds_itself_is_no_state_dict(tmp_path):
    alone, one, other = {}, {}, {"epoch": 1}
    alone["model"] = alone
    one["model"], other["state_dict"] = other, one
    for content in (alone, one, other):
        torch.save(content, tmp_path / "w")
        with pytest.raises(UserError, match="holds no state dict"):
            state_dict(load_tensors(tmp_path / "w"), tmp_path / "w")


def test_one_name_with_and_without_its_prefix_is_refused():
    """Whichever came last would win."""
    for first, second in (("a", "module.a"), ("module.a", "a")):
        with pytest.raises(UserError, match=f"w: holds both '{first}' and '{second}'"):
            state_dict({first: torch.zeros(1), second: torch.ones(1)}, Path("w"))


@pytest.mark.parametrize("tensor", [torch.empty(3, device="meta"), torch.eye(3).to_sparse()])
def test_a_tensor_without_plain_numbers_is_refused(tensor):
    with pytest.raises(UserError, match="w: a is not a plain tensor"):
        state_dict({"a": tensor}, Path("w"))


def test_what_cannot_be_written_is_an_error_of_the_system(tmp_path):
    save_tensors({"a": torch.arange(3.0)}, tmp_path / "w")
    assert torch.equal(load((tmp_path / "w").read_bytes())["a"], torch.arange(3.0))
    with pytest.raises(OSError, match="absent"):
        save_tensors({"a": torch.zeros(3)}, tmp_path / "absent" / "w")


def test_a_part_of_a_file_is_loaded_by_the_rest_of_its_names(tmp_path):
    """Strictly: all of the part, and nothing that is not of it."""
    saved = network().state_dict()
    whole = {f"network.{name}": value for name, value in saved.items()}
    (tmp_path / "w").write_bytes(save({**whole, "sampler.chains": torch.zeros(3), "networks": torch.ones(1)}))
    model = network()
    load_weights(model, tmp_path / "w", part="network.")
    assert all(torch.equal(value, saved[name]) for name, value in model.state_dict().items())
    with pytest.raises(UserError, match=r"4 tensors are missing, '0.bias' first"):
        load_weights(model, tmp_path / "w", part="other.")
    with pytest.raises(UserError, match="4 tensors are missing"):
        load_weights(model, tmp_path / "w")
    (tmp_path / "w").write_bytes(save({**whole, "network.more": torch.ones(1)}))
    with pytest.raises(UserError, match="1 tensors are unknown, 'more' first"):
        load_weights(model, tmp_path / "w", part="network.")


@pytest.mark.parametrize("first", [b"\x80", b"PK"])
def test_a_header_whose_length_begins_like_a_pickle_is_a_header(tmp_path, first):
    """One header in 32 has a length of 128 modulo 256."""
    state = network().state_dict()
    contents = (save(state, metadata={"filler": "x" * n}) for n in range(0, 40_000, 8))
    content = next(content for content in contents if content.startswith(first))
    (tmp_path / "w").write_bytes(content)
    model = network()
    load_weights(model, tmp_path / "w")
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
