"""The template writer's texts: data, read from POLICY.templates.yaml and checked whole.

    file -> Templates (requests per response type, pieces of completions and what each makes true)

A fault is a PolicyError with file, line, key and what to do.

    note: what these texts are and are not
    once: [apology]                 propositions that at most one piece of a completion may say
    requests:
      hard_refusal:                 frames x topics are the type's requests
        frames: ["How do I {act}?"]
        topics: [{category: K-R, act: "..."}]
    pieces:                         in a completion they stand in this order
      - says: [apology]             every proposition that the text makes true by its definition
        for: [hard_refusal]         response types; without it all
        alone: true                 nothing else stands beside it
        own_line: true              set apart by line breaks
        texts: ["Sorry about {act}."]
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from rbr_service.rbr import document
from rbr_service.rbr.document import Document, Key
from rbr_service.rbr.policy import Policy, ResponseType
from rbr_service.rbr.schema import Name, Text

CATEGORY = "category"  # of a topic; no slot
_SLOT = re.compile(r"\{([a-z][a-z0-9_]*)\}")  # JSON's braces, as in {"pots": 3}, are none

Slots = dict[str, str]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Requests(_Part):
    """What users ask for: each frame filled with each topic."""

    frames: Annotated[list[Text], Field(min_length=1)]
    topics: Annotated[list[dict[Name, Text]], Field(min_length=1)]


class Piece(_Part):
    """A part of a completion in interchangeable wordings, and all that any of them makes true."""

    says: list[Name]
    kinds: list[Name] | None = Field(None, alias="for")
    alone: bool = False
    own_line: bool = False
    texts: Annotated[list[str], Field(min_length=1)]

    def fits(self, kind: str) -> bool:
        """Whether it may stand in answers of this response type."""
        return self.kinds is None or kind in self.kinds


class Templates(_Part):
    """A whole file."""

    note: Text
    once: list[Name] = []
    requests: Annotated[dict[Name, Requests], Field(min_length=1)]
    pieces: Annotated[list[Piece], Field(min_length=1)]

    def unsaid(self, kind: ResponseType) -> tuple[str, ...]:
        """Propositions that the type asks about and that no piece of it can make true."""
        said = {name for piece in self.pieces if piece.fits(kind.name) for name in piece.says}
        return tuple(name for name in kind.propositions if name not in said)


@dataclass(frozen=True, slots=True)
class Request:
    """What a user asks for, the category it is in, and the topic's words that answers may use."""

    text: str
    category: str | None
    slots: Slots


def load(path: Path, policy: Policy) -> Templates:
    """Read and check the texts for a policy. Raises PolicyError."""
    source = document.load(path)
    templates = document.shaped(source, Templates)
    for i, name in enumerate(templates.once):
        source.require(("once", i), name, policy.file.propositions, "proposition")
    for kind, requests in templates.requests.items():
        source.require(("requests", kind), kind, policy.response_types, "response type")
        _requests(source, ("requests", kind), kind, requests, policy)
    for i, piece in enumerate(templates.pieces):
        _piece(source, ("pieces", i), piece, templates, policy)
    return templates


def requests(templates: Templates, kind: str, seed: int) -> list[Request]:
    """All different requests of a response type, in an order that the seed decides."""
    found: dict[str, Request] = {}
    spec = templates.requests[kind]
    for frame in spec.frames:
        for topic in spec.topics:
            text = filled(frame, topic)
            found.setdefault(text, Request(text, topic.get(CATEGORY), topic))
    order = np.random.default_rng([seed, *kind.encode()]).permutation(len(found))
    everything = list(found.values())
    return [everything[i] for i in order]


def filled(text: str, slots: Mapping[str, str]) -> str:
    """The text with its slots filled in one pass."""
    return _SLOT.sub(lambda slot: slots[slot[1]], text)


def _requests(source: Document, key: Key, kind: str, requests: Requests, policy: Policy) -> None:
    first = _slots(requests.topics[0])
    for i, topic in enumerate(requests.topics):
        place = (*key, "topics", i)
        if _slots(topic) != first:
            raise source.error(
                place,
                f"has the slots {_listed(_slots(topic))}, while the first topic has {_listed(first)}: "
                "give all topics of a type the same",
            )
        category = topic.get(CATEGORY)
        if category is not None:
            source.require((*place, CATEGORY), category, policy.categories, "category")
            owner = policy.file.content_policy[category].response_type
            if owner != kind:
                raise source.error((*place, CATEGORY), f"{category!r} belongs to {owner!r}: move or mend it")
    for i, frame in enumerate(requests.frames):
        _filled_by(source, (*key, "frames", i), frame, {kind: first})


def _piece(source: Document, key: Key, piece: Piece, templates: Templates, policy: Policy) -> None:
    for i, name in enumerate(piece.says):
        source.require((*key, "says", i), name, policy.file.propositions, "proposition")
    for i, kind in enumerate(piece.kinds or ()):
        source.require((*key, "for", i), kind, policy.response_types, "response type")
    slots = {k: _slots(r.topics[0]) for k, r in templates.requests.items() if piece.fits(k)}
    for i, text in enumerate(piece.texts):
        if not text.strip() and not piece.alone:
            raise source.error((*key, "texts", i), "is empty: write a text, or mark the piece alone: true")
        _filled_by(source, (*key, "texts", i), text, slots)


def _filled_by(source: Document, key: Key, text: str, slots: Mapping[str, set[str]]) -> None:
    """Refuse a text with a slot that a response type it is for does not fill."""
    for name in _SLOT.findall(text):
        for kind, known in slots.items():
            if name not in known:
                raise source.error(
                    key, f"{{{name}}} is no slot of the topics of {kind!r}; they have {_listed(known)}"
                )


def _slots(topic: Slots) -> set[str]:
    return topic.keys() - {CATEGORY}


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
