"""What is in a file or a folder of anyone's, read to the last bit, and nothing in it run."""

import argparse
import json
import os
import pickle
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file
from torch import nn

from jembench.ground.identity import file_sha256
from jembench.types import UserError
from jembench.zoo import checkpoints
from jembench.zoo.checkpoints import load_safetensors, load_tensors, pieces, read
from jembench.zoo.formats import is_pickle
from jembench.zoo.weights import state_dict


def network():
    return nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))


def refused(path):
    """The one line that a file is refused with."""
    with pytest.raises(UserError) as error:
        read(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def alike(one, other):
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["w.pt", "w.pth.tar", "w.safetensors", "w"])
def test_tensors_of_torch_save_are_read_to_the_last_bit_whatever_the_name(tmp_path, zipped, name):
    state, path = network().state_dict(), tmp_path / name
    torch.save({"state_dict": state, "epoch": 3}, path, _use_new_zipfile_serialization=zipped)
    assert is_pickle(path)
    found = state_dict(load_tensors(path), path)
    assert found.keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in found.items())


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_code_beside_tensors_is_not_run(tmp_path, zipped, name, Bomb):
    target, path = tmp_path / "ran", tmp_path / name
    torch.save({"a": torch.ones(2), "b": Bomb(target)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        UserError, match="is a pickle that names getattr, which can run code, so it was not loaded"
    ) as error:
        load_tensors(path)
    assert "\n" not in str(error.value)
    assert not target.exists()
    with path.open("rb") as file:
        torch.load(file, weights_only=False)
    assert target.exists()  # the bomb was live


def test_safetensors_are_no_pickle(tmp_path):
    (tmp_path / "w").write_bytes(save(network().state_dict()))
    assert not is_pickle(tmp_path / "w")
    with pytest.raises(UserError, match="no such file"):
        is_pickle(tmp_path / "absent")


@pytest.mark.parametrize("zipped", [True, False])
def test_what_training_loops_keep_beside_tensors_is_read(tmp_path, zipped):
    """Settings, paths and NumPy's numbers: nothing runs when they are made."""
    state, path = network().state_dict(), tmp_path / "w.pth"
    beside = {
        "args": argparse.Namespace(lr=0.1, out=Path("runs"), data=PureWindowsPath("c:/x")),
        "best": np.float64(0.5),
        "seen": np.int64(3),
        "curve": np.linspace(0, 1, 5),
        "half": np.arange(3, dtype=np.float16),
    }
    torch.save({"model": state, **beside}, path, _use_new_zipfile_serialization=zipped)
    content = read(path).content
    assert alike(content["model"], state)
    assert content["args"].lr == 0.1
    assert str(content["args"].out) == "runs"
    assert content["best"] == 0.5
    assert content["seen"] == 3
    assert content["curve"].tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert content["half"].dtype == np.float16


def test_what_is_read_beside_tensors_is_allowed_for_this_one_reading(tmp_path):
    torch.save({"args": argparse.Namespace(lr=1)}, tmp_path / "w")
    read(tmp_path / "w")
    with pytest.raises(pickle.UnpicklingError, match=r"argparse\.Namespace"):
        torch.load(tmp_path / "w", weights_only=True)
    with torch.serialization.safe_globals([argparse.Namespace]):
        read(tmp_path / "w")
        assert torch.load(tmp_path / "w", weights_only=True)["args"].lr == 1  # as the user's own code allows it


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["w.pt", "w.bin", "w.safetensors"])
def test_a_whole_network_is_called_one(tmp_path, zipped, name):
    torch.save({"epoch": 1, "model": network()}, tmp_path / name, _use_new_zipfile_serialization=zipped)
    line = refused(tmp_path / name)
    assert "is a whole network (torch.save(model)) of class torch.nn.modules.container.Sequential" in line
    assert "torch.save(model.state_dict(), FILE)" in line


@pytest.mark.parametrize(
    ("function", "name"), [(os.system, r"os\.system"), (eval, "eval"), (os.remove, r"os\.remove")], ids=str
)
def test_a_function_in_a_file_is_named(tmp_path, function, name):
    torch.save({"weight": torch.ones(1), "hook": function}, tmp_path / "w.ckpt")
    with pytest.raises(UserError, match=f"is a pickle that names {name}, which can run code"):
        read(tmp_path / "w.ckpt")


