"""A policy: written rules as data, validated whole, with the identities others are bound to.

    YAML file -> Document -> PolicyFile (shape) -> Policy (names, proofs, hashes)

Nothing here knows any policy's propositions, classes or response types.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rbr_service.errors import NoResponseTypeError, UnknownResponseTypeError
from rbr_service.rbr import checks, document
from rbr_service.rbr.diagram import Conditions, Diagram, RuleBook
from rbr_service.rbr.schema import PolicyFile


def fold(name: str) -> str:
    """How names compare: case and the choice of space, underscore or hyphen do not count."""
    return re.sub(r"[\s_-]+", "_", name.strip().casefold())


def digest(content: Any) -> str:
    """sha256 of the canonical JSON of parsed content: comments, order of keys and layout are out."""
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def canonical(content: Any, key: str = "") -> Any:
    """Content with the order of lists out, where it means nothing: not of classes, nor of examples."""
    if isinstance(content, dict):
        return {name: canonical(value, name) for name, value in content.items()}
    if isinstance(content, list):
        parts = [canonical(part) for part in content]
        return parts if key in ("classes", "examples") else sorted(parts, key=json.dumps)
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

    def resolve(self, label: str | None) -> ResponseType | None:
        """The response type that a type's name, alias or category means; None: out of scope.

        None and "" name no type: the policy's `unlabelled` decides. Raises
        UnknownResponseTypeError, NoResponseTypeError.
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
        if self.file.unlabelled == "error":
            raise NoResponseTypeError(
                f"the sample names no response type and the policy {self.name!r} demands one: "
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
