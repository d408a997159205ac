"""What runs the grader's model: token ids in, log probabilities of the labels out.

    Prompts (what a text's prompts share, and their endings) -> one Answer per prompt

Two engines keep this promise: vLLM in this process (vllm.py) and any vLLM server (openai_http.py).
"""

import re
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts about one text: each is `shared` followed by one of `endings`."""

    shared: Tokens
    endings: tuple[Tokens, ...]

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt."""
        return len(self.shared) + max(map(len, self.endings))


@dataclass(frozen=True, slots=True)
class Answer:
    """Natural log probabilities of the labels, full-vocabulary softmax, as the next token of a prompt.

    `cached` of the prompt's tokens came from the engine's prefix cache; None where it does not tell.
    """

    logprobs: tuple[float, ...]
    cached: int | None = None


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """What decides a model's answers. `revision` is "" where nobody stated it."""

    model: str
    revision: str
    precision: str

    @property
    def key(self) -> tuple[str, str]:
        """A hash says all, and a model's path may differ by machine; any other revision needs the name."""
        hashed = re.fullmatch(r"(sha256:)?[0-9a-f]{40,64}", self.revision)
        return (self.revision if hashed else f"{self.model}@{self.revision}", self.precision)


class Engine(Protocol):
    """A model, loaded once, asked many times."""

    @property
    def identity(self) -> ModelIdentity:
        """Known before `start`."""

    @property
    def context(self) -> int:
        """Longest prompt plus one answer token, in tokens; known after `start`."""

    @property
    def fault(self) -> str:
        """The last transient fault that has not been followed by an answer, for error messages; or ""."""

    async def start(self) -> None:
        """Load or reach the model. Raises GraderError."""

    def answers(self, prompts: Prompts, labels: Sequence[int]) -> AsyncGenerator[tuple[int, Answer], None]:
        """(index of the ending, answer), each as soon as it is known; closing it ends what is left.

        Raises GraderError, GraderDeadError.
        """

    async def check(self) -> None:
        """Return when able to answer. Raises GraderError, GraderDeadError."""

    async def close(self) -> None:
        """Stop what `start` began."""
