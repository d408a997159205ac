"""What `rbr-train prepare` writes, read by the trainers themselves; and saved datasets that it reads."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rbr_trainer.cli import main
from rbr_trainer.data.dataset import FORMATS, typed, write
from rbr_trainer.data.label import Message
from rbr_trainer.data.prompts import Prompt

from . import policy, verl_dataset
from .serving import ROOT, Service

# deepspeed, which accelerate imports, uses torch.jit.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
POLICY = str(ROOT / "rules/rbr_rules/safety.yaml")
Row = dict[str, Any]

# Labels of every form, base rewards here and there, and texts that look like other kinds of JSON.
TEXTS = [
    "2024-01-01 00:00:00",
    "null",
    "3.5",
    '{"a": 1}',
    "Où? 🗝 \u2028 \\n",
    "<think>no</think>",
    "x" * 3000,
]
LABELS: list[Any] = [
    "K-R", {"response_type": "comply", "category": "K-C"}, '{"category": "SH-R1", "base_reward": 1.5}',
    "Safe Refuse 2", {"response_type": "hard_refusal", "base_reward": -2}, "None", "H-C",
]  # fmt: skip
SYSTEM = {"role": "system", "content": "Be kind."}
ROWS: list[Row] = [
    {"messages": [*([SYSTEM] if i % 2 else []), {"role": "user", "content": f"{text} {i}"}], "label": label}
    for i in range(4)
    for text, label in zip(TEXTS, LABELS, strict=True)
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def prepare(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["prepare", *map(str, arguments), "--policy", POLICY])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def prepared(source: Path, trainer: str, suffix: str) -> Path:
    out = source.with_name(f"{trainer}{suffix}")
    result = prepare(source, "-o", out, "--for", trainer)
    assert result.exit_code == 0, result.output
    return out


class Strategy:
    """What OpenRLHF's readers use of its strategy object."""

    def __init__(self) -> None:
        data = SimpleNamespace(input_key="messages", label_key="label", apply_chat_template=True)
        self.args = SimpleNamespace(data=data, use_ms=False)

    def print(self, *_: object) -> None:
        """Nothing."""

    def is_rank_0(self) -> bool:
        return False


def openrlhf_rows(path: Path, split: str = "train") -> list[tuple[str, str, str]]:
    """(datasource, prompt, label) as OpenRLHF trains on them."""
    from openrlhf.datasets import PromptDataset
    from openrlhf.datasets.utils import blending_datasets

    strategy = Strategy()
    data = blending_datasets(str(path), None, strategy, dataset_split=split)
    found = PromptDataset(data, policy.tokenizer(), strategy)
    return [found[i][:3] for i in range(len(found))]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_openrlhf_reads_every_prompt_and_label(source: Path, suffix: str) -> None:
    out = prepared(source, "openrlhf", suffix)
    words = policy.tokenizer()
    read = openrlhf_rows(out) + openrlhf_rows(out.with_suffix(f".heldout{suffix}"))
    assert len(read) == len(ROWS)
    wanted = {json.dumps(row["messages"]): row for row in ROWS}
    for datasource, text, label in read:
        said = json.loads(label)
        row = wanted.pop(json.dumps(said["messages"]))
        assert text == words.apply_chat_template(row["messages"], tokenize=False, add_generation_prompt=True)
        assert datasource == {"K-R": "hard_refusal", "None": "out_of_scope"}.get(
            str(row["label"]), datasource
        )
    assert not wanted


