"""Leaving out what the ranking hangs on raises the error; leaving out noise does not."""

import numpy as np

from rbr_service.rbr import ablation
from rbr_service.rbr.fit import Objective
from rbr_service.rbr.policy import Policy
from rbr_service.rbr.ranked import Ranked


def completions(safety: Policy, prompts: int, seed: int) -> Ranked:
    """Only `partially_complies` tells better from worse; base rewards are noise."""
    kind = safety.response_types["comply"]
    rng = np.random.default_rng(seed)
    ranks = np.tile([0, 2], prompts)
    p = np.full((len(ranks), len(kind.propositions)), 0.1) + 0.02 * rng.uniform(size=(len(ranks), 1))
    p[:, kind.propositions.index("partially_complies")] = np.where(ranks == 0, 0.9, 0.1)
    p[:, kind.propositions.index("judgement")] = rng.uniform(0, 0.2, len(ranks))
    return Ranked(kind, np.repeat(np.arange(prompts), 2), ranks, p, 0.3 * rng.normal(size=len(ranks)))


def errors(safety: Policy) -> dict[str, float]:
    train, held_out = completions(safety, 80, 0), completions(safety, 80, 1)
    counted: list[int] = []
    found = ablation.ablate(train, held_out, Objective(), 0, lambda: counted.append(1))
    assert len(counted) == len(found) == ablation.count(train)
    return {one.left_out: one.error.value for one in found}


def test_what_counts_and_what_does_not(safety: Policy) -> None:
    found = errors(safety)
    assert found[ablation.NOTHING] < 0.05
    assert found["partially_complies"] > 0.3
    assert found["judgement"] < 0.05
    assert {ablation.CLASSES, ablation.BASE, "95% of the data"} <= found.keys()


def test_a_proposition_is_silenced_in_features_and_rules(safety: Policy) -> None:
    train = completions(safety, 20, 0)
    column = train.kind.propositions.index("partially_complies")
    variants = {one.left_out: one for one in ablation.variants(train, train, 0)}
    silenced = variants["partially_complies"].train
    assert np.ptp(silenced.p[:, column]) == 0
    feature = train.kind.features.index("class:ideal")
    assert np.ptp(train.phi[:, feature]) > 3 * np.ptp(silenced.phi[:, feature])


def test_less_data_are_whole_prompts(safety: Policy) -> None:
    train = completions(safety, 40, 0)
    variants = {one.left_out: one for one in ablation.variants(train, train, 0)}
    half = variants["50% of the data"].train
    assert len(half) == 40
    assert len(half.pairs()) == 20
    assert len(variants["50% of the data"].held_out) == 80
