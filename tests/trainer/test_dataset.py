"""What is written for each trainer, and what the service makes of its labels."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rbr_service import labels
from rbr_service.rbr.policy import Policy as ServedPolicy
from rbr_trainer.data.dataset import FORMATS, write
from rbr_trainer.data.label import Message
from rbr_trainer.data.prompts import Prompt
from rbr_trainer.errors import InputError

CHAT = (Message(role="system", content="Be kind."), Message(role="user", content="Où? \u2028 \"'{}\\ 🗝"))
MESSAGES = [message.model_dump() for message in CHAT]
PROMPTS = [
    Prompt(CHAT, {"category": "K-R"}, "hard_refusal", None, "", "rows:1"),
    Prompt(CHAT[1:], {"response_type": "comply", "category": "K-C"}, "comply", -1.5, "", "rows:2"),
    Prompt(CHAT[1:], {}, "out_of_scope", None, "", "rows:3"),
]


def written(path: Path, trainer: str) -> list[dict[str, Any]]:
    write(path, FORMATS[trainer], PROMPTS, path)
    if path.suffix == ".parquet":
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return rows
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


@pytest.mark.parametrize("trainer", FORMATS)
def test_both_formats_hold_the_same_rows(tmp_path: Path, trainer: str) -> None:
    rows = written(tmp_path / "rows.jsonl", trainer)
    assert rows == written(tmp_path / "rows.parquet", trainer)
    assert len({json.dumps(sorted(row)) for row in rows}) == 1, "every row has the same columns"


@pytest.mark.parametrize("trainer", FORMATS)
def test_the_service_reads_each_label_as_its_row_meant_it(
    tmp_path: Path, trainer: str, safety: ServedPolicy
) -> None:
    for row, prompt in zip(written(tmp_path / "rows.jsonl", trainer), PROMPTS, strict=True):
        raw = row["reward_model"]["ground_truth"] if trainer == "verl" else row["label"]
        assert isinstance(raw, str), "texts alone: datasets would fill objects up with nulls"
        label = labels.parse(raw)
        kind = safety.resolve(label.name)
        assert (kind.name if kind else "out_of_scope") == prompt.kind
        assert (row["base_reward"] if trainer == "trl" else label.base_reward) == prompt.base_reward
        if trainer in ("openrlhf", "slime"):
            assert label.messages
            assert [message.model_dump() for message in label.messages] == MESSAGES[-len(prompt.messages) :]


def test_the_columns_of_each_trainer(tmp_path: Path) -> None:
    first = {trainer: written(tmp_path / trainer, trainer)[0] for trainer in FORMATS}
    assert first["openrlhf"].keys() == {"messages", "label", "datasource"}
    assert first["openrlhf"]["messages"] == MESSAGES
    assert first["openrlhf"]["datasource"] == "hard_refusal"
    assert first["trl"] == {"prompt": MESSAGES, "label": "K-R", "base_reward": None}
    assert first["verl"] == {
        "data_source": "hard_refusal", "prompt": MESSAGES, "ability": "rule_based_rewards",
        "reward_model": {"style": "rule", "ground_truth": '{"category": "K-R"}'},
        "extra_info": {"index": 0, "messages": MESSAGES},
    }  # fmt: skip
    assert first["slime"].keys() == {"prompt", "label"}


def test_a_prompt_that_openrlhf_takes_for_a_picture_is_refused(tmp_path: Path) -> None:
    pictured = Prompt((Message(role="user", content="See <image>!"),), {}, "comply", None, "", "rows:7")
    with pytest.raises(InputError, match=r"^rows:7: holds <image>"):
        write(tmp_path / "rows.jsonl", FORMATS["openrlhf"], [pictured], tmp_path / "rows.jsonl")
    write(tmp_path / "rows.jsonl", FORMATS["trl"], [pictured], tmp_path / "rows.jsonl")
