"""The lexical grader: P(yes) from hand-written cues, on the CPU.

    Conversation -> Reading -> one RE2 set per text gives the cues that hit
                 -> bias + weights of those cues -> sigmoid -> P(yes)

It scores style and form. It has no idea what a text means, and no idea what a policy is about:
all it knows of one is POLICY.lexical.yaml.
"""

import asyncio
import itertools
import math
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import re2

from rbr_service.conversation import Conversation
from rbr_service.errors import GraderError
from rbr_service.graders.base import GradeRequest, Verdict
from rbr_service.graders.cues import CombinedCue, Cues, PatternCue, SignalCue, load_cues
from rbr_service.graders.signals import SIGNALS, Reading

# Part of the fingerprint: change it whenever the same cues would give another answer.
ALGORITHM = "lexical-1"

# Cues are never sure: keeps every log-odds finite for what calibrates the answers.
_LEAST, _MOST = 0.002, 0.998
_EVERYWHERE = -1  # as a mask over sentences: all bits set
_SET_MEMORY = 64 << 20


NOTE = "A scorer of style and form for trying out, CI and plumbing: it does not understand what a text means."


class NoCuesError(GraderError):
    """A request asks for a proposition that the cue file does not know."""


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

    def __init__(self, grader: "LexicalGrader", reading: Reading) -> None:
        self._grader = grader
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
        cue = self._grader.cues.cues[name]
        if isinstance(cue, PatternCue):
            return self._pattern(name, cue)
        if isinstance(cue, SignalCue):
            value = SIGNALS[cue.signal](self._reading)
            low = cue.at_least is None or value >= cue.at_least
            return _EVERYWHERE if low and (cue.at_most is None or value <= cue.at_most) else 0
        return self._combined(cue)

    def _pattern(self, name: str, cue: PatternCue) -> int:
        if cue.place in ("completion", "prompt"):
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
            patterns = self._grader.sets.get(place)
            found: dict[str, int] = {}
            self._found[place] = found
            if patterns is not None and place == "sentence":
                for index, sentence in enumerate(self._reading.sentences):
                    for name in patterns.found(sentence):
                        found[name] = found.get(name, 0) | 1 << index
            elif patterns is not None:
                text = self._reading.raw if place == "completion" else self._reading.prompt
                found.update(dict.fromkeys(patterns.found(text), _EVERYWHERE))
        return self._found[place]


def _anywhere(mask: int) -> int:
    return _EVERYWHERE if mask else 0


def _sigmoid(logit: float) -> float:
    p = 1 / (1 + math.exp(-max(-30.0, min(30.0, logit))))
    return max(_LEAST, min(_MOST, p))


class LexicalGrader:
    """Grades with a cue file; the same text always earns the same answer."""

    name = "lexical"

    def __init__(self, cues: Cues) -> None:
        self.cues = cues
        self.note = f"{NOTE} {cues.note}".strip()
        self.fingerprint = cues.digest(ALGORITHM)
        self.sets = _pattern_sets(cues)

    @classmethod
    def from_file(cls, path: Path, propositions: Iterable[str]) -> "LexicalGrader":
        """The grader of a cue file that must answer `propositions`. Raises CueError."""
        return cls(load_cues(path, propositions))

    def judge(self, conversation: Conversation, propositions: Sequence[str]) -> tuple[float, ...]:
        """P(yes) of each proposition, in order. Raises NoCuesError for one without cues."""
        hits = _Hits(self, Reading(conversation))
        return tuple(self._probability(hits, name) for name in propositions)

    def _probability(self, hits: _Hits, name: str) -> float:
        scoring = self.cues.propositions.get(name)
        if scoring is None:
            raise NoCuesError(f"the cue file has no entry for the proposition {name!r}")
        weights = [weight for cue, weight in scoring.weights.items() if hits.of(cue)]
        # fsum: the order of a file's lines is no part of the fingerprint, nor of the sum.
        return _sigmoid(math.fsum([scoring.bias, *weights]))

    async def start(self) -> None:
        """Warm the pattern sets, so that the first request is no slower than the rest."""
        self.judge(Conversation((), "I am ready to help."), tuple(self.cues.propositions))

    async def grade(self, requests: Sequence[GradeRequest]) -> list[tuple[Verdict, ...]]:
        """Judge every request, in order, off the event loop."""
        left = threading.Event()
        try:
            return await asyncio.to_thread(self._grade, tuple(requests), left)
        except asyncio.CancelledError:
            left.set()  # a thread cannot be cancelled: it looks for this between completions
            raise

    def _grade(self, requests: Iterable[GradeRequest], left: threading.Event) -> list[tuple[Verdict, ...]]:
        return [
            tuple(Verdict(p) for p in self.judge(request.conversation, request.propositions))
            for request in itertools.takewhile(lambda _: not left.is_set(), requests)
        ]

    async def close(self) -> None:
        """Nothing to give back."""


def _pattern_sets(cues: Cues) -> dict[str, _PatternSet]:
    patterns: dict[str, dict[str, str]] = {}
    for name, cue in cues.cues.items():
        if isinstance(cue, PatternCue):
            place = cue.place if cue.place in ("completion", "prompt") else "sentence"
            joined = "|".join(f"(?:{cues.expanded(pattern)})" for pattern in cue.matches)
            patterns.setdefault(place, {})[name] = joined
    return {place: _PatternSet(found) for place, found in patterns.items()}