def test_a_later_protocol_is_named(tmp_path):
    torch.save(network().state_dict(), tmp_path / "w.pt", pickle_protocol=4)
    assert "of a later protocol than torch.save writes by itself" in refused(tmp_path / "w.pt")


def folder(path, states, stem="model.safetensors"):
    """A folder of Hugging Face in shards."""
    path.mkdir()
    base, _, suffix = stem.partition(".")
    names = [f"{base}-{n + 1:05}-of-{len(states):05}.{suffix}" for n in range(len(states))]
    for name, state in zip(names, states, strict=True):
        (save_file if suffix == "safetensors" else torch.save)(state, path / name)
    index = {"metadata": {}, "weight_map": {key: n for n, state in zip(names, states, strict=True) for key in state}}
    (path / f"{stem}.index.json").write_text(json.dumps(index))
    return path


@pytest.mark.parametrize("stem", ["model.safetensors", "pytorch_model.bin"])
def test_shards_are_one_checkpoint(tmp_path, stem):
    state = network().state_dict()
    halves = [{k: v for k, v in state.items() if k.startswith(start)} for start in ("0.", "1.")]
    checkpoint = read(folder(tmp_path / "f", halves, stem))
    assert alike(checkpoint.content, state)
    assert checkpoint.title == "Hugging Face folder"


@pytest.mark.parametrize("stem", ["model.safetensors", "pytorch_model.bin"])
def test_a_folder_of_one_file_is_that_file(tmp_path, stem):
    state, path = network().state_dict(), tmp_path / stem
    (save_file if stem == "model.safetensors" else torch.save)(state, path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "training_args.bin").write_bytes(b"\x80\x02.")
    assert pieces(tmp_path) == (path,)
    assert alike(read(tmp_path).content, state)
    assert checkpoints.digest(tmp_path) == checkpoints.digest(path) == file_sha256(path)


def test_the_digest_of_shards_is_of_all_of_them(tmp_path):
    parts = [{"a": torch.zeros(1)}, {"b": torch.zeros(1)}]
    one, same = (checkpoints.digest(folder(tmp_path / name, parts)) for name in ("one", "same"))
    assert one == same
    assert one != checkpoints.digest(folder(tmp_path / "other", [parts[0], {"b": torch.ones(1)}]))


@pytest.mark.parametrize("shards", [1, 2])
def test_code_in_a_folder_is_not_run(tmp_path, shards, Bomb):
    target = tmp_path / "ran"
    folder(tmp_path / "f", [{"a": torch.ones(1)}, {"b": Bomb(target)}][-shards:], "pytorch_model.bin")
    assert "is a pickle that names getattr, which can run code" in refused(tmp_path / "f")
    assert not target.exists()


def test_an_index_may_not_lead_out_of_its_folder_nor_to_nothing(tmp_path):
    secret = tmp_path / "secret.safetensors"
    secret.write_bytes(save({"a": torch.ones(1)}))
    place = folder(tmp_path / "f", [{"a": torch.ones(1)}])
    index = place / "model.safetensors.index.json"
    for content, words in (
        ({"weight_map": {"a": "../secret.safetensors"}}, "is no file beside it"),
        ({"weight_map": {"a": str(secret)}}, "is no file beside it"),
        ({"weight_map": {"a": 3}}, "is no file beside it"),
        ({"weight_map": {"a": "gone.safetensors"}}, "lacks gone.safetensors"),
        ({"weight_map": {}}, "names no shard"),
        ({"weight_map": []}, "is no index"),
        ([], "is no index"),
    ):
        index.write_text(json.dumps(content))
        assert words in refused(place)


def test_a_folder_without_one_set_of_weights_is_refused(tmp_path):
    assert "is a folder that holds no weights (model.safetensors, pytorch_model.bin" in refused(tmp_path)
    for name in ("a.pt", "b.pt"):
        torch.save({"a": torch.ones(1)}, tmp_path / name)
    (tmp_path / "._a.pt").write_bytes(b"of macOS")
    assert "holds 2 files of weights: name one of them" in refused(tmp_path)
    (tmp_path / ".metadata").write_bytes(b"x")
    assert "is a distributed checkpoint: make it one file by" in refused(tmp_path)


def test_safetensors_alone_are_told_from_a_pickle(tmp_path):
    torch.save(network().state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"is a pickle \(torch.save\), .*safetensors are expected here"):
        load_safetensors(tmp_path / "w.safetensors")
