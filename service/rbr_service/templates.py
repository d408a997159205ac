r"""Reading a chat-templated prompt back into messages.

    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n" -> (Message("user", "Hi"),)

A sample then looks the same to the grader whether it came as OpenRLHF's text or as messages. Only
a prompt that follows a template from its first character to its last is read so; any other is
plain text, taken as one user message.
"""

from dataclasses import dataclass

import re2

from rbr_service.conversation import Message


@dataclass(frozen=True)
class Template:
    """`turn` matches one finished turn (groups: role, content); `tail` what opens the answer."""

    bos: str
    turn: str
    tail: str
    roles: dict[str, str]


_ROLES = {"system": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
_THINK = r"(?:<think>\s*(?:</think>\s*)?)?"

# Formats as the models' own tokenizer_config.json chat templates write them.
TEMPLATES = (
    Template(
        "",
        r"<\|im_start\|>(\w+)\n((?s:.*?))<\|im_end\|>\n?",
        rf"<\|im_start\|>assistant\n{_THINK}",
        _ROLES,
    ),
    Template(
        r"(?:<\|begin_of_text\|>)?",
        r"<\|start_header_id\|>(\w+)<\|end_header_id\|>\n\n((?s:.*?))<\|eot_id\|>",
        r"<\|start_header_id\|>assistant<\|end_header_id\|>\n\n",
        _ROLES | {"ipython": "tool"},
    ),
    Template(
        "(?:<bos>)?",
        r"<start_of_turn>(user|model)\n((?s:.*?))<end_of_turn>\n?",
        r"<start_of_turn>model\n",
        {"user": "user", "model": "assistant"},
    ),
)
_MISTRAL = re2.compile(r"(?s)\s*\[INST\](.*?)\[/INST\](.*?)(?:</s>|$)")


def messages(prompt: str) -> tuple[Message, ...]:
    """The messages of a templated prompt; of plain text one user message; of "" none."""
    for template in TEMPLATES:
        found = _read(prompt, template)
        if found:
            return found
    return _mistral(prompt) or ((Message("user", prompt),) if prompt.strip() else ())


def _read(prompt: str, template: Template) -> tuple[Message, ...]:
    start = re2.match(template.bos, prompt)
    turn = re2.compile(template.turn)
    place, found = start.end(), []
    while match := turn.match(prompt, place):
        role = template.roles.get(match[1])
        if role is None:
            return ()
        found.append(Message(role, match[2].strip()))
        place = match.end()
    complete = re2.fullmatch(template.tail, prompt[place:])
    return tuple(found) if complete else ()


def _mistral(prompt: str) -> tuple[Message, ...]:
    """`<s>[INST] question [/INST] answer</s>[INST] question [/INST]`."""
    text = prompt.removeprefix("<s>")
    place, found = 0, []
    while match := _MISTRAL.match(text, place):
        found.append(Message("user", match[1].strip()))
        if match[2].strip():
            found.append(Message("assistant", match[2].strip()))
        place = match.end()
    complete = found and place == len(text) and found[-1].role == "user"
    return tuple(found) if complete else ()
