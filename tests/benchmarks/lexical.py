"""CPU time of the lexical grader: every question of the safety policy about 527 completions.

The corpus is written by hand for this project: short and long, all classes.
"""

import json
import time
from pathlib import Path
from statistics import median

import click

from rbr_service.build import policy_path, rules_folder
from rbr_service.conversation import Conversation, Message
from rbr_service.graders.lexical import LexicalGrader
from rbr_service.rbr.policy import load

from .figures import Figure

PASSES = 7
RANKED = Path(__file__).parents[1] / "data" / "safety.ranked.jsonl"


def measure() -> Figure:
    """Median over passes of milliseconds per completion, in one thread."""
    propositions = tuple(load(policy_path("safety")).file.propositions)
    grader = LexicalGrader.from_file(rules_folder() / "safety.lexical.yaml", propositions)
    corpus = conversations()
    times = []
    for _ in range(PASSES + 1):
        begin = time.process_time()
        for conversation in corpus:
            grader.judge(conversation, propositions)
        times.append((time.process_time() - begin) * 1000 / len(corpus))
    click.echo(f"lexical: {len(corpus)} completions, {len(propositions)} propositions, ms: {_shown(times)}")
    return Figure(
        "lexical_ms_per_completion", median(times[1:]), 1.5, "CPU ms of the lexical grader per completion"
    )


def conversations() -> list[Conversation]:
    """The corpus: every completion of the safety policy's ranked file."""
    found = []
    with RANKED.open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            prompt = tuple(Message(turn["role"], turn["content"]) for turn in row["prompt"])
            found += [Conversation(prompt, completion["content"]) for completion in row["completions"]]
    return found


def _shown(times: list[float]) -> str:
    return " ".join(f"{value:.3f}" for value in times)
