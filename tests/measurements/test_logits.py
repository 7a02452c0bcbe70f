"""The measurement ``logits`` is the model's own function, and draws from the given generator alone."""

import numpy as np
import torch
from torch import Generator, Tensor, nn

from jembench.ground import generators
from jembench.measurements.logits import Logits
from jembench.models.softmax import Softmax
from jembench.types import Batch


class Noisy:
    """Logits with noise of their own."""

    stochastic = True

    def logits(self, x: Tensor, *, generator: Generator) -> Tensor:
        return x.flatten(1)[:, :3] + torch.rand((len(x), 3), generator=generator)


def batch(n: int) -> Batch:
    images = torch.rand((n, 1, 8, 8), generator=generators.generator("logits"))
    return Batch(images, torch.zeros(n, dtype=torch.int64), torch.arange(n), 256)


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.SiLU(), nn.Linear(5, 3)).eval()


def test_logits_are_the_network_on_normalised_images() -> None:
    net, given = network(), batch(7)
    model = Softmax(net, mean=0.5, std=0.25)
    columns = Logits().columns(model, given, generators.generator("any"))
    expected = net((given.images - 0.5) / 0.25).detach().numpy()
    np.testing.assert_array_equal(columns["logits"], expected)
    assert columns["logits"].dtype == np.float32


def test_it_costs_one_forward_and_no_gradient_and_leaves_no_graph() -> None:
    calls = []
    model = Softmax(network())
    model.register_forward_hook(lambda *_: None)
    model.network.register_forward_hook(lambda module, inputs, output: calls.append(output.requires_grad))
    columns = Logits().columns(model, batch(4), generators.generator("any"))
    assert calls == [False]
    assert columns["forwards"].tolist() == [1] * 4
    assert columns["gradients"].tolist() == [0] * 4


def test_a_stochastic_model_draws_from_the_given_stream() -> None:
    given = batch(4)
    first, again, other = (Logits().columns(Noisy(), given, generators.generator(name))["logits"] for name in "aab")
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()


def test_half_precision_is_recorded_as_float32() -> None:
    class Half:
        def logits(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :3].bfloat16()

    given = batch(2)
    columns = Logits().columns(Half(), given, generators.generator("any"))
    np.testing.assert_array_equal(columns["logits"], given.images.flatten(1)[:, :3].bfloat16().float().numpy())
