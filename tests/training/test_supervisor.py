"""The supervisor: every rule fires when it should, none on healthy signals; the policy changes one thing at a time."""

import math
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jembench.models.recipes import Recipe, SupervisorPart
from jembench.training.supervisor import (
    MARGIN,
    PATIENCE,
    POLICY,
    Signals,
    Supervisor,
    escalated,
    numbers,
    policy,
    target,
)

LIMITS = SupervisorPart()
HEALTHY = Signals(loss=0.7, gradient=2.0, log_px_data=3.0, log_px_samples=2.5, spread=0.5, variance=0.6, saturation=0.3)
PLAIN = Signals(loss=2.3, gradient=1.0, spread=0.5)  # of a classifier: no density, no chains
INF, NAN = math.inf, math.nan

AT_ONCE = [
    ({"loss": NAN}, "the loss is nan"),
    ({"loss": INF}, "the loss is inf"),
    ({"loss": -INF}, "the loss is -inf"),
    ({"gradient": INF}, "the norm of the gradient is inf"),
    ({"gradient": NAN}, "the norm of the gradient is nan"),
    ({"gradient": 1.01 * LIMITS.max_gradient}, "the norm of the gradient is 1.01e+05, beyond 100000"),
    ({"chains_finite": 0.0}, "a sample is not finite"),
    ({"chains_finite": 0.5}, "a sample is not finite"),  # those of one process of two
]
IN_TIME = [
    ({"log_px_data": 9.0 + 1.1 * LIMITS.max_gap, "log_px_samples": 9.0}, "exploding energy"),
    ({"log_px_data": 9.0, "log_px_samples": 9.0 + 1.1 * LIMITS.max_gap}, "exploding energy"),
    ({"log_px_samples": -INF}, "exploding energy"),
    ({"spread": 0.9 * LIMITS.min_spread}, "dead network"),
    ({"spread": 0.0, "log_px_data": 2.3, "log_px_samples": 2.3}, "dead network"),
    ({"variance": 0.9 * LIMITS.min_variance}, "dead chains"),
    ({"variance": 0.0}, "dead chains"),
    ({"saturation": LIMITS.max_saturation + 0.01}, "saturated chains"),
    ({"saturation": 1.0}, "saturated chains"),
]


def finite(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False)


@st.composite
def healthy(draw: st.DrawFn) -> Signals:
    """Within every bound; NaN where a signal does not apply."""
    data = draw(st.one_of(st.just(NAN), finite(-1e6, 1e6)))
    return Signals(
        loss=draw(finite(-1e8, 1e8)),
        gradient=draw(finite(0, LIMITS.max_gradient)),
        log_px_data=data,
        log_px_samples=data - draw(finite(-0.99 * LIMITS.max_gap, 0.99 * LIMITS.max_gap)),
        spread=draw(st.one_of(st.just(NAN), finite(LIMITS.min_spread, 1e6))),
        variance=draw(st.one_of(st.just(NAN), finite(LIMITS.min_variance, 1e6))),
        saturation=draw(st.one_of(st.just(NAN), finite(0, LIMITS.max_saturation))),
    )


@given(st.lists(healthy(), max_size=60))
def test_healthy_signals_never_alarm_nor_raise_a_doubt(seen: list[Signals]) -> None:
    supervisor = Supervisor(LIMITS)
    assert [supervisor.watch(signals) for signals in seen] == [None] * len(seen)
    assert not any(supervisor.state().values())


@pytest.mark.parametrize(("change", "reason"), AT_ONCE)
@pytest.mark.parametrize("before", [0, 7])
def test_what_is_not_finite_is_divergence_at_once(change: dict[str, float], reason: str, before: int) -> None:
    supervisor = Supervisor(LIMITS)
    for _ in range(before):
        assert supervisor.watch(HEALTHY) is None
    assert supervisor.watch(replace(HEALTHY, **change)) == reason
    if "chains_finite" not in change:
        assert Supervisor(LIMITS).watch(replace(PLAIN, **change)) == reason


@pytest.mark.parametrize(("change", "reason"), IN_TIME)
def test_what_may_pass_must_last(change: dict[str, float], reason: str) -> None:
    """The diagnosis comes in the PATIENCE-th bad iteration running, from the first one on with a doubt."""
    supervisor, bad = Supervisor(LIMITS), replace(HEALTHY, **change)
    for _ in range(PATIENCE - 1):
        assert supervisor.watch(bad) is None
        assert any(supervisor.state().values())
    found = supervisor.watch(bad)
    assert found.startswith(reason)
    assert found.endswith(f"in {PATIENCE} iterations running")


