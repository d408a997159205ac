"""An engine that computes its answers from the tokens it is given: a real one in all but the model."""

import asyncio
import hashlib
import math
from array import array
from collections.abc import AsyncGenerator, Sequence

from rbr_service.errors import GraderError
from rbr_service.graders.engine import Answer, ModelIdentity, Prompts, Tokens


class HashEngine:
    """Answers are a function of prompt and label; the same prompt always earns the same answer.

    `asked` holds every prompt computed. Each answer takes `delay` seconds and waits for `gate`;
    `mass` is the probability of all labels together, `fault_after` the answers after which it fails.
    """

    fault = ""

    def __init__(
        self, *, context: int = 32768, mass: float = 0.9, delay: float = 0.0, revision: str = "r1"
    ) -> None:
        self.identity = ModelIdentity("hash", revision, "float64")
        self.context = context
        self.mass, self.delay = mass, delay
        self.asked: list[Tokens] = []
        self.calls = self.ended = self.running = self.most_running = 0
        self.fault_after: int | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.called = asyncio.Event()
        self.started = False

    async def start(self) -> None:
        self.started = True

    async def answers(
        self, prompts: Prompts, labels: Sequence[int]
    ) -> AsyncGenerator[tuple[int, Answer], None]:
        self.calls += 1
        self.called.set()
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            for index, ending in enumerate(prompts.endings):
                if self.fault_after is not None and len(self.asked) >= self.fault_after:
                    raise GraderError("the engine failed")
                await self.gate.wait()
                await asyncio.sleep(self.delay)
                self.asked.append(prompts.shared + ending)
                yield index, Answer(self.logprobs(prompts.shared + ending, labels), cached=0)
        except (asyncio.CancelledError, GeneratorExit):
            self.ended += 1
            raise
        finally:
            self.running -= 1

    def logprobs(self, prompt: Tokens, labels: Sequence[int]) -> tuple[float, ...]:
        """What it answers, for any prompt."""
        seed = hashlib.sha256(array("I", prompt).tobytes())
        weights = []
        for label in labels:
            one = seed.copy()
            one.update(str(label).encode())
            weights.append(1 + int.from_bytes(one.digest()[:4]))
        return tuple(math.log(self.mass * weight / sum(weights)) for weight in weights)

    async def check(self) -> None:
        return

    async def close(self) -> None:
        self.started = False
