"""The benchmark of devices measures what it says: FLOPs in closed form, the published loop, true ratios."""

import dataclasses
import importlib.util
import itertools
import json
import sys
from pathlib import Path

import pytest
import torch

from jembench.ground import generators
from jembench.langevin import sgld
from jembench.langevin.sgld import SGLD
from jembench.models.jem import JEM


def script():
    spec = importlib.util.spec_from_file_location("speed_devices", Path(__file__).with_name("devices.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules["speed_devices"] = module  # where its dataclasses look for their annotations
    spec.loader.exec_module(module)
    return module


devices = script()
TINY = devices.Sizes(depth=10, width=1, batch=4, steps=2, rounds=2, products=(32,))
CPU = torch.device("cpu")


def multiplications(depth, width):
    """Of a forward pass of a wide residual network on 32x32 images, convolution by convolution."""
    total, before, side = 9 * 3 * 16 * 32**2, 16, 32
    for stage, after in enumerate((16 * width, 32 * width, 64 * width)):
        for block in range((depth - 4) // 6):
            total += 9 * before * after * side**2
            side = side // 2 if stage > 0 and block == 0 else side  # the stride is in the second convolution
            total += 9 * after * after * side**2
            total += before * after * side**2 if before != after else 0
            before = after
    return total + before * 10


@pytest.mark.parametrize(("depth", "width"), [(10, 1), (16, 2), (28, 10)])
def test_flops_are_those_of_the_layers(depth, width):
    """Back to the images every layer costs what it did forwards; the weights' gradients are as much again."""
    with torch.device("meta"):
        net = devices.WideResNet(shape=devices.SHAPE, classes=10, depth=depth, width=width)
    forward = 2e-9 * multiplications(depth, width)
    assert devices.gflop(net, weights=False) == pytest.approx(2 * forward, rel=1e-9)
    first = 2e-9 * 9 * 3 * 16 * 32**2  # no gradient of the images where the weights' are wanted
    assert devices.gflop(net, weights=True) == pytest.approx(3 * forward - first, rel=1e-9)


def test_the_port_is_the_chain_in_the_published_units():
    """u = 2 x - 1: with the same noise both end in the same images."""
    net = devices.network(TINY, CPU)
    model = JEM(net, sampler=None, mean=0.5, std=0.5)
    x = torch.rand((4, *devices.SHAPE), generator=generators.generator("x"))
    generator = generators.generator("noise")
    ported = devices.port_chain(net, 2 * x - 1, 5, lambda u: sgld.noise_like(u, generator))
    ours = sgld.chain(model.log_density, x, settings=SGLD(steps=5), generator=generators.generator("noise"))
    assert torch.allclose((ported + 1) / 2, ours, atol=1e-5)
    assert (ours - x).abs().max() > 0.01


class Clock:
    """Every work takes what it is told, in seconds."""

    def __init__(self, durations):
        self.durations, self.now, self.order = durations, 0.0, []

    def work(self, name):
        def run():
            self.order.append(name)
            self.now += next(self.durations[name])

        return run


def test_rows_are_the_medians_of_rounds_in_turn(monkeypatch):
    clock = Clock({"port": itertools.cycle([9.0, 4.0, 8.0, 6.0]), "ours": itertools.cycle([9.0, 1.0, 2.0, 3.0])})
    monkeypatch.setattr(devices.time, "perf_counter", lambda: clock.now)
    variants = [devices.Variant(name, "fp32", clock.work(name)) for name in ("port", "ours")]
    port, ours = devices.measure("work", variants, 6000.0, 12, {"fp32": 10.0}, 3, CPU)
    assert clock.order == ["port", "ours", "ours", "port"] * 2  # the first pair is the warm-up and counts nowhere
    assert (port.ms, ours.ms) == (6000.0, 2000.0)
    assert (ours.ms_low, ours.ms_high) == (1500.0, 2500.0)
    assert ours.images_per_s == 6.0
    assert ours.tflops == 3.0
    assert ours.share_of_peak == 0.3
    assert (port.speedup, ours.speedup) == (1.0, 4.0)  # of 4 / 1, 8 / 2 and 6 / 3


def row(**changes):
    one = devices.Row("SGLD chain", devices.GRAPHED, "bf16", 1.0, 1.0, 1.0, 1.0, 1.0, 0.4, 3.0)
    return dataclasses.replace(one, **changes)


def test_bars_are_of_the_papers_network_on_a_gpu():
    assert devices.bars([row(variant="jembench bf16")], devices.GPU) is None
    assert devices.bars([row()], devices.CPU) is None
    found = devices.bars([row(variant="port", speedup=9.0), row()], devices.GPU)
    assert [item["met"] for item in found.values()] == [True, False]


def test_the_whole_benchmark_runs_on_a_cpu_and_agrees_with_its_port(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JEMBENCH_CACHE", str(tmp_path))
    path = tmp_path / "found.json"
    words = [f"--{name}={getattr(TINY, name)}" for name in ("depth", "width", "batch", "steps", "rounds")]
    monkeypatch.setattr(devices, "CPU", TINY)
    monkeypatch.setattr(sys, "argv", ["devices.py", f"--json={path}", *words])
    devices.main()
    found = json.loads(path.read_text())
    assert found["network"] == "WRN-10-1"
    assert found["sizes"]["steps"] == 2
    assert {item["work"] for item in found["rows"]} == {"SGLD chain", "PGD", "training step", "iteration"}
    assert all(item["ms"] > 0 and item["tflops"] > 0 for item in found["rows"])
    assert found["bars"] is None
    assert found["warnings"] == []
    apart = found["ends_apart"]
    assert apart["chain, fp32"] < 0.01
    assert apart["chain, bf16"] < 0.2
    assert apart["PGD, fp32"] < 0.05
    assert devices.os.environ["JEMBENCH_CACHE"] == str(tmp_path)
    assert "matrix peak, fp32" in capsys.readouterr().out


def test_precision_is_put_back():
    before = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark
    with devices.numerics("tf32", trial=True):
        assert torch.backends.cuda.matmul.allow_tf32
        assert torch.backends.cudnn.benchmark
    with devices.numerics("fp32"):
        assert not torch.backends.cudnn.allow_tf32
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark) == before
