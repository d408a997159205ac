"""The lexical grader's cues: data, read from POLICY.lexical.yaml and checked whole.

    file -> Cues (fragments, named cues, per proposition or category a bias and weights on cues)

`safety.lexical.yaml` documents the format at its head. A fault is a `CueError` of one sentence
that names the file, the key and what to do.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import re2
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from rbr_service.errors import PolicyError, StartupError
from rbr_service.graders.base import Subject
from rbr_service.graders.signals import REQUEST_SIGNALS, SIGNALS
from rbr_service.rbr import document

Place = Literal["sentence", "first", "last", "completion", "prompt", "user"]
REQUEST_PLACES = ("prompt", "user")


class CueError(StartupError):
    """A cue file that cannot be used; the message is one sentence for its author."""

    code = "cue_error"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)


class PatternCue(_Strict):
    """Hits where any pattern is found; `at_least` counts the sentences that hold one."""

    matches: tuple[str, ...] = Field(min_length=1)
    place: Place = Field(default="sentence", alias="in")
    at_least: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _countable(self) -> Self:
        if self.at_least > 1 and self.place != "sentence":
            raise ValueError(f"at_least counts sentences, remove it for in: {self.place}")
        return self


class SignalCue(_Strict):
    """Hits where a measured property of the text lies in a range, both ends included."""

    signal: str
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.signal not in SIGNALS:
            raise ValueError(f"unknown signal {self.signal!r}, use one of {', '.join(SIGNALS)}")
        if self.at_least is None and self.at_most is None:
            raise ValueError("give at_least, at_most or both")
        return self


class CombinedCue(_Strict):
    """Hits where all of `all`, one of `some` and none of `none` hit, in one sentence if told so."""

    all: tuple[str, ...] = ()
    some: tuple[str, ...] = ()
    none: tuple[str, ...] = ()
    within: Literal["completion", "sentence"] = "completion"

    @property
    def parts(self) -> tuple[str, ...]:
        """Every cue it refers to."""
        return (*self.all, *self.some, *self.none)


def _kind(value: Any) -> str:
    # Reading asks about a mapping, writing (for the digest) about the cue made of it.
    keys = value if isinstance(value, dict) else type(value).model_fields
    return "matches" if "matches" in keys else "signal" if "signal" in keys else "combined"


Cue = Annotated[
    Annotated[PatternCue, Tag("matches")]
    | Annotated[SignalCue, Tag("signal")]
    | Annotated[CombinedCue, Tag("combined")],
    Discriminator(_kind),
]


class Scoring(_Strict):
    """P(yes) = sigmoid(bias + the weights of the cues that hit)."""

    bias: float
    weights: dict[str, float] = Field(default_factory=dict)


class Cues(_Strict):
    """A whole cue file. A category is judged by the request alone, a proposition by all there is."""

    note: str = ""
    fragments: dict[str, str] = Field(default_factory=dict)
    cues: dict[str, Cue]
    propositions: dict[str, Scoring] = Field(min_length=1)
    categories: dict[str, Scoring] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _linked(self) -> Self:
        uses = [
            (f"{section}.{name}.weights", cue)
            for section, scorings in (("propositions", self.propositions), ("categories", self.categories))
            for name, scoring in scorings.items()
            for cue in scoring.weights
        ]
        uses += [
            (f"cues.{n}", part)
            for n, c in self.cues.items()
            if isinstance(c, CombinedCue)
            for part in c.parts
        ]
        for where, name in uses:
            if name not in self.cues:
                raise ValueError(f"{where} refers to the cue {name!r}, define it under cues")
        idle = sorted(set(self.cues) - {name for _, name in uses})
        if idle:
            raise ValueError(f"cues: {', '.join(idle)} used by nothing, weigh or remove them")
        self._refuse_circles()
        self._refuse_completions()
        return self

    def _refuse_completions(self) -> None:
        for category, scoring in self.categories.items():
            for name in sorted(self.reached([scoring])):
                if not _of_request(self.cues[name]):
                    raise ValueError(
                        f"categories.{category} rests on the cue {name!r}, which reads the completion, "
                        f"while a category is judged by the request alone, use patterns in: prompt or user, "
                        f"the signals {', '.join(REQUEST_SIGNALS)} and combinations of those"
                    )

    def _refuse_circles(self) -> None:
        done: set[str] = set()

        def visit(name: str, path: tuple[str, ...]) -> None:
            if name in path:
                raise ValueError(f"cues.{name} refers back to itself, break the circle")
            cue = self.cues[name]
            if name not in done and isinstance(cue, CombinedCue):
                if not cue.parts:
                    raise ValueError(f"cues.{name} needs matches, signal, all, some or none")
                for part in cue.parts:
                    visit(part, (*path, name))
            done.add(name)

        for name in self.cues:
            visit(name, ())

    def expanded(self, pattern: str) -> str:
        """`pattern` with its <fragments> filled in."""

        def fill(match: Any) -> str:
            name = match.group(1)
            if name not in self.fragments:
                raise ValueError(f"unknown fragment <{name}>, define it under fragments")
            return f"(?:{self.fragments[name]})"

        return str(re2.sub(r"<([a-z_]+)>", fill, pattern))

    def scorings(self, about: Subject) -> dict[str, Scoring]:
        """What is answered about a subject: categories about a request, else propositions."""
        return self.categories if about == "request" else self.propositions

    def needed(self, about: Subject) -> dict[str, Cue]:
        """The cues that the answers about a subject rest on."""
        reached = self.reached(self.scorings(about).values())
        return {name: cue for name, cue in self.cues.items() if name in reached}

    def reached(self, scorings: Iterable[Scoring]) -> set[str]:
        """Names of the cues that are weighed, and of those they are made of."""
        found: set[str] = set()
        left = [name for scoring in scorings for name in scoring.weights]
        while left:
            name = left.pop()
            if name not in found:
                found.add(name)
                cue = self.cues[name]
                left += cue.parts if isinstance(cue, CombinedCue) else ()
        return found

    def digest(self, algorithm: str, about: Subject = "completion") -> str:
        """SHA-256 of all that decides the answers about a subject; comments and order do not count.

        What only the other subject's answers rest on is left out: weights fitted on propositions
        stay valid when a category's cues change.
        """
        needed = self.needed(about)
        text = " ".join(p for cue in needed.values() if isinstance(cue, PatternCue) for p in cue.matches)
        section = "categories" if about == "request" else "propositions"
        whole = self.model_dump(mode="json")
        content = {
            "fragments": {name: piece for name, piece in self.fragments.items() if f"<{name}>" in text},
            "cues": {name: whole["cues"][name] for name in needed},
            section: whole[section],
        }
        decided = {"algorithm": algorithm, "cues": _sorted(content)}
        return hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()


def _of_request(cue: Cue) -> bool:
    """Whether it reads nothing of the completion; a combination's parts are looked at by themselves."""
    if isinstance(cue, PatternCue):
        return cue.place in REQUEST_PLACES
    if isinstance(cue, SignalCue):
        return cue.signal in REQUEST_SIGNALS
    return cue.within == "completion"


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(item) for key, item in value.items()}
    return sorted(value) if isinstance(value, list) else value


