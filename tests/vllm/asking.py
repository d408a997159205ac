"""What the engines are asked, and how their answers are compared with the truth."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rbr_service.graders.engine import Answer, Engine, Prompts

from . import models

EXACT = 1e-5
QUESTIONS = 23
LABELS = models.labels()


@dataclass(frozen=True)
class Odds:
    """P(yes), and the probability of yes and no together."""

    yes: float
    mass: float


def odds(logprobs: Sequence[float]) -> Odds:
    """All variants summed."""
    values = [math.exp(value) for value in logprobs]
    mass = math.fsum(values)
    return Odds(math.fsum(values[: len(models.YES)]) / mass, mass)


def ids(words: int, seed: int) -> tuple[int, ...]:
    return tuple(models.tokenizer().encode(models.text(words, seed)).ids)


def prompts(seed: int, shared: int = 300, endings: int = QUESTIONS) -> Prompts:
    """A conversation and questions about it, as random words."""
    return Prompts(ids(shared, seed), tuple(ids(5 + i % 20, 1000 * seed + i) for i in range(endings)))


ASKED = [prompts(1, 40), prompts(2, 300), prompts(3, 900, 5), Prompts((), (ids(3, 4), ids(70, 5)))]


async def answers(engine: Engine, asked: Prompts) -> list[Answer]:
    """In the order of the endings."""
    found = {index: answer async for index, answer in engine.answers(asked, LABELS)}
    assert sorted(found) == list(range(len(asked.endings)))
    return [found[i] for i in range(len(found))]


def close_to(found: list[Answer], truth: list[list[float]]) -> None:
    for answer, expected in zip(found, truth, strict=True):
        mine, its = odds(answer.logprobs), odds(expected)
        assert abs(mine.yes - its.yes) < EXACT
        assert abs(mine.mass - its.mass) < EXACT