@pytest.mark.parametrize(("change", "reason"), IN_TIME)
def test_one_good_iteration_ends_a_streak(change: dict[str, float], reason: str) -> None:
    supervisor, bad = Supervisor(LIMITS), replace(HEALTHY, **change)
    for _ in range(5):
        assert [supervisor.watch(bad) for _ in range(PATIENCE - 1)] == [None] * (PATIENCE - 1)
        assert supervisor.watch(HEALTHY) is None
        assert not any(supervisor.state().values())
    assert [supervisor.watch(bad) is None for _ in range(PATIENCE)] == [True] * (PATIENCE - 1) + [False], reason


@given(st.lists(st.sampled_from([HEALTHY, *(replace(HEALTHY, **change) for change, _ in IN_TIME)]), max_size=40))
def test_the_alarm_is_the_first_streak_of_one_rule(seen: list[Signals]) -> None:
    """Two rules that take turns are no streak of either; compared with counting by hand."""
    rules = {
        "exploding": lambda s: abs(s.gap) > LIMITS.max_gap,
        "dead network": lambda s: s.spread < LIMITS.min_spread,
        "dead chains": lambda s: s.variance < LIMITS.min_variance,
        "saturated": lambda s: s.saturation > LIMITS.max_saturation,
    }
    expected = next(
        (
            end
            for end in range(PATIENCE, len(seen) + 1)
            if any(all(rule(s) for s in seen[end - PATIENCE : end]) for rule in rules.values())
        ),
        None,
    )
    supervisor = Supervisor(LIMITS)
    alarms = [number for number, signals in enumerate(seen, start=1) if supervisor.watch(signals) is not None]
    assert (alarms[0] if alarms else None) == expected


@given(st.integers(0, PATIENCE - 1), st.sampled_from([change for change, _ in IN_TIME]))
def test_the_state_carries_a_streak_over(before: int, change: dict[str, float]) -> None:
    one, bad = Supervisor(LIMITS), replace(HEALTHY, **change)
    for _ in range(before):
        one.watch(bad)
    other = Supervisor(LIMITS, one.state())
    for _ in range(PATIENCE - before):
        assert one.watch(bad) == (found := other.watch(bad))
    assert found is not None
    other.reset()
    assert other.state() == {}
    assert other.watch(bad) is None
    assert one.state() != {}  # a copy, not the same dict


def test_the_bounds_are_those_of_the_recipe() -> None:
    strict = SupervisorPart(max_gap=0.1, max_gradient=1.5)
    assert Supervisor(strict).watch(HEALTHY) == "the norm of the gradient is 2, beyond 1.5"
    supervisor = Supervisor(SupervisorPart(max_gap=0.1))
    assert "beyond 0.1 nats" in [supervisor.watch(HEALTHY) for _ in range(PATIENCE)][-1]


def made(kind: str) -> Recipe:
    parts = {
        "jem": {
            "model": {"kind": "jem", "width": 4},
            "objective": {"log_px": 1.0},
            "sampling": {"steps": 3, "buffer": 64},
        },
        "classifier of a jem": {"model": {"kind": "jem", "width": 4}, "sampling": {"steps": 3, "buffer": 64}},
        "softmax": {"model": {"kind": "softmax", "width": 4}},
    }[kind]
    return Recipe.model_validate(
        {"track": "digits", "about": "a test", "training": {"iterations": 9, "batch": 8}, **parts}
    )


def flat(recipe: Recipe) -> dict[str, object]:
    """Every leaf by its path."""
    content = recipe.model_dump()
    return {
        f"{part}.{name}" if isinstance(value, dict) else part: item
        for part, value in content.items()
        for name, item in (value.items() if isinstance(value, dict) else [("", value)])
    }


RATE, NOISE = ("optimiser.learning_rate", "learning rate x 0.3"), ("data.noise", "input noise + 0.03")
STEPS, ENERGY = ("sampling.steps", "SGLD steps x 2"), ("objective.energy_l2", "energy L2 + 0.01")