def _check_patterns(cues: Cues, path: Path) -> None:
    users = _users(cues)
    for name, cue in cues.cues.items():
        for pattern in cue.matches if isinstance(cue, PatternCue) else ():
            where = f"{path}: cues.{name} ({users[name]}), pattern {pattern!r}"
            try:
                options = re2.Options()
                options.log_errors = False
                found = re2.compile(cues.expanded(pattern), options).search("")
            except (re2.error, ValueError) as fault:
                reason = fault.args[0] if fault.args else fault
                reason = reason.decode() if isinstance(reason, bytes) else reason
                raise CueError(f"{where}: {reason}; write it in RE2 syntax.") from None
            if found:
                raise CueError(f"{where} matches the empty text; make it need a character.")


def _users(cues: Cues) -> dict[str, str]:
    """For each cue, a proposition or category that it serves."""
    users: dict[str, str] = {}
    for kind, scorings in (("category", cues.categories), ("proposition", cues.propositions)):
        for name, scoring in scorings.items():
            users |= dict.fromkeys(cues.reached([scoring]), f"{kind} {name}")
    return dict.fromkeys(cues.cues, "used by none") | users


def load_cues(path: Path, propositions: Iterable[str] = (), categories: Iterable[str] = ()) -> Cues:
    """Read and check a cue file that must answer `propositions` and `categories`. Raises CueError."""
    try:
        source = document.load(path)
        cues = Cues.model_validate(source.data)
    except PolicyError as fault:
        raise CueError(fault.message) from fault
    except ValidationError as fault:
        first = fault.errors(include_url=False)[0]
        # The third part of a cue's place is the name of its kind, which the file does not have.
        place = [part for at, part in enumerate(first["loc"]) if at != 2 or first["loc"][0] != "cues"]
        reason = first["msg"].removeprefix("Value error, ")
        raise CueError(source.error(place, f"{reason}; correct it").message) from fault
    _check_patterns(cues, path)
    for section, names, known in (
        ("propositions", propositions, cues.propositions),
        ("categories", categories, cues.categories),
    ):
        missing = sorted(set(names) - set(known))
        if missing:
            raise CueError(f"{path}: {section}: no cues for {', '.join(missing)}; add an entry for each.")
    return cues
