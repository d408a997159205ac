"""Cutting the completion out of what a trainer sends, and cleaning it.

    query = prompt text + completion text -> cut -> strip EOS, padding, reasoning -> completion

OpenRLHF decodes prompt and action tokens together with special tokens kept, so the completion is
what follows the prompt. Splitting at the last assistant marker instead would be wrong: policies
emit special tokens in mid-text.
"""

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rbr_service.conversation import Message
from rbr_service.errors import CannotCutError, EmptyCompletionError, UnclosedReasoningError

# A shorter overlap proves nothing: any completion may begin with the prompt's last few characters.
MIN_OVERLAP = 32

# End-of-sequence and padding texts of ChatML, Llama 2 and 3, Mistral, Gemma, Phi, DeepSeek, Command R.
END_TOKENS = (
    "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>",
    "<|finetune_right_pad_id|>", "</s>", "<pad>", "[PAD]", "<eos>", "<end_of_turn>", "<|end|>",
    "<｜end▁of▁sentence｜>", "<|END_OF_TURN_TOKEN|>", "<|pad|>",
)  # fmt: skip
_END = "|".join(map(re.escape, END_TOKENS))
_LEADING = re.compile(rf"(?:{_END}|\s)+")

# What a chat template writes between the last message and the answer.
_HEADER = re.compile(
    rf"(?:{_END}|\[/INST\]|\s)*+"
    r"(?:<\|im_start\|>assistant\s|<\|start_header_id\|>assistant<\|end_header_id\|>"
    r"|<start_of_turn>model\s|assistant\s*:)?\s*",
    re.IGNORECASE,
)

OPEN, CLOSE = "<think>", "</think>"


def cut(query: str, prompt: str, messages: Sequence[Message] = ()) -> str:
    """The part of `query` after the prompt. Raises CannotCutError.

    `messages`, where the label brings them, find the prompt's end also when the tokenizer does not
    round-trip its text. An over-long prompt is truncated on the left before generation while
    `prompt` is still whole: then the longest suffix of it, of MIN_OVERLAP characters or more, that
    begins `query` is cut.
    """
    unpadded = _LEADING.sub("", query, count=1) if _LEADING.match(query) else query
    if prompt:
        for text in (query, unpadded):
            if text.startswith(prompt):
                return text[len(prompt) :]
    answer = _after(query, messages)
    if answer is not None:
        return answer
    if not prompt:
        return query
    for text in (query, unpadded):
        overlap = _overlap(prompt, text)
        if overlap:
            return text[overlap:]
    raise CannotCutError(
        "the prompt is not the beginning of query, nor is any suffix of it of "
        f"{MIN_OVERLAP} characters or more: the tokenizer does not round-trip this text. "
        'Put the prompt\'s messages into the label as {"messages": [...]}'
    )


def _after(query: str, messages: Sequence[Message]) -> str | None:
    """What follows the last of `messages` in `query` and the template's header; None if not there.

    Earlier messages that truncation removed are passed over; a tokenizer that normalises Unicode
    is met by comparing normalised text.
    """
    contents = [m.content.strip() for m in messages if m.content.strip()]
    for form in (str, lambda text: unicodedata.normalize("NFKC", text)):
        text, place, found = form(query), 0, False
        for content in map(form, contents):
            start = text.find(content, place)
            found = start >= 0
            place = start + len(content) if found else place
        if found:
            header = _HEADER.match(text, place)
            return text[header.end() if header else place :]
    return None


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
    """Drop trailing end tokens and white space. A loop, since a regex would backtrack."""
    text = text.rstrip()
    while text.endswith(END_TOKENS):
        token = next(t for t in END_TOKENS if text.endswith(t))
        text = text[: -len(token)].rstrip()
    return text.lstrip()


def _without_reasoning(text: str, *, opened: bool) -> str:
    while opened or text.startswith(OPEN):
        end = text.find(CLOSE)
        if end < 0:
            raise UnclosedReasoningError(
                f"the completion opens {OPEN} and never closes it, so it holds no answer: allow more "
                "new tokens, or score reasoning as text with --no-strip-reasoning"
            )
        text, opened = text[end + len(CLOSE) :].lstrip(), False
    return text
