"""Rows as prompts: every form of prompt and label, and what is refused with file and line."""

import json
from pathlib import Path
from typing import Any

import pytest

from rbr_service.build import rules_folder
from rbr_trainer.data.policy import Policy, load
from rbr_trainer.data.prompts import Columns, Prompt, Reader, distinct, read
from rbr_trainer.errors import InputError

SAFETY = load(rules_folder() / "safety.yaml")
BOTH = {"response_type": "comply", "category": "K-C"}
HI = [{"role": "user", "content": "Hi"}]


def prompt(row: dict[str, Any], policy: Policy = SAFETY, **columns: Any) -> Prompt:
    return Reader(policy, Columns(**columns)).prompt("rows:1", row)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi"},
        {"prompt": HI},
        {"messages": HI},
        {"prompt": "Hi", "messages": [*HI, {"role": "assistant", "content": "Hello"}]},
        {"prompt": None, "messages": [{"role": "user", "content": "Hi", "name": None}]},
        {"label": {"response_type": "comply", "messages": HI}},
        {"prompt": HI, "label": {"messages": [{"role": "user", "content": " Hi\n"}]}},
    ],
)
def test_every_form_of_a_prompt(row: dict[str, Any]) -> None:
    found = prompt({"response_type": "comply", **row})
    assert [message.model_dump() for message in found.messages] == HI
    assert found.kind == "comply"


@pytest.mark.parametrize(
    ("row", "names", "kind"),
    [
        ({"label": "hard_refusal"}, {"response_type": "hard_refusal"}, "hard_refusal"),
        ({"label": "Hard Refuse"}, {"response_type": "hard_refusal"}, "hard_refusal"),
        ({"label": "k-r"}, {"category": "K-R"}, "hard_refusal"),
        ({"category": "None"}, {"category": "None"}, "out_of_scope"),
        ({"label": '{"category": "SH-R2"}'}, {"category": "SH-R2"}, "soft_refusal_2"),
        (BOTH, BOTH, "comply"),
        ({"label": "K-C", "category": "K-C", "response_type": ""}, {"category": "K-C"}, "comply"),
    ],
)  # fmt: skip
def test_every_form_of_a_label(row: dict[str, Any], names: dict[str, str], kind: str) -> None:
    found = prompt({"prompt": "Hi", **row})
    assert (found.names, found.kind) == (names, kind)


def test_other_columns_can_be_named_and_lead_into_objects() -> None:
    row = {"question": "Hi", "extra": {"rbr": "K-R"}, "category": "brainstorm", "label": 3, "topic": 7}
    found = prompt(row, prompt="question", label="extra.rbr", group="topic")
    assert (found.messages[0].content, found.names, found.group) == ("Hi", {"category": "K-R"}, "7")


def test_a_default_is_for_rows_without_a_label() -> None:
    assert prompt({"prompt": "Hi", "category": ""}, default="K-R").kind == "hard_refusal"
    assert prompt({"prompt": "Hi", "category": "K-C"}, default="K-R").kind == "comply"


@pytest.mark.parametrize(
    ("unlabelled", "kind"), [("out_of_scope", "out_of_scope"), ("auto", "auto"), ("comply", "comply")]
)
def test_rows_may_stay_without_a_label_if_wanted(unlabelled: str, kind: str) -> None:
    policy = Policy(**{**vars(SAFETY), "unlabelled": unlabelled})
    found = prompt({"prompt": "Hi"}, policy, unlabelled=True)
    assert (found.names, found.kind) == ({}, kind)
    with pytest.raises(InputError, match="decides none without one"):
        prompt({"prompt": "Hi"}, Policy(**{**vars(SAFETY), "unlabelled": "error"}), unlabelled=True)


def test_a_base_reward_comes_from_a_column_or_the_label() -> None:
    assert prompt({"prompt": "Hi", "label": "K-R", "base_reward": 1.5}).base_reward == 1.5
    assert prompt({"prompt": "Hi", "label": {"category": "K-R", "base_reward": 2}}).base_reward == 2.0
    assert prompt({"prompt": "Hi", "label": "K-R", "base_reward": None}).base_reward is None


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"label": "K-R"}, "has no prompt: messages must hold"),
        ({"prompt": [], "label": "K-R"}, "prompt must hold a text or messages"),
        ({"prompt": 3, "label": "K-R"}, "prompt must hold a text or messages"),
        ({"prompt": " ", "label": "K-R"}, "must end with a message that is not empty"),
        ({"messages": [*HI, {"role": "assistant", "content": "Hello"}], "label": "K-R"}, "--prompt-key"),
        ({"prompt": [{"role": "user", "content": ["Hi"]}], "label": "K-R"}, r"messages\.0\.content: "),
        ({"prompt": [{"role": "user", "content": "Hi", "name": "A"}], "label": "K-R"}, r"\.0\.name: "),
        ({"prompt": "Hi"}, "has no label: .* --label-key"),
        ({"prompt": "Hi", "label": {"base_reward": 1.0}}, "has no label"),
        ({"prompt": "Hi", "label": 1}, "neither text nor an object"),
        ({"prompt": "Hi", "category": 1}, "category must be text"),
        ({"prompt": "Hi", "label": "hard_refusl"}, "nearest first, it has hard_refusal"),
        ({"prompt": "Hi", "label": "K-R", "category": "K-C"}, "is labelled K-C and K-R, which are"),
        ({"prompt": "Hi", "label": "K-R", "category": "C-R"}, "is labelled C-R and K-R"),
        ({"prompt": "Hi", "label": "K-R", "base_reward": float("inf")}, "base_reward: "),
        ({"prompt": "Hi", "label": '{"category": "K-R", "base_reward": 1}', "base_reward": 2.0}, "2.0, and"),
        ({"prompt": "Ho", "label": {"category": "K-R", "messages": HI}}, "messages are not those of prompt"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(row: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        prompt(row)


@pytest.mark.parametrize("value", [None, [1], {"a": 1}])
def test_a_row_without_a_group_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match=r"^topic names no group"):
        prompt({"prompt": "Hi", "label": "K-R", "topic": value}, group="topic")


def test_a_file_names_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": "One", "label": "K-R"}, {"prompt": "Two"}, {"prompt": "Three", "label": "K-X"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError) as told:
        read(path, Reader(SAFETY, Columns()))
    assert [line.split(": ")[0] for line in str(told.value).splitlines()] == [f"{path}:2", f"{path}:3"]


def rows_of(*labels: tuple[str, str | None, float | None]) -> list[Prompt]:
    reader = Reader(SAFETY, Columns())
    return [
        reader.prompt(f"rows:{i}", {"prompt": text, "label": label, "base_reward": base})
        for i, (text, label, base) in enumerate(labels, 1)
    ]


def test_equal_prompts_are_taken_once() -> None:
    found = rows_of(
        ("Hi", "K-R", None), (" Hi ", "hard_refusal", None), ("hi", "K-C", None), ("Hi", "C-R", None)
    )
    assert [prompt.place for prompt in distinct(found)] == ["rows:1", "rows:3"]


@pytest.mark.parametrize("second", [("Hi", "K-C", None), ("Hi\n", "None", None), ("Hi", "K-R", 1.0)])
def test_equal_prompts_that_want_different_things_are_refused(second: Any) -> None:
    with pytest.raises(
        InputError, match=r"^rows:2: wants .* the same prompt wants hard_refusal at rows:1: remove one$"
    ):
        distinct(rows_of(("Hi", "K-R", None), second))
