"""Prompts as token ids, from a layout, a model's encoder and a policy's questions.

    GradeRequest -> Written(Prompts, Cuts), or CompletionTooLongError

    [template head][shared: book, conversation, reply][each: question][template tail] -> yes | no

Trusted and untrusted text is encoded alike as plain text; control tokens come from the model's own
template only. What does not fit is cut: whole messages from the left, then the middle of the last one;
the reply never.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rbr_service.conversation import Message
from rbr_service.encoder import Encoder
from rbr_service.errors import CompletionTooLongError, GraderError
from rbr_service.graders.base import NO_CUTS, Cuts, GradeRequest, Subject
from rbr_service.graders.engine import Prompts
from rbr_service.graders.layout import Asking, Layout, Template
from rbr_service.rbr.policy import Policy

CODE = 8  # hex digits of a mark's code
LEAST_KEPT = 32  # tokens of a message worth showing when it is cut inside


@dataclass(frozen=True, slots=True)
class Question:
    """What a yes/no question says; `definition` brings its examples."""

    name: str
    question: str
    definition: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """One text's prompts and what its conversation lost."""

    prompts: Prompts
    cuts: Cuts


def questions(policy: Policy, layout: Layout) -> dict[Subject, list[Question]]:
    """A policy's propositions, and its categories as questions about the request where it routes by them."""
    example = Template(layout.example)
    propositions = []
    for name, spec in policy.file.propositions.items():
        examples = "".join(
            example.fill(
                {
                    "user": f"user: {one.user}\nreply: " if one.user else "reply: ",
                    "assistant": one.assistant,
                    "answer": "yes" if one.answer else "no",
                    "because": one.because or "",
                }
            )
            for one in spec.examples
        )
        propositions.append(Question(name, spec.question, f"{spec.definition}\n{examples}"))
    content = policy.file.content_policy if policy.file.auto else {}
    categories = [Question(name, spec.description) for name, spec in content.items()]
    return {"completion": propositions, "request": categories}


class _Piece:
    """A template in token ids: literals encoded once, placeholders to be filled with ids."""

    def __init__(self, encoder: Encoder, text: str, known: Mapping[str, str]) -> None:
        """`known`: placeholders whose text is the same for all."""
        self._parts: list[tuple[int, ...] | str] = []
        merged = ""
        for at, part in enumerate(Template(text).parts):
            if at % 2 and part not in known:
                self._parts += [tuple(encoder.plain(merged)), part]
                merged = ""
            else:
                merged += known[part] if at % 2 else part
        self._parts.append(tuple(encoder.plain(merged)))

    def fill(self, values: Mapping[str, Sequence[int]]) -> list[int]:
        """The ids, with `values` in the places of their names."""
        ids: list[int] = []
        for part in self._parts:
            ids += values[part] if isinstance(part, str) else part
        return ids


class _Form:
    """All templates for one kind of question, encoded."""

    def __init__(self, encoder: Encoder, asking: Asking, asked: Sequence[Question]) -> None:
        entry = Template(asking.entry)
        numbered = [
            (one, {"number": str(n), "question": one.question, "definition": one.definition})
            for n, one in enumerate(asked, 1)
        ]
        book = "".join(entry.fill(values) + "\n" for _, values in numbered)
        self.shared = _Piece(encoder, asking.shared, {"questions": book})
        self.each = {one.name: _Piece(encoder, asking.each, values) for one, values in numbered}


