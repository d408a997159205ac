"""Cutting the completion out of what a trainer sends, and cleaning it.

    query = prompt text + completion text -> cut -> strip EOS, padding, reasoning -> completion

OpenRLHF decodes prompt and action tokens together with special tokens kept, so the completion is
what follows the prompt. Splitting at the last assistant marker instead would be wrong: policies
emit special tokens in mid-text.
"""

import re
from collections.abc import Sequence
from functools import partial
from typing import Literal
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from rbr_service.conversation import Message
from rbr_service.errors import CannotCutError, EmptyCompletionError, UnclosedReasoningError

# A shorter overlap proves nothing: any completion may begin with the prompt's last few characters.
MIN_OVERLAP = 32
FORMS: tuple[Literal["NFC", "NFKC"], ...] = ("NFC", "NFKC")
MAX_TURNS = 64  # so many of a label's messages are looked for: each costs a pass over the text
MAX_PLACES = 64  # so many places of the last one are tried
MAX_TAIL = 256  # what a template writes behind the last message is far shorter

# End-of-sequence and padding texts of ChatML, Llama 2 and 3, Mistral, Gemma, Phi, DeepSeek, Command R.
END_TOKENS = (
    "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>",
    "<|finetune_right_pad_id|>", "</s>", "<pad>", "[PAD]", "<eos>", "<end_of_turn>", "<|end|>",
    "<｜end▁of▁sentence｜>", "<|END_OF_TURN_TOKEN|>", "<|pad|>",
)  # fmt: skip
_END = "|".join(map(re.escape, END_TOKENS))
_LEADING = re.compile(rf"(?:{_END}|\s)*+")
_SPACE = re.compile(r"\s*+")
_TRAILING_REVERSED = re.compile(rf"(?:{'|'.join(re.escape(token[::-1]) for token in END_TOKENS)}|\s)*+")

# What a chat template writes between the last message and the answer; the group is what opens it.
_HEADER = re.compile(
    rf"(?:{_END}|\s)*+"
    r"(\[/INST\]|<\|im_start\|>\s*assistant\s|<\|start_header_id\|>\s*assistant\s*<\|end_header_id\|>"
    r"|<start_of_turn>\s*model\s|<[|｜]assistant[|｜]>|<\|CHATBOT_TOKEN\|>|assistant\s*:)?\s*",
    re.IGNORECASE,
)

OPEN, CLOSE = "<think>", "</think>"


def cut(query: str, prompt: str | None, messages: Sequence[Message] = ()) -> str:
    """The part of `query` after the prompt. Raises CannotCutError.

    An over-long prompt is truncated on the left before generation while `prompt` is still whole:
    then the longest suffix of it, of MIN_OVERLAP characters or more, that begins `query` is cut.
    `messages`, where the label brings them, find the prompt's end also when the tokenizer does not
    round-trip its text, and win over a `prompt` that does not hold the last of them.
    """
    contents = [m.content.strip() for m in messages if m.content.strip()][-MAX_TURNS:]
    known = prompt or ""
    ways = [partial(_behind_prompt, query, known), partial(_behind_messages, query, known, contents)]
    if contents and contents[-1] not in known:
        ways.reverse()
    for way in ways:
        place = way()
        if place is not None:
            return query[place:]
    if prompt == "":
        return query
    raise CannotCutError(_why(prompt, contents))


def _why(prompt: str | None, contents: Sequence[str]) -> str:
    if contents:
        return (
            "neither the prompt nor the label's messages are found in query: send the text the model "
            "was given as prompts, and in messages what its template was filled with"
        )
    remedy = 'put the prompt\'s messages into the label as {"messages": [...]}'
    if prompt is None:
        return f"the body has no prompts to tell the completion from the prompt by: add them, or {remedy}"
    return (
        "the prompt is not the beginning of query, nor is any suffix of it of "
        f"{MIN_OVERLAP} characters or more: the tokenizer does not round-trip this text; {remedy}"
    )


def _behind_prompt(query: str, prompt: str) -> int | None:
    """Where `query` goes on after the prompt, whole or truncated, with or without padding ahead."""
    padding = _end(_LEADING, query)
    starts = [(0, prompt), (padding, prompt[_end(_LEADING, prompt) :])]
    for place, start in starts:
        if start and query.startswith(start, place):
            return place + len(start)
    for place, start in starts:
        overlap = _overlap(start, query[place:])
        if overlap:
            return place + overlap
    return None


def _end(pattern: re.Pattern[str], text: str, place: int = 0) -> int:
    """Where the match of a pattern ends that may match nothing."""
    match = pattern.match(text, place)
    return match.end() if match else place


