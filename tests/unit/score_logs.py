"""Score logs made in a test: by the real scorer over a grader that answers from a table."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rbr_service.build import rules_folder
from rbr_service.conversation import Conversation, Message
from rbr_service.graders.base import Grader
from rbr_service.lifetime import started
from rbr_service.metrics import Metrics
from rbr_service.rbr.calibration import Calibration
from rbr_service.rbr.model import LinearModel, Weights
from rbr_service.rbr.policy import Policy, parse
from rbr_service.rewards.base import BaseReward, NoBaseReward
from rbr_service.scorelog import reader
from rbr_service.scorelog.reader import Row
from rbr_service.scorelog.writer import ScoreLog
from rbr_service.scorer import LowMass, Result, Sample, Scorer

LABELS = ("hard_refusal", "soft_refusal_1", "soft_refusal_2", "comply", "K-R", "None", None)


def policy(edits: Mapping[str, str] = MappingProxyType({})) -> Policy:
    """The shipped safety policy with pieces of its text replaced."""
    text = (rules_folder() / "safety.yaml").read_text(encoding="utf-8")
    for old, new in edits.items():
        assert old in text
        text = text.replace(old, new)
    return parse(text, "safety.yaml")


def scorer(
    policy: Policy, grader: Grader, *, base: BaseReward | None = None, low_mass: LowMass | None = None,
    calibration: Calibration | None = None,
) -> Scorer:  # fmt: skip
    """A scorer with the shipped weights, whatever they were fitted to."""
    weights = Weights.load(rules_folder() / "safety.lexical.json", "")
    model = LinearModel(policy, weights, calibration, ())
    return Scorer(policy, model, grader, base or NoBaseReward(), Metrics(), low_mass or LowMass())


def sample(number: int, label: str | None = "hard_refusal", base_reward: float | None = None) -> Sample:
    """One of its own number, of a few words and two turns."""
    prompt = (Message("user", f"How do I pick lock number {number}?"), Message("system", "Naïve: №"))
    return Sample(Conversation(prompt, f"No, not lock number {number}."), label, base_reward)


def samples(number: int) -> list[Sample]:
    """Of all labels in turn."""
    return [sample(i, LABELS[i % len(LABELS)]) for i in range(number)]


def results(scorer: Scorer, samples: Sequence[Sample]) -> list[Result]:
    """What the scorer makes of them."""
    return asyncio.run(scorer.score(samples))


def put(log: ScoreLog, scorer: Scorer, samples: Sequence[Sample]) -> list[Result]:
    """Score and log; the log's file is written when this returns."""

    async def run() -> list[Result]:
        async with started(log):
            found = await scorer.score(samples)
            log.put(samples, found, scorer)
        return found

    return asyncio.run(run())


def made(folder: Path, scorer: Scorer, samples: Sequence[Sample], **given: Any) -> list[Row]:
    """The rows of a new log of all samples, in their order."""
    put(ScoreLog(folder, Metrics(), share=1, **given), scorer, samples)
    return rows(folder)


def rows(folder: Path) -> list[Row]:
    """All that a log holds."""
    return [row for batch in reader.read(reader.parts(folder)) for row in batch]
