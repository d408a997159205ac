"""Base rewards from a reward model on a vLLM pooling server: the raw logit of its only class.

    Conversation -> token ids of the model's chat template, cut to its context -> POST /classify -> probs[0]

vLLM applies a sigmoid unless told not to, and cannot know that ids come from another tokenizer: either
would spoil rewards silently, so both are checked first. What it cannot be asked about are logit_mean
and logit_sigma of its pooler: they shift and scale the raw logit too.
"""

import json
import logging
import math
import threading
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from rbr_service.conversation import Conversation, Message
from rbr_service.errors import BaseRewardError, CompletionTooLongError, UnsupportedConversationError
from rbr_service.rewards.remote import PROBES, Remote

Ids = list[int]

SAY = 1000  # conversations over the context from one line about them to the next

# Between calls, bf16 moves a logit by a few hundredths, and so its sigmoid by less than this.
NOISE = 0.01
# A tokenizer may give the first word of a whole text a prefix that it does not have in mid-text.
FIRST_LINE = "probe\n"
PROBE_TEXT = (
    FIRST_LINE + "Naïve café, 東京 🙂 1234567; if (x == 10) { return y[0]; }  Antidisestablishmentarianism"
)

_log = logging.getLogger("rbr.rewards")


class ClassifyReward(Remote[Ids]):
    """Asks a vLLM pooling server.

    Of conversations that lose messages to the model's context, the log tells the number at the first
    and at every SAYth.
    """

    kind = "classify"
    alive = "/health"

    context = 0  # tokens of a conversation at most; known after `start`
    cuts = 0  # conversations that lost messages to it
    _counting = threading.Lock()  # contents are made in threads

    def content(self, conversation: Conversation) -> Ids:
        """The ids; of a conversation over the context without its first messages.

        Raises CompletionTooLongError, UnsupportedConversationError.
        """
        ids = self._ids(conversation, 0)
        if len(ids) <= self.context:
            return ids
        prompt = conversation.prompt
        # A turn begins with the user: some templates refuse any other beginning.
        turns = [i for i, message in enumerate(prompt) if message.role == "user" and i]
        first = bisect_left(turns, True, key=lambda start: self._fits(conversation, start))
        start = turns[first] if first < len(turns) else len(prompt)
        if start == len(prompt) and not self._fits(conversation, start):
            raise CompletionTooLongError(
                f"the completion does not fit into the {self.context} tokens of the reward model's context, "
                f"whatever precedes it ({self.source}): allow fewer new tokens, or a longer context there"
            )
        self._count_cut()
        return self._ids(conversation, start)

    async def ask(self, contents: Sequence[Ids]) -> list[float]:
        """The raw logits. Raises CallError, BaseRewardError."""
        return await self._classify(contents, use_activation=False)

    async def prove(self) -> None:
        """Check name, tokenizer and activation. Raises CallError, BaseRewardError."""
        self._prove_served(await self.reached("/v1/models"))
        await self._prove_tokenizer()
        probes = [self.content(probe) for probe in PROBES]
        raw = await self._classify(probes, use_activation=False)
        self._prove_raw(raw, await self._classify(probes, use_activation=True))

    def _ids(self, conversation: Conversation, start: int) -> Ids:
        messages = (*conversation.prompt[start:], Message("assistant", conversation.completion))
        return self.encoder.chat(messages, answer=False)

    def _fits(self, conversation: Conversation, start: int) -> bool:
        try:
            return len(self._ids(conversation, start)) <= self.context
        except UnsupportedConversationError:
            return False  # some templates want a user's message before the answer

    def _count_cut(self) -> None:
        with self._counting:
            self.cuts += 1
            count = self.cuts
        if count == 1 or count % SAY == 0:
            _log.warning(
                "%s: %s conversations so far were over the model's context of %s tokens and lost their "
                "first messages", self.source, count, self.context,
            )  # fmt: skip

    async def _classify(self, contents: Sequence[Ids], *, use_activation: bool) -> list[float]:
        body = {"model": self.model, "input": contents, "use_activation": use_activation}
        answer = await self.calls.post("/classify", json.dumps(body).encode())
        rows = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(rows, list):
            raise BaseRewardError(f"{self.source}: the answer is not that of vLLM's /classify")
        return self.numbers([self._logit(row, i) for i, row in enumerate(rows)], len(contents))

    def _logit(self, row: Any, index: int) -> Any:
        if not isinstance(row, dict) or row.get("index") != index:
            raise BaseRewardError(
                f"{self.source}: the answer's entry {index} is not that of conversation {index}"
            )
        probs = row.get("probs")
        if row.get("num_classes") != 1 or not isinstance(probs, list) or len(probs) != 1:
            raise BaseRewardError(
                f"{self.source}: the model has {row.get('num_classes')} classes, a reward model has one: "
                "serve a *ForSequenceClassification model with num_labels 1"
            )
        return probs[0]

    def _prove_served(self, models: Any) -> None:
        cards = models.get("data") if isinstance(models, dict) else None
        names = (
            [card.get("id") for card in cards if isinstance(card, dict)] if isinstance(cards, list) else []
        )
        if self.model not in names:
            served = ", ".join(map(str, names)) or "none"
            raise BaseRewardError(
                f"{self.source}: {self.calls.url} does not serve this model; it serves: {served}"
            )

    async def _prove_tokenizer(self) -> None:
        """The server's ids of a text, and its control tokens around a conversation, are the local ones."""
        local = self.encoder.exact(PROBE_TEXT)
        common = len(self.encoder.exact(PROBE_TEXT.removeprefix(FIRST_LINE)))
        served = await self._tokenized(PROBE_TEXT)
        messages = (*PROBES[0].prompt, Message("assistant", PROBES[0].completion))
        around = await self._tokenized(self.encoder.chat_text(messages, answer=False))
        control = [[i for i in ids if i in self.encoder.control] for ids in (self._ids(PROBES[0], 0), around)]
        if served[-common:] != local[-common:] or control[0] != control[1]:
            raise BaseRewardError(
                f"{self.source}: the server's tokenizer is another than the one declared here: its rewards "
                "would belong to other texts; name the model's own with --base-reward-tokenizer"
            )

    async def _tokenized(self, text: str) -> Ids:
        body = {"model": self.model, "prompt": text, "add_special_tokens": False}
        answer = await self.calls.post("/tokenize", json.dumps(body).encode())
        known = answer if isinstance(answer, dict) else {}
        ids, context = known.get("tokens"), known.get("max_model_len")
        if not isinstance(ids, list) or not all(isinstance(i, int) for i in [*ids, context]):
            raise BaseRewardError(f"{self.source}: the answer is not that of vLLM's /tokenize")
        self.context = int(context or 0)
        return ids

    def _prove_raw(self, raw: Sequence[float], activated: Sequence[float]) -> None:
        """Raises BaseRewardError unless `raw` are logits.

        Equal answers are those of a model whose configuration has no activation (problem_type
        regression), or of a server that does not know use_activation and applies one always; outside
        of 0 to 1 they can only be the former's.
        """
        pairs = list(zip(raw, activated, strict=True))
        if all(abs(r - a) <= NOISE * max(1.0, abs(r)) for r, a in pairs):
            if any(not -NOISE <= r <= 1 + NOISE for r in raw):
                return
            wrong = "does not depend on use_activation and lies within 0 and 1: a sigmoid may hide the logit"
        elif all(abs(_sigmoid(r) - a) <= NOISE for r, a in pairs):
            return
        else:
            wrong = "with use_activation is not the sigmoid of what it is without"
        shown = ", ".join(f"{r:.4g} / {a:.4g}" for r, a in pairs)
        raise BaseRewardError(
            f"{self.source}: the answer {wrong} (without / with: {shown}); the raw reward is wanted: serve "
            "the model with a vLLM whose /classify knows use_activation, and without a pooler of its own"
        )


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, logit))))
