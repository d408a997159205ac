r"""Reading a chat-templated prompt back into messages.

    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n" -> (Message("user", "Hi"),)

A sample then looks the same to the grader whether it came as OpenRLHF's text or as messages. Only
a prompt that follows a template from its first character to its last is read so; any other is
plain text, taken as one user message. Each text is walked once: a prompt may have thousands of turns.
A transcript goes on after the prompt: its last turn is the answer, ended or not.
"""

import re
from dataclasses import dataclass, field

from rbr_service.conversation import Message

Transcript = tuple[tuple[Message, ...], str]  # the prompt, and the answer as the model wrote it


@dataclass
class _Walk:
    """The finished turns at a text's beginning: where they end, and where the last one's content begins."""

    turns: list[Message] = field(default_factory=list)
    end: int = 0
    content: int = 0


@dataclass(frozen=True)
class Template:
    """A turn is `start` role `head` content `end`, where `gap` may follow.

    The answer opens as a turn does; `opening` is what the template may write ahead of it.
    """

    bos: str
    start: str
    head: str
    end: str
    roles: dict[str, str]
    gap: str = ""
    opening: re.Pattern[str] = re.compile("")

    def read(self, prompt: str) -> tuple[Message, ...]:
        """The messages of a prompt that follows this template, else none."""
        walk = self._walk(prompt)
        answer = self._answer(prompt, walk)
        return tuple(walk.turns) if answer is not None and self.opening.fullmatch(answer) else ()

    def transcript(self, text: str) -> Transcript | None:
        """The prompt and the answer of a transcript that follows this template, else None."""
        walk = self._walk(text)
        answer = self._answer(text, walk)
        if answer is not None:
            return tuple(walk.turns), answer
        if not walk.turns or walk.turns[-1].role != "assistant":
            return None
        begun = text[walk.end :].lstrip().startswith(self.start)
        return None if begun else (tuple(walk.turns[:-1]), text[walk.content :])

    def _walk(self, text: str) -> _Walk:
        walk = _Walk(end=len(self.bos) if text.startswith(self.bos) else 0)
        while text.startswith(self.start, walk.end):
            head = text.find(self.head, walk.end)
            end = text.find(self.end, head)
            role = self.roles.get(text[walk.end + len(self.start) : head])
            if head < 0 or end < 0 or role is None:
                break
            walk.content, walk.end = head + len(self.head), end + len(self.end)
            walk.turns.append(Message(role, text[walk.content : end].strip()))
            if text.startswith(self.gap, walk.end):
                walk.end += len(self.gap)
        return walk

    def _answer(self, text: str, walk: _Walk) -> str | None:
        """What follows the opening of an answer behind the finished turns, None if none is opened there."""
        name = next(name for name, role in self.roles.items() if role == "assistant")
        opened = self.start + name + self.head
        return text[walk.end + len(opened) :] if text.startswith(opened, walk.end) else None


_ROLES = {"system": "system", "user": "user", "assistant": "assistant", "tool": "tool"}

# Formats as the models' own tokenizer_config.json chat templates write them.
TEMPLATES = (
    Template(
        "", "<|im_start|>", "\n", "<|im_end|>", _ROLES, "\n",
        re.compile(r"(?:<think>\s*+(?:</think>\s*)?)?"),
    ),
    Template(
        "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>",
        _ROLES | {"ipython": "tool"},
    ),
    Template(
        "<bos>", "<start_of_turn>", "\n", "<end_of_turn>", {"user": "user", "model": "assistant"}, "\n",
    ),
)  # fmt: skip
_QUESTION = re.compile(r"\s*+\[INST\]")


def messages(prompt: str) -> tuple[Message, ...]:
    """The messages of a templated prompt; of plain text one user message; of "" none."""
    for template in TEMPLATES:
        found = template.read(prompt)
        if found:
            return found
    return _mistral(prompt) or ((Message("user", prompt.strip()),) if prompt.strip() else ())


def transcript(text: str) -> Transcript | None:
    """The prompt and the answer, if the text follows a template up to it; None if it does not."""
    for template in TEMPLATES:
        found = template.transcript(text)
        if found:
            return found
    walk = _mistral_walk(text)
    if not walk.turns or _QUESTION.match(text, walk.end):
        return None
    unanswered = walk.turns[-1].role == "user"  # or answered with nothing
    return tuple(walk.turns if unanswered else walk.turns[:-1]), text[walk.content :]


def _mistral(prompt: str) -> tuple[Message, ...]:
    walk = _mistral_walk(prompt)
    complete = walk.turns and walk.end == len(prompt) and walk.turns[-1].role == "user"
    return tuple(walk.turns) if complete else ()


def _mistral_walk(text: str) -> _Walk:
    """`<s>[INST] question [/INST] answer</s>[INST] question [/INST]`."""
    walk = _Walk(end=len("<s>") if text.startswith("<s>") else 0)
    while question := _QUESTION.match(text, walk.end):
        middle = text.find("[/INST]", question.end())
        if middle < 0:
            break
        walk.content = middle + len("[/INST]")
        end = text.find("</s>", middle)
        answer = text[walk.content : end if end >= 0 else len(text)].strip()
        walk.turns.append(Message("user", text[question.end() : middle].strip()))
        if answer:
            walk.turns.append(Message("assistant", answer))
        walk.end = end + len("</s>") if end >= 0 else len(text)
    return walk
