"""The schedule, sharpness-aware steps and the moving average, each against its formula."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from jembench.ground import generators
from jembench.models.recipes import OptimiserPart
from jembench.training.optimisers import Average, learning_rate, optimiser, sharpened


def network():
    with generators.forked("network"):
        return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2, bias=False))


def weights(module):
    return [p.detach().clone() for p in module.parameters()]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_learning_rate_warms_up_then_falls_by_its_factor():
    part = OptimiserPart(learning_rate=1.0, warmup=10, decay=0.3, decay_at=(0.6, 0.85))
    rates = [learning_rate(part, i, 100) for i in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[10:60] == [1.0] * 50
    assert rates[60:85] == pytest.approx([0.3] * 25)
    assert rates[85:] == pytest.approx([0.09] * 15)
    flat = OptimiserPart(learning_rate=0.5)
    assert {learning_rate(flat, i, 12) for i in range(12)} == {0.5}


@given(
    st.integers(1, 300),
    st.integers(0, 400),
    st.lists(st.floats(0, 1), max_size=4).map(tuple),
    st.floats(0.01, 1),
    st.floats(1e-6, 10),
)
def test_the_learning_rate_never_exceeds_its_maximum_and_falls_after_the_warm_up(total, warmup, decay_at, decay, rate):
    part = OptimiserPart(learning_rate=rate, warmup=warmup, decay=decay, decay_at=decay_at)
    rates = [learning_rate(part, i, total) for i in range(total)]
    assert min(rates) > 0
    assert max(rates) <= rate * (1 + 1e-12)
    after = rates[warmup:]
    assert after == sorted(after, reverse=True)
    reached = sum(fraction * total <= total - 1 for fraction in decay_at)
    if warmup < total:
        assert rates[-1] == pytest.approx(rate * decay**reached)


def test_sgd_is_momentum_with_the_decay_in_the_gradient():
    """v <- m v + g + l w, w <- w - r v, on the gradients of |w|^2 (g = 2 w)."""
    w = nn.Parameter(torch.tensor([1.0, -3.0], dtype=torch.float64))
    chosen = optimiser([w], OptimiserPart(name="sgd", learning_rate=0.1, momentum=0.7, weight_decay=0.5))
    expected, v = w.detach().clone(), torch.zeros(2, dtype=torch.float64)
    for _ in range(5):
        chosen.zero_grad()
        w.square().sum().backward()
        chosen.step()
        v = 0.7 * v + 2 * expected + 0.5 * expected
        expected = expected - 0.1 * v
    assert torch.allclose(w, expected, atol=1e-12)


def test_adams_first_step_is_the_sign_of_the_gradient():
    w = nn.Parameter(torch.tensor([1.0, -3.0, 0.2]))
    chosen = optimiser([w], OptimiserPart(name="adam", learning_rate=0.01))
    w.square().sum().backward()
    chosen.step()
    assert torch.allclose(w, torch.tensor([0.99, -2.99, 0.19]), atol=1e-6)


@pytest.mark.parametrize("adaptive", [False, True])
def test_sharpened_goes_to_the_point_of_the_formula_and_back_to_the_last_bit(adaptive):
    """w + rho g / |g|, or w + rho w^2 g / |w g|, with one norm over all parameters."""
    module, rho = network(), 0.3
    before = weights(module)
    slopes = [torch.randn(p.shape, generator=generators.generator("slope", i)) for i, p in enumerate(before)]
    flat, g = torch.cat([p.flatten() for p in before]).double(), torch.cat([s.flatten() for s in slopes]).double()
    expected = flat + rho * (flat**2 * g / (flat * g).norm() if adaptive else g / g.norm())
    with sharpened(list(module.parameters()), slopes, rho=rho, adaptive=adaptive):
        there = torch.cat([p.detach().flatten() for p in module.parameters()]).double()
        assert all(p.requires_grad for p in module.parameters())
    assert torch.allclose(there, expected, atol=1e-6)
    assert same(weights(module), before)
    if not adaptive:
        assert (there - flat).norm().item() == pytest.approx(rho, rel=1e-5)


@given(st.floats(1e-3, 10), st.floats(0.01, 100), st.booleans())
def test_the_ascent_does_not_depend_on_the_size_of_the_gradient(rho, factor, adaptive):
    """And the adaptive one moves with the scale of the weights: twice the weights, twice the move."""
    w = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    g = torch.tensor([0.3, 0.1, -0.7], dtype=torch.float64)

    def move(weight, slope):
        parameter = nn.Parameter(weight.clone())
        with sharpened([parameter], [slope], rho=rho, adaptive=adaptive):
            return parameter.detach() - weight

    assert torch.allclose(move(w, factor * g), move(w, g), rtol=1e-9)
    assert torch.allclose(move(factor * w, g), move(w, g) * (factor if adaptive else 1), rtol=1e-9)


def test_it_climbs():
    """To first order the loss rises by rho |g|, more than along any other direction of that length."""
    module, x = network(), torch.rand((6, 4), generator=generators.generator("x"))
    loss = lambda: module(x).square().sum()  # noqa: E731
    at = loss()
    at.backward()
    slopes = [p.grad.clone() for p in module.parameters()]
    rho = 1e-3
    with sharpened(list(module.parameters()), slopes, rho=rho, adaptive=False), torch.no_grad():
        rise = (loss() - at).item()
    assert rise == pytest.approx(rho * torch.cat([s.flatten() for s in slopes]).norm().item(), rel=0.01)
    for i in range(5):
        other = [torch.randn(p.shape, generator=generators.generator("other", i, *p.shape)) for p in slopes]
        with sharpened(list(module.parameters()), other, rho=rho, adaptive=False), torch.no_grad():
            assert (loss() - at).item() < rise


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_gradient_of_a_sharpened_quadratic(adaptive):
    """L = w'Aw / 2: at w + rho A w / |A w| it is A w + rho A A w / |A w|; a step with it is SAM's."""
    root = torch.randn((4, 4), generator=generators.generator("A"), dtype=torch.float64)
    matrix, start, rho = root @ root.T, torch.tensor([1.0, -0.5, 2.0, 0.3], dtype=torch.float64), 0.2
    w = nn.Parameter(start.clone())
    (w @ matrix @ w / 2).backward()
    slopes = [w.grad.clone()]
    chosen = torch.optim.SGD([w], lr=0.1)
    with sharpened([w], slopes, rho=rho, adaptive=adaptive):
        chosen.zero_grad()
        (w @ matrix @ w / 2).backward()
    g = matrix @ start
    up = start**2 * g / (start * g).norm() if adaptive else g / g.norm()
    assert torch.allclose(w.grad, g + rho * matrix @ up, atol=1e-12)
    chosen.step()
    assert torch.allclose(w.detach(), start - 0.1 * (g + rho * matrix @ up), atol=1e-12)


def test_weights_come_back_also_from_an_error_and_from_what_is_not_finite():
    module = network()
    before = weights(module)
    slopes = [torch.full_like(p, float("inf")) for p in before]
    with pytest.raises(ZeroDivisionError), sharpened(list(module.parameters()), slopes, rho=0.1, adaptive=False):
        raise ZeroDivisionError
    assert same(weights(module), before)


def test_a_parameter_without_a_gradient_and_a_gradient_of_zero_stay():
    module = network()
    before = weights(module)
    slopes = [torch.ones_like(before[0]), None, None]
    with sharpened(list(module.parameters()), slopes, rho=0.1, adaptive=False):
        there = weights(module)
    assert not torch.equal(there[0], before[0])
    assert same(there[1:], before[1:])
    with sharpened(list(module.parameters()), [torch.zeros_like(p) for p in before], rho=0.1, adaptive=True):
        assert same(weights(module), before)


@pytest.mark.parametrize("decay", [0.3, 0.9, 0.999])
def test_the_average_is_its_weighted_sum(decay):
    """sum_t (1 - d_t) prod_{s > t} d_s w_t, with d_t = min(decay, (1 + t) / (10 + t)), w_0 as if d_0 = 0."""
    module = nn.Linear(3, 2).double()
    history, average = [weights(module)], Average(module, decay=decay)
    generator = generators.generator("walk")
    for _ in range(40):
        with torch.no_grad():
            for p in module.parameters():
                p.add_(torch.randn(p.shape, generator=generator, dtype=p.dtype))
        average.update(module)
        history.append(weights(module))
    rates = [0.0, *(min(decay, (1 + t) / (10 + t)) for t in range(1, 41))]
    for k, name in enumerate(("weight", "bias")):
        total, weight_left = torch.zeros_like(history[0][k]), 1.0
        for rate, values in zip(reversed(rates), reversed(history), strict=True):
            total += weight_left * (1 - rate) * values[k]
            weight_left *= rate
        assert weight_left == 0  # the weights of the sum are one
        assert torch.allclose(average.values[name], total, atol=1e-12)


def test_the_average_forgets_the_start_and_keeps_what_does_not_move():
    module = nn.Linear(3, 2)
    average = Average(module, decay=0.999)
    before = average.values["weight"].clone()
    average.update(module)
    assert torch.allclose(average.values["weight"], before)
    with torch.no_grad():
        module.weight.add_(100)
    for _ in range(100):
        average.update(module)
    assert torch.allclose(average.values["weight"], before + 100, atol=0.01)  # decay 0.999 alone would lack 90


@pytest.mark.parametrize("fails", [False, True])
def test_swapped_shows_the_average_and_brings_the_weights_back_to_the_last_bit(fails):
    module = network()
    average = Average(module, decay=0.5)
    with torch.no_grad():
        for p in module.parameters():
            p.mul_(3)
    average.update(module)
    before, values = weights(module), {name: v.clone() for name, v in average.values.items()}
    parameters = list(module.parameters())
    try:
        with average.swapped(module):
            for name, p in module.named_parameters():
                assert torch.equal(p, values[name])
            if fails:
                raise ZeroDivisionError
    except ZeroDivisionError:
        assert fails
    assert same(weights(module), before)
    assert all(p is q for p, q in zip(module.parameters(), parameters, strict=True))  # the optimiser's own
    assert all(torch.equal(average.values[name], v) for name, v in values.items())


def test_the_average_is_no_view_of_the_weights():
    module = nn.Linear(2, 2)
    average = Average(module, decay=0.9)
    before = average.values["weight"].clone()
    with torch.no_grad():
        module.weight.zero_()
    assert torch.equal(average.values["weight"], before)
