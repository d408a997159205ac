"""What each trainer reads: prompts as rows of JSONL or Parquet.

    Prompt -> the row of OpenRLHF, TRL, verl or slime -> a file, one shape for all rows

The label goes as JSON text wherever the trainer hands it on as it is: a column of objects would be filled
up by `datasets` with the nulls of all other rows, and one of texts and objects cannot be loaded at all. It
brings the prompt's messages along, which spares the service the search for the prompt's end.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rbr_trainer.data.prompts import Prompt
from rbr_trainer.data.rows import Row, is_parquet
from rbr_trainer.errors import InputError
from rbr_trainer.progress import Progress

MESSAGES = pa.list_(pa.struct({"role": pa.string(), "content": pa.string()}))
BATCH = 1024  # rows of a Parquet row group


@dataclass(frozen=True)
class Format:
    """A trainer's rows. `use`: how it is told of the file, `{train}` and `{held_out}` standing for paths."""

    row: Callable[[Prompt, int], Row]
    schema: pa.Schema
    use: str
    use_held_out: str


def openrlhf(prompt: Prompt, _: int) -> Row:
    """`datasource` splits OpenRLHF's evaluation curves by response type. Raises InputError."""
    for message in prompt.messages:
        if "<image>" in message.content:
            raise InputError(
                f"{prompt.place}: holds <image>, for which OpenRLHF puts a picture: reword it or drop the row"
            )
    return {"messages": _messages(prompt), "label": label(prompt), "datasource": prompt.kind}


def trl(prompt: Prompt, _: int) -> Row:
    """The label is a plain name: TRL hands the prompt's messages to the reward function anyway."""
    return {"prompt": _messages(prompt), "label": name(prompt), "base_reward": prompt.base_reward}


def verl(prompt: Prompt, index: int) -> Row:
    """The usual columns; `data_source` splits verl's validation curves by response type."""
    return {
        "data_source": prompt.kind,
        "prompt": _messages(prompt),
        "ability": "rule_based_rewards",
        "reward_model": {"style": "rule", "ground_truth": label(prompt, messages=False)},
        "extra_info": {"index": index, "messages": _messages(prompt)},
    }


def slime(prompt: Prompt, _: int) -> Row:
    """Read with --input-key prompt --label-key label."""
    return {"prompt": _messages(prompt), "label": label(prompt)}


TEXT = pa.string()
FORMATS: Mapping[str, Format] = {
    "openrlhf": Format(
        openrlhf,
        pa.schema({"messages": MESSAGES, "label": TEXT, "datasource": TEXT}),
        "--data.prompt_dataset {train} --data.input_key messages --data.label_key label "
        "--data.apply_chat_template",
        "--eval.dataset {held_out}",
    ),
    "trl": Format(
        trl,
        pa.schema({"prompt": MESSAGES, "label": TEXT, "base_reward": pa.float64()}),
        'train_dataset=load_dataset("{kind}", data_files="{train}", split="train")',
        'eval_dataset=load_dataset("{kind}", data_files="{held_out}", split="train")',
    ),
    "verl": Format(
        verl,
        pa.schema({
            "data_source": TEXT,
            "prompt": MESSAGES,
            "ability": TEXT,
            "reward_model": pa.struct({"style": TEXT, "ground_truth": TEXT}),
            "extra_info": pa.struct({"index": pa.int64(), "messages": MESSAGES}),
        }),
        "data.train_files={train} data.prompt_key=prompt",
        "data.val_files={held_out}",
    ),
    "slime": Format(
        slime,
        pa.schema({"prompt": MESSAGES, "label": TEXT}),
        "--prompt-data {train} --input-key prompt --label-key label --apply-chat-template",
        "--eval-prompt-data held_out {held_out}",
    ),
}  # fmt: skip


def label(prompt: Prompt, *, messages: bool = True) -> str:
    """The label as JSON text: the row's names, its base reward if any, and the prompt's messages."""
    content: Row = dict(prompt.names)
    if prompt.base_reward is not None:
        content["base_reward"] = prompt.base_reward
    if messages:
        content["messages"] = _messages(prompt)
    return json.dumps(content, ensure_ascii=False)


def name(prompt: Prompt) -> str:
    """The label as one name, the response type's where the row names it; "" without a label."""
    return prompt.names.get("response_type") or prompt.names.get("category") or ""


def typed(prompts: Sequence[Prompt]) -> Sequence[Prompt]:
    """The prompts with one that has a base reward in front, if any has.

    `datasets` takes a JSONL column's type from the file's first megabytes, and fails where only nulls stand
    there and a number later.
    """
    lead = next((i for i, prompt in enumerate(prompts) if prompt.base_reward is not None), 0)
    return [*prompts[lead : lead + 1], *prompts[:lead], *prompts[lead + 1 :]]


def write(path: Path, kind: Format, prompts: Sequence[Prompt], shown: Path) -> None:
    """Write the rows: Parquet where the name `shown` says so, else JSONL. Raises InputError, OSError."""
    with Progress(f"writing {shown.name}", len(prompts), "rows") as progress:

        def row(index: int) -> Row:
            progress.step()
            return kind.row(prompts[index], index)

        made = map(row, range(len(prompts)))
        if is_parquet(shown):
            _parquet(path, kind.schema, list(made))
        else:
            with path.open("w", encoding="utf-8", newline="\n") as out:
                out.writelines(json.dumps(one, ensure_ascii=False) + "\n" for one in made)


def _parquet(path: Path, schema: pa.Schema, made: Sequence[Row]) -> None:
    with pq.ParquetWriter(path, schema) as out:
        for begin in range(0, len(made), BATCH):
            out.write_table(pa.Table.from_pylist(list(made[begin : begin + BATCH]), schema=schema))


def _messages(prompt: Prompt) -> list[dict[str, Any]]:
    return [{"role": message.role, "content": message.content} for message in prompt.messages]
