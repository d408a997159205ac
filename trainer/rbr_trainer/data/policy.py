"""What the trainer's side knows of a policy: the names a label may hold, and what its classes count as.

    policy YAML, or the `content` of GET /v1/policy -> Policy -> resolve(label) -> response type

Names mean here what they mean to the service. Rules are its business: `rbr policy check` looks at them.
"""

import re
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from rbr_trainer.errors import InputError

OUT_OF_SCOPE = "out_of_scope"  # the base reward alone
AUTO = "auto"  # the service judges the request
RESERVED = (OUT_OF_SCOPE, "error", AUTO)


def fold(name: str) -> str:
    """How names compare: case and the choice of space, underscore or hyphen do not count."""
    return re.sub(r"[\s_-]+", "_", name.strip().casefold())


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a name is: `field` response_type or category, `name` as the policy spells it.

    `response_type` None: out of the policy's scope.
    """

    field: str
    name: str
    response_type: str | None


@dataclass(frozen=True)
class Policy:
    """A policy's names. Build with `load` or `parse`.

    `response_types`: name -> its classes, best first. `content_policy`: category -> response type, None out
    of scope. `unlabelled`: what a sample without a name is: a response type, out_of_scope, error or auto.
    `unsafe` and `overrefusal`: response type -> the classes that count as such.
    """

    name: str
    response_types: Mapping[str, tuple[str, ...]]
    content_policy: Mapping[str, str | None]
    unlabelled: str
    unsafe: Mapping[str, frozenset[str]]
    overrefusal: Mapping[str, frozenset[str]]
    meanings: Mapping[str, Meaning]

    def meaning(self, label: str) -> Meaning:
        """What a response type, an alias or a category says. Raises InputError that lists the names."""
        found = self.meanings.get(fold(label))
        if found is None:
            known = ", ".join(self._nearest(label))
            raise InputError(
                f"{label[:80]!r} is neither a response type nor a category of the policy {self.name!r}; "
                f"nearest first, it has {known}"
            )
        return found

    def resolve(self, label: str | None) -> str | None:
        """The response type of a label, None out of scope; "" and None are what `unlabelled` says.

        Raises InputError for an unknown name, and where `unlabelled` is error or auto.
        """
        if label is not None and label.strip():
            return self.meaning(label).response_type
        if self.unlabelled in ("error", AUTO):
            raise InputError(f"names no response type, and the policy {self.name!r} decides none without one")
        return self.unlabelled if self.unlabelled in self.response_types else None

    def _nearest(self, label: str) -> list[str]:
        wanted = fold(label[:80])
        names = dict.fromkeys(meaning.name for meaning in self.meanings.values())
        return sorted(names, key=lambda name: -SequenceMatcher(None, wanted, fold(name)).ratio())


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class _ResponseType(_Part):
    aliases: list[str] = []


class _Category(_Part):
    response_type: str


class _Metrics(_Part):
    unsafe: dict[str, list[str]] = {}
    overrefusal: dict[str, list[str]] = {}


class _Content(_Part):
    policy: str
    classes: list[str]
    unlabelled: str
    content_policy: dict[str, _Category] = {}
    response_types: dict[str, _ResponseType]
    rules: dict[str, dict[str, Any]]
    metrics: _Metrics = _Metrics()


def load(path: Path) -> Policy:
    """The policy of a YAML file. Raises InputError."""
    try:
        return parse(yaml.load(path.read_text(encoding="utf-8"), _Loader), str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not valid YAML: {' '.join(str(error).split())}") from error


def parse(content: Any, source: str) -> Policy:
    """The policy of parsed content; errors call it `source`. Raises InputError that names the key."""
    try:
        given = _Content.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise _fault(source, first["loc"], first["msg"]) from error
    with _named(source):
        return Policy(
            name=given.policy,
            response_types={kind: _classes(given, kind) for kind in given.response_types},
            content_policy={name: _target(given, name) for name in given.content_policy},
            unlabelled=_unlabelled(given),
            unsafe=_counted(given, "unsafe", given.metrics.unsafe),
            overrefusal=_counted(given, "overrefusal", given.metrics.overrefusal),
            meanings=_meanings(given),
        )


class _KeyFaultError(Exception):
    """A key, and what is wrong there."""


@contextmanager
def _named(source: str) -> Iterator[None]:
    try:
        yield
    except _KeyFaultError as error:
        key, problem = error.args
        raise _fault(source, key, problem) from error


def _fault(source: str, key: tuple[str | int, ...], problem: str) -> InputError:
    place = ".".join(map(str, key)) or "the whole"
    return InputError(f"{source}: {place}: {problem}; `rbr policy check` tells all that is wrong")


def _classes(given: _Content, kind: str) -> tuple[str, ...]:
    if kind not in given.rules:
        raise _KeyFaultError(("rules",), f"has no rules for the response type {kind!r}")
    return tuple(name for name in given.classes if name in given.rules[kind])


def _target(given: _Content, category: str) -> str | None:
    target = given.content_policy[category].response_type
    if target not in (*given.response_types, OUT_OF_SCOPE):
        raise _KeyFaultError(("content_policy", category, "response_type"), f"there is no type {target!r}")
    return None if target == OUT_OF_SCOPE else target


def _unlabelled(given: _Content) -> str:
    if given.unlabelled not in (*given.response_types, *RESERVED):
        raise _KeyFaultError(("unlabelled",), f"there is no type {given.unlabelled!r}")
    return given.unlabelled


def _counted(given: _Content, metric: str, table: Mapping[str, list[str]]) -> dict[str, frozenset[str]]:
    for kind, classes in table.items():
        key = ("metrics", metric, kind)
        if kind not in given.response_types:
            raise _KeyFaultError(key, "there is no such response type")
        if unknown := sorted(set(classes) - set(_classes(given, kind))):
            raise _KeyFaultError(key, f"there is no class {unknown[0]!r} of this type")
    return {kind: frozenset(classes) for kind, classes in table.items()}


def _meanings(given: _Content) -> dict[str, Meaning]:
    found: dict[str, Meaning] = {}

    def take(label: str, meaning: Meaning, key: tuple[str, ...]) -> None:
        if not fold(label) or fold(label) in RESERVED:
            raise _KeyFaultError(key, f"the name {label!r} is empty or reserved")
        if found.setdefault(fold(label), meaning) != meaning:
            raise _KeyFaultError(key, f"the name {label!r} stands for two things")

    for kind, spec in given.response_types.items():
        for alias in (kind, *spec.aliases):
            take(alias, Meaning("response_type", kind, kind), ("response_types", kind))
    for category in given.content_policy:
        meaning = Meaning("category", category, _target(given, category))
        take(category, meaning, ("content_policy", category))
    return found


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        content = super().construct_mapping(node, deep)
        construct: Callable[..., Hashable] = self.construct_object
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = construct(key_node, deep=True)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"{key!r} stands twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return content