@pytest.mark.parametrize(
    ("kind", "order"),
    [
        ("jem", [RATE, RATE, RATE, STEPS, NOISE, ENERGY]),
        ("classifier of a jem", [RATE, RATE, RATE, NOISE]),
        ("softmax", [RATE, RATE, RATE, NOISE]),
    ],
)
def test_each_level_of_the_policy_changes_exactly_its_field(kind: str, order: list[tuple[str, str]]) -> None:
    recipe = made(kind)
    assert escalated(recipe, 0) == recipe
    assert [change.name for change in policy(recipe)] == [name for _, name in order]
    for level, (field, _) in enumerate(order, start=1):
        before, after = flat(escalated(recipe, level - 1)), flat(escalated(recipe, level))
        assert {name for name in after if after[name] != before[name]} == {field}
        expected = {
            "optimiser.learning_rate": lambda v: 0.3 * v,
            "sampling.steps": lambda v: 2 * v,
            "data.noise": lambda v: v + 0.03,
            "objective.energy_l2": lambda v: v + 0.01,
        }[field]
        assert after[field] == pytest.approx(expected(before[field]))
    assert recipe == made(kind)
    changed = escalated(recipe, len(order))
    assert Recipe.model_validate(changed.model_dump()) == changed  # still a recipe
    assert escalated(recipe, len(order) + 3) == changed
    assert len(POLICY) == 6


@pytest.mark.parametrize(
    ("snapshots", "diverged", "previous", "back_to"),
    [
        ([0], 3, None, 0),  # nothing else to go back to
        ([0], 500, None, 0),
        ([0, 100], 110, None, 0),  # the newest may be sick
        ([0, 100], 119, None, 0),
        ([0, 100], 120, None, 100),
        ([0, 100, 200, 300], 305, None, 200),
        ([0, 100, 200, 300], 399, None, 300),
        ([0, 100, 200, 300], 310, 200, 100),  # again, soon after going back to 200: that one is sick
        ([0, 100, 200, 300], 310, 100, 0),
        ([0, 100, 200, 300, 400], 400, 100, 0),  # the last iteration of the span
        ([0, 100, 200, 300, 400], 401, 100, 300),  # long after: another story
        ([0, 49900, 50000, 50100], 50130, 49900, 49900),  # a long run is not thrown away
        ([0, 49900, 50000, 50100], 50130, 50000, 49900),
        ([0, 0], 12, 0, 0),
        ([0, 0, 100], 125, 0, 0),
    ],
)
def test_a_run_goes_back_to_where_it_was_healthy(
    snapshots: list[int], diverged: int, previous: int | None, back_to: int
) -> None:
    assert target(snapshots, diverged, previous=previous, span=300) == back_to


@given(
    st.lists(st.integers(1, 2000), max_size=6, unique=True),
    st.integers(1, 3000),
    st.one_of(st.none(), st.integers(0, 3000)),
    st.integers(1, 1000),
)
def test_the_target_is_a_snapshot_of_before(others: list[int], diverged: int, previous: int | None, span: int) -> None:
    snapshots = [0, *(i for i in sorted(others) if i < diverged)]
    found = target(snapshots, diverged, previous=previous, span=span)
    assert found in snapshots
    assert found == 0 or found <= diverged - MARGIN
    if previous is not None and diverged - previous <= span:
        assert found == 0 or found < previous
    assert found <= target(snapshots, diverged, previous=None, span=span)


def test_going_back_again_and_again_ends_at_the_first_snapshot() -> None:
    """Each divergence comes right after the last: one snapshot further back every time."""
    snapshots, diverged, previous, seen = [0, 100, 200, 300], 330, None, []
    for _ in range(5):
        back = target(snapshots, diverged, previous=previous, span=300)
        seen.append(back)
        previous, diverged = back, back + MARGIN
        snapshots = [i for i in snapshots if i <= back]
    assert seen == [300, 200, 100, 0, 0]


@given(healthy())
def test_the_record_of_the_signals_has_no_number_that_is_none(signals: Signals) -> None:
    found = numbers(replace(signals, loss=NAN, gradient=INF))
    assert (found["loss"], found["gradient"]) == (None, None)
    for name, value in {**asdict(signals), "gap": signals.gap}.items():
        if name not in ("loss", "gradient"):
            assert found[name] == (value if math.isfinite(value) else None)
