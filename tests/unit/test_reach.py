"""The reachable rewards against the rewards of all answers there are."""

from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rbr_service.build import rules_folder
from rbr_service.rbr.diagram import Conditions, RuleBook
from rbr_service.rbr.model import TypeModel, Weights
from rbr_service.rbr.policy import ResponseType, load
from rbr_service.rbr.reach import reach

Floats = NDArray[np.float64]

READ, OTHER = ("a", "b", "c", "d"), ("e", "f")
WORLDS = list(product((False, True), repeat=len(READ)))
CLASSES = ("best", "middle", "worst")


@st.composite
def models(draw: st.DrawFn) -> tuple[ResponseType, dict[str, float]]:
    """Any division of the worlds into classes, some perhaps empty; any features; any weights."""
    of_world = draw(st.lists(st.sampled_from(CLASSES), min_size=len(WORLDS), max_size=len(WORLDS)))
    rules: dict[str, Conditions] = {
        name: [
            dict(zip(READ, world, strict=True))
            for world, c in zip(WORLDS, of_world, strict=True)
            if c == name
        ]
        for name in CLASSES
    }
    features = tuple(draw(st.lists(st.sampled_from(READ + OTHER), unique=True)))
    kind = ResponseType(
        "any", RuleBook(READ, {}).compile(rules), CLASSES, features, draw(st.booleans()),
        frozenset(), frozenset(), "",
    )  # fmt: skip
    weight = st.one_of(st.just(0.0), st.floats(-5, 5))
    return kind, {feature: draw(weight) for feature in kind.features}


def rewards_of_all_answers(kind: ResponseType, weights: dict[str, float]) -> list[float]:
    model = TypeModel(kind, weights)
    return [model.score(p).rbr_reward for p in product((0.0, 1.0), repeat=len(model.propositions))]


@settings(max_examples=200, deadline=None)
@given(made=models())
def test_the_extremes_of_all_answers(made: tuple[ResponseType, dict[str, float]]) -> None:
    rewards = rewards_of_all_answers(*made)
    assert reach(*made) == pytest.approx((min(rewards), max(rewards)), abs=1e-9)


@pytest.mark.parametrize("name", ["safety", "assistant_style"])
def test_the_extremes_of_all_answers_to_a_shipped_policy(name: str) -> None:
    policy = load(rules_folder() / f"{name}.yaml")
    fitted = Weights.load(rules_folder() / f"{name}.lexical.json", "rbr fit").response_types
    for kind in policy.response_types.values():
        weights = fitted[kind.name].weights
        rewards = [each(kind, weights, worlds) for worlds in chunks(len(kind.propositions))]
        expected = min(r.min() for r in rewards), max(r.max() for r in rewards)
        assert reach(kind, weights) == pytest.approx(expected, abs=1e-9)


def chunks(propositions: int) -> Iterator[Floats]:
    """All 2^propositions rows of zeros and ones, at most 2^14 at a time."""
    rows = np.arange(2**propositions)
    for part in np.array_split(rows, max(1, len(rows) // 2**14)):
        yield (part[:, None] >> np.arange(propositions) & 1).astype(float)


def each(kind: ResponseType, weights: dict[str, float], worlds: Floats) -> Floats:
    """Rewards of (n, propositions) answers, term by term."""
    own = np.array([weights.get(f"p:{p}", 0.0) for p in kind.propositions])
    classes = np.array([weights.get(f"class:{c}", 0.0) for c in kind.classes])
    return np.asarray(worlds @ own + kind.diagram.of_rows(worlds[:, : len(kind.diagram.variables)]) @ classes)


@settings(deadline=None)
@given(models(), st.floats(0, 1))
def test_a_reward_is_told_within_the_range(
    model: tuple[ResponseType, dict[str, float]], share: float
) -> None:
    kind, weights = model
    made = TypeModel(kind, weights)
    low, high = reach(kind, weights)
    if low == high:
        assert made.reached(low) is None
    else:
        assert made.reached(low) == 0.0
        assert made.reached(high) == 1.0
        assert high - low < 1e-3 or made.reached(low + share * (high - low)) == pytest.approx(share, abs=1e-9)
        assert made.reached(high + 1e-12) == 1.0
