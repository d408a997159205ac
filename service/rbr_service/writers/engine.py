"""The grader's own model in this process as the writer: loaded once, it does both.

    Brief, prompt -> token ids in the model's chat template -> engine -> the reply

As in the grader's prompts, nothing that is quoted can become a control token. A model that judges what it
wrote itself is lenient with it: look at the yields of another grader too.
"""

from collections.abc import Sequence
from typing import Protocol

from rbr_service.conversation import Message
from rbr_service.encoder import Encoder
from rbr_service.graders.engine import ModelIdentity
from rbr_service.rbr.briefs import Brief
from rbr_service.rbr.policy import Policy, digest
from rbr_service.writers.base import CannotWrite, Written
from rbr_service.writers.instructions import VERSION, instructions


class Generator(Protocol):
    """An engine that writes."""

    @property
    def identity(self) -> ModelIdentity:
        """Known before `start`."""

    @property
    def context(self) -> int:
        """Most tokens of a prompt and its continuation."""

    async def generate(
        self, ids: Sequence[int], *, max_tokens: int, temperature: float, seed: int
    ) -> tuple[str, bool]:
        """How the prompt goes on, and whether the model ended it by itself. Raises GraderError."""


class EngineWriter:
    """Writes with an engine that another part starts and closes."""

    name = "vllm"

    def __init__(
        self, policy: Policy, encoder: Encoder, engine: Generator, *, temperature: float = 1.0,
        max_tokens: int = 1024,
    ) -> None:  # fmt: skip
        """`encoder` must be of the engine's model."""
        self._policy, self._encoder, self._engine = policy, encoder, engine
        self._temperature, self._max_tokens = temperature, max_tokens
        self.fingerprint = digest([VERSION, engine.identity.key, encoder.digest, temperature, max_tokens])

    async def start(self) -> None:
        """Nothing of its own to start."""

    async def write(self, brief: Brief, prompt: Sequence[Message], seed: int) -> Written | CannotWrite:
        """What the model replies. Raises GraderError, for the engine is the grader's."""
        ids = self._encoder.chat([instructions(self._policy, brief, prompt)], answer=True)
        if len(ids) >= self._engine.context:
            return CannotWrite("the prompt does not fit into the model's context")
        text, ended = await self._engine.generate(
            ids, max_tokens=self._max_tokens, temperature=self._temperature, seed=seed
        )
        if not ended:
            return CannotWrite("the reply was cut off: raise --writer-max-tokens")
        return Written(text.strip(), brief.must) if text.strip() else CannotWrite("the reply was empty")

    async def close(self) -> None:
        """Nothing of its own to close."""
