"""What a bench sends: distinct, shared prompts, and read by the service as it was meant."""

import json
from collections import Counter
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest

from rbr_service.bench import texts
from rbr_service.build import rules_folder
from rbr_service.conversation import Message
from rbr_service.errors import DataError, SettingsError
from rbr_service.rbr.policy import Policy
from rbr_service.reading import Reader
from rbr_service.schemas import OpenRLHFRequest
from rbr_service.scorer import Sample
from rbr_service.settings import Settings
from rbr_service.writers import pieces

GROUP, COUNT = 8, 400


def made(safety: Policy, repeats: float = 0.0, run: str = "a1", words: int = 50) -> list[bytes]:
    templates = pieces.load(rules_folder() / "safety.templates.yaml", safety)
    rng = Random(2)
    samples = texts.of_templates(templates, list(templates.requests), GROUP, words, rng)
    return texts.bodies(samples, COUNT, GROUP, repeats, run, rng)


def from_file(path: Path, count: int = 2) -> list[bytes]:
    return texts.bodies(texts.of_file(path), count, 1, 0.0, "a1", Random(2))


def read(body: bytes) -> Sample:
    """As the service reads it."""
    (sample,) = Reader(Settings()).openrlhf(OpenRLHFRequest.model_validate_json(body))
    return sample


def written(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "samples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_no_two_samples_are_alike_and_those_of_a_group_share_their_prompt(safety: Policy) -> None:
    bodies = made(safety)
    prompts = Counter(json.loads(body)["prompts"][0] for body in bodies)
    assert len(set(bodies)) == COUNT
    assert len(prompts) == COUNT / GROUP
    assert set(prompts.values()) == {GROUP}


def test_no_sample_is_one_of_another_run(safety: Policy) -> None:
    assert not set(made(safety)) & set(made(safety, run="a2"))


@pytest.mark.parametrize("repeats", [0.25, 1.0])
def test_the_share_of_repeats_is_exact(safety: Policy, repeats: float) -> None:
    bodies = made(safety, repeats)
    assert COUNT - len(set(bodies)) == round(repeats * (COUNT - 1))


def test_the_service_reads_templates_as_they_were_meant(safety: Policy) -> None:
    kinds = Counter[str | None]()
    for body in made(safety, words=120):
        sample = read(body)
        kinds[sample.label] += 1
        assert [turn.role for turn in sample.conversation.prompt] == ["user"]
        assert 120 <= len(sample.conversation.completion.split()) < 240
        assert "<|im_end|>" not in sample.conversation.completion
    assert set(kinds) == set(safety.response_types)
    assert max(kinds.values()) - min(kinds.values()) <= GROUP


def test_the_service_reads_rows_as_they_were_meant(tmp_path: Path) -> None:
    turns = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello."), ("user", "Who?")]
    messages = [{"role": role, "content": content} for role, content in (*turns, ("assistant", "Me."))]
    path = written(
        tmp_path,
        {"messages": messages, "response_type": "comply", "base_reward": 2.5},
        {"prompt": "Hi", "completion": "Hello.", "category": "K-R"},
    )
    first, second = map(read, from_file(path))
    assert first.conversation.prompt == (
        Message("system", "[a1-0] Be brief."), *(Message(*turn) for turn in turns[1:])
    )  # fmt: skip
    assert first.conversation.completion == "[a1-0.0] Me."
    assert (first.label, first.base_reward) == ("comply", 2.5)
    assert (second.label, second.conversation.completion) == ("K-R", "[a1-1.0] Hello.")


def test_rows_are_taken_in_turn_again_and_again_and_stay_distinct(tmp_path: Path) -> None:
    path = written(tmp_path, *({"prompt": f"p{n}", "completion": "c"} for n in range(3)))
    assert [sample.prompt[0].content for sample in islice(texts.of_file(path), 7)] == [
        "p0", "p1", "p2", "p0", "p1", "p2", "p0"
    ]  # fmt: skip
    assert len(set(from_file(path, 7))) == 7


def test_a_bad_row_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, {"prompt": "p", "completion": "c"}, {"prompt": "p"})
    with pytest.raises(DataError, match=r"samples\.jsonl:2: .*completion"):
        from_file(path)


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no rows"):
        from_file(written(tmp_path))


def test_shipped_texts_are_of_the_types_that_the_service_has() -> None:
    samples = texts.of_shipped("safety", {"comply", "a type of one's own"}, GROUP, 20, Random(2))
    assert {sample.label for sample in islice(samples, 100)} == {"comply"}


@pytest.mark.parametrize(
    ("policy", "types", "message"),
    [
        ("mine", {"comply"}, "no texts are shipped for the policy 'mine'"),
        ("safety", {"x"}, "response types, x"),
    ],
)
def test_a_policy_without_shipped_texts_needs_samples(policy: str, types: set[str], message: str) -> None:
    with pytest.raises(SettingsError, match=f"--samples: .*{message}.*: give a file"):
        texts.of_shipped(policy, types, GROUP, 20, Random(2))
