"""What is held out, mixed and left out: properties that hold for any prompts."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbr_service.build import rules_folder
from rbr_trainer.data.label import Message
from rbr_trainer.data.policy import load
from rbr_trainer.data.prompts import Prompt, by_kind
from rbr_trainer.data.split import Mix, Split, Splitter
from rbr_trainer.errors import InputError

SAFETY = load(rules_folder() / "safety.yaml")
KINDS = ("hard_refusal", "soft_refusal_1", "comply", "out_of_scope")


def prompts(counts: dict[str, int], groups: int = 0) -> list[Prompt]:
    return [
        Prompt((Message(role="user", content=f"{kind} {i}"),), {}, kind, None,
               f"topic {i % groups}" if groups else "", f"{kind}:{i}")
        for kind, count in counts.items() for i in range(count)
    ]  # fmt: skip


def places(found: list[Prompt]) -> set[str]:
    return {prompt.place for prompt in found}


def disjoint_and_whole(split: Split, given: list[Prompt]) -> None:
    parts = [places(part) for part in (split.train, split.held_out, split.left_out)]
    assert sum(map(len, parts)) == len(given)
    assert set.union(*parts) == places(given)


COUNTS = st.dictionaries(st.sampled_from(KINDS), st.integers(1, 40), min_size=1)


@settings(deadline=None)
@given(COUNTS, st.floats(0, 0.99), st.integers(0, 3), st.randoms(use_true_random=False))
def test_each_prompt_is_in_one_part_and_the_order_of_rows_does_not_count(
    counts: dict[str, int], share: float, seed: int, random: Any
) -> None:
    given = prompts(counts)
    split = Splitter(seed, share).split(given)
    disjoint_and_whole(split, given)
    held = by_kind(split.held_out)
    for kind, count in counts.items():
        wanted = min(count - 1, max(1, round(share * count))) if share else 0
        assert held.get(kind, 0) == wanted
    shuffled = random.sample(given, len(given))
    assert Splitter(seed, share).split(shuffled) == split


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 20), st.floats(0.01, 0.99))
def test_a_refusal_share_is_reached_and_nothing_is_left_out_in_vain(
    refused: int, complied: int, beside: int, share: float
) -> None:
    given = prompts({"hard_refusal": refused, "comply": complied, "out_of_scope": beside})
    splitter = Splitter(mix=Mix.of_refusals(SAFETY, share))
    size = min(refused / share, complied / (1 - share))
    wanted = {"hard_refusal": size * share, "comply": size * (1 - share)}
    split = splitter.split(given)
    disjoint_and_whole(split, given)
    counts = by_kind(split.train)
    for kind, number in wanted.items():
        assert number - 1 < counts.get(kind, 0) <= number + 1e-6
    assert counts.get("out_of_scope", 0) == beside


def test_shares_of_types_are_relative_and_others_are_left_out() -> None:
    given = prompts({"hard_refusal": 30, "soft_refusal_1": 30, "comply": 30, "out_of_scope": 5})
    mix = Mix([(frozenset({"hard_refusal"}), 2.0), (frozenset({"comply"}), 1.0)])
    assert by_kind(Splitter(mix=mix).split(given).train) == {"hard_refusal": 30, "comply": 15}


def test_what_is_held_out_does_not_depend_on_the_mix() -> None:
    given = prompts({"hard_refusal": 50, "comply": 100})
    held = [
        places(Splitter(3, 0.2, Mix.of_refusals(SAFETY, share)).split(given).held_out) for share in (0.2, 0.8)
    ]
    assert held[0] == held[1] != places(Splitter(4, 0.2).split(given).held_out)


@settings(deadline=None)
@given(COUNTS, st.integers(2, 8), st.floats(0.01, 0.5), st.integers(0, 3))
def test_groups_are_held_out_whole(counts: dict[str, int], groups: int, share: float, seed: int) -> None:
    given = prompts(counts, groups)
    try:
        split = Splitter(seed, share).split(given)
    except InputError as error:
        assert "by smaller groups" in str(error)  # noqa: PT017 - either outcome is fine
        return
    disjoint_and_whole(split, given)
    assert not {p.group for p in split.held_out} & {p.group for p in split.train}
    held = Counter(prompt.kind for prompt in split.held_out)
    assert all(held[kind] >= min(n - 1, max(1, round(share * n))) for kind, n in counts.items())
    assert by_kind(split.train).keys() == counts.keys()


@settings(deadline=None)
@given(st.integers(1, 50), st.integers(1, 60))
def test_whole_batches(count: int, size: int) -> None:
    splitter = Splitter(multiple_of=size)
    if count < size:
        with pytest.raises(InputError, match="no prompt is left to train on"):
            splitter.split(prompts({"comply": count}))
    else:
        assert len(splitter.split(prompts({"comply": count})).train) == count // size * size


def test_rows_are_drawn_from_all_over_and_types_stand_mixed() -> None:
    split = Splitter().split(prompts({"hard_refusal": 200, "comply": 200}))
    first = by_kind(split.train[:100])
    assert min(first.values()) > 25


def test_a_mix_that_cannot_be_had_is_refused() -> None:
    with pytest.raises(InputError, match=r"no prompt of hard_refusal, .* in the mix"):
        Splitter(mix=Mix.of_refusals(SAFETY, 0.5)).split(prompts({"comply": 3}))
    style = load(rules_folder() / "assistant_style.yaml")
    assert Mix.of_refusals(style, 0.5).parts[0][0] == {"data"}
    for refusing in ({}, dict.fromkeys(SAFETY.response_types, frozenset[str]())):
        policy = type(SAFETY)(**{**vars(SAFETY), "overrefusal": refusing})
        with pytest.raises(InputError, match="--mix"):
            Mix.of_refusals(policy, 0.5)
