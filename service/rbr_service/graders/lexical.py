"""The lexical grader: P(yes) from hand-written cues, on the CPU.

    Conversation -> Reading -> one RE2 set per text gives the cues that hit
                 -> bias + weights of those cues -> sigmoid -> P(yes)

It scores style and form, and guesses a request's category by its words. It has no idea what a text
means, and no idea what a policy is about: all it knows of one is POLICY.lexical.yaml.
"""

import asyncio
import itertools
import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import re2

from rbr_service.conversation import Conversation
from rbr_service.errors import GraderError, RequestError
from rbr_service.graders.base import Grade, GradeRequest, Subject, Verdict
from rbr_service.graders.cues import REQUEST_PLACES, CombinedCue, Cue, Cues, PatternCue, SignalCue, load_cues
from rbr_service.graders.signals import SIGNALS, Reading

# Part of the fingerprint: change it whenever the same cues would give another answer.
ALGORITHM = "lexical-1"

# Cues are never sure: keeps every log-odds finite for what calibrates the answers.
_LEAST, _MOST = 0.002, 0.998
_EVERYWHERE = -1  # as a mask over sentences: all bits set
_SET_MEMORY = 64 << 20
_WHOLE = ("completion", *REQUEST_PLACES)  # places that are searched as one text


NOTE = "A scorer of style and form for trying out, CI and plumbing: it does not understand what a text means."


class NoCuesError(GraderError):
    """A request asks for a proposition or category that the cue file does not know."""


class _PatternSet:
    """The patterns of many cues, found in one pass over a text."""

    def __init__(self, patterns: dict[str, str]) -> None:
        self._names = list(patterns)
        options = re2.Options()
        options.max_mem = _SET_MEMORY
        options.log_errors = False
        self._set = re2.Set.SearchSet(options)
        for pattern in patterns.values():
            self._set.Add(pattern)
        # RE2 reports "out of memory" as "no match": a pattern that always hits tells them apart.
        self._canary = self._set.Add("(?s).?")
        self._set.Compile()

    def found(self, text: str) -> list[str]:
        """Names of the cues that have a pattern in `text`."""
        hits: list[int] | None = self._set.Match(text)
        if not hits:
            raise GraderError("the cues' patterns need more memory than RE2 was given")
        return [self._names[hit] for hit in hits if hit != self._canary]


class _Hits:
    """The cues that hit in one conversation, as masks over its sentences; computed when asked."""

    def __init__(self, sheet: "_Sheet", reading: Reading) -> None:
        self._sheet = sheet
        self._reading = reading
        self._masks: dict[str, int] = {}
        self._found: dict[str, dict[str, int]] = {}

    def of(self, name: str) -> int:
        """0 where the cue does not hit; else a bit for each sentence, or all where it has none."""
        mask = self._masks.get(name)
        if mask is None:
            mask = self._masks[name] = self._evaluate(name)
        return mask

    def _evaluate(self, name: str) -> int:
        cue = self._sheet.cues[name]
        if isinstance(cue, PatternCue):
            return self._pattern(name, cue)
        if isinstance(cue, SignalCue):
            value = SIGNALS[cue.signal](self._reading)
            low = cue.at_least is None or value >= cue.at_least
            return _EVERYWHERE if low and (cue.at_most is None or value <= cue.at_most) else 0
        return self._combined(cue)

    def _pattern(self, name: str, cue: PatternCue) -> int:
        if cue.place in _WHOLE:
            return self._text(cue.place).get(name, 0)
        mask = self._text("sentence").get(name, 0)
        if cue.place == "first":
            mask &= 1
        elif cue.place == "last":
            mask &= 1 << max(len(self._reading.sentences) - 1, 0)
        return mask if mask.bit_count() >= cue.at_least else 0

    def _combined(self, cue: CombinedCue) -> int:
        fix: Callable[[int], int]
        if cue.within == "sentence":
            fix, mask = int, (1 << len(self._reading.sentences)) - 1
        else:
            fix, mask = _anywhere, _EVERYWHERE
        for part in cue.all:
            mask &= fix(self.of(part))
        if cue.some:
            some = 0
            for part in cue.some:
                some |= fix(self.of(part))
            mask &= some
        for part in cue.none:
            mask &= ~fix(self.of(part))
        return mask

    def _text(self, place: str) -> dict[str, int]:
        if place not in self._found:
            patterns = self._sheet.sets.get(place)
            found: dict[str, int] = {}
            self._found[place] = found
            if patterns is not None and place == "sentence":
                for index, sentence in enumerate(self._reading.sentences):
                    for name in patterns.found(sentence):
                        found[name] = found.get(name, 0) | 1 << index
            elif patterns is not None:
                text = self._whole(place)
                found.update(dict.fromkeys(patterns.found(text), _EVERYWHERE))
        return self._found[place]

    def _whole(self, place: str) -> str:
        if place == "completion":
            return self._reading.raw
        return self._reading.prompt if place == "prompt" else self._reading.user


