"""The LLM grader: exact P(yes) of every question from one token's log probabilities.

    GradeRequest -> prompts (token ids) -> known verdicts from the cache, the rest from the engine
                 -> P = sum p(yes variants) / (sum p(yes variants) + sum p(no variants)), label mass kept

The engine, the layout and the cache are given; nothing here knows a policy's questions. Graders of
several policies may share them: see `asking`.
"""

import asyncio
import hashlib
import logging
import math
import time
from array import array
from collections.abc import Coroutine, Sequence
from contextlib import aclosing
from copy import copy
from dataclasses import astuple
from statistics import median
from typing import Any

from rbr_service.conversation import Conversation, Message
from rbr_service.encoder import Encoder
from rbr_service.errors import GraderError, GraderTimeoutError, RequestError, SettingsError
from rbr_service.flight import Flight
from rbr_service.graders.base import Grade, GradeRequest, Subject, Verdict
from rbr_service.graders.cache import Key, VerdictCache
from rbr_service.graders.engine import Answer, Engine, Prompts
from rbr_service.graders.layout import Layout
from rbr_service.graders.prompt import PromptWriter, Question, Written, questions
from rbr_service.metrics import Metrics
from rbr_service.rbr.policy import Policy, digest
from rbr_service.together import together

# Part of the fingerprint: change it whenever the same settings would give another answer.
ALGORITHM = "llm-1"

# A variant counts when both of its words are one token; "yes" without "no" would bend P.
VARIANTS = tuple((space + yes, space + no) for space in ("", " ") for yes, no in
                 (("yes", "no"), ("Yes", "No"), ("YES", "NO")))  # fmt: skip
PLAIN = {("yes", "no"), ("Yes", "No"), (" yes", " no"), (" Yes", " No")}

NEVER = -9000.0  # vLLM writes -9999 for minus infinity, which JSON lacks
LEAST_ROOM = 256  # tokens that a context must leave for a conversation
KNOWN = Conversation(
    (Message("user", "Please say hello."),), "Hello! It is nice to meet you. What can I do for you?"
)

_log = logging.getLogger("rbr.grader")


