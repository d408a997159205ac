"""The template writer: completions put together from pieces whose truth is known, without any model.

    Brief -> pieces that say all that must be true and nothing that must not -> text, truth

Its texts are few and plain: it serves to try the whole path out, and a grader may learn its phrases. It
answers its own requests only, since its pieces speak about their topics.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from rbr_service.conversation import Message
from rbr_service.rbr.briefs import Brief, class_of
from rbr_service.rbr.policy import Policy, digest
from rbr_service.writers import pieces
from rbr_service.writers.base import CannotWrite, Written
from rbr_service.writers.pieces import Piece, Slots, Templates

COVERS = 30  # combinations of pieces that are tried for a brief
KEPT = (0.0, 0.5, 1.0, 1.0)  # how likely a text keeps each good trait that it may have and need not


class TemplateWriter:
    """Writes for the policy that its texts were checked against."""

    name = "templates"

    def __init__(self, templates: Templates) -> None:
        """`templates` as `pieces.load` gives them."""
        self.templates = templates
        self.fingerprint = digest(templates.model_dump())
        self._topics = {
            kind: {request.text: request.slots for request in pieces.requests(templates, kind, 0)}
            for kind in templates.requests
        }

    @classmethod
    def from_file(cls, path: Path, policy: Policy) -> Self:
        """Over a file's texts. Raises PolicyError."""
        return cls(pieces.load(path, policy))

    async def start(self) -> None:
        """Nothing to start."""

    async def write(self, brief: Brief, prompt: Sequence[Message], seed: int) -> Written | CannotWrite:
        """A completion of one of this writer's own requests, with all that is true and false of it."""
        slots = self._topics.get(brief.kind.name, {}).get(prompt[-1].content) if len(prompt) == 1 else None
        if slots is None:
            return CannotWrite("the prompt is none of the templates' own requests")
        rng = np.random.default_rng(seed)
        for _ in range(COVERS):
            chosen = _Cover(self.templates, brief, rng).pieces()
            said = {name for piece in chosen for name in piece.says}
            truth = {name: name in said for name in brief.kind.propositions}
            fits = all(truth[name] is value for name, value in brief.must.items())
            if chosen and fits and class_of(brief.kind, truth) == brief.rank_class:
                return Written(self._text(chosen, slots, rng), truth)
        return CannotWrite("no combination of pieces says what must be true and nothing else")

    async def close(self) -> None:
        """Nothing to give back."""

    def _text(self, chosen: Iterable[Piece], slots: Slots, rng: np.random.Generator) -> str:
        text, apart = "", False
        for piece in (p for p in self.templates.pieces if any(p is c for c in chosen)):
            wording = pieces.filled(piece.texts[rng.integers(len(piece.texts))], slots)
            gap = "\n" if apart or piece.own_line else " "
            text, apart = f"{text}{gap}{wording}" if text else wording, piece.own_line
        return text


class _Cover:
    """One try at a set of pieces for a brief."""

    def __init__(self, templates: Templates, brief: Brief, rng: np.random.Generator) -> None:
        self._asked = frozenset(brief.kind.propositions)
        self._must = {name for name, value in brief.must.items() if value}
        self._wanted = self._must | {name for name, value in brief.rest.items() if value}
        self._once, self._rng = frozenset(templates.once), rng
        refused = {name for name, value in brief.must.items() if not value}
        self._usable = [
            piece
            for piece in templates.pieces
            if piece.fits(brief.kind.name) and refused.isdisjoint(piece.says)
            and (not piece.alone or self._must.issubset(piece.says))
        ]  # fmt: skip
        self._chosen: list[Piece] = []
        self._said: set[str] = set()

    def pieces(self) -> list[Piece]:
        """Pieces that say all that must be true and some of what may; empty where there are none."""
        for name in self._shuffled(self._must):
            if name not in self._said and not self._add([p for p in self._usable if name in p.says]):
                return []
        keep = KEPT[self._rng.integers(len(KEPT))]
        for name in self._shuffled(self._wanted - self._must):
            if name not in self._said and self._rng.random() < keep:
                self._add([p for p in self._usable if name in p.says and not self._unwanted(p)])
        if not self._chosen:  # nothing has to be said, but an answer has to be there
            self._add(self._usable)
        return self._chosen

    def _add(self, candidates: Sequence[Piece]) -> bool:
        """Choose one of those that say least beside what is wanted, and again, of what can be added."""
        fitting = [piece for piece in candidates if self._fits(piece)]
        least = min(map(self._needless, fitting), default=None)
        fitting = [piece for piece in fitting if self._needless(piece) == least]
        if fitting:
            piece = fitting[self._rng.integers(len(fitting))]
            self._chosen.append(piece)
            self._said.update(piece.says)
        return bool(fitting)

    def _fits(self, piece: Piece) -> bool:
        if self._chosen and (piece.alone or self._chosen[0].alone):
            return False
        return self._said.isdisjoint(self._once.intersection(piece.says))

    def _needless(self, piece: Piece) -> tuple[int, int]:
        return self._unwanted(piece), len(self._asked.intersection(piece.says) & self._said)

    def _unwanted(self, piece: Piece) -> int:
        return len(self._asked.intersection(piece.says) - self._wanted - self._said)

    def _shuffled(self, names: Iterable[str]) -> list[str]:
        ordered = sorted(names)
        return [ordered[i] for i in self._rng.permutation(len(ordered))]
