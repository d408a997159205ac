"""From a request's body to samples: cut, clean, read the label.

    OpenRLHF body | v1 samples | slime body -> [Sample]

All three roads end in the same Sample, so one completion earns the same reward on each.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rbr_service import completion, labels, templates
from rbr_service.conversation import Conversation, Message
from rbr_service.errors import TooLargeError, UnclosedReasoningError, entry
from rbr_service.labels import MessageIn
from rbr_service.schemas import OpenRLHFRequest, SampleIn, SlimeRequest
from rbr_service.scorer import Sample
from rbr_service.settings import Settings


@dataclass(frozen=True)
class Reader:
    """Reads bodies under the service's limits."""

    settings: Settings

    def openrlhf(self, body: OpenRLHFRequest) -> list[Sample]:
        """Samples of OpenRLHF's flat lists. Raises RequestError that names the entry."""
        self._count(len(body.query))
        prompts: Sequence[str | None] = body.prompts or [None] * len(body.query)
        raw: Sequence[Any] = body.labels if body.labels is not None else [None] * len(body.query)
        samples = []
        for i, (query, prompt, label) in enumerate(zip(body.query, prompts, raw, strict=True)):
            with entry(i):
                samples.append(self._cut(query, prompt, label))
        return samples

    def v1(self, rows: Sequence[SampleIn]) -> list[Sample]:
        """Samples of conversations. Raises RequestError that names the entry."""
        self._count(len(rows))
        samples = []
        for i, row in enumerate(rows):
            with entry(i):
                samples.append(self.row(row))
        return samples

    def row(self, row: SampleIn) -> Sample:
        """The sample of one conversation. Raises RequestError."""
        *prompt, last = row.messages
        conversation = Conversation(_messages(prompt), self._clean(last.content))
        return Sample(conversation, row.response_type or row.category, row.base_reward)

    def slime(self, body: SlimeRequest) -> Sample:
        """The sample of a slime body. Raises RequestError."""
        label = labels.parse(body.label)
        text = body.prompt if isinstance(body.prompt, str) else ""
        given = templates.messages(text) if isinstance(body.prompt, str) else _messages(body.prompt)
        prompt = _messages(label.messages) if label.messages else given
        return Sample(Conversation(prompt, self._clean(body.response, text)), label.name, label.base_reward)

    def _cut(self, query: str, prompt: str | None, raw_label: Any) -> Sample:
        self._bounded(len(query) - len(prompt or ""))
        label = labels.parse(raw_label)
        messages = _messages(label.messages or ())
        answer = self._clean(completion.cut(query, prompt, messages), prompt or "")
        conversation = Conversation(messages or templates.messages(prompt or ""), answer)
        return Sample(conversation, label.name, label.base_reward)

    def _clean(self, text: str, prompt: str = "") -> str:
        self._bounded(len(text))
        graded = self.settings.empty_completion == "grade"
        try:
            return completion.clean(
                text, prompt, strip_reasoning=self.settings.strip_reasoning, allow_empty=graded
            )
        except UnclosedReasoningError:
            if not graded:
                raise
            return ""  # a policy that was cut short while it reasoned has answered nothing

    def _bounded(self, characters: int) -> None:
        limit = self.settings.max_completion_chars
        if characters > limit:
            raise TooLargeError(
                f"the completion has {characters} characters, over the limit of {limit}: "
                "shorten it or raise --max-completion-chars"
            )

    def _count(self, samples: int) -> None:
        limit = self.settings.max_samples
        if samples > limit:
            raise TooLargeError(
                f"{samples} samples in one request, over the limit of {limit}: send fewer at once"
            )


def _messages(given: Iterable[MessageIn]) -> tuple[Message, ...]:
    return tuple(message.message() for message in given)
