"""A policy: written rules as data, validated whole, with the identities others are bound to.

    YAML file -> Document -> PolicyFile (shape) -> Policy (names, proofs, hashes)

Nothing here knows any policy's propositions, classes or response types.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rbr_service.errors import NoResponseTypeError, UnknownResponseTypeError
from rbr_service.rbr import checks, document
from rbr_service.rbr.diagram import Conditions, Diagram, RuleBook
from rbr_service.rbr.schema import AUTO, OUT_OF_SCOPE, PolicyFile

# Lists whose order means something.
ORDERED = ("classes", "examples", "strictest_first")


def fold(name: str) -> str:
    """How names compare: case and the choice of space, underscore or hyphen do not count."""
    return re.sub(r"[\s_-]+", "_", name.strip().casefold())


def digest(content: Any) -> str:
    """sha256 of the canonical JSON of parsed content: comments, order of keys and layout are out."""
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def canonical(content: Any, key: str = "") -> Any:
    """Content with the order of lists out, where it means nothing."""
    if isinstance(content, dict):
        return {name: canonical(value, name) for name, value in content.items()}
    if isinstance(content, list):
        parts = [canonical(part) for part in content]
        return parts if key in ORDERED else sorted(parts, key=json.dumps)
    return content


@dataclass(frozen=True)
class ResponseType:
    """One wanted way of answering, compiled.

    `hash` covers all that its weights depend on: classes, rules, features, traits, questions.
    """

    name: str
    diagram: Diagram
    classes: tuple[str, ...]
    feature_propositions: tuple[str, ...]
    class_features: bool
    good: frozenset[str]
    bad: frozenset[str]
    hash: str

    @property
    def features(self) -> tuple[str, ...]:
        """Feature names in their order: `p:NAME`, then `class:NAME`."""
        classes = tuple(f"class:{c}" for c in self.classes) if self.class_features else ()
        return tuple(f"p:{p}" for p in self.feature_propositions) + classes

    @property
    def propositions(self) -> tuple[str, ...]:
        """What has to be graded for this type: the rules' propositions, then other features'."""
        return tuple(dict.fromkeys(self.diagram.variables + self.feature_propositions))


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request without a label belongs. `response_type` None: out of the policy's scope.

    `p` is the probability of `category`; where none is probable enough, `category` is None and `p`
    the highest probability seen.
    """

    category: str | None
    response_type: ResponseType | None
    p: float


class Policy:
    """A valid policy. Build with `load` or `parse`; both raise PolicyError."""

    def __init__(self, file: PolicyFile) -> None:
        """`file` must have passed checks.check."""
        self.file = file
        self.name = file.policy
        book = RuleBook(file.propositions, file.derived)
        self.question_hashes = {
            name: digest(question.model_dump()) for name, question in file.propositions.items()
        }
        self.response_types = {name: self._response_type(name, book) for name in file.response_types}
        self.version = digest(canonical(file.model_dump()))
        self._labels = _labels(file)

    @property
    def categories(self) -> tuple[str, ...]:
        """The content policy's categories in their order, also those out of scope."""
        return tuple(self.file.content_policy)

    def undecided(self, label: str | None) -> bool:
        """Whether the request itself has to be judged: no label, and the policy says `auto`."""
        return self.file.unlabelled == AUTO and not (label or "").strip()

    def route(self, probabilities: Sequence[float]) -> Route:
        """The response type of a request, from P(yes) in [0, 1] of each of `categories`, in order.

        Ties go to the stricter type, then to the category declared first. Raises ValueError for
        another number of probabilities, and where the policy has no `auto`.
        """
        auto = self.file.auto
        if auto is None:
            raise ValueError(f"the policy {self.name!r} does not say how to choose among categories")
        strictness = (*auto.strictest_first, OUT_OF_SCOPE)
        types = {category: spec.response_type for category, spec in self.file.content_policy.items()}
        p = dict(zip(types, probabilities, strict=True))
        # Of equal ones max takes the first.
        best = max(types, key=lambda category: (p[category], -strictness.index(types[category])))
        if p[best] < auto.threshold:
            return Route(None, None, p[best])
        return Route(best, self.response_types.get(types[best]), p[best])

    def resolve(self, label: str | None) -> ResponseType | None:
        """The response type that a type's name, alias or category means; None: out of scope.

        None and "" name no type: the policy's `unlabelled` decides; for `auto` ask `undecided` first.
        Raises UnknownResponseTypeError, NoResponseTypeError.
        """
        if label is None or not label.strip():
            return self._unlabelled()
        name = self._labels.get(fold(label))
        if name is None:
            raise UnknownResponseTypeError(
                f"{label[:80]!r} is neither a response type nor a category of the policy {self.name!r}; "
                f"response types: {', '.join(self.response_types)}; "
                f"categories: {', '.join(self.file.content_policy) or 'none'}"
            )
        return self.response_types.get(name)

    def _unlabelled(self) -> ResponseType | None:
        if self.file.unlabelled in ("error", AUTO):
            demand = (
                "would have to judge its request, which is not done here"
                if self.file.unlabelled == AUTO
                else "demands one"
            )
            raise NoResponseTypeError(
                f"the sample names no response type and the policy {self.name!r} {demand}: "
                f"give one of {', '.join(self.response_types)} or a category as its label"
            )
        return self.response_types.get(self.file.unlabelled)

    def _response_type(self, name: str, book: RuleBook) -> ResponseType:
        spec = self.file.response_types[name]
        rules = {c: self.file.rules[name][c] for c in self.file.classes if c in self.file.rules[name]}
        diagram = book.compile(rules)
        features = tuple(spec.features.propositions)
        asked = {*diagram.variables, *features}
        content = {
            "classes": list(rules),
            "rules": {c: expand(condition, self.file.derived) for c, condition in rules.items()},
            "features": [sorted(features), spec.features.classes],
            "traits": [sorted(spec.good), sorted(spec.bad)],
            "questions": {p: self.question_hashes[p] for p in asked},
        }
        return ResponseType(
            name,
            diagram,
            tuple(rules),
            features,
            spec.features.classes,
            frozenset(spec.good),
            frozenset(spec.bad),
            digest(content),
        )


def expand(condition: Conditions, derived: Mapping[str, Conditions]) -> list[Any]:
    """A condition with derived names written out, in an order that does not depend on the file's."""
    if not isinstance(condition, Mapping):
        return ["any", sorted((expand(c, derived) for c in condition), key=json.dumps)]
    parts = [[expand(derived[n], derived) if n in derived else n, wanted] for n, wanted in condition.items()]
    return ["all", sorted(parts, key=json.dumps)]


def spell(condition: Conditions) -> str:
    """A condition in words."""
    if not isinstance(condition, Mapping):
        return " or ".join(f"({spell(part)})" for part in condition)
    return " and ".join(name if wanted else f"not {name}" for name, wanted in condition.items())


def _labels(file: PolicyFile) -> dict[str, str]:
    labels: dict[str, str] = {}
    for name, spec in file.response_types.items():
        labels |= {fold(alias): name for alias in (name, *spec.aliases)}
    return labels | {fold(c): spec.response_type for c, spec in file.content_policy.items()}


def parse(text: str, label: str) -> Policy:
    """A policy from YAML text; errors call it `label`. Raises PolicyError."""
    return _build(document.parse(text, label))


def load(path: Path) -> Policy:
    """A policy from a YAML file. Raises PolicyError."""
    return _build(document.load(path))


def _build(source: document.Document) -> Policy:
    return Policy(checks.check(source, fold))
