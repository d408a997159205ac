"""The score log's columns: one row a sample that was answered, the same for every policy.

    Sample, Result, the Scorer that made it -> Entry -> row -> Parquet

What a policy names is in maps, so that files of different policies have one schema.
"""

import hashlib
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import pyarrow as pa

from rbr_service.conversation import Conversation
from rbr_service.rbr.policy import Policy, digest
from rbr_service.scorer import Result, Scorer

FORMAT = {b"rbr_score_log": b"1"}

_NUMBERS = pa.map_(pa.string(), pa.float64())
_VERSIONS = ("policy", "weights", "calibration", "grader", "base_reward")
_VERDICT = {"question": pa.string(), "raw": pa.float64(), "label_mass": pa.float64()}
COLUMNS = pa.schema(
    {
        "time": pa.timestamp("us", "UTC"),
        "content": pa.string(),  # hash of the conversation, see content_hash
        "id": pa.string(),  # the caller's, where it gave one
        "policy": pa.string(),
        "versions": pa.struct(dict.fromkeys(_VERSIONS, pa.string())),
        "reward_version": pa.string(),
        "fingerprint": pa.string(),  # what decides the grader's answers about completions
        "routing": pa.string(),  # and about requests, "" where it is asked nothing about them
        "label": pa.string(),
        "found": pa.struct({"by": pa.string(), "category": pa.string(), "p": pa.float64()}),
        "response_type": pa.string(),  # null: out of the policy's scope
        "categories": pa.map_(pa.string(), pa.struct(_VERDICT)),
        # `p` is `raw` after calibration and lower bounds
        "propositions": pa.map_(
            pa.string(), pa.struct({**_VERDICT, "p": pa.float64(), "lower_bound": pa.bool_()})
        ),
        "features": _NUMBERS,
        "contributions": _NUMBERS,
        "class_probabilities": _NUMBERS,
        "base_reward": pa.float64(),
        "rbr_reward": pa.float64(),
        "reward": pa.float64(),
        "score": pa.float64(),
        "cuts": pa.struct({"messages": pa.int64(), "tokens": pa.int64()}),
        # null unless asked for; the last one is the completion, as it was graded
        "messages": pa.list_(pa.struct({"role": pa.string(), "content": pa.string()})),
    },
    metadata=FORMAT,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A scored sample on its way to the log. `conversation` None: its texts are not to be kept."""

    time: float  # seconds since the epoch
    content: str
    id: str | int | None
    label: str | None
    result: Result
    scorer: Scorer
    conversation: Conversation | None


def content_hash(conversation: Conversation) -> str:
    """sha256, in hexadecimal, of the texts role, content, ..., completion: each as UTF-8 behind "LENGTH:"."""
    whole = hashlib.sha256()
    turns = ((message.role, message.content) for message in conversation.prompt)
    for text in (*chain.from_iterable(turns), conversation.completion):
        encoded = text.encode("utf-8", "surrogatepass")
        whole.update(b"%d:" % len(encoded))
        whole.update(encoded)
    return whole.hexdigest()


def category_hashes(policy: Policy) -> dict[str, str]:
    """The hash of what is asked about a request, by category."""
    categories = policy.file.content_policy.items()
    return {name: digest(spec.model_dump(exclude={"response_type"})) for name, spec in categories}


def row(entry: Entry) -> dict[str, Any]:
    """An entry as a row of COLUMNS."""
    result, scorer = entry.result, entry.scorer
    return {
        "time": datetime.fromtimestamp(entry.time, UTC),
        "content": entry.content,
        "id": None if entry.id is None else str(entry.id),
        "policy": scorer.policy.name,
        "versions": asdict(scorer.versions),
        "reward_version": scorer.reward_version,
        "fingerprint": scorer.grader.fingerprint,
        "routing": scorer.grader.routing,
        "label": entry.label,
        "found": asdict(result.found),
        "response_type": result.response_type,
        "categories": _categories(result, scorer.policy),
        "propositions": _propositions(result, scorer.policy),
        "features": [(name, _feature(name, result)) for name in result.contributions],
        "contributions": list(result.contributions.items()),
        "class_probabilities": list(result.class_probabilities.items()),
        "base_reward": result.base_reward,
        "rbr_reward": result.rbr_reward,
        "reward": result.reward,
        "score": result.score,
        "cuts": asdict(result.cuts),
        "messages": entry.conversation and _messages(entry.conversation),
    }


def _categories(result: Result, policy: Policy) -> list[tuple[str, dict[str, Any]]]:
    hashes = category_hashes(policy) if result.categories else {}
    return [
        (name, {"question": hashes[name], "raw": verdict.p, "label_mass": verdict.label_mass})
        for name, verdict in result.categories.items()
    ]


def _propositions(result: Result, policy: Policy) -> list[tuple[str, dict[str, Any]]]:
    hashes = policy.question_hashes
    return [
        (name, {"question": hashes[name], "raw": raw, "label_mass": verdict.label_mass, "p": verdict.p,
                "lower_bound": name in result.bounded})
        for (name, verdict), raw in zip(result.verdicts.items(), result.raw, strict=True)
    ]  # fmt: skip


def _feature(name: str, result: Result) -> float:
    kind, _, what = name.partition(":")
    return result.verdicts[what].p if kind == "p" else result.class_probabilities[what]


def _messages(conversation: Conversation) -> list[dict[str, str]]:
    turns = [{"role": message.role, "content": message.content} for message in conversation.prompt]
    return [*turns, {"role": "assistant", "content": conversation.completion}]
