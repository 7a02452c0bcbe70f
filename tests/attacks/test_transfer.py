"""Transfer: the best of the candidates for each example, in the ball, for a query each."""

import torch

from jembench.attacks import attack


def towards(linear, share):
    """Images moved towards the other class by shares ``(B,)`` of their distance."""
    move = -(linear.score.sign() * share * linear.nearest("l2"))[:, None] * linear.w / linear.w.norm()
    return linear.x + move.reshape(linear.x.shape)


def test_the_candidate_of_the_lowest_margin_is_taken_for_each_example(run, linear):
    even = (torch.arange(len(linear.x)) % 2 == 0).float()
    one, other = towards(linear, 0.2 + 1.0 * even), towards(linear, 1.2 - 1.0 * even)
    found = run(
        attack("transfer", sources=("a", "b")), linear.model, linear.x, linear.y, "l2", 5.0, starts=(one, other)
    )
    assert found.broken.all()
    assert found.claimed.all()
    wanted = torch.where(even.reshape(-1, 1, 1, 1) > 0, one, other)
    assert torch.allclose(found.images, wanted, atol=1e-6)
    assert found.victim.meter.queries == 3 * len(linear.x)


def test_candidates_are_moved_into_the_ball(run, linear):
    eps = 1.1 * float(linear.nearest("l2").max())
    far = towards(linear, 50 * torch.ones(len(linear.x)))
    found = run(attack("transfer"), linear.model, linear.x, linear.y, "l2", eps, starts=(far,))
    assert found.verdict.valid.all()
    assert found.broken.all()


def test_a_candidate_that_is_worse_than_nothing_is_not_taken(run, linear):
    away = towards(linear, -torch.ones(len(linear.x)))
    found = run(attack("transfer"), linear.model, linear.x, linear.y, "l2", 1.0, starts=(away,))
    assert torch.equal(found.images, linear.x)


def test_without_candidates_the_images_are_clean(run, linear):
    found = run(attack("transfer"), linear.model, linear.x, linear.y, "l2", 1.0)
    assert torch.equal(found.images, linear.x)
