"""The last scores of this replica, and the first ones of its reward version, to compare them with.

    put: answered samples -> rows -> window: the last WINDOW, of all response types
                                  -> baseline: the first BASELINE of each response type
                       -> texts, where the operator allowed them: of the last TEXTS

All of it is in memory, bounded, and begun anew when the reward version changes: rows of two reward
functions are never together.
"""

import re
import secrets
import time
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from rbr_service.conversation import Conversation
from rbr_service.scorer import Result, Sample, Scorer

WINDOW = 2000  # scores
BASELINE = 500  # scores of a response type
TEXTS = 50  # samples
LONGEST = 2000  # characters of a text

_HALF_PAIRS = re.compile("[\ud800-\udfff]")  # no characters: strict JSON has no room for them


class Row(NamedTuple):
    """One score. `number` counts from 1 over the life of the process; `time` in seconds since the epoch.

    `response_type` and `best_class` None: out of the policy's scope. `reached`: the RBR reward within its
    reachable range, 0 to 1, None where there is no range. `low_mass`: verdicts taken at their worst. `p`: of
    each of the type's propositions, in its order.
    """

    number: int
    time: float
    response_type: str | None
    best_class: str | None
    reward: float
    rbr_reward: float
    base_reward: float
    characters: int
    reached: float | None
    low_mass: int
    p: tuple[float, ...]


class Texts(NamedTuple):
    """The last user message and the completion, and how many characters of each are left out.

    `earlier`: how many messages the prompt has besides that one.
    """

    prompt: str
    prompt_left_out: int
    completion: str
    completion_left_out: int
    earlier: int


class Recent:
    """Rows of one reward version: those after number `first`, up to `last`.

    `run` names them: another one whenever they begin anew. `started` and `since`, in seconds since the
    epoch: when this replica began, and when the reward version came into force here.
    """

    def __init__(self, scorer: Scorer, *, texts: bool = False) -> None:
        """`texts`: keep those of the last samples."""
        self.allows_texts = texts
        self.scorer = scorer
        self.started = time.time()
        self.last = 0
        self._begin()

    def follow(self, scorer: Scorer) -> None:
        """Another scorer is in force; rows begin anew if its reward version is another."""
        if scorer.reward_version != self.scorer.reward_version:
            self._begin()
        self.scorer = scorer

    def put(self, samples: Sequence[Sample], results: Sequence[Result], scorer: Scorer) -> None:
        """Keep answered samples; those of a reward version that is no longer in force are none of these."""
        if scorer.reward_version != self.scorer.reward_version:
            return
        now = time.time()
        for sample, result in zip(samples, results, strict=True):
            self.last += 1
            row = _row(self.last, now, sample, result, scorer)
            self.window.append(row)
            baseline = self.baselines.setdefault(row.response_type, [])
            if len(baseline) < BASELINE:
                baseline.append(row)
            if self.allows_texts:
                self.texts.pop(self.last - TEXTS, None)
                self.texts[self.last] = _texts(sample.conversation)

    def after(self, number: int) -> list[Row]:
        """The rows after `number` that are still in the window, oldest first."""
        count = min(len(self.window), self.last - number)
        return list(islice(self.window, len(self.window) - count, None))

    def _begin(self) -> None:
        self.run = secrets.token_hex(4)
        self.since = time.time()
        self.first = self.last
        self.window: deque[Row] = deque(maxlen=WINDOW)
        self.baselines: dict[str | None, list[Row]] = {}
        self.texts: dict[int, Texts] = {}


def _row(number: int, now: float, sample: Sample, result: Result, scorer: Scorer) -> Row:
    kind, classes = result.response_type, result.class_probabilities
    return Row(
        number, now, kind,
        max(classes, key=classes.__getitem__) if classes else None,
        result.reward, result.rbr_reward, result.base_reward,
        len(sample.conversation.completion),
        scorer.model.types[kind].reached(result.rbr_reward) if kind else None,
        len(result.bounded),
        tuple([verdict.p for verdict in result.verdicts.values()]),
    )  # fmt: skip


def _texts(conversation: Conversation) -> Texts:
    earlier = len(conversation.prompt) - any(message.role == "user" for message in conversation.prompt)
    return Texts(*_cut(conversation.last_user()), *_cut(conversation.completion), earlier)


def _cut(text: str) -> tuple[str, int]:
    return _HALF_PAIRS.sub("\ufffd", text[:LONGEST]), max(0, len(text) - LONGEST)
