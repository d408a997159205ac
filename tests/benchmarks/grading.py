"""The real grader over whatever engine, asked every question of a policy about what it is given."""

from collections.abc import Sequence

from rbr_service.conversation import Conversation
from rbr_service.encoder import Encoder
from rbr_service.errors import RequestError
from rbr_service.graders import layout
from rbr_service.graders.base import GradeRequest
from rbr_service.graders.cache import MemoryCache
from rbr_service.graders.engine import Engine, Prompts
from rbr_service.graders.llm import LLMGrader
from rbr_service.graders.prompt import PromptWriter, questions
from rbr_service.metrics import Metrics
from rbr_service.rbr.policy import Policy

CONCURRENCY = 64  # completions at a time, as the service's default


class Grading:
    """One layout and policy on an engine; no verdict is kept, so that none is spared."""

    def __init__(
        self, engine: Engine, encoder: Encoder, policy: Policy, layout_name: str,
        asked: Sequence[str] | None = None,
    ) -> None:  # fmt: skip
        """`asked`: the propositions to ask; all of them without."""
        chosen = layout.load(layout_name)
        self._engine, self._metrics = engine, Metrics()
        self.asked = tuple(asked or policy.file.propositions)
        self.grader = LLMGrader(
            policy, encoder, chosen, engine, MemoryCache(0), self._metrics,
            concurrency=CONCURRENCY, deadline=None, min_label_mass=0.0,
        )  # fmt: skip
        self._writer = PromptWriter(encoder, chosen, questions(policy, chosen))

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
        return GradeRequest(one, self.asked)