def test_a_held_out_set_of_one_row_is_read(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text("".join(f'{{"prompt": "2024-01-0{i}", "label": "K-R"}}\n' for i in range(1, 4)))
    out = prepared(source, "openrlhf", ".jsonl")
    ((_, text, label),) = openrlhf_rows(out.with_suffix(".heldout.jsonl"))
    assert json.loads(label)["messages"][0]["content"] in text


def test_the_service_rewards_what_openrlhf_sends(source: Path, service: Service) -> None:
    rows = openrlhf_rows(prepared(source, "openrlhf", ".jsonl"))
    answer = "I'm sorry, but I can't help with that."
    body = {
        "query": [f"{text}{answer}<|im_end|>" for _, text, _ in rows],
        "prompts": [text for _, text, _ in rows],
        "labels": [label for *_, label in rows],
    }
    found = service.post("/get_reward", body)
    scoped = [kind != "out_of_scope" for kind, *_ in rows]
    assert found["extra_logs"]["rbr_in_scope"] == [float(inside) for inside in scoped]
    messages = [{"messages": [*json.loads(label)["messages"], {"role": "assistant", "content": answer}],
                 "response_type": kind} for kind, _, label in rows if kind != "out_of_scope"]  # fmt: skip
    alone = service.post("/v1/score", {"samples": messages})["results"]
    assert [r for r, inside in zip(found["rewards"], scoped, strict=True) if inside] == [
        a["reward"] for a in alone
    ]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_trl_reads_conversations_and_plain_names(source: Path, suffix: str) -> None:
    from datasets import load_dataset
    from trl.data_utils import is_conversational, maybe_apply_chat_template

    out = prepared(source, "trl", suffix)
    kind = "parquet" if suffix == ".parquet" else "json"
    data = load_dataset(kind, data_files=str(out), split="train")
    assert data.column_names == ["prompt", "label", "base_reward"]
    assert set(data["label"]) <= {"K-R", "comply", "SH-R1", "soft_refusal_2", "hard_refusal", "None", "H-C"}
    assert set(data["base_reward"]) == {None, 1.5, -2.0}
    for row in data:
        assert is_conversational(row)
        text = maybe_apply_chat_template({"prompt": row["prompt"]}, policy.tokenizer())["prompt"]
        assert text.endswith("<|im_start|>assistant\n")


def test_trl_reads_a_base_reward_that_few_rows_have(tmp_path: Path) -> None:
    """`datasets` reads 10 MB at once, and takes the columns' types from the first."""
    from datasets import load_dataset

    found = [
        Prompt((Message(role="user", content=f"{i} {'x' * 10**6}"),), {"category": "K-R"}, "hard_refusal",
               1.5 if i == 14 else None, "", f"in.jsonl:{i}")
        for i in range(15)
    ]  # fmt: skip
    out = tmp_path / "out.jsonl"
    write(out, FORMATS["trl"], typed(found), out)
    data = load_dataset("json", data_files=str(out), split="train")
    rewards = {row["prompt"][0]["content"].split()[0]: row["base_reward"] for row in data}
    assert rewards == {str(i): 1.5 if i == 14 else None for i in range(15)}


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_verl_reads_what_its_adapter_needs(source: Path, suffix: str, tmp_path: Path) -> None:
    reader = verl_dataset.reader(ROOT)
    out = prepared(source, "verl", suffix)
    config = {"filter_overlong_prompts_workers": None, "max_prompt_length": 2000}
    data = reader([str(out)], policy.tokenizer(), config)
    long = sum(len(row["messages"][-1]["content"]) > 2000 for row in ROWS)
    assert len(ROWS) - long - 8 <= len(data) <= len(ROWS) - long
    for i in range(len(data)):
        row = data[i]
        assert row["raw_prompt"] == row["extra_info"]["messages"]
        assert row["raw_prompt"] in [known["messages"] for known in ROWS]
        assert json.loads(row["reward_model"]["ground_truth"]).keys() <= {
            "response_type",
            "category",
            "base_reward",
        }
        assert row["data_source"] in (
            "hard_refusal",
            "soft_refusal_1",
            "soft_refusal_2",
            "comply",
            "out_of_scope",
        )


BROUGHT = [{"prompt": f"Lock {i}?", "category": ["K-R", "K-C"][i % 2], "extra": {"n": i}} for i in range(40)]


def plain(data: Any) -> Any:
    return data


def filtered(data: Any) -> Any:
    return data.filter(lambda row: row["extra"]["n"] < 30)


@pytest.mark.parametrize("made", [plain, filtered])
def test_a_saved_dataset_is_read_without_datasets(tmp_path: Path, made: Callable[[Any], Any]) -> None:
    from datasets import Dataset

    data = made(Dataset.from_list(BROUGHT))
    data.save_to_disk(tmp_path / "saved", num_shards=3)
    result = prepare(tmp_path / "saved", "-o", tmp_path / "out.jsonl", "--hold-out", 0)
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert {row["messages"][0]["content"] for row in rows} == set(data["prompt"])


def test_the_splits_of_a_dataset_are_named(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    DatasetDict({"train": Dataset.from_list(BROUGHT), "test": Dataset.from_list(BROUGHT[:4])}).save_to_disk(
        tmp_path / "saved"
    )
    result = prepare(tmp_path / "saved", "-o", tmp_path / "out.jsonl")
    assert result.exit_code == 2
    assert f"name one of {tmp_path / 'saved' / 'train'}, {tmp_path / 'saved' / 'test'}" in result.stderr
    assert prepare(tmp_path / "saved" / "test", "-o", tmp_path / "out.jsonl").exit_code == 0