class PromptWriter:
    """Writes prompts for one model, layout and policy."""

    def __init__(self, encoder: Encoder, layout: Layout, asked: Mapping[Subject, Sequence[Question]]) -> None:
        """See `questions` for what is asked."""
        self._encoder, self._layout = encoder, layout
        head, self.tail = encoder.turn()
        self._head, self._tail = encoder.exact(head), encoder.exact(self.tail)
        self._forms = {
            subject: _Form(encoder, layout.asking(subject), found) for subject, found in asked.items()
        }
        self._message = _Piece(encoder, layout.message, {})

    def write(self, request: GradeRequest, context: int) -> Written:
        """The prompts about one text, each at most `context` - 1 tokens. Raises CompletionTooLongError."""
        form = self._forms[request.about]
        prompt = request.conversation.prompt
        values: dict[str, Sequence[int]] = {"conversation": ()}
        if request.about == "completion":
            reply = request.conversation.completion
            values["reply"] = self._encoder.plain(reply)
            values["reply_code"] = self._encoder.plain(_code([*prompt, Message("reply", reply)]))
        if not request.questions:
            raise GraderError("a grade without a question was asked for")
        endings = tuple(tuple(form.each[name].fill(values) + self._tail) for name in request.questions)
        fixed = len(self._head) + len(form.shared.fill(values)) + max(map(len, endings))
        room = context - 1 - fixed
        if room < 0:
            raise CompletionTooLongError(
                f"the completion does not fit into the grader's context of {context} tokens: it needs "
                f"{-room} more"
            )
        values["conversation"], cuts = self._conversation(prompt, room)
        return Written(Prompts(tuple(self._head + form.shared.fill(values)), endings), cuts)

    def _conversation(self, prompt: Sequence[Message], room: int) -> tuple[list[int], Cuts]:
        """The messages that fit into `room` tokens, the latest ones, and what was left out."""
        code = _code(prompt)
        blocks = [self._block(message, code) for message in prompt]
        if sum(map(len, blocks)) <= room:
            return [token for block in blocks for token in block], NO_CUTS
        kept: list[list[int]] = []
        # The mark's length depends on the number in it; the largest one is reserved.
        left = room - len(self._left_out(len(prompt)))
        for block in reversed(blocks):
            if len(block) > left:
                break
            kept.insert(0, block)
            left -= len(block)
        lost = len(blocks) - len(kept)
        cut = sum(map(len, blocks[:lost]))
        if not kept:
            inside = self._cut_inside(prompt[-1], code, left)
            if inside is None:
                raise CompletionTooLongError(
                    "the completion leaves no room for the message that it answers in the grader's context"
                )
            kept, lost, cut = [inside[0]], lost - 1, cut - len(inside[0]) + inside[1]
        mark = self._left_out(lost) if lost else []
        ids = [*(mark if len(mark) <= room else []), *(token for block in kept for token in block)]
        return ids, Cuts(lost, cut)

    def _cut_inside(self, message: Message, code: str, room: int) -> tuple[list[int], int] | None:
        """A message without its middle, and the tokens that the mark there took."""
        content = self._encoder.plain(message.content)
        gap = self._encoder.plain(Template(self._layout.gap).fill({"count": str(len(content))}))
        frame = self._block(Message(message.role, ""), code)
        keep = room - len(frame) - len(gap)
        if keep < LEAST_KEPT:
            return None
        first, last = content[: (keep + 1) // 2], content[len(content) - keep // 2 :]
        count = len(content) - len(first) - len(last)
        gap = self._encoder.plain(Template(self._layout.gap).fill({"count": str(count)}))
        return self._block(message, code, [*first, *gap, *last]), len(gap)

    def _block(self, message: Message, code: str, content: Sequence[int] | None = None) -> list[int]:
        values: dict[str, Sequence[int]] = {
            "role": self._encoder.plain(_role(message.role)),
            "code": self._encoder.plain(code),
            "content": self._encoder.plain(message.content) if content is None else content,
        }
        return self._message.fill(values)

    def _left_out(self, count: int) -> list[int]:
        return self._encoder.plain(Template(self._layout.left_out).fill({"count": str(count)}))


def _code(messages: Sequence[Message]) -> str:
    """A code that the messages themselves cannot hold, but by a search through 4 billion."""
    content = json.dumps([[message.role, message.content] for message in messages])
    return hashlib.sha256(content.encode()).hexdigest()[:CODE]


def _role(role: str) -> str:
    """A role as the caller named it, without what could pass for a mark."""
    return re.sub(r"[^a-z0-9_]+", "_", role.casefold()) or "user"
