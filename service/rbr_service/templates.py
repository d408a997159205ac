r"""Reading a chat-templated prompt back into messages.

    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n" -> (Message("user", "Hi"),)

A sample then looks the same to the grader whether it came as OpenRLHF's text or as messages. Only
a prompt that follows a template from its first character to its last is read so; any other is
plain text, taken as one user message. Each text is walked once: a prompt may have thousands of turns.
"""

import re
from dataclasses import dataclass

from rbr_service.conversation import Message


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
        place, found = len(self.bos) if prompt.startswith(self.bos) else 0, []
        while prompt.startswith(self.start, place):
            head = prompt.find(self.head, place)
            end = prompt.find(self.end, head)
            if head < 0 or end < 0:
                break
            role = self.roles.get(prompt[place + len(self.start) : head])
            if role is None:
                return ()
            found.append(Message(role, prompt[head + len(self.head) : end].strip()))
            place = end + len(self.end)
            if prompt.startswith(self.gap, place):
                place += len(self.gap)
        return tuple(found) if self._opens_answer(prompt[place:]) else ()

    def _opens_answer(self, tail: str) -> bool:
        name = next(name for name, role in self.roles.items() if role == "assistant")
        opened = self.start + name + self.head
        return tail.startswith(opened) and self.opening.fullmatch(tail, len(opened)) is not None


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


def _mistral(prompt: str) -> tuple[Message, ...]:
    """`<s>[INST] question [/INST] answer</s>[INST] question [/INST]`."""
    text = prompt.removeprefix("<s>")
    place, found = 0, []
    while question := _QUESTION.match(text, place):
        middle = text.find("[/INST]", question.end())
        if middle < 0:
            break
        end = text.find("</s>", middle)
        answer = text[middle + len("[/INST]") : end if end >= 0 else len(text)].strip()
        found.append(Message("user", text[question.end() : middle].strip()))
        if answer:
            found.append(Message("assistant", answer))
        place = end + len("</s>") if end >= 0 else len(text)
    complete = found and place == len(text) and found[-1].role == "user"
    return tuple(found) if complete else ()
