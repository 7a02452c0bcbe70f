"""A file is what its content says, whatever its name, and what is no weights is named."""

import io
import json
import os
import pickle
import re
import warnings
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import nn

from jembench.zoo.formats import fault, is_pickle, plain

STATE = {"weight": torch.arange(6.0).reshape(2, 3)}


def saved(zipped=True):
    file = io.BytesIO()
    torch.save(STATE, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def packed(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return file.getvalue()


def scripted():
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), file)
    return file.getvalue()


def arrays():
    file = io.BytesIO()
    np.savez(file, a=np.ones(2))
    return file.getvalue()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.pth", "w.ckpt", "w.bin", "w", "w.txt"])
@pytest.mark.parametrize(("content", "kind"), [(save(STATE), False), (saved(), True), (saved(zipped=False), True)])
def test_weights_are_weights_by_any_name(tmp_path, name, content, kind):
    (tmp_path / name).write_bytes(content)
    assert fault(tmp_path / name) is None
    assert is_pickle(tmp_path / name) is kind


PAGE = b"<!DOCTYPE html><html><head><title>Quota exceeded</title></head></html>"
STRANGERS = {
    "empty": (b"", "an empty file"),
    "page": (PAGE, "an HTML page"),
    "page of another kind": (b"\xef\xbb\xbf \n<HTML lang='en'>", "it is a web page"),
    "page behind a comment": (b"<!-- x -->\n<html></html>", "it is a web page"),
    "error of a store": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "an XML page"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "a git-LFS pointer, .*`git lfs pull`"),
    "answer": (b'{"error": "Repository not found"}', "the answer of a server: 'Repository not found'"),
    "answer in lines": (b'{"message":\n "Bad\ncredentials"', "a JSON text"),
    "index": (json.dumps({"weight_map": {}}).encode(), "a JSON text"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(99), "of Keras or TensorFlow"),
    "npz": (arrays(), "an npz of NumPy arrays"),
    "npy": (b"\x93NUMPY\x01\x00", "a NumPy array"),
    "onnx": (b"\x08\x08\x12\x07pytorch\x1a\x032.0", "an ONNX model"),
    "tensorflow": (bytes(40) + b"\x57\xfb\x80\x8b\x24\x75\x47\xdb", "a TensorFlow file"),
    "keras": (packed(**{"config.json": "{}", "model.weights.h5": "x"}), "a Keras model"),
    "gguf": (b"GGUF\x03\x00", "a GGUF file"),
    "gzip": (b"\x1f\x8b\x08\x00", "a gzip archive: unpack it"),
    "zip": (packed(**{"w.pt": saved()}), "a zip archive that torch.save did not write: unpack it"),
    "half a zip": (saved()[:-30], "without its end: damaged or incomplete"),
    "script": (scripted(), "a TorchScript program .*which is code"),
    "text": (b"Too many requests", "not a readable safetensors file, nor one of torch.save"),
    "noise": (bytes(range(90)), "not a readable safetensors file, nor one of torch.save"),
    "picture": (b"\x89PNG\r\n", "a picture"),
    "pickle": (pickle.dumps({"weight": [1.0]}), "a pickle, which can run code"),
    "function": (pickle.dumps({"f": os.system}, protocol=2), r"a pickle that names os\.system, which can run code"),
    "function of today": (pickle.dumps(os.system), r"a pickle that names os\.system, which can run code"),
}


@pytest.mark.parametrize("name", STRANGERS)
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_what_is_no_weights_is_named(tmp_path, name, suffix):
    content, words = STRANGERS[name]
    (tmp_path / f"w{suffix}").write_bytes(content)
    line = fault(tmp_path / f"w{suffix}") or ""
    assert "\n" not in line
    assert re.search(words, line)


@pytest.mark.parametrize("name", ["model.onnx", "saved_model.pb", "model.ckpt.data-00000-of-00001", "m.index"])
def test_formats_without_a_mark_are_told_by_their_names(tmp_path, name):
    (tmp_path / name).write_bytes(bytes(range(7, 90)))
    assert "export the tensors to safetensors" in (fault(tmp_path / name) or "")


def test_a_pickle_is_read_as_a_list_and_not_followed(tmp_path, Bomb):
    target = tmp_path / "ran"
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        (tmp_path / "w").write_bytes(pickle.dumps(Bomb(target), protocol=protocol))
        assert "which can run code" in (fault(tmp_path / "w") or "")
    assert not target.exists()


def test_names_in_messages_are_of_letters():
    assert plain("nt.system") == "os.system"
    assert plain("a\nb c.d") == "a?b?c.d"
