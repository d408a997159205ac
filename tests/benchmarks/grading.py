"""The real grader over whatever engine, asked a workload's questions."""

from collections.abc import Sequence

from rbr_service.conversation import Conversation
from rbr_service.errors import RequestError
from rbr_service.graders import layout
from rbr_service.graders.base import GradeRequest
from rbr_service.graders.cache import MemoryCache
from rbr_service.graders.engine import Engine, Prompts
from rbr_service.graders.llm import LLMGrader
from rbr_service.graders.prompt import PromptWriter, questions
from rbr_service.metrics import Metrics

from .workload import Workload

CONCURRENCY = 64  # completions at a time, as the service's default


class Grading:
    """One layout on an engine; no verdict is kept, so that none is spared."""

    def __init__(self, engine: Engine, work: Workload, layout_name: str) -> None:
        chosen = layout.load(layout_name)
        self._engine, self._asked, self._metrics = engine, tuple(work.asked), Metrics()
        self.grader = LLMGrader(
            work.policy, work.encoder, chosen, engine, MemoryCache(0), self._metrics,
            concurrency=CONCURRENCY, deadline=None, min_label_mass=0.0,
        )  # fmt: skip
        self._writer = PromptWriter(work.encoder, chosen, questions(work.policy, chosen))

    async def grade(self, talk: Sequence[Conversation]) -> None:
        """Judge them all at once. Raises what stood in the way of any."""
        for found in await self.grader.grade([self._request(one) for one in talk]):
            if isinstance(found, RequestError):
                raise found

    @property
    def computed(self) -> float:
        """Prompt tokens computed so far, by the cached tokens that the engine told with each answer."""
        return self._metrics.computed_tokens

    def prompts(self, one: Conversation) -> Prompts:
        """What the engine is sent about a conversation."""
        return self._writer.write(self._request(one), self._engine.context).prompts

    def _request(self, one: Conversation) -> GradeRequest:
        return GradeRequest(one, self._asked)
