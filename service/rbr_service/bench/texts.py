"""What is scored: requests in OpenRLHF's shape, no two alike, so that no cache can answer.

    shipped templates, or a file's rows -> Sample ... -> marked -> JSON bodies

A mark at the head of the prompt is new for every run and group, one at the head of the completion for every
sample: neither verdicts nor prefixes that an engine keeps fit a text that was scored before. The samples of
a group share their prompt, as in a run.
"""

import json
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from rbr_service import rows
from rbr_service.backends import beside
from rbr_service.build import policy_path
from rbr_service.conversation import Message
from rbr_service.errors import DataError, SettingsError, StartupError
from rbr_service.rbr.policy import load
from rbr_service.schemas import SampleIn
from rbr_service.writers import pieces
from rbr_service.writers.pieces import Templates

LABEL = ("response_type", "category", "base_reward")


@dataclass(frozen=True)
class Sample:
    """A prompt's messages, a completion, and the label as a trainer's dataset has it."""

    prompt: tuple[Message, ...]
    completion: str
    label: str | Mapping[str, Any]


def of_shipped(policy: str, types: Set[str], group: int, words: int, rng: Random) -> Iterator[Sample]:
    """Without end: samples of the shipped policy of that name, of those of `types` that it has texts for.

    Raises SettingsError where there are none.
    """
    try:
        path = policy_path(policy)
        templates = pieces.load(beside(path, ".templates.yaml"), load(path))
    except StartupError as error:
        raise SettingsError(
            f"--samples: no texts are shipped for the policy {policy!r}: give a file"
        ) from error
    kinds = [kind for kind in templates.requests if kind in types]
    if not kinds:
        raise SettingsError(
            f"--samples: the texts shipped for {policy!r} are of none of the service's response types, "
            f"{', '.join(sorted(types))}: give a file"
        )
    return of_templates(templates, kinds, group, words, rng)


def of_templates(
    templates: Templates, kinds: Sequence[str], group: int, words: int, rng: Random
) -> Iterator[Sample]:
    """Without end: requests of `kinds` in turn, `group` answers to each, of about `words` words.

    The sentences are the templates', drawn at random: they say nothing together, and cost what others cost.
    """
    requests = {kind: pieces.requests(templates, kind, 0) for kind in kinds}
    said = {
        kind: [text for piece in templates.pieces if piece.fits(kind) for text in piece.texts]
        for kind in kinds
    }
    while True:
        for kind in kinds:
            request = rng.choice(requests[kind])
            prompt = (Message("user", request.text),)
            for _ in range(group):
                drawn, length = list[str](), 0
                while length < words:
                    drawn.append(pieces.filled(rng.choice(said[kind]), request.slots))
                    length += len(drawn[-1].split())
                yield Sample(prompt, " ".join(drawn), kind)


def of_file(path: Path) -> Iterator[Sample]:
    """Without end: the rows of a file that `rbr score` would take, from the first again after the last.

    Raises DataError that names the line.
    """
    found = []
    for number, row in rows.read(path):
        with rows.placed(path, number):
            found.append(_sample(rows.sample(rows.whole(row))))
    if not found:
        raise DataError(f"{path}: holds no rows: give samples as `rbr score` takes them")
    while True:
        yield from found


def bodies(
    samples: Iterator[Sample], count: int, group: int, repeats: float, run: str, rng: Random
) -> list[bytes]:
    """`count` requests, of which the share `repeats` are ones made before, byte for byte.

    `run` is a word that no other run's marks have.
    """
    again = set(rng.sample(range(1, count), round(repeats * (count - 1))))
    made: list[bytes] = []
    for number, sample in enumerate(islice(samples, count)):
        marked = _marked(sample, f"{run}-{number // group}", number % group)
        made.append(rng.choice(made) if number in again else _body(marked))
    return made


def _sample(row: SampleIn) -> Sample:
    *prompt, last = (message.message() for message in row.messages)
    label = {name: getattr(row, name) for name in LABEL if getattr(row, name) is not None}
    return Sample(tuple(prompt), last.content, label or "")


def _marked(sample: Sample, group: str, number: int) -> Sample:
    prompt = tuple(
        replace(turn, content=f"[{group}] {turn.content}") if place == 0 else turn
        for place, turn in enumerate(sample.prompt)
    )
    return replace(sample, prompt=prompt, completion=f"[{group}.{number}] {sample.completion}")


def _body(sample: Sample) -> bytes:
    """As OpenRLHF posts it: text of a chat template (ChatML), the end-of-turn token kept."""
    turns = "".join(f"<|im_start|>{turn.role}\n{turn.content}<|im_end|>\n" for turn in sample.prompt)
    prompt = f"{turns}<|im_start|>assistant\n"
    query = f"{prompt}{sample.completion}<|im_end|>"
    return json.dumps({"query": [query], "prompts": [prompt], "labels": [sample.label]}).encode()
