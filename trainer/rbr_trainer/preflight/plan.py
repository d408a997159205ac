"""What a training run is going to do, as far as the reward service has to bear it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rbr_trainer.address import Address
from rbr_trainer.service import Range

ANSWER_LIMIT = 180.0  # seconds; OpenRLHF's client waits no longer, and no option changes that


@dataclass(frozen=True)
class Plan:
    """A run before it starts.

    `addresses`: equal replicas. `clip`: --reward.clip_range. `reward_version`: the wanted one, or its first
    12 characters or more. `client`: who will send samples, OpenRLHF's own client (plain) or this package's.
    `dataset`: the prompts, JSONL or Parquet; `evaluation`: those that it evaluates itself on. `model`:
    folder or hub name whose tokenizer and chat template write the prompts. `concurrency`: completions in
    flight at once. `answer_limit`: seconds for one answer.
    """

    addresses: tuple[Address, ...]
    clip: Range
    reward_version: str | None = None
    client: Literal["agent", "plain"] = "plain"
    dataset: Path | None = None
    evaluation: Path | None = None
    label_key: str = "label"
    input_key: str = "messages"
    model: str | None = None
    apply_chat_template: bool = True
    concurrency: int = 64
    input_template: str | None = None
    answer_limit: float = ANSWER_LIMIT
