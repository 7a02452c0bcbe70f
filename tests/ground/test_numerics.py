"""Numbers are computed under one state of torch, and the caller's own comes back."""

from typing import Any

import pytest
import torch

from jembench.ground.numerics import check_device, reproducible
from jembench.types import UserError


def state() -> dict[str, Any]:
    backends = torch.backends
    return {
        "threads": torch.get_num_threads(),
        "convolution": backends.cudnn.allow_tf32,
        "matmul": backends.cuda.matmul.allow_tf32,
        "deterministic": backends.cudnn.deterministic,
        "benchmark": backends.cudnn.benchmark,
    }


def change(to: dict[str, Any]) -> None:
    torch.set_num_threads(to["threads"])
    torch.backends.cudnn.allow_tf32 = to["convolution"]
    torch.backends.cuda.matmul.allow_tf32 = to["matmul"]
    torch.backends.cudnn.deterministic = to["deterministic"]
    torch.backends.cudnn.benchmark = to["benchmark"]


REPRODUCIBLE = {"threads": 1, "convolution": False, "matmul": False, "deterministic": True, "benchmark": False}
OTHER = {"threads": 2, "convolution": True, "matmul": True, "deterministic": False, "benchmark": True}


@pytest.mark.parametrize("fails", [False, True])
def test_the_callers_settings_come_back(fails: bool) -> None:
    """Also when the work fails, and when it changed them itself."""
    before = state()
    change(OTHER)
    try:
        try:
            with reproducible():
                assert state() == REPRODUCIBLE
                with reproducible():
                    pass
                assert state() == REPRODUCIBLE
                change(OTHER | {"threads": 3})
                if fails:
                    raise KeyError
        except KeyError:
            assert fails
        assert state() == OTHER
    finally:
        change(before)


@pytest.mark.parametrize("device", ["foo", "", "cuda:99", "cpu:x", "meta"])
def test_a_device_that_cannot_be_used_is_one_line(device: str) -> None:
    with pytest.raises(UserError, match=f"device '{device}' cannot be used: ") as error:
        check_device(device)
    assert "\n" not in str(error.value)
    check_device("cpu")
