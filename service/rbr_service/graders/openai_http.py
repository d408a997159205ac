"""A model on any vLLM server, over its OpenAI-like HTTP API.

    Prompts -> one POST /v1/completions with all prompts as token ids -> choices -> one Answer per prompt

Token ids, not text: what is graded cannot become a control token on the server. The server tells the
log probability of exactly the token ids that it is asked for (`logprob_token_ids`, vLLM's own field).
"""

import asyncio
import json
import math
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from rbr_service.calls import CallError, Calls
from rbr_service.errors import GraderError
from rbr_service.graders.engine import Answer, ModelIdentity, Prompts, Tokens

RECENT = 2.0  # seconds in which an answer proves the server's health
ABOVE_ZERO = 1e-3  # a log probability may round to a little more than 0
_SETTINGS = {
    "max_tokens": 1,
    "temperature": 0,
    "ignore_eos": True,
    "logprobs": 1,  # the server looks at logprob_token_ids only if it is set
    "return_tokens_as_token_ids": True,
}


class HTTPEngine:
    """A server that has the model."""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        probe: tuple[str, Tokens],
        revision: str | None = None,
        precision: str = "auto",
        key: str | None = None,
        concurrency: int = 64,
        patience: float = 170.0,
        start_patience: float = 900.0,
    ) -> None:
        """`model` as the server calls it; `probe`: a text, and the ids that end it by the tokenizer at hand.

        `concurrency`: calls of `answers` at the server at a time. Seconds: `patience` of a call with a
        faulty server and for one try, `start_patience` of `start`.
        """
        self.identity = ModelIdentity(model, revision or "", precision)
        self.context = 0
        self._answered = -math.inf  # an instant of time.monotonic()
        self._probe, self._start_patience = probe, start_patience
        self._slots = asyncio.Semaphore(concurrency)
        self._calls = Calls(url, key=key, concurrency=concurrency, patience=patience)

    @property
    def fault(self) -> str:
        """The last transient fault that no answer has followed, or ""."""
        return self._calls.fault

    async def start(self) -> None:
        """Wait for the server and check that it is the right one. Raises GraderError."""
        await self._calls.open()
        try:
            await self._calls.reached("/health", self._start_patience)
            self.context = self._context(await self._calls.reached("/v1/models", self._start_patience))
            await self._compare_tokenizers()
        except CallError as error:
            raise self._failed(error) from error

    async def answers(
        self, prompts: Prompts, labels: Sequence[int]
    ) -> AsyncGenerator[tuple[int, Answer], None]:
        """(index of the ending, answer), all at once: the server answers when the last is known.

        None has `cached`: vLLM tells that of the last prompt of a call only. Raises GraderError.
        """
        async with self._slots:
            # Built only with a slot in hand: a body may be megabytes.
            body = _body(self.identity.model, prompts, labels)
            try:
                reply = await self._calls.post("/v1/completions", body)
            except CallError as error:
                raise self._failed(error) from error
        self._answered = time.monotonic()
        for index, answer in enumerate(_answers(reply, len(prompts.endings), labels)):
            yield index, answer

    async def check(self) -> None:
        """Return when the server has just answered, or says that it is healthy. Raises GraderError."""
        if not self.fault and time.monotonic() - self._answered < RECENT:
            return  # a server busy with large bodies may be slow to say so
        try:
            await self._calls.get("/health")
        except CallError as error:
            raise self._failed(error) from error

    async def close(self) -> None:
        """Close the connections."""
        await self._calls.close()

    def _context(self, reply: Any) -> int:
        """The model's context in tokens, as /v1/models tells it."""
        served = {m["id"]: m for m in _list(reply, "data") if isinstance(m, dict) and "id" in m}
        model = served.get(self.identity.model)
        if model is None:
            names = ", ".join(sorted(map(str, served)))
            raise GraderError(
                f"{self._calls.url}: serves no model {self.identity.model!r}; it serves: {names}"
            )
        if model.get("max_model_len") is None:  # an adapter: its base model has it
            model = served.get(model.get("parent"), model)
        context = model.get("max_model_len")
        if not isinstance(context, int):
            raise GraderError(f"{self._calls.url}/v1/models: no max_model_len: is it a vLLM server?")
        return context

    async def _compare_tokenizers(self) -> None:
        text, ids = self._probe
        asked = {"model": self.identity.model, "prompt": text, "add_special_tokens": False}
        reply = await self._calls.post("/tokenize", json.dumps(asked).encode())
        if _list(reply, "tokens")[-len(ids) :] != list(ids):
            raise GraderError(
                f"{self._calls.url}: the tokenizer at hand is not the server's: they make other tokens of "
                "the same text; name the one that the server was started with (--grader-tokenizer)"
            )

    def _failed(self, error: CallError) -> GraderError:
        """The failed call as the caller sees it."""
        remedy = "; set RBR_GRADER_KEY to the server's key" if error.status in (401, 403) else ""
        return GraderError(f"the grader's server failed: {error.message}{remedy}")


def _body(model: str, prompts: Prompts, labels: Sequence[int]) -> bytes:
    """The request as JSON; what the prompts share is written out once."""
    shared = ",".join(map(str, prompts.shared))
    lists = (",".join(filter(None, (shared, ",".join(map(str, ending))))) for ending in prompts.endings)
    head = json.dumps({"model": model, "logprob_token_ids": list(labels), **_SETTINGS})
    return f'{head[:-1]}, "prompt": [[{"],[".join(lists)}]]}}'.encode()


def _answers(reply: Any, count: int, labels: Sequence[int]) -> list[Answer]:
    """The answers in the order of the prompts. Raises GraderError that names what is missing."""
    choices = {c.get("index"): c for c in _list(reply, "choices") if isinstance(c, dict)}
    if set(choices) != set(range(count)):
        raise GraderError(f"the grader's server answered with {len(choices)} choices for {count} prompts")
    return [Answer(_logprobs(choices[i], labels)) for i in range(count)]


def _logprobs(choice: dict[str, Any], labels: Sequence[int]) -> tuple[float, ...]:
    found = choice.get("logprobs")
    tops = found.get("top_logprobs") if isinstance(found, dict) else None
    if not isinstance(tops, list) or not tops or not isinstance(tops[0], dict):
        raise GraderError("the grader's server answered without logprobs.top_logprobs")
    values = []
    for label in labels:
        value = tops[0].get(f"token_id:{label}")
        if not isinstance(value, int | float) or isinstance(value, bool) or math.isnan(value):
            raise GraderError(
                f"the grader's server gave no log probability for token_id:{label}: it must know "
                "logprob_token_ids and return_tokens_as_token_ids, as vLLM does"
            )
        if value > ABOVE_ZERO:
            raise GraderError(
                "the grader's server gave a log probability above 0: start it without --logprobs-mode"
            )
        values.append(float(value))
    return tuple(values)


def _list(reply: Any, name: str) -> list[Any]:
    found = reply.get(name) if isinstance(reply, dict) else None
    if not isinstance(found, list):
        raise GraderError(f"the grader's server answered without the list {name!r}: is it a vLLM server?")
    return found
