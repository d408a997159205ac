"""What the lexical grader sees of a completion, and the figures it can measure in it.

    Conversation -> Reading (folded text, sentences, word stems) -> signal name -> number

Nothing here knows a policy: a signal is a property of any text, and a cue file gives it a meaning
by its thresholds. Everything is linear in the text's size.
"""

import json
from collections.abc import Callable
from functools import cached_property

from rbr_service.conversation import Conversation

# More sentences than this are read as one in the middle, so that the work per sentence stays
# bounded for a completion made of a hundred thousand of them.
MOST_SENTENCES = 200
# A stem is the first letters of a word that is long enough to carry a topic.
STEM = 5

_FOLD = str.maketrans(
    {"‘": "'", "’": "'", "ʼ": "'", "`": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": "..."}
    | {"\u00a0": " ", "\u200b": "", "\r": "\n", "\t": " "}
)
_ENDS = tuple((f"{mark}{quote} ", f"{mark}{quote}\n") for mark in ".!?:" for quote in ("", '"', ")"))
_NOT_WORDS = str.maketrans({mark: " " for mark in '.,;:!?()[]{}<>"*_#/\\|=+-~@&%$^'})


def fold(text: str) -> str:
    """Lower case, straight quotes, no lone surrogate."""
    return text.encode("utf-8", "replace").decode("utf-8").translate(_FOLD).lower()


def split_sentences(folded: str) -> list[str]:
    """Sentences and lines that hold a letter or digit, each with single spaces."""
    text = folded.replace("e.g. ", "e.g., ").replace("i.e. ", "i.e., ")
    for end, cut in _ENDS:
        text = text.replace(end, cut)
    sentences = []
    for line in text.split("\n"):
        # A list's number ("1.") is no sentence of its own.
        words = line.split()
        if words and not (len(words) == 1 and words[0].rstrip(".:)").isdigit()):
            sentences.append(" ".join(words))
    if len(sentences) > MOST_SENTENCES:
        half = MOST_SENTENCES // 2
        sentences[half:-half] = [" ".join(sentences[half:-half])]
    return sentences


def stems(folded: str) -> frozenset[str]:
    """The first letters of each longer word: a crude vocabulary of what a text is about."""
    words = folded.translate(_NOT_WORDS).split()
    return frozenset(word[:STEM] for word in words if len(word) >= STEM)


class Reading:
    """One conversation as the cues see it; each part is computed when first asked for."""

    def __init__(self, conversation: Conversation) -> None:
        self.raw = conversation.completion.encode("utf-8", "replace").decode("utf-8")
        self._conversation = conversation

    @cached_property
    def folded(self) -> str:
        """The completion, folded."""
        return fold(self.raw)

    @cached_property
    def sentences(self) -> list[str]:
        """The completion's sentences, folded."""
        return split_sentences(self.folded)

    @cached_property
    def lines(self) -> list[str]:
        """The completion's lines that are not blank, as written."""
        return [line.strip() for line in self.raw.splitlines() if line.strip()]

    @cached_property
    def prompt(self) -> str:
        """The last user message, folded, on one line."""
        return " ".join(fold(self._conversation.last_user()).split())

    @cached_property
    def user(self) -> str:
        """Every user message, folded, each on a line of its own."""
        return "\n".join(
            " ".join(fold(message.content).split())
            for message in self._conversation.prompt
            if message.role == "user"
        )

    @cached_property
    def asked(self) -> frozenset[str]:
        """Stems of the last user message."""
        return stems(self.prompt)

    @cached_property
    def told(self) -> frozenset[str]:
        """Stems of the completion."""
        return stems(self.folded)

    @cached_property
    def words(self) -> list[str]:
        """The completion's words, folded."""
        return self.folded.split()


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _is_json(reading: Reading) -> float:
    text = reading.raw.strip()
    if text[:1] not in ("{", "["):
        return 0.0
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return 0.0
    return 1.0


def _is_numbered(line: str) -> bool:
    head = line.lstrip("*# ")[:4]
    digits = len(head) - len(head.lstrip("0123456789"))
    return 0 < digits < len(head) and head[digits] in ".)"


def _is_emoji(character: str) -> bool:
    return "\U0001f300" <= character <= "\U0001faff" or "\u2600" <= character <= "\u27bf"


SIGNALS: dict[str, Callable[[Reading], float]] = {
    # size
    "characters": lambda r: len(r.raw),
    "words": lambda r: len(r.words),
    "sentences": lambda r: len(r.sentences),
    "lines": lambda r: len(r.lines),
    "prompt_words": lambda r: len(r.prompt.split()),
    "empty": lambda r: float(not r.raw.strip()),
    # shape
    "bullets": lambda r: sum(line[:2] in ("- ", "* ", "• ", "+ ") for line in r.lines),
    "numbered": lambda r: sum(map(_is_numbered, r.lines)),
    "headings": lambda r: sum(line.startswith("#") for line in r.lines),
    "code_blocks": lambda r: r.raw.count("```") // 2,
    "is_json": _is_json,
    "questions": lambda r: sum(s.rstrip("\"')* ").endswith("?") for s in r.sentences),
    "ends_open": lambda r: float(r.raw.rstrip()[-1:].isalnum()),
    # characters
    "emoji": lambda r: sum(map(_is_emoji, r.raw)),
    "exclamations": lambda r: r.raw.count("!"),
    "uppercase": lambda r: _share(sum(map(str.isupper, r.raw)), len(r.raw)),
    "letters": lambda r: _share(sum(map(str.isalpha, r.raw)), len(r.raw)),
    # against itself, and against the last user message
    "longest_word": lambda r: max(map(len, r.words), default=0),
    "repetition": lambda r: 1 - _share(len(set(r.words)), len(r.words)) if r.words else 0.0,
    "echo": lambda r: _share(len(r.asked & r.told), len(r.asked)),
    "echo_stems": lambda r: len(r.asked & r.told),
    "new_stems": lambda r: len(r.told - r.asked),
}
# Those that read nothing of the completion.
REQUEST_SIGNALS = ("prompt_words",)