def _anywhere(mask: int) -> int:
    return _EVERYWHERE if mask else 0


def _sigmoid(logit: float) -> float:
    p = 1 / (1 + math.exp(-max(-30.0, min(30.0, logit))))
    return max(_LEAST, min(_MOST, p))


class _Sheet:
    """The questions about one subject, with the cues that they need and no others."""

    def __init__(self, cues: Cues, about: Subject) -> None:
        self.scorings = cues.scorings(about)
        self.cues = cues.needed(about)
        self.sets = _pattern_sets(self.cues, cues.expanded)
        self._kind = "category" if about == "request" else "proposition"

    def judge(self, conversation: Conversation, questions: Iterable[str]) -> tuple[float, ...]:
        """P(yes) of each question, in order. Raises NoCuesError."""
        hits = _Hits(self, Reading(conversation))
        return tuple(self._probability(hits, name) for name in questions)

    def _probability(self, hits: _Hits, name: str) -> float:
        scoring = self.scorings.get(name)
        if scoring is None:
            raise NoCuesError(f"the cue file has no entry for the {self._kind} {name!r}")
        weights = [weight for cue, weight in scoring.weights.items() if hits.of(cue)]
        # fsum: the order of a file's lines is no part of the fingerprint, nor of the sum.
        return _sigmoid(math.fsum([scoring.bias, *weights]))


class LexicalGrader:
    """Grades with a cue file; the same text always earns the same answer.

    `fingerprint` covers the answers about completions, which weights are fitted on; `routing` those
    about requests, "" where the file has no categories.
    """

    name = "lexical"

    def __init__(self, cues: Cues) -> None:
        self.cues = cues
        self.note = f"{NOTE} {cues.note}".strip()
        self.fingerprint = cues.digest(ALGORITHM)
        self.routing = cues.digest(ALGORITHM, "request") if cues.categories else ""
        self._sheets: dict[Subject, _Sheet] = {
            "completion": _Sheet(cues, "completion"),
            "request": _Sheet(cues, "request"),
        }

    @classmethod
    def from_file(
        cls, path: Path, propositions: Iterable[str], categories: Iterable[str] = ()
    ) -> "LexicalGrader":
        """The grader of a cue file that must answer `propositions` and `categories`. Raises CueError."""
        return cls(load_cues(path, propositions, categories))

    def judge(
        self, conversation: Conversation, questions: Iterable[str], about: Subject = "completion"
    ) -> tuple[float, ...]:
        """P(yes) of each proposition, or category, in order. Raises NoCuesError for one without cues."""
        return self._sheets[about].judge(conversation, questions)

    async def start(self) -> None:
        """Warm the pattern sets, so that the first request is no slower than the rest."""
        for sheet in self._sheets.values():
            sheet.judge(Conversation((), "I am ready to help."), sheet.scorings)

    async def grade(self, requests: Sequence[GradeRequest]) -> list[Grade | RequestError]:
        """Judge every request, in order, off the event loop. Raises NoCuesError."""
        left = threading.Event()
        try:
            return await asyncio.to_thread(self._grade, tuple(requests), left)
        except asyncio.CancelledError:
            left.set()  # a thread cannot be cancelled: it looks for this between texts
            raise

    def _grade(self, requests: Iterable[GradeRequest], left: threading.Event) -> list[Grade | RequestError]:
        return [
            Grade(tuple(map(Verdict, self.judge(request.conversation, request.questions, request.about))))
            for request in itertools.takewhile(lambda _: not left.is_set(), requests)
        ]

    async def check(self) -> None:
        """Always able."""

    async def close(self) -> None:
        """Nothing to give back."""


def _pattern_sets(cues: Mapping[str, Cue], expanded: Callable[[str], str]) -> dict[str, _PatternSet]:
    patterns: dict[str, dict[str, str]] = {}
    for name, cue in cues.items():
        if isinstance(cue, PatternCue):
            place = cue.place if cue.place in _WHOLE else "sentence"
            joined = "|".join(f"(?:{expanded(pattern)})" for pattern in cue.matches)
            patterns.setdefault(place, {})[name] = joined
    return {place: _PatternSet(found) for place, found in patterns.items()}