class LLMGrader:
    """A model asked one question at a time about each text."""

    name = "llm"

    def __init__(
        self, policy: Policy, encoder: Encoder, layout: Layout, engine: Engine, cache: VerdictCache,
        metrics: Metrics, *, concurrency: int, deadline: float | None, min_label_mass: float,
        context: int | None = None,
    ) -> None:  # fmt: skip
        """`deadline` in seconds for one call of `grade`, None for batch work; `context`: most tokens of a
        prompt and its answer, None for what the engine has.

        Raises SettingsError when the tokenizer splits yes or no.
        """
        self._encoder, self._layout = encoder, layout
        self._engine, self._cache, self._metrics = engine, cache, metrics
        self._owner = True
        metrics.cache_faults.set_function(lambda: cache.faults)
        self._deadline, self._min_label_mass = deadline, min_label_mass
        self._limit = context
        self._room = asyncio.Semaphore(concurrency)
        self._flight: Flight[Verdict] = Flight(GraderError)
        self._yes, self._no = _labels(encoder, encoder.turn()[1])
        self._labels = (*self._yes, *self._no)
        self._ask(questions(policy, layout))
        self._salt = digest([engine.identity.key, self._labels]).encode()
        self.note = "" if engine.identity.revision else (
            f"The revision of {engine.identity.model} is not stated: nothing would tell if the server's "
            "model changed (--grader-revision)."
        )  # fmt: skip

    def _ask(self, asked: dict[Subject, list[Question]]) -> None:
        self._asked = asked
        self._writer = PromptWriter(self._encoder, self._layout, asked)
        self._names = {subject: tuple(one.name for one in found) for subject, found in asked.items() if found}
        book = [astuple(one) for one in asked["completion"]] if self._layout.completion.shows_order else []
        identity = [
            ALGORITHM,
            self._engine.identity.key,
            self._encoder.digest,
            self._layout.digest,
            self._labels,
            book,
            self._limit,
        ]
        self.fingerprint = digest(identity)
        self.routing = digest([astuple(one) for one in asked["request"]])  # their order is in the prompt

    def asking(self, policy: Policy) -> "LLMGrader":
        """The grader of another policy on the same engine and cache; itself where the same is asked.

        Its `start` only tries its questions, its `close` does nothing: the engine stays this one's.
        """
        asked = questions(policy, self._layout)
        if asked == self._asked:
            return self
        other = copy(self)
        other._owner = False
        other._ask(asked)
        return other

    @property
    def engine(self) -> Engine:
        """What runs the model; `rbr synthesize` may write with it too."""
        return self._engine

    async def start(self) -> None:
        """Load the engine, check it, and warm it with the whole book. Raises GraderError."""
        if self._owner:
            await self._cache.start()
            await self._engine.start()
        if self._limit and self._engine.context < self._limit:
            raise GraderError(
                f"the engine's context has {self._engine.context} tokens, fewer than --grader-context "
                f"{self._limit}"
            )
        for subject, names in self._names.items():
            await self._prove(GradeRequest(KNOWN, names, subject))

    async def grade(self, requests: Sequence[GradeRequest]) -> list[Grade | RequestError]:
        """Judge every request, in order. Raises GraderError, GraderTimeoutError."""
        end = None if self._deadline is None else time.monotonic() + self._deadline
        return await together(self._one(request, end) for request in requests)

    async def check(self) -> None:
        """Ask the engine. Raises GraderError, GraderDeadError."""
        await self._engine.check()

    async def close(self) -> None:
        """End what is in flight, stop the engine and close the cache."""
        if not self._owner:
            return
        await self._flight.close()
        await self._engine.close()
        await self._cache.close()

    @property
    def _context(self) -> int:
        return self._limit or self._engine.context

    async def _one(self, request: GradeRequest, end: float | None) -> Grade | RequestError:
        try:
            async with asyncio.timeout(None if end is None else max(0.0, end - time.monotonic())):
                await self._room.acquire()
        except TimeoutError as error:
            raise GraderTimeoutError(
                f"not begun within the deadline of {self._deadline:g} s: the grader has more work than it "
                f"can do in time. {self._engine.fault}".strip()
            ) from error
        try:
            written = await asyncio.to_thread(self._writer.write, request, self._context)
            return Grade(await self._verdicts(written.prompts, end), written.cuts)
        except RequestError as error:
            return error
        finally:
            self._room.release()

    async def _verdicts(self, prompts: Prompts, end: float | None) -> tuple[Verdict, ...]:
        keys = self._keys(prompts)
        known = await self._cache.get(keys)
        self._metrics.cached_verdicts.inc(len(known))
        ending = dict(zip(keys, prompts.endings, strict=True))
        missing = [key for key in ending if key not in known]

        def make(new: Sequence[Key]) -> Coroutine[Any, Any, dict[Key, Verdict]]:
            return self._make(new, Prompts(prompts.shared, tuple(ending[key] for key in new)))

        try:
            known |= await self._flight.results(missing, make, end)
        except TimeoutError as error:
            raise GraderTimeoutError(
                f"no answer within the deadline of {self._deadline:g} s; what was graded is kept for the "
                f"next try. {self._engine.fault}".strip()
            ) from error
        return tuple(known[key] for key in keys)

    async def _make(self, keys: Sequence[Key], prompts: Prompts) -> dict[Key, Verdict]:
        made: dict[Key, Verdict] = {}
        try:
            async with aclosing(self._engine.answers(prompts, self._labels)) as answers:
                async for index, answer in answers:
                    made[keys[index]] = self._verdict(answer)
                    self._count(prompts, index, answer)
        finally:
            await self._cache.put(made)  # what is done stays done, also when the rest is ended
        if len(made) != len(keys):
            raise GraderError(f"the engine answered {len(made)} of {len(keys)} questions")
        return made

    def _keys(self, prompts: Prompts) -> list[Key]:
        begun = hashlib.sha256(self._salt + array("I", prompts.shared).tobytes())
        keys = []
        for ending in prompts.endings:
            whole = begun.copy()
            whole.update(array("I", ending).tobytes())
            keys.append(whole.digest())
        return keys

    def _verdict(self, answer: Answer) -> Verdict:
        if len(answer.logprobs) != len(self._labels) or any(map(math.isnan, answer.logprobs)):
            raise GraderError("the engine's answer lacks the labels' log probabilities")
        return verdict(answer.logprobs[: len(self._yes)], answer.logprobs[len(self._yes) :])

    def _count(self, prompts: Prompts, index: int, answer: Answer) -> None:
        self._metrics.graded_verdicts.inc()
        if answer.cached is not None:
            self._metrics.tokens.labels("cached").inc(answer.cached)
            self._metrics.tokens.labels("computed").inc(
                len(prompts.shared) + len(prompts.endings[index]) - answer.cached
            )

    async def _prove(self, request: GradeRequest) -> None:
        written = self._fitting(request)
        made = await self._make(self._keys(written.prompts), written.prompts)
        mass = median(verdict.label_mass for verdict in made.values())
        _log.info("%s questions warmed, median label mass %.3g", len(made), mass)
        if mass < self._min_label_mass:
            raise GraderError(
                f"{self._engine.identity.model} puts only {mass:.2g} of probability on yes and no when asked "
                f"about a plain greeting, less than {self._min_label_mass:g}: is it an instruct model with "
                "its own chat template? (--min-label-mass sets the limit)"
            )

    def _fitting(self, request: GradeRequest) -> Written:
        context = self._context
        try:
            written = self._writer.write(request, context)
        except RequestError as error:
            raise GraderError(self._too_short(context)) from error
        if context - written.prompts.longest < LEAST_ROOM:
            raise GraderError(self._too_short(context))
        return written

    def _too_short(self, context: int) -> str:
        return (
            f"the model's context of {context} tokens leaves less than {LEAST_ROOM} for a conversation "
            "beside the policy's questions: serve the model with a longer one, or choose "
            "--layout conversation-first"
        )


def verdict(yes: Sequence[float], no: Sequence[float]) -> Verdict:
    """P(yes) and label mass from the variants' natural log probabilities."""
    for_yes, for_no = _log_sum(yes), _log_sum(no)
    if for_yes == for_no == -math.inf:
        raise GraderError("the engine gives yes and no no probability at all")
    mass = math.exp(_log_sum((for_yes, for_no)))
    return Verdict(1 / (1 + math.exp(min(for_no - for_yes, 700.0))), min(mass, 1.0))


def _log_sum(terms: Sequence[float]) -> float:
    largest = max(terms)
    if largest <= NEVER:
        return -math.inf
    return largest + math.log(math.fsum(math.exp(term - largest) for term in terms))


def _labels(encoder: Encoder, tail: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids of the yes and of the no variants that are one token after the prompt's tail."""
    yes: dict[int, None] = {}
    no: dict[int, None] = {}
    plain = False
    for pair in VARIANTS:
        ids = [encoder.next_token(tail, word) for word in pair]
        if ids[0] is not None and ids[1] is not None:
            yes[ids[0]] = no[ids[1]] = None
            plain = plain or pair in PLAIN
    if not plain or yes.keys() & no.keys():
        raise SettingsError("the grader's tokenizer splits yes or no into several tokens: use another model")
    return tuple(yes), tuple(no)