def _behind_messages(query: str, prompt: str, contents: Sequence[str]) -> int | None:
    """Where the answer to the messages begins in `query`; None if they are not there.

    A tokenizer may have normalised Unicode, so normalised contents are looked for too.
    """
    if not contents:
        return None
    tail = "".join(prompt.rpartition(contents[-1])[2].split()) if contents[-1] in prompt else ""
    if len(tail) > MAX_TAIL:
        return None
    for wanted in (contents, *([normalize(form, c) for c in contents] for form in FORMS)):
        place = _prompt_end(query, wanted, tail)
        if place is not None:
            return place
    return None


def _prompt_end(text: str, contents: Sequence[str], tail: str) -> int | None:
    """Where the last of `contents`, found in their order, and what opens the answer behind it end.

    Earlier ones may be missing: truncation removes them and templates rewrite them. The answer is
    opened by `tail`, the prompt's own end without its white space, or by a known header; only where
    the tail is not known may the answer follow at once, and only behind MIN_OVERLAP characters.
    """
    *earlier, last = contents
    place = 0
    for content in earlier:
        start = text.find(content, place)
        place = start + len(content) if start >= 0 else place
    for _ in range(MAX_PLACES):
        start = text.find(last, place)
        if start < 0:
            return None
        end = start + len(last)
        opened = _skip(text, end, tail) if tail else None
        if opened is not None:
            return opened
        header = _HEADER.match(text, end)
        assert header  # it may be empty
        if header[1] or (len(last) >= MIN_OVERLAP and not tail):
            return header.end()
        place = max(header.start(), header.end() - len(last) + 1)  # inside the header it ends alike
    return None


def _skip(text: str, place: int, letters: str) -> int | None:
    """Where `letters` end in `text` from `place` on, white space between them aside."""
    for letter in letters:
        place = _end(_SPACE, text, place)
        if not text.startswith(letter, place):
            return None
        place += 1
    return _end(_SPACE, text, place)


def _overlap(prompt: str, text: str) -> int:
    """Length of the longest suffix of `prompt` that begins `text`, 0 when under MIN_OVERLAP.

    Polynomial hashes (mod 2**64) of all suffixes and prefixes are compared at once, so that a long
    text costs linear time; a candidate then has to match to the letter.
    """
    size = min(len(prompt), len(text))
    if size < MIN_OVERLAP:
        return 0
    tail, head = _codes(prompt[-size:]), _codes(text[:size])
    powers = np.concatenate([[np.uint64(1)], np.full(size - 1, np.uint64(0x9E3779B97F4A7C15))]).cumprod()
    suffixes = (tail * powers)[::-1].cumsum()[::-1]  # suffixes[i]: hash of tail[i:], times powers[i]
    prefixes = (head * powers).cumsum()  # prefixes[k - 1]: hash of head[:k]
    candidates = np.flatnonzero(
        suffixes[: size - MIN_OVERLAP + 1] == (prefixes[::-1] * powers)[: size - MIN_OVERLAP + 1]
    )
    for start in candidates[:16]:
        length = size - int(start)
        if text.startswith(prompt[-length:]):
            return length
    return 0


def _codes(text: str) -> NDArray[np.uint64]:
    return np.frombuffer(text.encode("utf-32-le"), dtype="<u4").astype(np.uint64) + np.uint64(1)


def clean(text: str, prompt: str = "", *, strip_reasoning: bool, allow_empty: bool) -> str:
    """The answer inside a raw completion: no end tokens, no reasoning, no outer white space.

    `prompt` is the templated prompt, which may itself have opened the reasoning block. Raises
    UnclosedReasoningError, EmptyCompletionError.
    """
    text = _without_end(text)
    if strip_reasoning:
        text = _without_reasoning(text, opened=prompt.rstrip().endswith(OPEN))
    if not text and not allow_empty:
        raise EmptyCompletionError(
            "the completion is empty; start with --empty-completion grade to have the grader judge "
            "empty answers (a policy may end a turn at once)"
        )
    return text


def _without_end(text: str) -> str:
    """Drop trailing end tokens and outer white space; read backwards, so that the time is linear."""
    return text[: len(text) - _end(_TRAILING_REVERSED, text[::-1])].lstrip()


def _without_reasoning(text: str, *, opened: bool) -> str:
    place = 0
    while opened or text.startswith(OPEN, place):
        end = text.find(CLOSE, place)
        if end < 0:
            raise UnclosedReasoningError(
                f"the completion opens {OPEN} and never closes it, so it holds no answer: allow more new "
                "tokens, start with --empty-completion grade to have it judged as an empty answer, or score "
                "reasoning as text with --no-strip-reasoning"
            )
        place, opened = _end(_SPACE, text, end + len(CLOSE)), False
    return text[place:]
